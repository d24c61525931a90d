#include "workloads/memory_plan.h"

#include <algorithm>

namespace kintsugi::workloads {
namespace {

constexpr std::uint64_t kAlignment = 64;

std::uint64_t aligned(std::uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

struct Placed {
  std::uint64_t begin, end;
  std::size_t first, last;
  bool during(std::size_t step) const { return first <= step && step <= last; }
};

// The first of the largest gaps while `step` runs.
BufferSpace largest_gap(const std::vector<Placed>& placed, std::size_t step, std::uint64_t capacity) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> taken;
  for (const Placed& p : placed)
    if (p.during(step)) taken.emplace_back(p.begin, p.end);
  std::sort(taken.begin(), taken.end());
  BufferSpace largest;
  std::uint64_t free_from = 0;
  const auto consider = [&](std::uint64_t until) {
    if (until > free_from && until - free_from > largest.bytes) largest = {free_from, until - free_from};
  };
  for (const auto& [begin, end] : taken) {
    consider(begin);
    free_from = std::max(free_from, end);
  }
  consider(capacity);
  return largest;
}

class Planner {
 public:
  Planner(std::span<const BufferTenant> tenants, std::size_t steps, std::uint64_t capacity,
          const StepNeed& need)
      : tenants_(tenants), steps_(steps), capacity_(capacity), need_(need) {
    plan_.homes.resize(tenants.size());
  }

  BufferPlan plan() {
    for (std::size_t t = 0; t < tenants_.size(); ++t) place(t);
    for (std::size_t step = 0; step < steps_; ++step)
      plan_.free.push_back(largest_gap(placed_, step, capacity_));
    return plan_;
  }

 private:
  void place(std::size_t t) {
    const BufferTenant& tenant = tenants_[t];
    const std::uint64_t bytes = aligned(static_cast<std::uint64_t>(tenant.bytes));
    // The lowest place begins where another ends, or at the bottom.
    std::vector<std::uint64_t> candidates = {0};
    for (const Placed& p : placed_)
      if (p.first <= tenant.last && tenant.first <= p.last) candidates.push_back(p.end);
    std::sort(candidates.begin(), candidates.end());
    for (const std::uint64_t at : candidates) {
      if (at > capacity_ || bytes > capacity_ - at) break;
      const Placed place{at, at + bytes, tenant.first, tenant.last};
      if (!std::ranges::none_of(placed_, [&](const Placed& p) {
            return p.first <= place.last && place.first <= p.last && p.begin < place.end &&
                   place.begin < p.end;
          }))
        continue;
      placed_.push_back(place);
      plan_.homes[t] = at;
      if (leaves_room(tenant)) return;
      placed_.pop_back();
      plan_.homes[t].reset();
    }
  }

  bool leaves_room(const BufferTenant& tenant) const {
    for (std::size_t step = tenant.first; step <= tenant.last; ++step) {
      const std::uint64_t gap = largest_gap(placed_, step, capacity_).bytes;
      const auto need = static_cast<std::uint64_t>(need_(step, plan_));
      if (gap < (capacity_ + 3) / 4 || (gap < need && need <= capacity_)) return false;
    }
    return true;
  }

