#include "training/repair/assignment.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace kintsugi::training::repair {
namespace {

using Row = std::int32_t;
using Slot = std::int32_t;
constexpr std::int32_t kNone = -1;
constexpr double kFar = std::numeric_limits<double>::infinity();

// Duals: the price v of a slot falls as channels compete for it; a channel takes a slot where cost − v is
// least. The price of a slot that nobody has taken stays 0, the highest there is, which is what makes the
// result optimal with more slots than channels.
class Assigner {
 public:
  explicit Assigner(const AssignmentCost& cost)
      : cost_(cost),
        channels_(static_cast<Row>(cost.rows())),
        slots_(static_cast<Slot>(cost.cols())),
        slot_of_(cost.rows(), kNone),
        channel_of_(cost.cols(), kNone),
        price_(Eigen::ArrayXd::Zero(cost.cols())),
        distance_(cost.cols()),
        closed_(cost.cols()),
        before_(cost.cols()) {}

  std::vector<Slot> run() {
    std::vector<Row> free(static_cast<std::size_t>(channels_));
    for (Row n = 0; n < channels_; ++n) free[n] = n;
    for (int pass = 0; pass < 2; ++pass) free = bid(std::move(free));
    for (const Row n : free) augment(n);
    return std::move(slot_of_);
  }

 private:
  void take(Row n, Slot s) {
    slot_of_[n] = s;
    channel_of_[s] = n;
  }

  // Every free channel takes its best slot and lowers the slot's price until the second best is as good; whom
  // it drives out bids next, or is left over if the price did not fall. Returns who is left.
  std::vector<Row> bid(std::vector<Row> free) {
    std::vector<Row> left;
    // Rounding could let two channels outbid each other by next to nothing for ever.
    std::int64_t bids = 8 * static_cast<std::int64_t>(channels_);
    while (!free.empty()) {
      const Row n = free.back();
      free.pop_back();
      if (bids-- <= 0) {
        left.push_back(n);
        continue;
      }
      const double* const row = cost_.row(n).data();
      double best = kFar, second = kFar;
      Slot at = kNone, next = kNone;
      for (Slot s = 0; s < slots_; ++s) {
        const double value = row[s] - price_[s];
        if (value >= second) continue;
        if (value < best) {
          second = best;
          next = at;
          best = value;
          at = s;
        } else {
          second = value;
          next = s;
        }
      }
      const bool falls = next != kNone && best < second;
      if (falls)
        price_[at] -= second - best;
      else if (next != kNone && channel_of_[at] != kNone)
        at = next;  // as good
      const Row out = channel_of_[at];
      take(n, at);
      if (out == kNone) continue;
      slot_of_[out] = kNone;
      (falls ? free : left).push_back(out);
    }
    return left;
  }

  // The shortest path from channel n to a free slot over slots that others give up for their next best
  // (Dijkstra on cost − price), and everybody on it moves on by one.
  void augment(Row n) {
    distance_.setConstant(kFar);
    closed_.setZero();
    path_.clear();
    Row from = n;
    double shift = 0;  // distance so far, less `from`'s own cost − price
    for (;;) {
      const double* const row = cost_.row(from).data();
      double* const distance = distance_.data();
      std::int64_t* const before = before_.data();
      for (Slot s = 0; s < slots_; ++s) {
        const double there = row[s] - price_[s] + shift + closed_[s];
        const bool nearer = there < distance[s];
        distance[s] = nearer ? there : distance[s];
        before[s] = nearer ? from : before[s];
      }
      const double reached = distance_.minCoeff();
      const Slot at = nearest(reached);
      if (channel_of_[at] == kNone) {
        for (const auto& [s, there] : path_) price_[s] += there - reached;
        move_on(n, at);
        return;
      }
      path_.emplace_back(at, reached);
      distance[at] = closed_[at] = kFar;
      from = channel_of_[at];
      shift = reached - (cost_(from, at) - price_[at]);
    }
  }

  // Of several slots at the same distance a free one, which ends the path.
  Slot nearest(double reached) const {
    Slot at = kNone;
    for (Slot s = 0; s < slots_; ++s) {
      if (distance_[s] != reached) continue;
      if (channel_of_[s] == kNone) return s;
      if (at == kNone) at = s;
    }
    return at;
  }

  void move_on(Row n, Slot to) {
    for (;;) {
      const auto owner = static_cast<Row>(before_[to]);
      const Slot left = slot_of_[owner];
      take(owner, to);
      if (owner == n) return;
      to = left;
    }
  }

  const AssignmentCost& cost_;
  const Row channels_;
  const Slot slots_;
  std::vector<Slot> slot_of_;
  std::vector<Row> channel_of_;
  Eigen::ArrayXd price_;
  // Of one path, by slot: the distance, unless that is settled, and from which channel; kFar where it is
  // settled.
  Eigen::ArrayXd distance_, closed_;
  Eigen::Array<std::int64_t, Eigen::Dynamic, 1> before_;
  std::vector<std::pair<Slot, double>> path_;  // settled slots with their distances
};

}  // namespace

std::vector<std::int32_t> assign(const AssignmentCost& cost) {
  if (cost.cols() < cost.rows())
    throw std::logic_error("an assignment of channels to columns has no solution");
  if (cost.size() == 0 || cost.cwiseAbs().maxCoeff() < 1e-200) {
    std::vector<std::int32_t> same(static_cast<std::size_t>(cost.rows()));
    std::iota(same.begin(), same.end(), 0);
    return same;
  }
  return Assigner(cost).run();
}

}  // namespace kintsugi::training::repair
