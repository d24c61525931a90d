// Timing files: what is written is read back, and what is wrong is named with its place.
#include "faults/timed_netlist.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/files.h"
#include "tests/support/input_error.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi::faults {
namespace {

using ::testing::HasSubstr;

const std::string kShipped = std::string(KINTSUGI_SOURCE_DIR) + "/configs/pes/";

TEST(TimingFile, IsReadBackAsWritten) {
  const test::TemporaryFolder folder;
  for (const char* name : {"pe_ripple.pe", "pe_prefix.pe"}) {
    const TimedNetlist netlist = read_timed_netlist(kShipped + name);
    write_timed_netlist(netlist, folder / name);
    EXPECT_EQ(read_timed_netlist(folder / name), netlist);
    EXPECT_EQ(common::read_file(folder / name), common::read_file(kShipped + name));
    common::write_file_atomic(folder / "zipped", common::gzip(common::read_file(kShipped + name)));
    EXPECT_EQ(read_timed_netlist(folder / "zipped"), netlist);
  }
}

TEST(TimingFile, HoldsWhatTheShippedPesAre) {
  const TimedNetlist ripple = read_timed_netlist(kShipped + "pe_ripple.pe");
  EXPECT_EQ(ripple.name, "pe_ripple");
  EXPECT_EQ(ripple.gates.size(), 558U);
  EXPECT_EQ(ripple.launches.size(), 48U);
  EXPECT_EQ(ripple.captures.size(), 32U);
  EXPECT_EQ(ripple.voltage_v, 1.8);
  // Slowest paths of its own delays; the timing analyser's, from the cells' tables, are 6,016 and 5,644 ps.
  EXPECT_EQ(slowest_path_ps(ripple), 5975);
  EXPECT_EQ(slowest_path_ps(read_timed_netlist(kShipped + "pe_prefix.pe")), 5610);
}

// A shipped file with one thing wrong.
class WrongTimingFile : public ::testing::Test {
 protected:
  // The message for the shipped file with one text replaced by another, where it stands first.
  std::string message(const std::string& from, const std::string& to) {
    std::string text = common::read_file(kShipped + "pe_ripple.pe");
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    common::write_file_atomic(folder_ / "wrong.pe", text.replace(at, from.size(), to));
    return test::input_error([&] { read_timed_netlist(folder_ / "wrong.pe"); });
  }

  test::TemporaryFolder folder_;
};

TEST_F(WrongTimingFile, IsNamedWithLineAndColumn) {
  EXPECT_THAT(message("pe_timing 1", "pe_timing 2"), HasSubstr("wrong.pe:1:11: error: version 2"));
  EXPECT_THAT(message("pe_timing 1", "<html>"), HasSubstr("wrong.pe:1:1: error: this is not a timing file"));
  EXPECT_THAT(
      message("voltage_v 1.8", "voltage 1.8"),
      HasSubstr("wrong.pe:6:1: error: 'voltage' is not an item of a timing file, did you mean 'voltage_v'?"));
  EXPECT_THAT(message("voltage_v 1.8\n", ""), HasSubstr("'voltage_v' is missing"));
  EXPECT_THAT(message("nets 608", "nets many"), HasSubstr("wrong.pe:10:6: error: nets must be a number"));
  EXPECT_THAT(message("launch activation 1 3 206 278", "launch activation 0 3 206 278"),
              HasSubstr("wrong.pe:13:19: error: activation bit 0 is launched twice, first on line 12"));
  EXPECT_THAT(message("launch activation 1 3 206 278", "launch activation 1 3 206 -2"),
              HasSubstr("wrong.pe:13:27: error: a time must be"));
  EXPECT_THAT(message("launch activation 1 3 206", "launch activation 1 2 206"),
              HasSubstr("wrong.pe:13:21: error: net 2 is driven twice, first on line 12"));
  EXPECT_THAT(message("launch activation 1 3 206 278\n", ""),
              HasSubstr("bit 1 of activation is launched by nothing"));
}

TEST_F(WrongTimingFile, NamesGatesThatCannotBe) {
  const std::string gate = "\ngate 60 ";
  EXPECT_THAT(message(gate, "\ngate 60 0x1 2 50 50\ngate 60 "),
              HasSubstr("net 60 is driven twice, first on line 71"));
  EXPECT_THAT(message(gate, "\ngate 60 0x4 2 50 50\ngate 60 "), HasSubstr("71:9: error: a truth table"));
  EXPECT_THAT(message(gate, "\ngate 60 0x1 2 50\ngate 60 "), HasSubstr("too few"));
  EXPECT_THAT(message(gate, "\ngate 60 0x7 2 50 50 3 50\ngate 60 "), HasSubstr("a delay is missing"));
  // A loop shows as a net that is used before it is driven.
  EXPECT_THAT(message("\ngate 50 0x7f 2 ", "\ngate 50 0x7f 607 "),
              HasSubstr("61:14: error: net 607 is used before line 618, which drives it"));
  EXPECT_THAT(message("\ncapture 31 607", "\ncapture 31 700"),
              HasSubstr("a net must be a number from 0 to 607"));
  EXPECT_THAT(message("\ncapture 31 607 184 184", ""), HasSubstr("bit 31 of the psum is not captured"));
  EXPECT_THAT(message("\nend\n", "\n"), HasSubstr("the file stops without 'end'"));
}

TEST_F(WrongTimingFile, IsNoPe) {
  const std::string swapped = message("\nlaunch weight 3", "\nlaunch weight 9");
  EXPECT_THAT(swapped, HasSubstr("the bit must be a number from 0 to 7"));
  EXPECT_THAT(message("\ncapture 30 605 184 184\ncapture 31 607", "\ncapture 31 605 184 184\ncapture 30 607"),
              HasSubstr("bit 30 of what is captured is not that of psum + activation * weight"));
}

}  // namespace
}  // namespace kintsugi::faults
