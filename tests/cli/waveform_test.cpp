// `kintsugi run --trace`: the waveform is read back like a viewer would, and holds what docs/timing.md says.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "common/random.h"
#include "tests/cli/program.h"
#include "workloads/npy.h"

namespace kintsugi {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A VCD file: of every signal by its full name, what it is from which time on; nothing for x.
class Vcd {
 public:
  explicit Vcd(const std::string& text) {
    std::istringstream lines(text);
    std::vector<std::string> scopes;
    std::map<std::string, std::string> names;
    std::map<std::string, bool> whole;
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string word;
      words >> word;
      if (word == "$scope") {
        words >> word >> word;
        scopes.push_back(word);
      } else if (word == "$upscope") {
        scopes.pop_back();
      } else if (word == "$timescale") {
        std::getline(words, timescale);
      } else if (word == "$var") {
        std::string type, bits, code, name;
        words >> type >> bits >> code >> name;
        std::string full;
        for (const std::string& scope : scopes) full += scope + ".";
        EXPECT_TRUE(names.emplace(code, full + name).second) << "two signals called " << code;
      } else if (word[0] == '#') {
        EXPECT_GT(std::stoll(word.substr(1)), end);
        end = std::stoll(word.substr(1));
      } else if (word[0] == 'b') {
        std::string code;
        words >> code;
        std::optional<std::int64_t> value;
        if (word != "bx")
          value = static_cast<std::int32_t>(std::stoull(word.substr(1), nullptr, 2));  // two's complement
        changes[names.at(code)][end] = value;
      } else if (word[0] == '0' || word[0] == '1') {
        changes[names.at(word.substr(1))][end] = word[0] - '0';
      }
    }
  }
  // What a signal is at a time; fails if there is no such signal.
  std::optional<std::int64_t> at(const std::string& name, std::int64_t time) const {
    const auto& values = changes.at(name);
    auto next = values.upper_bound(time);
    if (next == values.begin()) {
      ADD_FAILURE() << name << " has no value at " << time;
      return std::nullopt;
    }
    return (--next)->second;
  }

  std::string timescale;
  std::int64_t end = -1;
  std::map<std::string, std::map<std::int64_t, std::optional<std::int64_t>>> changes;
};

class Waveform : public test::Program {
 protected:
  // R = C = 4, M = 3, K = 8, N = 4: two k-tiles.
  static constexpr int kSize = 4, kM = 3, kK = 8;
  Waveform() {
    write("chip.yaml",
          "chip:\n  name: four\n  array: {rows: 4, cols: 4}\n  clock_mhz: 700\n  memory: ideal\n");
    write("gemm.yaml", "workload: {gemm: {activations: a.npy, weights: w.npy}}\n");
    workloads::Tensor<std::int8_t> a({kM, kK}), w({kK, kSize});
    for (int m = 0; m < kM; ++m)
      for (int k = 0; k < kK; ++k) a.data[m * kK + k] = activation(m, k);
    for (int k = 0; k < kK; ++k)
      for (int n = 0; n < kSize; ++n) w.data[k * kSize + n] = weight(k, n);
    workloads::write_npy(folder_ / "a.npy", a);
    workloads::write_npy(folder_ / "w.npy", w);
  }
  static std::int8_t activation(int m, int k) { return static_cast<std::int8_t>(10 * m + k - 12); }
  static std::int8_t weight(int k, int n) { return static_cast<std::int8_t>(k == n ? 100 : n - 2 * k); }

  std::string trace(const std::string& fidelity, const std::string& more = "") {
    EXPECT_EQ(
        run(fmt::format("run --chip chip.yaml --workload gemm.yaml --fidelity {0} --trace {0}.vcd --out "
                        "out_{0} {1}",
                        fidelity, more)),
        0)
        << file("stderr");
    return file(fidelity + ".vcd");
  }
};

