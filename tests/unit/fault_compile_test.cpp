// compile(): from a map and a bypass source to hooks and bypass bits, and the report of what stays live.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "faults/array_faults.h"
#include "faults/report.h"

namespace kintsugi::faults {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Fault stuck(int row, int col, pe::Site site, int bit, int value, bool escape = false) {
  return {row, col, StuckAt{site, bit, value}, escape, {}};
}
Fault unknown(int row, int col) {
  return {row, col, std::nullopt, false, {}};
}

FaultMap map_of(int rows, int cols, std::vector<Fault> faults) {
  FaultMap map{"c", rows, cols, std::move(faults), ""};
  map.sort();
  return map;
}

std::string problem_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const common::InputError& problem) {
    return problem.what();
  }
  return "";
}

TEST(CompileFaults, FaultMapBypassesExactlyTheNamedPes) {
  const auto map = map_of(3, 4, {stuck(0, 1, pe::Site::multiplier, 3, 1), unknown(2, 3)});
  const auto out = compile(map, BypassSource::fault_map, nullptr, 3, 4, 32);
  EXPECT_THAT(out.bypass, ElementsAre(0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1));
  EXPECT_EQ(out.bypassed_pes(), 2);
  EXPECT_EQ(out.assumed_maskable, 1);
  EXPECT_EQ(out.named_faulty, 2);
  ASSERT_EQ(out.faulty.size(), 1u);  // the unknown one has no hooks
  EXPECT_EQ(out.faulty[0].row, 0);
  EXPECT_EQ(out.faulty[0].col, 1);
}

TEST(CompileFaults, HooksHoldEveryStuckBitOfAPe) {
  const auto map =
      map_of(2, 2,
             {stuck(1, 0, pe::Site::weight_register, 0, 1), stuck(1, 0, pe::Site::weight_register, 7, 0),
              stuck(1, 0, pe::Site::psum_register, 31, 1), stuck(1, 0, pe::Site::adder, 31, 0)});
  const auto out = compile(map, BypassSource::fault_map, nullptr, 2, 2, 32);
  ASSERT_EQ(out.faulty.size(), 1u);
  const pe::PeHooks& hooks = out.faulty[0].hooks;
  EXPECT_EQ(hooks[pe::Site::weight_register].keep, ~0x81u);
  EXPECT_EQ(hooks[pe::Site::weight_register].set, 0x01u);
  EXPECT_EQ(hooks[pe::Site::weight_register].flip, 0u);
  EXPECT_EQ(hooks[pe::Site::psum_register].keep, 0x7fffffffu);
  EXPECT_EQ(hooks[pe::Site::psum_register].set, 0x80000000u);
  EXPECT_EQ(hooks[pe::Site::adder].keep, 0x7fffffffu);
  EXPECT_EQ(hooks[pe::Site::adder].set, 0u);
  EXPECT_TRUE(hooks[pe::Site::multiplier].identity());
  // In the PE: weight −128 = 1000'0000 becomes 0000'0001, so the product is the activation; bypassed, the
  // psum still loses to the register's stuck sign bit.
  const auto live = pe::evaluate(hooks, false, -128, 5, 10, 32);
  EXPECT_EQ(live.psum, static_cast<std::int32_t>(0x80000000u | 15u));
  EXPECT_EQ(pe::evaluate(hooks, true, -128, 5, 10, 32).psum, static_cast<std::int32_t>(0x80000000u | 10u));
}

TEST(CompileFaults, EscapesStayLiveUnlessTheTestFoundAnotherFaultOfThePe) {
  const auto map =
      map_of(2, 2,
             {stuck(0, 0, pe::Site::multiplier, 1, 1, true), stuck(1, 1, pe::Site::multiplier, 1, 1, true),
              stuck(1, 1, pe::Site::adder, 0, 1)});
  const auto out = compile(map, BypassSource::fault_map, nullptr, 2, 2, 32);
  EXPECT_THAT(out.bypass, ElementsAre(0, 0, 0, 1));
  EXPECT_EQ(out.faulty.size(), 2u);
}

TEST(CompileFaults, BypassMapReplacesTheFaultMapsPes) {
  const auto map = map_of(2, 2, {stuck(0, 0, pe::Site::multiplier, 1, 1)});
  const auto bist = map_of(2, 2, {unknown(1, 1)});  // misses (0, 0), false alarm at (1, 1)
  const auto out = compile(map, BypassSource::bypass_map, &bist, 2, 2, 32);
  EXPECT_THAT(out.bypass, ElementsAre(0, 0, 0, 1));
  EXPECT_EQ(out.faulty.size(), 1u);
  EXPECT_EQ(out.assumed_maskable, 0);  // that PE has no fault at all
}

