// What a simulated PE-cycle costs with the netlist model: everything from operands to error words, and
// compiling a delay bin.
//
// ns/cycle counts all that evaluate() is given; ns/simulated those left when the ones that cannot err are
// out. KINTSUGI_ISA chooses the instructions.
#include <benchmark/benchmark.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "common/random.h"
#include "faults/netlist_model.h"
#include "faults/netlist_program.h"

namespace {

using namespace kintsugi;

struct Stream {
  std::vector<std::int8_t> activation, weight;
  std::vector<std::int32_t> psum;
};

// Half of the activations zero, small weights that stay for 256 cycles, psums of up to 255 products; or all
// bits at random.
Stream make_stream(bool uniform, std::size_t size) {
  common::RandomStream random(1, "timing bench");
  Stream stream;
  int weight = 0;
  double spread = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const std::uint64_t bits = random.next();
    if (i % 256 == 0) {
      weight = uniform ? static_cast<int>(random.below(256)) - 128 : static_cast<int>(20 * random.normal());
      spread = 570 * std::sqrt(static_cast<double>(random.below(256)));
    }
    const int activation = uniform ? static_cast<std::int8_t>(bits)
                           : (bits & 256) != 0
                               ? 0
                               : static_cast<int>(std::min(std::abs(40 * random.normal()), 127.0));
    stream.activation.push_back(static_cast<std::int8_t>(activation));
    stream.weight.push_back(static_cast<std::int8_t>(weight));
    stream.psum.push_back(uniform ? static_cast<std::int32_t>(bits >> 16)
                                  : static_cast<std::int32_t>(spread * random.normal()));
  }
  return stream;
}

std::shared_ptr<const faults::TimedNetlist> shipped(const std::string& pe) {
  return std::make_shared<faults::TimedNetlist>(
      faults::read_timed_netlist(std::string(KINTSUGI_SOURCE_DIR) + "/configs/pes/" + pe + ".pe"));
}

void evaluate(benchmark::State& state, const std::string& pe, bool uniform, double fraction) {
  const auto netlist = shipped(pe);
  const double period = fraction * faults::slowest_path_ps(*netlist);
  const faults::NetlistModel model(netlist, 50, {period});
  const Stream stream = make_stream(uniform, 65537);
  std::vector<std::uint32_t> errors(stream.psum.size() - 1);
  const faults::PeCycles cycles = {errors.size(),
                                   stream.activation.data(),
                                   stream.activation.data() + 1,
                                   stream.weight.data(),
                                   stream.weight.data() + 1,
                                   stream.psum.data(),
                                   stream.psum.data() + 1,
                                   nullptr};
  model.evaluate(0, 0, cycles, errors.data());  // compiles
  for (auto _ : state) {
    model.evaluate(0, 0, cycles, errors.data());
    benchmark::DoNotOptimize(errors.data());
  }
  const faults::Program program = faults::compile_program(faults::quantise(*netlist, 50), period);
  double simulated = 0, wrong = 0;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    simulated += ((stream.activation[i] ^ stream.activation[i + 1]) & program.late_activation) != 0 ||
                 ((stream.weight[i] ^ stream.weight[i + 1]) & program.late_weight) != 0 ||
                 (static_cast<std::uint32_t>(stream.psum[i] ^ stream.psum[i + 1]) & program.late_psum) != 0;
    wrong += errors[i] != 0;
  }
  const auto count = static_cast<double>(errors.size());
  using benchmark::Counter;
  const auto per_second = Counter::kIsIterationInvariantRate | Counter::kInvert;
  state.counters["per_cycle"] = Counter(count, per_second);
  state.counters["per_simulated"] = Counter(simulated, per_second);
  state.counters["word_error_rate"] = wrong / count;
}

void compile(benchmark::State& state, const std::string& pe, double fraction) {
  const auto netlist = shipped(pe);
  const faults::TimeGrid grid = faults::quantise(*netlist, 50);
  const double period = fraction * faults::slowest_path_ps(*netlist);
  std::size_t operations = 0;
  for (auto _ : state) operations = faults::compile_program(grid, period).operations.size();
  state.counters["operations"] = static_cast<double>(operations);
}

}  // namespace

int main(int argc, char** argv) {
  for (const char* pe : {"pe_ripple", "pe_prefix"})
    for (const double fraction : {0.95, 0.9, 0.8, 0.6}) {
      const std::string at = std::string(pe) + "/" + std::to_string(fraction).substr(0, 4);
      for (const bool uniform : {false, true})
        benchmark::RegisterBenchmark(
            ("evaluate/" + at + (uniform ? "/uniform" : "/dnn")).c_str(),
            [=](benchmark::State& state) { evaluate(state, pe, uniform, fraction); });
      benchmark::RegisterBenchmark(("compile/" + at).c_str(), [=](benchmark::State& state) {
        compile(state, pe, fraction);
      })->Unit(benchmark::kMillisecond);
    }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