TEST_F(Waveform, HoldsTheDocumentedValuesAtTheDocumentedCycles) {
  const std::string text = trace("pe");
  EXPECT_EQ(trace("cycle"), text);
  const Vcd vcd(text);
  EXPECT_EQ(vcd.timescale, " 1 ps $end");

  // Loading takes R = 4 cycles; stream 1 starts in cycle 4 and is fed in 3, loading the second tile takes 4:
  // stream 2 starts in cycle 8. PE (r, c) handles m in cycle S + m + r + c, and holds it one edge later.
  for (int t = 0; t <= 17; ++t) {
    for (int r = 0; r < kSize; ++r) {
      for (int c = 0; c < kSize; ++c) {
        const std::string pe = fmt::format("array.row_{0}.pe_{0}_{1}.", r, c);
        const int met = t - 1 - r - c;
        const int tile = met >= 8 ? 1 : 0, m = met - (tile == 0 ? 4 : 8);
        const bool valid = m >= 0 && m < kM;
        SCOPED_TRACE(fmt::format("{} at {}", pe, t));
        EXPECT_EQ(vcd.at(pe + "valid", 1000 * t), valid ? 1 : 0);
        // The weight comes into use with the first activation of its stream, and stays.
        EXPECT_EQ(vcd.at(pe + "weight", 1000 * t), met < 4 ? 0 : weight(4 * tile + r, c));
        if (valid) {
          int psum = 0;
          for (int k = 4 * tile; k <= 4 * tile + r; ++k) psum += activation(m, k) * weight(k, c);
          EXPECT_EQ(vcd.at(pe + "activation", 1000 * t), activation(m, 4 * tile + r));
          EXPECT_EQ(vcd.at(pe + "psum", 1000 * t), psum);
        } else {
          EXPECT_EQ(vcd.at(pe + "activation", 1000 * t), std::nullopt);
          EXPECT_EQ(vcd.at(pe + "psum", 1000 * t), std::nullopt);
        }
      }
    }
    EXPECT_EQ(vcd.at("array.cycle", 1000 * t), t);
    EXPECT_EQ(vcd.at("array.job", 1000 * t), 0);
    EXPECT_EQ(vcd.at("array.clock", 1000 * t), t == 0 ? 0 : 1);
    EXPECT_EQ(vcd.at("array.clock", 1000 * t + 500), 0);
  }
  // By hand: PE (0, 0) holds −12 · 100 after edge 5; column 3 of m = 0 leaves the first tile after 4 + 3 + 3
  // + 1 edges as −12 · 3 − 11 · 1 + 10 · 1 − 9 · 100. The run is over when the last PE holds m = 2 of
  // stream 2.
  EXPECT_EQ(vcd.at("array.row_0.pe_0_0.psum", 5000), -1200);
  EXPECT_EQ(vcd.at("array.row_3.pe_3_3.psum", 11000), -36 - 11 + 10 - 900);
  EXPECT_EQ(vcd.end, 18000);
  EXPECT_THAT(file("out_pe/summary.yaml"), HasSubstr("\n  cycles: 17\n"));
}

TEST_F(Waveform, IsTheGoldenOne) {
  const std::filesystem::path golden =
      std::filesystem::path(KINTSUGI_SOURCE_DIR) / "tests/golden/waveform/four_by_four.vcd";
  const std::string text = trace("pe");
  if (std::getenv("KINTSUGI_UPDATE_GOLDEN")) common::write_file_atomic(golden, text);
  EXPECT_EQ(text, common::read_file(golden));
}

TEST_F(Waveform, ShowsFaultsAndSeveralJobsTheSameInBothClockedFidelities) {
  // Every site, bypassed or not, live registers behind a bypass included; layers follow each other.
  write("map.yaml",
        "fault_map:\n  version: 1\n  chip: broken\n  rows: 6\n  cols: 5\n  faults:\n"
        "    - {row: 0, col: 1, site: weight_register, bit: 6, stuck_at: 1}\n"
        "    - {row: 1, col: 2, site: multiplier, bit: 9, stuck_at: 1}\n"
        "    - {row: 2, col: 0, site: activation_register, bit: 3, stuck_at: 0}\n"
        "    - {row: 3, col: 3, site: psum_register, bit: 12, stuck_at: 1}\n"
        "    - {row: 4, col: 1, site: adder, bit: 4, stuck_at: 0}\n"
        "    - {row: 5, col: 4}\n");
  write("bypass.yaml",
        "fault_map:\n  version: 1\n  chip: found\n  rows: 6\n  cols: 5\n  faults:\n"
        "    - {row: 0, col: 0}\n    - {row: 1, col: 2}\n    - {row: 3, col: 3}\n    - {row: 5, col: 4}\n");
  write("t.csv",
        "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
        "One, 5, 6, 3, 2, 3, 7, 1,\nShort, 1, 1, 1, 1, 20, 11, 1,\nDP_two, 4, 4, 3, 3, 2, 1, 1,\n");
  write("gemm.yaml", "workload: {topology: t.csv}\n");
  for (const char* buffers : {"true", "false"}) {
    const std::string more = fmt::format(
        "--set chip.array.rows=6 --set chip.array.cols=5 --set chip.array.weight_double_buffer={} "
        "--fault-map map.yaml --bypass-map bypass.yaml",
        buffers);
    const std::string text = trace("pe", more);
    EXPECT_TRUE(trace("cycle", more) == text) << buffers;
    EXPECT_EQ(file("out_cycle/layers.csv"), file("out_pe/layers.csv"));
    const Vcd vcd(text);
    EXPECT_EQ(vcd.at("array.job", 0), 0);
    EXPECT_EQ(vcd.at("array.job", vcd.end), 2);
    // A bypassed PE has a weight of its own, whether it is used or not.
    bool weight = false;
    for (const auto& [time, value] : vcd.changes.at("array.row_1.pe_1_2.weight")) weight |= value != 0;
    EXPECT_TRUE(weight);
  }
}

