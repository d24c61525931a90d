// The waveform of a PE array, read back: the worked example of docs/timing.md, as a viewer would show it.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "tests/equivalence/clocked_bench.h"
#include "tests/support/in_child.h"

namespace kintsugi {
namespace {

// Time of change -> value, for the signal of this full name, from a VCD file.
std::map<std::int64_t, std::int64_t> changes_of(const std::filesystem::path& path, const std::string& name) {
  std::ifstream file(path);
  std::map<std::int64_t, std::int64_t> changes;
  std::vector<std::string> scopes;
  std::string word, identifier;
  std::int64_t time = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    words >> word;
    if (word == "$scope") {
      words >> word >> word;
      scopes.push_back(word);
    } else if (word == "$upscope") {
      scopes.pop_back();
    } else if (word == "$var") {
      std::string type, bits, code, last;
      words >> type >> bits >> code >> last;
      std::string full;
      for (const std::string& scope : scopes) full += scope + ".";
      if (full + last == name) identifier = code;
    } else if (word[0] == '#') {
      time = std::stoll(word.substr(1));
    } else if (word[0] == 'b') {
      std::string code;
      words >> code;
      if (code == identifier) changes[time] = std::stoll(word.substr(1), nullptr, 2);
    }
  }
  return changes;
}

TEST(Waveform, shows_the_worked_example) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("kintsugi_waveform_" + std::to_string(getpid()));
  const std::string text = test::in_child([&path] {
    configs::ArrayConfig chip;
    chip.rows = 3;
    chip.cols = 2;
    test::ClockedBench bench("bench", chip, configs::ConvolutionMapping::im2col, false, true);
    sc_core::sc_trace_file* file = sc_core::sc_create_vcd_trace_file(path.c_str());
    file->set_time_unit(1, sc_core::SC_NS);
    bench.array(0).trace(file);
    bench.run([&] {
      const std::vector<std::int8_t> ones(12, 1);
      std::vector<std::vector<std::int32_t>> found;
      const auto edges =
          bench.run_job({array::gemm_shape(2, 6, 2), ones.data(), ones.data(), nullptr}, found, 100);
      EXPECT_EQ(edges[0], 11);
    });
    sc_core::sc_close_vcd_trace_file(file);
    return std::string();
  });
  // Edge n rises at 2n − 1 ns. Column 1's register in the last row holds 3, the sum of a tile, after edges 7
  // and 8 and again after 10 and 11; in between the stream has a gap, and zero activations add nothing.
  const auto changes = changes_of(path.string() + ".vcd", "SystemC.bench.pe.psum_3_1.value");
  std::filesystem::remove(path.string() + ".vcd");
  const std::map<std::int64_t, std::int64_t> expected = {{0, 0}, {13, 3}, {17, 0}, {19, 3}};
  EXPECT_EQ(changes, expected);
}

}  // namespace
}  // namespace kintsugi
