#include "array/functional_engine.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <list>
#include <stdexcept>

#include "array/content_hash.h"
#include "array/layer_context.h"
#include "array/machine_code.h"
#include "array/timed_layer.h"
#include "array/vnni_layer.h"
#include "array/widened_layer.h"

namespace kintsugi::array {

namespace {

constexpr std::size_t kMostBytes = std::size_t{256} << 20;  // of prepared layers kept

// A layer prepared once and kept until its weights or the chip change.
struct Prepared {
  LayerShape shape;  // batch 1
  const std::int8_t* weights = nullptr;
  Fingerprint contents;
  std::uint64_t chip = 0;  // how many times faults had been loaded
  std::size_t bytes = 0;
  VnniLayer vnni;
  WidenedLayer widened;
};

}  // namespace

struct FunctionalEngine::Impl {
  LayerContext context;
  bool vnni = false;
  std::uint64_t loads = 0;
  std::list<Prepared> layers;  // the one used last is first
  ScratchPool<VnniScratch> vnni_scratch;
  ScratchPool<WidenedScratch> widened_scratch;
  // For the timing asked for last.
  faults::ArrayFaults faults;
  std::shared_ptr<const faults::ChipTiming> timing;
  std::uint64_t timed_loads = 0;
  TimedPlan timed_plan;
  ScratchPool<TimedSweep> timed_scratch;

  void load(const faults::ArrayFaults& loaded) {
    faults = loaded;
    context.plan = make_fault_plan(loaded);
    context.chain_codes = std::make_shared<ChainCodes>();
    // Chains of AVX-512 VNNI are code written at run time, which hardened systems forbid.
    vnni = context.isa == Isa::avx512 && (context.plan.linear || ExecutableCode::allowed());
    if (context.isa == Isa::avx512 && !vnni)
      spdlog::debug("functional engine: no code may be written at run time here; live faults run on AVX2");
    ++loads;
  }
  Prepared& prepare(const LayerJob& job);
};

Prepared& FunctionalEngine::Impl::prepare(const LayerJob& job) {
  LayerShape shape = job.shape;
  shape.batch = 1;
  const Fingerprint contents = fingerprint(job.weights, static_cast<std::size_t>(shape.weight_bytes()));
  // The same place and shape is the same layer, whose memory is used again when its weights have changed.
  auto found = std::ranges::find_if(
      layers, [&](const Prepared& p) { return p.weights == job.weights && p.shape == shape; });
  if (found == layers.end()) {
    std::size_t bytes = 0;
    for (const Prepared& p : layers) bytes += p.bytes;
    for (; !layers.empty() && bytes > kMostBytes; layers.pop_back()) bytes -= layers.back().bytes;
    found = layers.emplace(layers.begin());
  }
  layers.splice(layers.begin(), layers, found);
  Prepared& layer = *found;
  if (layer.chip == loads && layer.contents == contents) return layer;
  const bool known = layer.weights != nullptr;
  layer.shape = shape;
  layer.weights = job.weights;
  layer.chip = 0;  // not valid if preparing throws
  if (vnni)
    layer.vnni.prepare(context, job);
  else
    layer.widened.prepare(context, job);
  layer.bytes = vnni ? layer.vnni.bytes() : layer.widened.bytes();
  layer.contents = contents;
  layer.chip = loads;
  if (spdlog::should_log(spdlog::level::debug))
    spdlog::debug(
        "functional engine, {}: {} {}", to_string(vnni ? Isa::avx512 : std::min(context.isa, Isa::avx2)),
        known ? "prepared again" : "prepared", vnni ? layer.vnni.describe() : layer.widened.describe());
  return layer;
}

FunctionalEngine::FunctionalEngine(const configs::ArrayConfig& array, configs::ConvolutionMapping mapping,
                                   common::ThreadPool* pool)
    : impl_(std::make_unique<Impl>()) {
  impl_->context.array = array;
  impl_->context.mapping = mapping;
  impl_->context.pool = pool;
  impl_->context.isa = choose_isa();
  impl_->load(faults::fault_free(array.rows, array.cols));
}

FunctionalEngine::~FunctionalEngine() = default;

void FunctionalEngine::load_faults(const faults::ArrayFaults& faults) {
  if (faults.rows != impl_->context.array.rows || faults.cols != impl_->context.array.cols)
    throw std::invalid_argument("the faults loaded into an array must be compiled for its size");
  impl_->load(faults);
}

void FunctionalEngine::run(const LayerJob& job) {
  const Prepared& layer = impl_->prepare(job);
  if (impl_->vnni)
    layer.vnni.run(impl_->context, job, impl_->vnni_scratch);
  else
    layer.widened.run(impl_->context, job, impl_->widened_scratch);
}

void FunctionalEngine::run(TimedJob& timed) {
  if (timed.timing().at_risk.empty() && !timed.flips_psums()) {
    run(timed.job());
    return;
  }
  Impl& impl = *impl_;
  if (impl.timing != timed.shared_timing() || impl.timed_loads != impl.loads) {
    impl.timed_plan =
        make_timed_plan(impl.faults, impl.context.plan, timed.timing(), impl.context.array.accumulator_bits);
    impl.timing = timed.shared_timing();
    impl.timed_loads = impl.loads;
  }
  // Columns that are swept need nothing else, and spare columns nothing at all.
  if (!impl.timed_plan.all_swept) run(timed.job());
  TimedLayer(impl.context, impl.faults.bypass, impl.timed_plan, impl.timed_scratch).run(timed);
}

}  // namespace kintsugi::array
