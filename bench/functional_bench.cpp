// The functional engine beside oneDNN on the same layers: fault-free, bypassed, and with live faults.
//
// GMACs are counted with the whole window, padding included, for both. Ratios count; for those run with
//   --benchmark_enable_random_interleaving --benchmark_repetitions=9 --benchmark_report_aggregates_only
// KINTSUGI_ISA chooses the engine's instructions.
#include <benchmark/benchmark.h>

#include <dnnl.hpp>
#include <memory>
#include <string>
#include <vector>

#include "array/functional_engine.h"
#include "common/random.h"
#include "common/thread_pool.h"

namespace {

using namespace kintsugi;
using array::LayerShape;
using pe::Site;

struct Layer {
  std::string name;
  LayerShape shape;
};

LayerShape convolution(std::int64_t batch, std::int64_t side, std::int64_t in_c, std::int64_t out_c) {
  LayerShape shape;
  shape.batch = batch;
  shape.in_h = shape.in_w = side;
  shape.in_c = in_c;
  shape.kernel_h = shape.kernel_w = 3;
  shape.padding = 1;
  shape.out_c = out_c;
  return shape;
}

// VGG11's convolutions at CIFAR-10's size, and one matrix product.
std::vector<Layer> layers() {
  std::vector<Layer> result = {{"gemm_4096x256x256", array::gemm_shape(4096, 256, 256)}};
  const std::int64_t sizes[][3] = {{32, 3, 64},   {16, 64, 128}, {8, 128, 256}, {8, 256, 256},
                                   {4, 256, 512}, {4, 512, 512}, {2, 512, 512}};
  for (const std::int64_t batch : {32, 128})
    for (const auto& [side, in_c, out_c] : sizes)
      result.push_back({"vgg11_" + std::to_string(side) + "x" + std::to_string(side) + "_" +
                            std::to_string(in_c) + "to" + std::to_string(out_c) + "_batch" +
                            std::to_string(batch),
                        convolution(batch, side, in_c, out_c)});
  return result;
}

std::vector<std::int8_t> operands(std::int64_t count, const char* name) {
  common::RandomStream random(1, name);
  std::vector<std::int8_t> values(static_cast<std::size_t>(count));
  for (std::int8_t& v : values) v = static_cast<std::int8_t>(random.below(256));
  return values;
}

// `rate` of a 256×256 array's PEs have one stuck bit, at a site drawn from `sites`.
faults::ArrayFaults stuck_at(double rate, const std::vector<Site>& sites, bool bypassed) {
  common::RandomStream random(2, "bench-faults");
  faults::ArrayFaults result = faults::fault_free(256, 256);
  for (int row = 0; row < 256; ++row)
    for (int col = 0; col < 256; ++col) {
      if (random.uniform() >= rate) continue;
      faults::FaultyPe faulty;
      faulty.row = row;
      faulty.col = col;
      const Site site = sites[random.below(sites.size())];
      faulty.hooks[site].stick(static_cast<int>(random.below(pe::site_bits(site, 32))),
                               static_cast<int>(random.below(2)));
      result.faulty.push_back(faulty);
      if (bypassed) result.bypass[static_cast<std::size_t>(row) * 256 + col] = 1;
    }
  return result;
}

void count_macs(benchmark::State& state, const LayerShape& shape) {
  state.counters["GMAC"] = benchmark::Counter(1e-9 * static_cast<double>(shape.macs()),
                                              benchmark::Counter::kIsIterationInvariantRate);
}

void run_engine(benchmark::State& state, const LayerShape& shape, const faults::ArrayFaults& faults,
                int threads) {
  common::ThreadPool pool(threads);
  configs::ArrayConfig config;
  config.rows = config.cols = 256;
  array::FunctionalEngine engine(config, configs::ConvolutionMapping::im2col, &pool);
  engine.load_faults(faults);
  const auto activations = operands(shape.activation_bytes(), "activations"),
             weights = operands(shape.weight_bytes(), "weights");
  std::vector<std::int32_t> out(static_cast<std::size_t>(shape.outputs()));
  engine.run({shape, activations.data(), weights.data(), out.data()});
  for (auto _ : state) engine.run({shape, activations.data(), weights.data(), out.data()});
  count_macs(state, shape);
}

void run_onednn_gemm(benchmark::State& state, const LayerShape& shape) {
  common::ThreadPool pool(1);
  const auto a = operands(shape.activation_bytes(), "activations"),
             b = operands(shape.weight_bytes(), "weights");
  std::vector<std::int32_t> out(static_cast<std::size_t>(shape.outputs()));
  const std::int32_t none = 0;
  for (auto _ : state)
    dnnl_gemm_s8s8s32('N', 'N', 'F', shape.m(), shape.n(), shape.k(), 1.0f, a.data(), shape.k(), 0, b.data(),
                      shape.n(), 0, 0.0f, out.data(), shape.n(), &none);
  count_macs(state, shape);
}

// Weights in the library's own layout, activations and results as the engine has them.
void run_onednn_convolution(benchmark::State& state, const LayerShape& shape) {
  common::ThreadPool pool(1);
  using dnnl::memory;
  const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(cpu);
  auto a = operands(shape.activation_bytes(), "activations"), w = operands(shape.weight_bytes(), "weights");
  std::vector<std::int32_t> out(static_cast<std::size_t>(shape.outputs()));
  const memory::dims source = {shape.batch, shape.in_c, shape.in_h, shape.in_w},
                     kernel = {shape.out_c, shape.in_c, shape.kernel_h, shape.kernel_w},
                     result = {shape.batch, shape.out_c, shape.out_h(), shape.out_w()},
                     stride = {shape.stride, shape.stride}, padding = {shape.padding, shape.padding};
  using Type = memory::data_type;
  using Tag = memory::format_tag;
  const dnnl::convolution_forward::primitive_desc description({dnnl::prop_kind::forward_inference,
                                                               dnnl::algorithm::convolution_direct,
                                                               {source, Type::s8, Tag::nhwc},
                                                               {kernel, Type::s8, Tag::any},
                                                               {result, Type::s32, Tag::nhwc},
                                                               stride,
                                                               padding,
                                                               padding},
                                                              cpu);
  const dnnl::convolution_forward forward(description);
  memory from({source, Type::s8, Tag::nhwc}, cpu, a.data()),
      given({kernel, Type::s8, Tag::hwio}, cpu, w.data()),
      to({result, Type::s32, Tag::nhwc}, cpu, out.data()), packed(description.weights_desc(), cpu);
  dnnl::reorder(given, packed).execute(stream, given, packed);
  for (auto _ : state) {
    forward.execute(stream, {{DNNL_ARG_SRC, from}, {DNNL_ARG_WEIGHTS, packed}, {DNNL_ARG_DST, to}});
    stream.wait();
  }
  count_macs(state, shape);
}

template <class... Arguments>
void add(const std::string& name, Arguments... arguments) {
  benchmark::RegisterBenchmark(name.c_str(), arguments...)->Unit(benchmark::kMicrosecond);
}

void register_all() {
  const std::vector<Site> maskable = {Site::weight_register, Site::multiplier, Site::adder},
                          all = {Site::weight_register, Site::multiplier, Site::adder, Site::psum_register,
                                 Site::activation_register};
  const struct {
    const char* name;
    std::vector<Site> sites;
  } kinds[] = {{"all_sites", all},
               {"multiplier", {Site::multiplier}},
               {"adder", {Site::adder}},
               {"psum_register", {Site::psum_register}},
               {"activation_register", {Site::activation_register}}};
  const auto clean = faults::fault_free(256, 256);
  const auto bypassed = stuck_at(0.1, maskable, true);
  for (const Layer& layer : layers()) {
    const LayerShape shape = layer.shape;
    const auto engine = [&](const std::string& what, const faults::ArrayFaults& faults, int threads) {
      auto* one = benchmark::RegisterBenchmark(
          (layer.name + "/" + what).c_str(),
          [=](benchmark::State& state) { run_engine(state, shape, faults, threads); });
      one->Unit(benchmark::kMicrosecond);
      if (threads > 1) one->UseRealTime();
    };
    add(layer.name + "/onednn", [=](benchmark::State& state) {
      if (shape.is_gemm())
        run_onednn_gemm(state, shape);
      else
        run_onednn_convolution(state, shape);
    });
    engine("fault_free", clean, 1);
    engine("fault_free_2_threads", clean, 2);
    engine("bypassed_10_percent", bypassed, 1);
    if (layer.name != "gemm_4096x256x256" && layer.name != "vgg11_8x8_256to256_batch32") continue;
    for (const auto& kind : kinds)
      for (const int percent : {1, 10, 30})
        engine("live_" + std::to_string(percent) + "_percent_" + kind.name,
               stuck_at(percent / 100.0, kind.sites, false), 1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  register_all();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