  std::span<const BufferTenant> tenants_;
  std::size_t steps_;
  std::uint64_t capacity_;
  const StepNeed& need_;
  BufferPlan plan_;
  std::vector<Placed> placed_;
};

bool runs_on_device(const Stage& stage) {
  return stage.on_chip() || stage.on_activation_unit();
}

// Pooled positions that one position of the map completes at most. Windows that end where the map ends are
// completed together; results are written in order, so of several such rows the later ones wait.
std::int64_t most_completed(const Stage& stage) {
  const MaxPoolStage& pool = *stage.max_pool;
  const auto at_the_end = [&](std::int64_t windows, std::int64_t size) {
    std::int64_t count = 0;
    while (count < windows && (windows - 1 - count) * pool.stride - pool.padding + pool.kernel >= size)
      ++count;
    return count;
  };
  const std::int64_t rows = at_the_end(stage.out.height, stage.gemm_out.height);
  if (rows > 1) return rows * stage.out.width;
  return std::max<std::int64_t>(at_the_end(stage.out.width, stage.gemm_out.width), 1);
}

// The most that the layer's smallest cut, m-chunks of one position, needs at once: two slabs of the input, or
// all of it, and two blocks of results, where these are not at home in the buffer.
std::int64_t smallest_need(const Stage& stage, std::int64_t batch, int cols, bool input_home,
                           bool result_home) {
  const auto up = [](std::int64_t bytes) {
    return static_cast<std::int64_t>(aligned(static_cast<std::uint64_t>(bytes)));
  };
  std::int64_t need = 0;
  if (!input_home) {
    const std::int64_t row = stage.in.width * stage.in.channels;
    const std::int64_t slab = std::min(stage.kernel, stage.in.height) * row;
    need += std::min(up(batch * stage.in.count()), 2 * up(slab));
  }
  if (!result_home) {
    const std::int64_t columns = std::min<std::int64_t>(cols, stage.gemm_out.channels / stage.groups);
    const std::int64_t positions = stage.max_pool ? most_completed(stage) : 1;
    need += 2 * up(positions * columns * (stage.max_pool ? 1 : 4));
  }
  return need;
}

}  // namespace

BufferPlan plan_buffer(std::span<const BufferTenant> tenants, std::size_t steps, std::uint64_t capacity,
                       const StepNeed& need) {
  return Planner(tenants, steps, capacity, need).plan();
}

bool host_reorders(const Stage& stage) {
  return stage.flatten && stage.out.height * stage.out.width > 1;
}

bool host_reworks(const Stage& stage) {
  return stage.global_avg_pool || host_reorders(stage) || (stage.max_pool && !stage.on_chip());
}

MemoryPlan plan_memory(const Network& network, std::int64_t batch, const configs::ChipConfig& chip) {
  const std::size_t stages = network.stages.size();
  MemoryPlan plan;
  plan.homes.resize(stages);
  plan.work.resize(stages);
  if (!chip.memory) return plan;

  std::vector<BufferTenant> tenants;
  std::vector<std::size_t> stage_of;
  std::vector<std::optional<std::size_t>> tenant_of(stages);
  for (std::size_t s = 0; s + 1 < stages; ++s) {
    const Stage& stage = network.stages[s];
    if (!runs_on_device(stage) || host_reworks(stage)) continue;
    std::size_t last = s;
    bool read_on_device = true;
    for (std::size_t r = s + 1; r < stages; ++r) {
      if (!std::ranges::count(network.stages[r].inputs, static_cast<int>(s))) continue;
      last = r;
      read_on_device = read_on_device && runs_on_device(network.stages[r]);
    }
    if (!read_on_device) continue;
    tenant_of[s] = tenants.size();
    tenants.push_back({batch * stage.out.count(), s, last});
    stage_of.push_back(s);
  }

  const auto need = [&](std::size_t s, const BufferPlan& so_far) -> std::int64_t {
    const Stage& stage = network.stages[s];
    // A pass of the activation unit goes row by row if it must.
    if (!stage.on_chip()) return stage.on_activation_unit() ? stage.in.channels : 0;
    const auto home = [&](int of) {
      if (of == kImage) return false;
      const auto tenant = tenant_of[static_cast<std::size_t>(of)];
      return tenant && so_far.homes[*tenant].has_value();
    };
    return smallest_need(stage, batch, chip.array.cols, home(stage.inputs.front()),
                         home(static_cast<int>(s)));
  };
  const BufferPlan buffer =
      plan_buffer(tenants, stages, static_cast<std::uint64_t>(chip.memory->unified_buffer.bytes), need);
  for (std::size_t t = 0; t < tenants.size(); ++t) plan.homes[stage_of[t]] = buffer.homes[t];
  plan.work = buffer.free;
  return plan;
}

}  // namespace kintsugi::workloads
