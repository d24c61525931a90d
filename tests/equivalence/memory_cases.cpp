#include "tests/equivalence/memory_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "array/requantize.h"
#include "common/random.h"
#include "tests/support/random_cases.h"

namespace kintsugi::test {
namespace {

using array::DeviceAddress;
using array::kBufferBase;
using array::LayerLaunch;
using array::LayerShape;
using array::VectorLaunch;

// An int8 map on the device.
struct Map {
  DeviceAddress address = 0;
  std::int64_t batch = 1, h = 1, w = 1, c = 1;
  std::int64_t bytes() const { return batch * h * w * c; }
};

class Generator {
 public:
  explicit Generator(std::uint64_t number) : random_(number, "memory-case") {
    case_.text = fmt::format("case {}:", number);
    array_and_clock();
    const std::int64_t steps = between(2, 4);
    for (std::int64_t i = 0; i < steps; ++i) add_step();
    announce_layers();
    memory_system();
    case_.faults = faults::fault_free(array().rows, array().cols);
    if (one_in(3))
      case_.faults = random_faults(random_, array().rows, array().cols, 0.1, all_sites(), BypassKind::partial,
                                   array().accumulator_bits);
  }

  MemoryCase take() { return std::move(case_); }

 private:
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(high - low + 1)));
  }
  bool one_in(std::uint64_t n) { return random_.below(n) == 0; }
  template <class T, std::size_t N>
  T one_of(const T (&values)[N]) {
    return values[random_.below(N)];
  }
  configs::ArrayConfig& array() { return case_.chip.array; }

  // ---- Chip

  void array_and_clock() {
    const int sides[] = {1, 2, 3, 4, 5, 7, 8, 8, 11, 13, 16, 16};
    const int bits[] = {32, 32, 32, 24, 17};
    const double clocks[] = {700, 1000, 333.333, 1.5, 250, 941.017};
    case_.chip.name = "random";
    array().rows = one_of(sides);
    array().cols = one_of(sides);
    array().accumulator_bits = one_of(bits);
    array().weight_double_buffer = one_in(2);
    case_.chip.clock_mhz = one_of(clocks);
    case_.chip.convolution =
        one_in(2) ? configs::ConvolutionMapping::im2col : configs::ConvolutionMapping::channel;
    accumulators_.double_buffer = one_in(2);
    accumulators_.entries = one_in(2) ? between(2, 12) : between(accumulators_.double_buffer ? 2 : 1, 64);
  }

  void memory_system() {
    configs::MemoryConfig& memory = case_.chip.memory.emplace();
    memory.accumulators = accumulators_;
    memory.weight_fifo_tiles = static_cast<int>(between(1, 5));
    memory.activation_unit_width = between(1, 16);
    memory.layer_overlap = !one_in(3);
    memory.unified_buffer.bytes = std::max<std::int64_t>(kept_ + work_, 1);
    memory.unified_buffer.bytes_per_cycle = one_in(3) ? between(1, 3) : between(1, 40);
    memory.dma.outstanding = static_cast<int>(one_in(3) ? 1 : between(1, 8));
    memory.dram.burst_bytes = std::int64_t{1} << between(0, 6);
    memory.dma.transfer_bytes = memory.dram.burst_bytes << between(0, 6);
    const double clock_mhz = case_.chip.clock_mhz;
    if (!one_in(3)) memory.dram.latency_ns = whole_ps(static_cast<double>(between(0, 40)), clock_mhz);
    if (one_in(2)) {
      configs::RowBufferConfig& rows = memory.dram.row_buffer.emplace();
      rows.banks = static_cast<int>(between(1, 5));
      rows.row_bytes = memory.dram.burst_bytes * between(1, 40);
      rows.miss_ns = one_in(4) ? 30 : whole_ps(static_cast<double>(between(0, 12)), clock_mhz);
    }
    // From a tenth of what would do to far more; a burst that is touched counts whole.
    const double bursts = one_in(2) ? 1 : std::sqrt(static_cast<double>(memory.dram.burst_bytes));
    const double per_cycle = bursts * 0.5 * std::pow(2.0, random_.uniform(0, 6));
    memory.dram.bandwidth_gb_s = std::max(1.0, std::round(per_cycle * clock_mhz * 1e3)) / 1e6;
    case_.text += fmt::format(
        " | {}x{} db {} bits {} {} MHz {}; dram {} GB/s {} ns burst {} rows {}; dma {} x {}; ub {} port {}; "
        "fifo {}; acc {} db {}; unit {}; overlap {}",
        array().rows, array().cols, array().weight_double_buffer, array().accumulator_bits, clock_mhz,
        case_.chip.convolution == configs::ConvolutionMapping::channel ? "channel" : "im2col",
        memory.dram.bandwidth_gb_s, memory.dram.latency_ns, memory.dram.burst_bytes,
        memory.dram.row_buffer
            ? fmt::format("{} x {} miss {} ns", memory.dram.row_buffer->banks,
                          memory.dram.row_buffer->row_bytes, memory.dram.row_buffer->miss_ns)
            : "none",
        memory.dma.outstanding, memory.dma.transfer_bytes, memory.unified_buffer.bytes,
        memory.unified_buffer.bytes_per_cycle, memory.weight_fifo_tiles, memory.accumulators.entries,
        memory.accumulators.double_buffer, memory.activation_unit_width, memory.layer_overlap);
  }

  // So many cycles, or a little more or less, in ns of whole ps.
  double whole_ps(double cycles, double clock_mhz) {
    return std::max(0.0, std::round(cycles * 1e6 / clock_mhz) + static_cast<double>(between(-1, 1))) / 1000;
  }

  // ---- Memory

  DeviceAddress in_dram(std::int64_t bytes, std::int64_t alignment) {
    const std::int64_t gap = one_in(2) ? 0 : between(0, 90);
    const std::int64_t at = (static_cast<std::int64_t>(case_.dram.size()) + gap + alignment - 1) / alignment;
    case_.dram.resize(static_cast<std::size_t>(at * alignment + bytes));
    return static_cast<DeviceAddress>(at * alignment);
  }
  // Maps that are kept lie in front; the working space of every launch is all behind them.
  DeviceAddress in_buffer(std::int64_t bytes, std::int64_t alignment) {
    const std::int64_t at = (kept_ + alignment - 1) / alignment * alignment;
    kept_ = at + bytes;
    case_.buffer.resize(static_cast<std::size_t>(kept_));
    return kBufferBase + static_cast<DeviceAddress>(at);
  }
  std::byte* at(DeviceAddress address) {
    return address >= kBufferBase ? case_.buffer.data() + (address - kBufferBase)
                                  : case_.dram.data() + address;
  }
  std::vector<std::int8_t> read(DeviceAddress address, std::int64_t bytes) {
    std::vector<std::int8_t> values(static_cast<std::size_t>(bytes));
    std::memcpy(values.data(), at(address), values.size());
    return values;
  }
  template <class T>
  void write(DeviceAddress address, const std::vector<T>& values) {
    std::memcpy(at(address), values.data(), values.size() * sizeof(T));
  }

  Map new_map(std::int64_t batch, std::int64_t h, std::int64_t w, std::int64_t c, bool kept) {
    Map map{0, batch, h, w, c};
    map.address = kept ? in_buffer(map.bytes(), 1) : in_dram(map.bytes(), 1);
    return map;
  }
  Map new_operand(std::int64_t batch, std::int64_t h, std::int64_t w, std::int64_t c) {
    const Map map = new_map(batch, h, w, c, one_in(4));
    write(map.address, random_int8(random_, map.bytes()));
    return map;
  }

  // ---- Launches

  void add_step() {
    if (!maps_.empty() && one_in(4))
      add_pass();
    else
      add_layer();
  }

  LayerShape random_shape() {
    const std::int64_t R = array().rows, C = array().cols;
    LayerShape s;
    if (!maps_.empty() && !one_in(3)) {
      const Map& map = maps_.back();
      s.batch = map.batch;
      s.in_h = map.h;
      s.in_w = map.w;
      s.in_c = map.c;
    } else if (one_in(2)) {
      s.batch = one_in(2) ? between(1, 60) : between(1, R + 2);
      s.in_c = between(1, 3 * R + 3);
    } else {
      s.batch = between(1, 3);
      s.in_h = between(1, 9);
      s.in_w = between(1, 9);
      s.in_c = between(1, std::max<std::int64_t>(2, R));
    }
    s.out_c = between(1, 2 * C + 3);
    if (s.in_h * s.in_w > 1) {
      s.padding = between(0, 2);
      s.kernel_h = between(1, std::min<std::int64_t>(3, s.in_h + 2 * s.padding));
      s.kernel_w = between(1, std::min<std::int64_t>(3, s.in_w + 2 * s.padding));
      s.stride = one_in(2) ? 1 : between(1, 3);
      if (one_in(4)) {
        for (const std::int64_t groups : {2, 3, 4})
          if (s.in_c % groups == 0) s.groups = groups;
        s.out_c = s.groups * between(1, C + 2);
      }
    }
    return s;
  }

  void add_layer() {
    LayerLaunch launch;
    LayerShape& s = launch.shape = random_shape();
    const bool chained = !maps_.empty() && maps_.back().batch == s.batch && maps_.back().h == s.in_h &&
                         maps_.back().w == s.in_w && maps_.back().c == s.in_c;
    const Map input = chained ? maps_.back() : new_operand(s.batch, s.in_h, s.in_w, s.in_c);
    launch.activations = input.address;
    launch.weights = in_dram(s.weight_bytes(), 1);
    write(launch.weights, random_int8(random_, s.weight_bytes()));

    const std::int64_t out_h = s.out_h(), out_w = s.out_w();
    const bool requantised = !one_in(4);
    const bool pooled = requantised && out_h * out_w > 1 && one_in(2);
    const bool kept = one_in(3);
    MemoryStep step;
    std::vector<array::Requantization> table;
    if (requantised) {
      launch.relu = one_in(2);
      launch.requantization = in_dram(s.out_c * 16, 16);
      for (std::int64_t c = 0; c < s.out_c; ++c)
        table.push_back({static_cast<std::int32_t>(between(-9000, 9000)),
                         static_cast<std::int32_t>(between(18, 21)), between(-100, 100) * 262144});
      write(*launch.requantization, table);
    }
    if (pooled) {
      launch.output = in_dram(s.outputs(), 1);
      array::MaxPool& pool = launch.pool.emplace().window;
      pool.kernel = between(1, std::min<std::int64_t>({3, out_h, out_w}));
      pool.stride = between(1, 3);
      pool.padding = pool.kernel > 1 && one_in(2) ? pool.kernel / 2 : 0;
      const auto size = [&](std::int64_t of) {
        std::int64_t out = (of + 2 * pool.padding - pool.kernel) / pool.stride + 1;
        if (out * pool.stride - pool.padding < of && one_in(2)) ++out;  // the last window sticks out
        return out;
      };
      pool.out_h = size(out_h);
      pool.out_w = size(out_w);
      const Map result = new_map(s.batch, pool.out_h, pool.out_w, s.out_c, kept);
      launch.pool->result = result.address;
      maps_.push_back(result);
    } else {
      const std::int64_t bytes = s.outputs() * (requantised ? 1 : 4);
      launch.output = kept ? in_buffer(bytes, requantised ? 1 : 4) : in_dram(bytes, requantised ? 1 : 4);
      if (requantised) maps_.push_back({launch.output, s.batch, out_h, out_w, s.out_c});
    }
    working_space(launch, pooled ? maps_.back().bytes() : s.outputs(), requantised ? 1 : 4);
    layers_.push_back(case_.steps.size());
    case_.text += fmt::format(
        " layer {}x{}x{}x{} k {}x{} s {} p {} g {} -> {}{}{}, in {:x} out {:x}{};", s.batch, s.in_h, s.in_w,
        s.in_c, s.kernel_h, s.kernel_w, s.stride, s.padding, s.groups, s.out_c, requantised ? "" : " int32",
        pooled
            ? fmt::format(" pool {}/{}/{} {}x{}", launch.pool->window.kernel, launch.pool->window.stride,
                          launch.pool->window.padding, launch.pool->window.out_h, launch.pool->window.out_w)
            : "",
        launch.activations, pooled ? launch.pool->result : launch.output,
        fmt::format(" weights {:x}", launch.weights));
    step.launch = launch;
    case_.steps.push_back(std::move(step));
  }

  // Something between what the smallest cut needs and more than the largest.
  void working_space(const LayerLaunch& launch, std::int64_t results, std::int64_t element) {
    const LayerShape& s = launch.shape;
    const std::int64_t row = s.is_gemm() ? s.in_c : s.in_w * s.in_c;
    const std::int64_t n = std::min<std::int64_t>(array().cols, s.n());
    const std::int64_t least = 2 * row * (s.is_gemm() ? 1 : s.kernel_h) + 2 * n * element;
    const std::int64_t most = s.activation_bytes() + 2 * std::min(results, s.m() * n) * element;
    const std::int64_t work = one_in(3)    ? most
                              : one_in(12) ? between(least / 2, least)
                                           : between(least, std::max(least, most));
    work_ = std::max(work_, work);
    spaces_.push_back(one_in(3) ? 0 : work);
  }

  void add_pass() {
    VectorLaunch launch;
    const Map a = maps_.back();
    launch.kind = one_in(2) ? VectorLaunch::Kind::add : VectorLaunch::Kind::local_response_norm;
    launch.rows = a.batch * a.h * a.w;
    launch.channels = a.c;
    launch.a = a.address;
    MemoryStep step;
    if (launch.kind == VectorLaunch::Kind::add) {
      const Map b = new_operand(a.batch, a.h, a.w, a.c);
      launch.b = b.address;
      launch.relu = one_in(2);
      launch.add = {static_cast<std::int32_t>(between(-3000, 3000)),
                    static_cast<std::int32_t>(between(-3000, 3000)),
                    static_cast<std::int32_t>(between(10, 13)), between(-5000, 5000)};
    } else {
      launch.norm = {between(1, 5), random_.uniform(0.1, 2), random_.uniform(0.3, 1),
                     random_.uniform(0.5, 2)};
      launch.norm_in_scale = random_.uniform(0.01, 0.1);
      launch.norm_out_scale = random_.uniform(0.01, 0.1);
    }
    const bool in_place = launch.kind == VectorLaunch::Kind::add && one_in(4);
    const Map result = in_place ? a : new_map(a.batch, a.h, a.w, a.c, one_in(3));
    launch.output = result.address;
    maps_.push_back(result);
    work_ = std::max(work_, a.bytes());
    spaces_.push_back(one_in(3) ? 0 : a.bytes());
    case_.text +=
        fmt::format(" {} {}x{} {:x} {:x} -> {:x};", launch.kind == VectorLaunch::Kind::add ? "add" : "lrn",
                    launch.rows, launch.channels, launch.a, launch.b, launch.output);
    step.launch = launch;
    case_.steps.push_back(std::move(step));
  }

  // Every launch's working space lies behind all maps that are kept; layers learn what follows.
  void announce_layers() {
    for (std::size_t i = 0; i < case_.steps.size(); ++i)
      std::visit(
          [&](auto& launch) {
            launch.buffer_offset = static_cast<std::uint64_t>(kept_);
            launch.buffer_bytes = static_cast<std::uint64_t>(spaces_[i]);
          },
          case_.steps[i].launch);
    for (std::size_t i = 0; i + 1 < layers_.size(); ++i) {
      if (one_in(6)) continue;
      const auto& next = std::get<LayerLaunch>(case_.steps[layers_[i + 1]].launch);
      std::get<LayerLaunch>(case_.steps[layers_[i]].launch).next =
          array::NextWeights{next.shape, next.weights};
      case_.text += " next";
    }
  }

  common::RandomStream random_;
  MemoryCase case_;
  configs::AccumulatorConfig accumulators_;
  std::vector<Map> maps_;
  std::vector<std::size_t> layers_;
  std::vector<std::int64_t> spaces_;
  std::int64_t kept_ = 0, work_ = 1;
};

}  // namespace

MemoryCase memory_case(std::uint64_t number) {
  MemoryCase result = Generator(number).take();
  add_results(result);
  return result;
}

}  // namespace kintsugi::test