TEST(CompileFaults, WithoutBypassNothingIsHidden) {
  const auto map = map_of(2, 2, {stuck(0, 0, pe::Site::multiplier, 1, 1)});
  const auto out = compile(map, BypassSource::none, nullptr, 2, 2, 32);
  EXPECT_EQ(out.bypassed_pes(), 0);
  EXPECT_EQ(out.faulty.size(), 1u);
}

TEST(CompileFaults, UnknownNatureWithoutBypassCannotRun) {
  const auto map = map_of(2, 2, {unknown(0, 1), unknown(1, 1)});
  EXPECT_THAT(
      problem_of([&] { compile(map, BypassSource::none, nullptr, 2, 2, 32); }),
      HasSubstr("row 0, col 1 has a fault of unknown nature and is not bypassed (as are 1 more PEs)"));
  const auto bist = map_of(2, 2, {unknown(0, 1)});
  EXPECT_THAT(problem_of([&] { compile(map, BypassSource::bypass_map, &bist, 2, 2, 32); }),
              HasSubstr("row 1, col 1 has a fault of unknown nature and is not bypassed,"));
}

TEST(CompileFaults, RefusesOtherSizesAndBitsThatDoNotExist) {
  const auto map = map_of(2, 2, {stuck(0, 0, pe::Site::adder, 23, 1)});
  EXPECT_THAT(problem_of([&] { compile(map, BypassSource::fault_map, nullptr, 2, 3, 32); }),
              HasSubstr("array of 2x2 PEs, the chip's array has 2x3"));
  EXPECT_EQ(problem_of([&] { compile(map, BypassSource::fault_map, nullptr, 2, 2, 24); }), "");
  EXPECT_THAT(problem_of([&] { compile(map, BypassSource::fault_map, nullptr, 2, 2, 23); }),
              HasSubstr("adder has bits 0 to 22 on this chip, found bit 23"));
  const auto other = map_of(3, 2, {});
  EXPECT_THAT(problem_of([&] { compile(map, BypassSource::bypass_map, &other, 2, 2, 32); }),
              HasSubstr("the bypass map of c is for an array of 3x2"));
  const auto outside = map_of(2, 2, {unknown(2, 0)});
  EXPECT_THAT(problem_of([&] { compile(outside, BypassSource::fault_map, nullptr, 2, 2, 32); }),
              HasSubstr("outside the array"));
}

TEST(FaultReportTest, SaysWhatABypassCannotHide) {
  const auto map =
      map_of(4, 5,
             {
                 stuck(0, 1, pe::Site::psum_register, 4, 1),        // column 1
                 stuck(1, 2, pe::Site::activation_register, 0, 1),  // columns 3, 4 but 3 is bypassed there
                 unknown(1, 3), stuck(2, 4, pe::Site::activation_register, 0, 1),  // nothing to its right
                 stuck(3, 0, pe::Site::multiplier, 2, 0),                          // hidden
                 stuck(3, 2, pe::Site::weight_register, 2, 0, true)                // escape: column 2
             });
  const auto report = make_report(map, bypass_bits(map, BypassSource::fault_map, nullptr));
  ASSERT_EQ(report.live.size(), 4u);
  EXPECT_THAT(report.live[0].columns, ElementsAre(1));
  EXPECT_TRUE(report.live[0].bypassed);
  EXPECT_THAT(report.live[1].columns, ElementsAre(4));
  EXPECT_THAT(report.live[2].columns, ElementsAre());
  EXPECT_THAT(report.live[3].columns, ElementsAre(2));
  EXPECT_FALSE(report.live[3].bypassed);
  EXPECT_EQ(report.columns_reached, 3);
  EXPECT_EQ(report.assumed_maskable, 1);
  EXPECT_EQ(report.escapes, 1);
  EXPECT_EQ(report.faulty_pes, 6);
  EXPECT_EQ(report.bypassed_pes, 5);
  EXPECT_EQ(report.by_site[static_cast<int>(pe::Site::activation_register)], 2);
  EXPECT_THAT(report.worst_rows.front(), ::testing::Pair(1, 2));
  const std::string text = to_text(report);
  EXPECT_THAT(text, HasSubstr("assumed maskable: 1 of 6 faults"));
  EXPECT_THAT(text, HasSubstr("test escapes: 1 live faulty PE\n"));
  EXPECT_THAT(text, HasSubstr("reaches all outputs of column 1"));
}

