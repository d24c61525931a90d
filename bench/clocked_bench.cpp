// How fast the clocked fidelities step a 256×256 array, beside peers: the plain loop, a Verilated array, and
// a bare SystemC grid. `items_per_second` is cycles per second. Every case's results are checked once against
// a product computed here.
//
// Compare medians of interleaved repetitions:
//   clocked_bench --benchmark_enable_random_interleaving=true --benchmark_repetitions=15
// The pe fidelity and its peer take minutes to get into the steady state, and are left out unless PE=1 stands
// in the environment.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <systemc>
#include <vector>

#include "array/cycle_array.h"
#include "array/pe_array_sc.h"
#include "array/schedule.h"
#include "bench/peers/bare_grid_sc.h"
#include "bench/peers/plain_array.h"
#include "common/random.h"
#include "faults/sampler.h"
#ifdef KINTSUGI_HAVE_VERILATOR
#include "bench/peers/verilated_array.h"
#endif

namespace kintsugi::bench {
namespace {

constexpr int kSize = 256;

std::vector<std::int8_t> random_int8(std::size_t count, const char* purpose) {
  common::RandomStream random(1, purpose);
  std::vector<std::int8_t> values(count);
  for (std::int8_t& value : values) value = static_cast<std::int8_t>(random.below(256));
  return values;
}

struct Product {
  explicit Product(std::int64_t positions)
      : m(positions),
        activations(random_int8(static_cast<std::size_t>(m) * kSize, "bench-activations")),
        weights(random_int8(kSize * kSize, "bench-weights")),
        results(activations.size()) {}
  array::LayerJob job() {
    return {array::gemm_shape(m, kSize, kSize), activations.data(), weights.data(), results.data()};
  }
  array::Tiling tiling() {
    return array::make_tiling(job().shape, kSize, kSize, configs::ConvolutionMapping::im2col);
  }
  void check(const std::vector<std::int32_t>& found) const {
    for (std::int64_t i = 0; i < m; i += 7)
      for (int n = 0; n < kSize; ++n) {
        std::int32_t sum = 0;
        for (int k = 0; k < kSize; ++k) sum += activations[i * kSize + k] * weights[k * kSize + n];
        if (found[i * kSize + n] != sum) throw std::logic_error("a result is wrong");
      }
  }
  std::int64_t m;
  std::vector<std::int8_t> activations, weights;
  std::vector<std::int32_t> results;
};

void plain_loop(benchmark::State& state, bool wide) {
  Product product(2048);
  PlainArray plain(product.weights);
  std::int64_t cycles = 0;
  product.check(plain.run(product.activations, wide, cycles));
  cycles = 0;
  for (auto _ : state) benchmark::DoNotOptimize(plain.run(product.activations, wide, cycles));
  state.SetItemsProcessed(cycles);
}

#ifdef KINTSUGI_HAVE_VERILATOR
void verilated(benchmark::State& state) {
  Product product(256);
  VerilatedArray array;
  std::int64_t cycles = 0;
  product.check(array.run(product.weights, product.activations, cycles));
  cycles = 0;
  for (auto _ : state) benchmark::DoNotOptimize(array.run(product.weights, product.activations, cycles));
  state.SetItemsProcessed(cycles);
}
#endif

// A share of the PEs has one live stuck-at fault each, at all sites alike.
faults::ArrayFaults live_faults(double rate, faults::BypassSource bypass) {
  if (rate == 0) return faults::fault_free(kSize, kSize);
  faults::SampleSpec spec;
  spec.rows = spec.cols = kSize;
  spec.model = faults::SampleModel::exact;
  spec.rate = rate;
  spec.sites = faults::SiteWeights{1, 1, 1, 1, 1};
  return faults::compile(faults::sample(spec), bypass, nullptr, kSize, kSize, 32);
}

void cycle_machine(benchmark::State& state, double rate, faults::BypassSource bypass, std::int64_t m,
                   int tiles) {
  Product product(m);
  product.weights = random_int8(static_cast<std::size_t>(kSize) * kSize * tiles, "bench-weights");
  product.activations = random_int8(static_cast<std::size_t>(m) * kSize * tiles, "bench-activations");
  array::CycleMachine machine{configs::ArrayConfig{}};
  machine.load_faults(live_faults(rate, bypass));
  const array::LayerJob job{array::gemm_shape(m, kSize * tiles, kSize), product.activations.data(),
                            product.weights.data(), product.results.data()};
  const array::Tiling tiling =
      array::make_tiling(job.shape, kSize, kSize, configs::ConvolutionMapping::im2col);
  const auto run = [&] {
    machine.start(job, tiling, nullptr);
    while (!machine.done()) machine.step();
    return machine.cycles();
  };
  run();
  if (rate == 0 && tiles == 1) product.check(product.results);
  std::int64_t cycles = 0;
  for (auto _ : state) cycles += run();
  state.SetItemsProcessed(cycles);
}

// The pe fidelity's array and its peer on clocks of their own, both filled: every PE has live values in every
// cycle. Elaborated once, when first asked for, and never taken down.
class Grids {
 public:
  Grids() : bare_("bare", kSize, kSize), array_("array", configs::ArrayConfig{}), product_(1 << 20) {
    array_.clock(array_clock_);
    bare_.clock(bare_clock_);
    sc_core::sc_start(sc_core::SC_ZERO_TIME);
    array_.start(product_.job(), product_.tiling(), nullptr, sc_core::sc_time(2, sc_core::SC_NS));
    sc_core::sc_start(1, sc_core::SC_NS);
    for (int i = 0; i < 3 * kSize; ++i) tick(false);
    for (int i = 0; i < 2 * kSize; ++i) tick(true);
  }
  void tick(bool bare) {
    sc_core::sc_signal<bool>& clock = bare ? bare_clock_ : array_clock_;
    clock.write(true);
    sc_core::sc_start(1, sc_core::SC_NS);
    clock.write(false);
    sc_core::sc_start(1, sc_core::SC_NS);
  }

