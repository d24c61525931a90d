#include "training/overclock/error_classes.h"

#include <cstdlib>
#include <stdexcept>

namespace kintsugi::training::overclock {
namespace {

// Accuracies are shares of images, differences of them not exact in binary: a drop of 5 of 100 images is not
// more than 0.05. Far below one image of any set.
constexpr double kRounding = 1e-12;

bool exceeds(double accuracy, double baseline, double drop) {
  return baseline - accuracy > drop + kRounding;
}

}  // namespace

ErrorCounts& ErrorCounts::operator+=(const ErrorCounts& other) {
  right += other.right;
  small += other.small;
  large += other.large;
  pe_cycles += other.pe_cycles;
  timing += other.timing;
  return *this;
}

void count_classes(std::span<const std::int8_t> erring, std::span<const std::int8_t> right,
                   ErrorCounts& counts) {
  if (erring.size() != right.size())
    throw std::invalid_argument("count_classes: as many erring outputs as right ones are needed");
  std::int64_t wrong = 0, large = 0;
  for (std::size_t i = 0; i < right.size(); ++i) {
    const int difference = std::abs(int{erring[i]} - int{right[i]});
    wrong += difference > 0 ? 1 : 0;
    large += difference > kSmallError ? 1 : 0;
  }
  counts.right += static_cast<std::int64_t>(right.size()) - wrong;
  counts.small += wrong - large;
  counts.large += large;
}

std::optional<std::size_t> critical_layer(std::span<const ErrorCounts> layers) {
  std::optional<std::size_t> critical;
  bool any = false;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].outputs() == 0) continue;
    any |= layers[i].small + layers[i].large > 0;
    if (!critical || layers[i].large_share() >= layers[*critical].large_share()) critical = i;
  }
  return any ? critical : std::nullopt;
}

std::optional<std::size_t> tipping_point(std::span<const double> accuracy, double baseline, double drop) {
  for (std::size_t i = 0; i < accuracy.size(); ++i)
    if (exceeds(accuracy[i], baseline, drop)) return i;
  return std::nullopt;
}

std::optional<std::size_t> last_acceptable(std::span<const double> accuracy, double baseline, double drop) {
  const auto tipping = tipping_point(accuracy, baseline, drop);
  const std::size_t acceptable = tipping.value_or(accuracy.size());
  if (acceptable == 0) return std::nullopt;
  return acceptable - 1;
}

}  // namespace kintsugi::training::overclock
