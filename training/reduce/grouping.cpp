#include "training/reduce/grouping.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

namespace kintsugi::training::reduce {
namespace {

// Less is nothing beside how well a curve of a few maps tells an amount.
constexpr double kLeastGain = 1;

std::int64_t count_bits(const std::vector<std::uint64_t>& words) {
  std::int64_t count = 0;
  for (const std::uint64_t word : words) count += std::popcount(word);
  return count;
}

std::int64_t count_union(const std::vector<std::uint64_t>& a, const std::vector<std::uint64_t>& b) {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += std::popcount(a[i] | b[i]);
  return count;
}

// One part of the candidates.
class Merger {
 public:
  Merger(std::span<const GroupCandidate> candidates, const FusedCostOf& cost_of, std::int64_t max_chips)
      : cost_of_(cost_of), max_chips_(max_chips), n_(candidates.size()), unions_(n_ * n_, kUnknown) {
    for (std::size_t i = 0; i < n_; ++i) {
      const GroupCandidate& chip = candidates[i];
      if (chip.bypassed.size() != candidates.front().bypassed.size())
        throw std::logic_error("group_chips: maps of different sizes");
      groups_.push_back({chip.bypassed, {i}, count_bits(chip.bypassed), chip.steps, chip.cost, chip.cost});
    }
  }

  std::vector<FusedGroup> run() {
    for (std::size_t i = 0; i < n_; ++i) best_.push_back(partner_of(i));
    for (;;) {
      std::size_t i = n_;
      for (std::size_t k = 0; k < n_; ++k)
        if (groups_[k].alive() && best_[k].with < n_ && (i == n_ || best_[k].gain > best_[i].gain)) i = k;
      if (i == n_) break;
      merge(i, best_[i].with);
    }
    std::vector<FusedGroup> result;
    for (Group& group : groups_)
      if (group.members.size() > 1)
        result.push_back(
            {std::move(group.members), group.bypassed_pes, group.least_steps, group.alone - group.cost});
    return result;
  }

 private:
  static constexpr std::int32_t kUnknown = -1;

  // Of one chip or more; one that was merged into another has no members.
  struct Group {
    std::vector<std::uint64_t> bypassed;
    std::vector<std::size_t> members;
    std::int64_t bypassed_pes = 0;
    std::int64_t least_steps = 0;
    double cost = 0;
    double alone = 0;  // of its members one by one
    bool alive() const { return !members.empty(); }
  };
  // The group after this one that it gains most with.
  struct Partner {
    double gain = 0;
    std::size_t with = std::numeric_limits<std::size_t>::max();
  };

  // Not finite: no such network.
  double fused_cost(std::int64_t bypassed_pes, std::int64_t least_steps) {
    const auto cost = known_cost(bypassed_pes);
    if (!cost) return std::numeric_limits<double>::infinity();
    return static_cast<double>(std::max(cost->steps, least_steps)) + cost->beside;
  }

  const std::optional<FusedCost>& known_cost(std::int64_t bypassed_pes) {
    const auto at = static_cast<std::size_t>(bypassed_pes);
    if (at >= costs_.size()) costs_.resize(at + 1);
    if (!costs_[at]) costs_[at] = cost_of_(bypassed_pes);
    return *costs_[at];
  }

  std::int64_t union_of(std::size_t i, std::size_t j) {
    std::int32_t& known = unions_[i * n_ + j];
    if (known == kUnknown)
      known = static_cast<std::int32_t>(count_union(groups_[i].bypassed, groups_[j].bypassed));
    return known;
  }

  // Of merging i < j, if it is more than `least`.
  std::optional<double> gain(std::size_t i, std::size_t j, double least) {
    const Group& a = groups_[i];
    const Group& b = groups_[j];
    if (std::ssize(a.members) + std::ssize(b.members) > max_chips_) return std::nullopt;
    const double alone = a.cost + b.cost;
    const std::int64_t steps = std::max(a.least_steps, b.least_steps);
    // The union has no fewer PEs than the larger map.
    if (!(alone - fused_cost(std::max(a.bypassed_pes, b.bypassed_pes), steps) > least)) return std::nullopt;
    const double gained = alone - fused_cost(union_of(i, j), steps);
    return gained > least ? std::optional(gained) : std::nullopt;
  }

  Partner partner_of(std::size_t i) {
    Partner best;
    for (std::size_t j = i + 1; j < n_; ++j) {
      if (!groups_[j].alive()) continue;
      // A gain of kLeastGain itself is enough.
      const bool first = best.with >= n_;
      const double least = first ? std::nextafter(kLeastGain, 0.0) : best.gain;
      if (const auto gained = gain(i, j, least)) best = {*gained, j};
    }
    return best;
  }

  void merge(std::size_t i, std::size_t j) {
    Group& a = groups_[i];
    Group& b = groups_[j];
    a.bypassed_pes = union_of(i, j);
    const std::int64_t least = std::max(a.least_steps, b.least_steps);
    a.cost = fused_cost(a.bypassed_pes, least);
    a.least_steps = std::max(known_cost(a.bypassed_pes)->steps, least);
    a.alone += b.alone;
    for (std::size_t w = 0; w < a.bypassed.size(); ++w) a.bypassed[w] |= b.bypassed[w];
    a.members.insert(a.members.end(), b.members.begin(), b.members.end());
    std::sort(a.members.begin(), a.members.end());
    b = {};
    for (std::size_t k = 0; k < n_; ++k) unions_[i * n_ + k] = unions_[k * n_ + i] = kUnknown;
    for (std::size_t k = 0; k < j; ++k) {
      if (!groups_[k].alive()) continue;
      Partner& best = best_[k];
      if (k == i || best.with == i || best.with == j) {
        best = partner_of(k);
      } else if (k < i) {
        // The new group, if it is better than what k had; of equals the lower index.
        const double enough = best.with >= n_ ? kLeastGain : best.gain;
        const bool lower = best.with >= n_ || i < best.with;
        const auto gained = gain(k, i, lower ? std::nextafter(enough, 0.0) : enough);
        if (gained) best = {*gained, i};
      }
    }
  }

  const FusedCostOf& cost_of_;
  std::int64_t max_chips_;
  std::size_t n_;
  std::vector<std::int32_t> unions_;  // counted so far, n × n
  std::vector<Group> groups_;
  std::vector<Partner> best_;
  std::vector<std::optional<std::optional<FusedCost>>> costs_;  // asked for so far, by number of PEs
};

}  // namespace

std::vector<std::uint64_t> packed_bits(std::span<const std::uint8_t> bytes) {
  std::vector<std::uint64_t> words((bytes.size() + 63) / 64);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    words[i / 64] |= std::uint64_t{bytes[i] != 0 ? 1u : 0u} << (i % 64);
  return words;
}

std::vector<FusedGroup> group_chips(std::span<const GroupCandidate> candidates, const FusedCostOf& cost_of,
                                    const GroupOptions& options) {
  std::vector<FusedGroup> groups;
  for (std::size_t begin = 0; begin < candidates.size(); begin += options.part) {
    const auto part = candidates.subspan(begin, std::min(options.part, candidates.size() - begin));
    for (FusedGroup& group : Merger(part, cost_of, options.max_chips).run()) {
      for (std::size_t& member : group.members) member += begin;
      groups.push_back(std::move(group));
    }
  }
  return groups;
}

}  // namespace kintsugi::training::reduce
