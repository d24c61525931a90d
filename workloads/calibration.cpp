#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "common/diagnostics.h"
#include "workloads/deployed.h"
#include "workloads/float_forward.h"

namespace kintsugi::workloads {

namespace {

// Counts magnitudes by the upper bits of their float pattern: bins about 0.1 % wide, the same on every
// machine and independent of the order of arrival.
class Magnitudes {
 public:
  void add(std::span<const float> values, bool count_all) {
    for (const float v : values) {
      const float magnitude = std::fabs(v);
      largest_ = std::max(largest_, magnitude);
      if (!count_all) continue;
      if (counts_.empty()) counts_.assign(std::size_t{1} << (31 - kDropped), 0);
      ++counts_[std::bit_cast<std::uint32_t>(magnitude) >> kDropped];
      ++total_;
    }
  }
  float largest() const { return largest_; }
  // The upper end of the bin in which the given share of all magnitudes is reached.
  float percentile(double percent) const {
    const double wanted = percent / 100 * static_cast<double>(total_);
    std::int64_t seen = 0;
    for (std::size_t bin = 0; bin < counts_.size(); ++bin) {
      seen += counts_[bin];
      if (static_cast<double>(seen) >= wanted && seen > 0) {
        const auto upper = static_cast<std::uint32_t>(((bin + 1) << kDropped) - 1);
        return std::min(std::bit_cast<float>(upper), largest_);
      }
    }
    return largest_;
  }

 private:
  static constexpr int kDropped = 13;
  float largest_ = 0;
  std::int64_t total_ = 0;
  std::vector<std::int64_t> counts_;
};

}  // namespace

ActivationScales calibrate(const Network& network, const Parameters& parameters, const ImageSet& images,
                           const configs::QuantizationConfig& config, common::ThreadPool* pool) {
  const std::int64_t count = std::min(config.images, images.size());
  if (count < 1) throw common::InputError("calibration needs at least one training image; the set is empty");
  const bool by_percentile = config.method == configs::ScaleMethod::percentile;
  const std::size_t stages = network.stages.size();
  std::vector<Magnitudes> inputs(stages), seconds(stages), averaged(stages);
  const auto observe = [&](std::size_t s, std::span<const float> values, Observed what) {
    auto& of = what == Observed::input ? inputs : what == Observed::second_input ? seconds : averaged;
    of[s].add(values, by_percentile);
  };
  float_logits(network, parameters, images.first(count), observe, pool);
  const auto scale = [&](const Magnitudes& m) {
    const float range = by_percentile ? m.percentile(config.percentile) : m.largest();
    const float result = range / 127.f;
    if (!std::isfinite(result))
      throw common::InputError("calibration met activations that are not finite; the weights have diverged");
    return result > 0 ? result : 1.f;
  };
  ActivationScales scales;
  for (std::size_t s = 0; s < stages; ++s) {
    scales.input.push_back(scale(inputs[s]));
    scales.before_average.push_back(network.stages[s].global_avg_pool ? scale(averaged[s]) : 0.f);
    if (!network.is_chain())
      scales.second_input.push_back(network.stages[s].inputs.size() > 1 ? scale(seconds[s]) : 0.f);
  }
  return scales;
}

}  // namespace kintsugi::workloads