TEST_F(Waveform, ShowsWhatIsChosen) {
  const Vcd vcd(trace("cycle", "--trace-signals 'row=1-2 col=3 cycle=6-9 show=psum,valid'"));
  std::vector<std::string> names;
  for (const auto& [name, changes] : vcd.changes) names.push_back(name);
  EXPECT_THAT(names, ::testing::ElementsAre("array.clock", "array.cycle", "array.job",
                                            "array.row_1.pe_1_3.psum", "array.row_1.pe_1_3.valid",
                                            "array.row_2.pe_2_3.psum", "array.row_2.pe_2_3.valid"));
  EXPECT_EQ(vcd.changes.at("array.cycle").begin()->first, 6000);
  EXPECT_EQ(vcd.end, 10000);
  EXPECT_EQ(vcd.at("array.row_1.pe_1_3.psum", 9000), -12 * 3 - 11);
  EXPECT_THAT(file("stdout"), HasSubstr("it shows cycles 6 to 9 of 17"));

  trace("cycle", "--trace-signals 'cycle=18-99'");
  EXPECT_THAT(file("stdout"), HasSubstr("it shows nothing: the run has cycles 0 to 17"));

  const std::string large = trace("cycle", "--set chip.array.rows=9 --set chip.array.cols=20");
  EXPECT_THAT(large, HasSubstr(" pe_7_7 "));
  EXPECT_THAT(large, Not(HasSubstr("_8")));
  EXPECT_THAT(file("stdout"), HasSubstr("the array is 9x20; --trace-signals 'row=0-8 col=0-19' shows all"));
}

TEST_F(Waveform, RefusesWhatItCannotShow) {
  const auto refused = [&](const std::string& options, const std::string& message) {
    EXPECT_EQ(run("run --chip chip.yaml --workload gemm.yaml --out refused " + options), 2) << options;
    EXPECT_THAT(file("stderr"), HasSubstr(message));
    EXPECT_FALSE(exists("refused/summary.yaml"));
    EXPECT_FALSE(exists("x.vcd"));
  };
  refused("--trace x.vcd", "the functional fidelity has no registers to show");
  refused("--fidelity pe --trace-signals row=1", "add --trace FILE");
  const std::string trace = "--fidelity cycle --trace x.vcd --trace-signals ";
  refused(trace + "row=2-4", "row=2-4: the array has rows 0 to 3");
  refused(trace + "col=3-1", "col must be a number or a range like col=0-3, but is '3-1'");
  refused(trace + "'row=1 row=2'", "row= is given more than once");
  refused(trace + "rows=1", "'rows=1' is not understood");
  refused(trace + "show=sum", "there is no signal 'sum'");
  refused("--fidelity cycle --trace missing/x.vcd", "missing/x.vcd: error: cannot be written");
  // A run that fails leaves no part of a waveform.
  workloads::write_npy(folder_ / "w.npy", workloads::Tensor<std::int8_t>({3, 3}));
  refused("--fidelity cycle --trace x.vcd", "need weights with 8 rows");
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path()))
    EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr("x.vcd")));
}

}  // namespace
}  // namespace kintsugi
