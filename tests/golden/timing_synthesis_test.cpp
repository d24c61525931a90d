// PEs that are no shipped ones: synthesised here and now by scripts/characterize_pe.sh, imported, and
// simulated by the netlist model and event by event. Skipped where yosys, OpenSTA or the cell library is not
// installed; users need none of them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "faults/netlist_model.h"
#include "tests/support/run_shell.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/timing_statistics.h"

namespace kintsugi {
namespace {

namespace fs = std::filesystem;

struct Case {
  std::string name, options;
  int accumulator_bits;
  double mean_error, correlation;  // bounds
  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
};

class SynthesisedPe : public ::testing::TestWithParam<Case> {};

TEST_P(SynthesisedPe, ErrsAsItsGatesDo) {
  const auto& [name, options, accumulator_bits, mean_error, correlation] = GetParam();
  if (test::run_shell("command -v yosys && command -v sta").status != 0 ||
      !fs::exists("/usr/share/qflow/tech/osu018/osu018_stdcells.lib"))
    GTEST_SKIP() << "needs the Debian packages yosys, opensta and qflow-tech-osu018";
  const test::TemporaryFolder folder;
  const fs::path file = folder / (name + ".pe");
  const test::Outcome made =
      test::run_shell(fmt::format("'{0}/scripts/characterize_pe.sh' {1} --kintsugi '{2}' --out '{3}'",
                                  KINTSUGI_SOURCE_DIR, options, KINTSUGI_BINARY, file.string()));
  ASSERT_EQ(made.status, 0) << made.text;
  const auto netlist = std::make_shared<faults::TimedNetlist>(faults::read_timed_netlist(file));
  EXPECT_EQ(netlist->accumulator_bits, accumulator_bits);
  EXPECT_EQ(netlist->name, name);

  // The periods of the golden words, relative to this PE's slowest path.
  std::vector<double> periods_ps;
  for (const double share : {1.0, 0.98, 0.95, 0.92, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4})
    periods_ps.push_back(std::round(share * faults::slowest_path_ps(*netlist)));
  constexpr std::size_t kSize = 3000;
  for (const bool dnn : {true, false}) {
    const test::OperandStream stream = dnn ? test::dnn_stream(5, kSize) : test::uniform_stream(5, kSize);
    std::vector<test::ErrorRates> measured;
    for (const auto& errors : test::GateSimulator(*netlist).errors(stream, periods_ps))
      measured.push_back(test::error_rates(errors));
    EXPECT_EQ(measured.front().words, 0);
    EXPECT_GT(measured.back().words, 0.3);
    for (const double step_ps : {50.0, 25.0}) {
      const faults::NetlistModel model(netlist, step_ps, periods_ps);
      std::vector<test::ErrorRates> modelled;
      for (std::size_t p = 0; p < periods_ps.size(); ++p)
        modelled.push_back(test::error_rates(test::model_errors(model, static_cast<int>(p), stream)));
      EXPECT_EQ(modelled.front().words, 0);
      const test::Agreement found = test::agreement(measured, modelled);
      const std::string where = fmt::format("{} at {} ps", dnn ? "dnn" : "uniform", step_ps);
      EXPECT_LE(found.mean_error, mean_error) << where;
      EXPECT_GE(found.correlation, correlation) << where;
      // Where there are words enough to count.
      for (std::size_t p = 0; p < periods_ps.size(); ++p) {
        if (measured[p].words < 6e-3 || measured[p].words > 3e-2) continue;
        EXPECT_LE(modelled[p].words, 1.5 * measured[p].words) << where << ", " << periods_ps[p];
        EXPECT_GE(modelled[p].words, measured[p].words / 1.5) << where << ", " << periods_ps[p];
      }
      // Rows of docs/timing-errors.md: run with KINTSUGI_PRINT_ACCURACY=1.
      if (std::getenv("KINTSUGI_PRINT_ACCURACY") != nullptr)
        fmt::print("| {} | {} | {} | {:.4f} | {:.3f} | {:.2f} | {:.3f} |\n", name, dnn ? "dnn" : "uniform",
                   step_ps, found.mean_error, found.largest_error, found.largest_ratio, found.correlation);
    }
  }
}

// Other versions of yosys choose other gates, so bounds are not tight. The fused PE is a tree of adders full
// of glitches, in which the grid of time costs more than in the shipped ones: measured 0.006 to 0.008, and
// 0.95 to 0.97.
INSTANTIATE_TEST_SUITE_P(OwnPes, SynthesisedPe,
                         ::testing::Values(Case{"pe_fused",
                                                "--rtl '" KINTSUGI_SOURCE_DIR "/configs/pes/rtl/pe_fused.v'",
                                                32, 0.011, 0.93},
                                           Case{"pe_24_bits", "--accumulator-bits 24", 24, 0.007, 0.97}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace kintsugi