TEST(FaultReportTest, CountsFalseAlarmsAndWhatCannotRun) {
  const auto map = map_of(2, 2, {unknown(0, 0), unknown(0, 1)});
  const auto bist = map_of(2, 2, {unknown(0, 1), unknown(1, 1), unknown(1, 0)});
  const auto report = make_report(map, bypass_bits(map, BypassSource::bypass_map, &bist));
  EXPECT_EQ(report.false_alarms, 2);
  EXPECT_EQ(report.uncomputable, 1);
  EXPECT_EQ(report.assumed_maskable, 1);
  EXPECT_THAT(to_text(report), HasSubstr("test coverage assumed: 100 %"));
}

// Every activation-register fault that the report calls harmless must be, and every column it names can
// change: the naive chain of PEs says so.
TEST(FaultReportTest, ReachAgreesWithTheDatapath) {
  const int size = 3;
  for (int site = 0; site < pe::kSites; ++site) {
    for (const bool bypass : {true, false}) {
      const auto map = map_of(size, size, {stuck(1, 1, static_cast<pe::Site>(site), 6, 1, !bypass)});
      const auto faults = compile(map, BypassSource::fault_map, nullptr, size, size, 32);
      const auto report = make_report(map, faults.bypass);
      std::vector<int> changed;
      for (int c = 0; c < size; ++c) {
        bool differs = false;
        for (int sample = 0; sample < 50; ++sample) {
          std::int32_t psum = 0, clean = 0;
          for (int r = 0; r < size; ++r) {
            std::int32_t activation = (sample * 37 + r * 11) % 256 - 128;
            const std::int32_t weight = (sample * 53 + r * 29 + c * 17) % 256 - 128;
            const bool hidden = faults.bypassed(r, c);
            clean = hidden ? clean : pe::clean_psum(weight, activation, clean, 32);
            for (int left = 0; left < c; ++left)
              activation = pe::evaluate(r == 1 && left == 1 ? faults.faulty[0].hooks : pe::PeHooks{}, false,
                                        0, activation, 0, 32)
                               .activation;
            psum = pe::evaluate(r == 1 && c == 1 ? faults.faulty[0].hooks : pe::PeHooks{}, hidden, weight,
                                activation, psum, 32)
                       .psum;
          }
          differs = differs || psum != clean;
        }
        if (differs) changed.push_back(c);
      }
      std::vector<int> reported;
      for (const LiveFault& live : report.live) reported = live.columns;
      EXPECT_EQ(changed, reported) << to_string(static_cast<pe::Site>(site)) << " bypass " << bypass;
    }
  }
}

TEST(DensityPicture, DrawsEveryPeOfASmallArray) {
  const auto map = map_of(3, 3, {unknown(0, 0), unknown(1, 0), unknown(1, 1), unknown(2, 2)});
  EXPECT_THAT(density_picture(map), HasSubstr("│█▄ │ 0\n│  ▀│\n"));
}

TEST(DensityPicture, ShadesBlocksOfALargeArrayWithinTheWidth) {
  std::vector<Fault> faults;
  for (int c = 0; c < 4; ++c)  // block (0, 0) 4 faulty, block (1, 1) 1 faulty
    faults.push_back(unknown(0, c));
  faults.push_back(unknown(8, 4));
  const std::string picture = density_picture(map_of(256, 256, faults));
  EXPECT_THAT(picture, HasSubstr("│█" + std::string(63, ' ') + "│ 0\n│ ░" + std::string(62, ' ') + "│"));
  EXPECT_THAT(picture, HasSubstr("each character is 8x4 PEs"));
  EXPECT_THAT(picture, HasSubstr("░ 1  ▒ 2  ▓ 3  █ 4"));
}

TEST(DensityPicture, ASingleFaultIsAsDarkAsItGets) {
  EXPECT_THAT(density_picture(map_of(256, 256, {unknown(255, 255)})), HasSubstr("blank 0  █ 1\n"));
  EXPECT_THAT(density_picture(map_of(128, 128, {})), HasSubstr("blank 0\n"));
}

}  // namespace
}  // namespace kintsugi::faults