 private:
  sc_core::sc_signal<bool> array_clock_{"array_clock"}, bare_clock_{"bare_clock"};
  BareGrid bare_;
  array::PeArray array_;
  Product product_;
};

void systemc_grid(benchmark::State& state, bool bare) {
  static Grids* const grids = new Grids;
  for (auto _ : state) grids->tick(bare);
  state.SetItemsProcessed(state.iterations());
}

}  // namespace
}  // namespace kintsugi::bench

int sc_main(int argc, char** argv) {
  using namespace kintsugi;
  using benchmark::RegisterBenchmark;
  using faults::BypassSource;
  benchmark::Initialize(&argc, argv);
  RegisterBenchmark("plain_loop/avx2", bench::plain_loop, false);
  if (__builtin_cpu_supports("avx512vnni")) RegisterBenchmark("plain_loop/avx512", bench::plain_loop, true);
#ifdef KINTSUGI_HAVE_VERILATOR
  RegisterBenchmark("verilated", bench::verilated);
#endif
  for (const int percent : {0, 1, 10, 30})
    RegisterBenchmark(("cycle/live_faults_%:" + std::to_string(percent)).c_str(), bench::cycle_machine,
                      percent / 100.0, BypassSource::none, 2048, 1);
  RegisterBenchmark("cycle/bypassed_%:10", bench::cycle_machine, 0.1, BypassSource::fault_map, 2048, 1);
  // Short streams: weights change along with every one of them.
  RegisterBenchmark("cycle/streams_of:256", bench::cycle_machine, 0.0, BypassSource::none, 256, 8);
  RegisterBenchmark("cycle/streams_of:64", bench::cycle_machine, 0.0, BypassSource::none, 64, 8);
  RegisterBenchmark("pe/array", bench::systemc_grid, false);
  RegisterBenchmark("pe/bare_systemc", bench::systemc_grid, true);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  std::cout.flush();
  // Taking down half a million SystemC objects takes a while.
  std::_Exit(0);
}

int main(int argc, char** argv) {
  return sc_core::sc_elab_and_sim(argc, argv);
}
