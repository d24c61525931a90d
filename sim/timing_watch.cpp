#include "sim/timing_watch.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <utility>

namespace kintsugi::sim {
namespace {

// |Δ| of up to this is a small error, as in Xu et al., ASAP 2019.
constexpr std::int64_t kSmallError = 5;

}  // namespace

TimingWatch::TimingWatch(array::Accelerator& device, const ExecutionRequest& request,
                         const faults::ArrayFaults& faults, common::ThreadPool& pool)
    : device_(device), compares_(request.compare_outputs && request.chip.timing.has_value()) {
  device_.load_faults(faults);
  if (!request.chip.timing) return;
  speed_.emplace(request.chip);
  timing_ = speed_->at(speed_->configured());
  device_.load_timing(timing_);
  if (!compares_ || timing_->harmless()) return;
  // The same bits at every fidelity, so the fastest is asked.
  error_free_ = std::make_unique<array::FunctionalAccelerator>(request.chip, &pool, device_.memory_bytes());
  error_free_->load_faults(faults);
}

workloads::LayerHooks TimingWatch::hooks(workloads::LayerHooks hooks) {
  if (!error_free_) return hooks;
  hooks.begin = [this, begin = std::move(hooks.begin)](const std::string& layer) {
    if (begin) begin(layer);
    layer_ = layer;
  };
  hooks.launched = [this, launched = std::move(hooks.launched)](const array::LayerLaunch& launch) {
    if (launched) launched(launch);
    compare(launch);
  };
  return hooks;
}

void TimingWatch::copy(array::DeviceAddress address, std::int64_t bytes) {
  moved_.resize(static_cast<std::size_t>(bytes));
  device_.data_from_device(address, moved_);
  error_free_->data_to_device(address, moved_);
}

void TimingWatch::compare(const array::LayerLaunch& launch) {
  copy(launch.activations, launch.shape.activation_bytes());
  copy(launch.weights, launch.shape.weight_bytes());
  if (launch.requantization)
    copy(*launch.requantization,
         launch.shape.out_c * static_cast<std::int64_t>(sizeof(array::Requantization)));
  array::LayerLaunch alone = launch;
  alone.next.reset();
  error_free_->launch(alone);
  if (launch.requantization)
    count<std::int8_t>(launch);
  else
    count<std::int32_t>(launch);
}

template <class Word>
void TimingWatch::count(const array::LayerLaunch& launch) {
  std::vector<Word> erring(static_cast<std::size_t>(launch.shape.outputs())), right(erring.size());
  device_.data_from_device(launch.output, std::as_writable_bytes(std::span(erring)));
  error_free_->data_from_device(launch.output, std::as_writable_bytes(std::span(right)));
  workloads::OutputErrors& errors = errors_[layer_];
  for (std::size_t i = 0; i < erring.size(); ++i) {
    const std::int64_t off = std::abs(std::int64_t{erring[i]} - right[i]);
    errors.small += off >= 1 && off <= kSmallError;
    errors.large += off > kSmallError;
  }
}

void TimingWatch::finish(ExecutionResult& result) const {
  result.speed = speed_;
  if (compares_) {
    for (workloads::LayerReport& layer : result.layers) {
      const auto found = errors_.find(layer.layer);
      layer.output_errors = found == errors_.end() ? workloads::OutputErrors() : found->second;
    }
  }
  if (!timing_ || timing_->at_risk.empty()) return;
  const std::vector<std::int64_t> words = device_.late_words_by_pe();
  for (std::size_t i = 0; i < words.size(); ++i)
    if (words[i] > 0) result.late_pes.push_back({timing_->at_risk[i].row, timing_->at_risk[i].col, words[i]});
  result.late_pe_count = static_cast<std::int64_t>(result.late_pes.size());
  std::ranges::stable_sort(result.late_pes, std::greater(), &LatePe::words);
  if (result.late_pes.size() > kMostLatePes) result.late_pes.resize(kMostLatePes);
}

}  // namespace kintsugi::sim
