// Overclocked chips from the outside: what `timing show` and `run` say, and that a chip at its nominal clock
// writes what it always wrote.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "common/random.h"
#include "tests/cli/program.h"
#include "workloads/npy.h"

namespace kintsugi::test {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr int kM = 300, kK = 20, kN = 10;

class Timing : public Program {
 protected:
  Timing() {
    write("plain.yaml", "chip:\n  name: small\n  array: {rows: 8, cols: 8}\n  clock_mhz: 200\n");
    write("chip.yaml",
          "chip:\n  name: small\n  array: {rows: 8, cols: 8}\n  clock_mhz: 200\n"
          "  timing: {model: netlist, netlist: pe_ripple, variation: {seed: 2}}\n");
    write("gemm.yaml", "workload: {gemm: {activations: a.npy, weights: w.npy}}\n");
    common::RandomStream random(5, "traffic");
    workloads::Tensor<std::int8_t> a({kM, kK}), w({kK, kN});
    for (auto& value : a.data)
      value = static_cast<std::int8_t>(random.uniform() < 0.4 ? 0 : random.below(128));
    for (auto& value : w.data) value = static_cast<std::int8_t>(static_cast<int>(random.below(256)) - 128);
    workloads::write_npy(folder_ / "a.npy", a);
    workloads::write_npy(folder_ / "w.npy", w);
  }
  nlohmann::json layer(const std::string& out) const {
    return nlohmann::json::parse(file(out + "/layers.json")).at("layers").at(0);
  }
};

TEST_F(Timing, AChipAtItsNominalClockGivesTheOldResults) {
  ASSERT_EQ(run("run --chip plain.yaml --workload gemm.yaml --out plain"), 0) << file("stderr");
  ASSERT_EQ(run("run --chip chip.yaml --workload gemm.yaml --out nominal"), 0) << file("stderr");
  EXPECT_EQ(file("plain/output.npy"), file("nominal/output.npy"));
  EXPECT_THAT(file("stdout"), HasSubstr("no PE was late"));
  EXPECT_THAT(file("plain/layers.csv"), Not(HasSubstr("late_words")));
  EXPECT_THAT(file("plain/summary.yaml"), Not(HasSubstr("timing")));
  // The old columns keep their bytes; the new ones stand behind them.
  const std::string plain = file("plain/layers.csv"), nominal = file("nominal/layers.csv");
  const auto header = [](const std::string& csv) { return csv.substr(0, csv.find('\n')); };
  EXPECT_EQ(header(nominal),
            header(plain) +
                ",late_words,dropped_products,flipped_bits,outputs,outputs_off_by_1_to_5,outputs_off_by_more,"
                "word_error_rate");
  const std::string values = plain.substr(header(plain).size() + 1);
  EXPECT_EQ(nominal.substr(header(nominal).size() + 1),
            values.substr(0, values.size() - 1) + fmt::format(",0,0,0,{},0,0,0\n", kM * kN));
}

TEST_F(Timing, OverclockingIsReportedAndTheSameAtEveryFidelity) {
  ASSERT_EQ(run("run --chip plain.yaml --workload gemm.yaml --out plain"), 0) << file("stderr");
  for (const char* fidelity : {"functional", "cycle", "pe"})
    ASSERT_EQ(run(fmt::format(
                  "run --chip chip.yaml --workload gemm.yaml --frequency-mhz 290 --fidelity {0} --out {0}",
                  fidelity)),
              0)
        << file("stderr");
  EXPECT_NE(file("functional/output.npy"), file("plain/output.npy"));
  for (const char* other : {"cycle", "pe"}) {
    EXPECT_EQ(file(fmt::format("{}/output.npy", other)), file("functional/output.npy"));
    EXPECT_EQ(file(fmt::format("{}/layers.csv", other)), file("functional/layers.csv"));
  }
  const auto counts = layer("functional");
  EXPECT_GT(counts.at("late_words").get<std::int64_t>(), 0);
  EXPECT_EQ(counts.at("outputs").get<std::int64_t>(), kM * kN);
  // Wrong outputs, counted here.
  const auto right = workloads::read_npy<std::int32_t>(folder_ / "plain/output.npy");
  const auto erring = workloads::read_npy<std::int32_t>(folder_ / "functional/output.npy");
  std::int64_t small = 0, large = 0;
  for (std::size_t i = 0; i < right.data.size(); ++i) {
    const std::int64_t off = std::abs(std::int64_t{right.data[i]} - erring.data[i]);
    if (off > 5) ++large;
    if (off > 0 && off <= 5) ++small;
  }
  EXPECT_GT(large, 0);
  EXPECT_EQ(counts.at("outputs_off_by_1_to_5").get<std::int64_t>(), small);
  EXPECT_EQ(counts.at("outputs_off_by_more").get<std::int64_t>(), large);
  EXPECT_DOUBLE_EQ(counts.at("word_error_rate").get<double>(),
                   static_cast<double>(small + large) / (kM * kN));
  const std::string summary = file("functional/summary.yaml");
  for (const char* part :
       {"clock_mhz: 290}", "nominal_clock_mhz: 200", "frequency_mhz: 290", "guard_band: 0.1",
        "netlist pe_ripple", "OSU 0.18 um", "only PEs fail", "most_late_pes:\n      - {row: "})
    EXPECT_THAT(summary, HasSubstr(part));
  EXPECT_THAT(file("stdout"), HasSubstr("PEs that were late: "));
  EXPECT_THAT(file("stdout"), HasSubstr("only PEs fail"));
  EXPECT_THAT(file("stdout"), HasSubstr("guard band 10.00 %"));
}

TEST_F(Timing, TheTableModelAndRandomErrorsRun) {
  write("table.csv", "period_relative,operand_class,bit,probability\n0.5,all,20,0.5\n0.9,all,20,0.1\n");
  ASSERT_EQ(run("run --chip plain.yaml --workload gemm.yaml --out plain"), 0) << file("stderr");
  ASSERT_EQ(run("run --chip chip.yaml --workload gemm.yaml --out table --frequency-mhz 260 --set "
                "'chip.timing={model: table, table: table.csv}'"),
            0)
      << file("stderr");
  EXPECT_GT(layer("table").at("late_words").get<std::int64_t>(), 0);
  EXPECT_NE(file("table/output.npy"), file("plain/output.npy"));
  ASSERT_EQ(run("run --chip chip.yaml --workload gemm.yaml --out random --set "
                "'chip.timing={model: random, rates: {outputs: 0.01}}'"),
            0)
      << file("stderr");
  EXPECT_GT(layer("random").at("flipped_bits").get<std::int64_t>(), 0);
  EXPECT_EQ(layer("random").at("late_words").get<std::int64_t>(), 0);
  EXPECT_THAT(file("stdout"), HasSubstr("random bit errors"));
}

TEST_F(Timing, SweepsOverTheClock) {
  ASSERT_EQ(run("sweep --chip chip.yaml --workload gemm.yaml --out s --workers 1 --set "
                "'chip.timing.operating_point.frequency_mhz=[200,290]'"),
            0)
      << file("stderr");
  const std::string csv = file("s/sweep.csv");
  EXPECT_THAT(csv, HasSubstr("energy_uj,late_words,dropped_products,flipped_bits,error\n200,"));
  EXPECT_THAT(csv, HasSubstr(",0,0,0,\n290,"));
  EXPECT_THAT(csv.substr(csv.find("\n290,")), Not(HasSubstr(",0,0,0,\n")));
}

TEST_F(Timing, ShowSaysHowFastTheChipIs) {
  ASSERT_EQ(
      run("timing show --chip chip.yaml --frequency-mhz 250 --voltage-v 1.7 --out d --write-delay-map m.csv"),
      0)
      << file("stderr");
  for (const char* part : {"chip small, 8x8", "netlist pe_ripple", "at 250 MHz, 1.7 V, 25 C: T/Tmin",
                           "PEs at risk: ", "slowest PEs", "only PEs fail", "each character is"})
    EXPECT_THAT(file("stdout"), HasSubstr(part));
  EXPECT_THAT(file("d/timing.yaml"), HasSubstr("frequency_mhz: 250\n  voltage_v: 1.7"));
  EXPECT_THAT(file("d/at_risk.csv"), HasSubstr("frequency_mhz,relative_period"));
  EXPECT_THAT(file("d/slowest.csv"), HasSubstr("row,col,factor\n"));
  // The map makes the same chip at the nominal point.
  ASSERT_EQ(run("run --chip chip.yaml --workload gemm.yaml --frequency-mhz 290 --out sampled"), 0);
  ASSERT_EQ(run("run --chip chip.yaml --workload gemm.yaml --frequency-mhz 290 --out measured --set "
                "'chip.timing.variation={delay_map: m.csv}'"),
            0)
      << file("stderr");
  EXPECT_EQ(file("measured/output.npy"), file("sampled/output.npy"));
  EXPECT_EQ(file("measured/layers.csv"), file("sampled/layers.csv"));
}

}  // namespace
}  // namespace kintsugi::test
