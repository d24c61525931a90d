// Timing errors in the functional engine: a 256×256 array with a share of its PEs at risk, one matrix
// product.
//
// ns_per_pe_cycle is the time of a run over the cycles of PEs at risk in it, clean runs and everything else
// included. `none` is a model that answers at once: what the engine itself costs. `netlist` is a shipped PE
// at 0.9 of its Tmin.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "array/functional_engine.h"
#include "common/random.h"
#include "common/thread_pool.h"
#include "faults/netlist_model.h"

namespace {

using namespace kintsugi;

class NeverLate final : public faults::TimingModel {
 public:
  void evaluate(int, std::uint64_t, const faults::PeCycles& cycles, std::uint32_t* errors) const override {
    std::fill_n(errors, cycles.count, 0u);
  }
  int accumulator_bits() const override { return 32; }
};

constexpr int kSide = 256, kBins = 16;

std::shared_ptr<const faults::TimingModel> netlist_model() {
  const auto netlist = std::make_shared<const faults::TimedNetlist>(
      faults::read_timed_netlist(KINTSUGI_SOURCE_DIR "/configs/pes/pe_ripple.pe"));
  std::vector<double> periods;
  for (int bin = 0; bin < kBins; ++bin) periods.push_back((0.9 + 0.005 * bin) * slowest_path_ps(*netlist));
  return std::make_shared<faults::NetlistModel>(netlist, 50, periods);
}

// Activations as a ReLU leaves them, weights about zero.
std::vector<std::int8_t> operands(std::int64_t count, const char* name, bool activations) {
  common::RandomStream random(1, name);
  std::vector<std::int8_t> values(static_cast<std::size_t>(count));
  for (std::int8_t& v : values) {
    const double x = random.normal() * (activations ? 40 : 25);
    v = static_cast<std::int8_t>(std::clamp(activations && x < 0 ? 0.0 : x, -127.0, 127.0));
  }
  return values;
}

void run(benchmark::State& state, std::int64_t m, double share, bool netlist) {
  common::ThreadPool pool(1);
  configs::ArrayConfig config;
  config.rows = config.cols = kSide;
  array::FunctionalEngine engine(config, configs::ConvolutionMapping::im2col, &pool);
  const array::LayerShape shape = array::gemm_shape(m, kSide, kSide);
  const auto a = operands(shape.activation_bytes(), "activations", true),
             w = operands(shape.weight_bytes(), "weights", false);
  std::vector<std::int32_t> out(static_cast<std::size_t>(shape.outputs()));
  auto timing = std::make_shared<faults::ChipTiming>();
  timing->rows = timing->cols = kSide;
  common::RandomStream random(3, "at-risk");
  for (int r = 0; r < kSide; ++r)
    for (int c = 0; c < kSide; ++c)
      if (random.uniform() < share) timing->at_risk.push_back({r, c, static_cast<int>(random.below(kBins))});
  timing->model = netlist ? netlist_model() : std::make_shared<NeverLate>();
  const array::Tiling tiling = array::make_tiling(shape, kSide, kSide, configs::ConvolutionMapping::im2col);
  std::int64_t late = 0;
  const auto once = [&] {
    array::TimedJob job(timing, config, {shape, a.data(), w.data(), out.data()}, tiling);
    engine.run(job);
    late = job.counted().late_words;
  };
  once();
  for (auto _ : state) once();
  const double cycles = static_cast<double>(m) * static_cast<double>(timing->at_risk.size());
  state.counters["ns_per_pe_cycle"] = benchmark::Counter(
      1e-9 * cycles, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.counters["late_share"] = static_cast<double>(late) / cycles;
}

// Random flips of psums at `rate`; below 0: none, and no timing at all.
void run_random(benchmark::State& state, double rate) {
  common::ThreadPool pool(1);
  configs::ArrayConfig config;
  config.rows = config.cols = kSide;
  array::FunctionalEngine engine(config, configs::ConvolutionMapping::im2col, &pool);
  const array::LayerShape shape = array::gemm_shape(4096, kSide, kSide);
  const auto a = operands(shape.activation_bytes(), "activations", true),
             w = operands(shape.weight_bytes(), "weights", false);
  std::vector<std::int32_t> out(static_cast<std::size_t>(shape.outputs()));
  const array::LayerJob given{shape, a.data(), w.data(), out.data()};
  auto timing = std::make_shared<faults::ChipTiming>();
  timing->rows = timing->cols = kSide;
  timing->random.psum_rate = rate;
  const array::Tiling tiling = array::make_tiling(shape, kSide, kSide, configs::ConvolutionMapping::im2col);
  std::int64_t flipped = 0;
  for (auto _ : state) {
    if (rate < 0) {
      engine.run(given);
      continue;
    }
    array::TimedJob job(timing, config, given, tiling);
    engine.run(job);
    flipped = job.counted().flipped_bits;
  }
  state.counters["flipped_bits"] = static_cast<double>(flipped);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::RegisterBenchmark("engine_without_timing/m_4096", [](benchmark::State& state) {
    run_random(state, -1);
  })->Unit(benchmark::kMillisecond);
  for (const double rate : {1e-9, 1e-6})
    benchmark::RegisterBenchmark(
        (std::string("random_psums/rate_") + (rate < 1e-8 ? "1e-9" : "1e-6") + "/m_4096").c_str(),
        [rate](benchmark::State& state) { run_random(state, rate); })
        ->Unit(benchmark::kMillisecond);
  for (const bool netlist : {false, true})
    for (const double share : {0.001, 0.1, 1.0})
      for (const std::int64_t m : {64, 1000}) {
        if (share == 1.0 && m > 64) continue;
        benchmark::RegisterBenchmark((std::string(netlist ? "netlist" : "none") + "/at_risk_" +
                                      std::to_string(share).substr(0, 5) + "/m_" + std::to_string(m))
                                         .c_str(),
                                     [=](benchmark::State& state) { run(state, m, share, netlist); })
            ->Unit(benchmark::kMillisecond);
      }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
