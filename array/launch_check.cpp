#include "array/launch_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <stdexcept>
#include <vector>

#include "array/requantize.h"

namespace kintsugi::array {
namespace {

// Byte counts stay far below 2^63, so that products of sizes cannot overflow anywhere behind the check.
constexpr std::int64_t kMostBytes = std::int64_t{1} << 40;

bool product_fits(std::initializer_list<std::int64_t> factors) {
  std::int64_t product = 1;
  for (const std::int64_t factor : factors) {
    if (factor > kMostBytes / product) return false;
    product *= factor;
  }
  return true;
}

// A stretch of device memory that a launch uses.
struct Piece {
  const char* name;
  DeviceAddress at = 0;
  std::uint64_t bytes = 0;
};

Piece piece(const char* name, DeviceAddress at, std::int64_t bytes) {
  return {name, at, static_cast<std::uint64_t>(bytes)};
}

// Addresses may be anything, so their sums may not be formed.
bool overlap(const Piece& a, const Piece& b) {
  return a.at <= b.at ? b.at - a.at < a.bytes : a.at - b.at < b.bytes;
}

bool in_buffer(const Piece& p) {
  return p.at >= kBufferBase;
}

[[noreturn]] void refuse(const std::string& why) {
  throw std::invalid_argument("launch: " + why);
}

void refuse_overlap(const Piece& written, const Piece& other) {
  if (overlap(written, other)) refuse(fmt::format("the {} overlaps the {}", written.name, other.name));
}

std::uint64_t buffer_bytes(const configs::ChipConfig& chip) {
  return chip.memory ? static_cast<std::uint64_t>(chip.memory->unified_buffer.bytes) : 0;
}

// What lies in the unified buffer at all lies within it. (How far DRAM reaches, the device knows.)
void check_place(const Piece& p, const configs::ChipConfig& chip) {
  if (!in_buffer(p)) {
    if (p.bytes > kBufferBase - p.at)
      throw std::out_of_range(fmt::format("launch: the {}, {} bytes at {:#x}, run into the unified buffer",
                                          p.name, p.bytes, p.at));
    return;
  }
  if (!chip.memory)
    throw std::out_of_range(fmt::format(
        "launch: the {}, {} bytes at {:#x}, are not in memory; with ideal memory there is no unified buffer",
        p.name, p.bytes, p.at));
  const std::uint64_t size = buffer_bytes(chip), offset = p.at - kBufferBase;
  if (offset > size || p.bytes > size - offset)
    throw std::out_of_range(
        fmt::format("launch: the {}, {} bytes at {:#x}, leave the unified buffer of {} bytes", p.name,
                    p.bytes, p.at, size));
}

void need_dram(const Piece& p, const configs::ChipConfig& chip) {
  check_place(p, chip);
  if (in_buffer(p)) refuse(fmt::format("the {} must be in DRAM, not in the unified buffer", p.name));
}

// The unified buffer's part that operands pass through, as a stretch of device memory.
template <class Launch>
Piece working_space(const Launch& launch, const configs::ChipConfig& chip) {
  const std::uint64_t size = buffer_bytes(chip);
  if (!chip.memory && (launch.buffer_offset != 0 || launch.buffer_bytes != 0))
    refuse("working space in a unified buffer, which a chip with ideal memory does not have");
  if (launch.buffer_offset > size || launch.buffer_bytes > size - launch.buffer_offset)
    throw std::out_of_range(
        fmt::format("launch: a working space of {} bytes from byte {} leaves the unified buffer of {} bytes",
                    launch.buffer_bytes, launch.buffer_offset, size));
  return {"working space", kBufferBase + launch.buffer_offset,
          launch.buffer_bytes == 0 ? size - launch.buffer_offset : launch.buffer_bytes};
}

void refuse_in_working_space(const Piece& p, const Piece& work) {
  if (in_buffer(p) && work.bytes > 0 && overlap(p, work))
    refuse(fmt::format("the {} lie in the working space of the unified buffer, bytes {} to {}", p.name,
                       work.at - kBufferBase, work.at - kBufferBase + work.bytes));
}

bool positive(double value) {
  return std::isfinite(value) && value > 0;
}

}  // namespace

bool makes_layer(const LayerShape& s) {
  for (const std::int64_t size :
       {s.batch, s.in_h, s.in_w, s.in_c, s.kernel_h, s.kernel_w, s.stride, s.groups, s.out_c})
    if (size < 1 || size > kMostBytes) return false;
  if (s.padding < 0 || s.padding > kMostBytes) return false;
  if (s.in_c % s.groups != 0 || s.out_c % s.groups != 0) return false;
  if (s.kernel_h > s.in_h + 2 * s.padding || s.kernel_w > s.in_w + 2 * s.padding) return false;
  return product_fits({s.batch, s.in_h, s.in_w, s.in_c}) &&
         product_fits({s.kernel_h, s.kernel_w, s.in_c, s.out_c}) &&
         product_fits({s.batch, s.out_h(), s.out_w(), s.out_c, 4});
}

bool makes_pool(const MaxPool& w, const LayerShape& shape) {
  for (const std::int64_t size : {w.kernel, w.stride, w.out_h, w.out_w})
    if (size < 1 || size > kMostBytes) return false;
  if (w.padding < 0 || w.padding >= w.kernel) return false;
  // The last window begins inside the map (or its padding above it).
  const auto begins_inside = [&](std::int64_t count, std::int64_t size) {
    return (count - 1) <= (size + w.padding - 1) / w.stride;
  };
  return begins_inside(w.out_h, shape.out_h()) && begins_inside(w.out_w, shape.out_w()) &&
         product_fits({shape.batch, w.out_h, w.out_w, shape.out_c});
}

std::string vector_problem(const VectorLaunch& v) {
  if (v.rows < 1 || v.channels < 1 || v.rows > kMostBytes || v.channels > kMostBytes ||
      !product_fits({v.rows, v.channels}))
    return fmt::format("{} rows of {} channels make no map", v.rows, v.channels);
  if (v.kind == VectorLaunch::Kind::add) {
    const ResidualAdd& r = v.add;
    constexpr std::int32_t kLowest = std::numeric_limits<std::int32_t>::min();
    constexpr std::int64_t kOffset = std::int64_t{1} << 62;
    if (r.shift < 1 || r.shift > 62) return fmt::format("an add's shift of {} is outside 1 ... 62", r.shift);
    if (r.multiplier_a == kLowest || r.multiplier_b == kLowest)
      return "an add's multiplier of -2^31 is outside its range";
    if (r.offset <= -kOffset || r.offset >= kOffset)
      return "an add's offset is outside its range, |x| < 2^62";
    return {};
  }
  if (v.relu) return "ReLU is part of an add, not of local response normalisation";
  const LocalResponseNorm& n = v.norm;
  if (n.size < 1 || n.size > kMostBytes) return fmt::format("normalisation over {} channels", n.size);
  if (!std::isfinite(n.alpha) || n.alpha < 0 || !std::isfinite(n.beta) || n.beta < 0 || !positive(n.k))
    return fmt::format(
        "normalisation with alpha {}, beta {}, k {}; the first two must be at least 0, k above 0", n.alpha,
        n.beta, n.k);
  if (!positive(v.norm_in_scale) || !positive(v.norm_out_scale))
    return fmt::format("normalisation with scales {} and {}; they must be positive", v.norm_in_scale,
                       v.norm_out_scale);
  return {};
}

void check_launch(const LayerLaunch& launch, const configs::ChipConfig& chip) {
  const LayerShape& shape = launch.shape;
  if (!makes_layer(shape)) refuse("the layer's sizes do not fit together");
  if (launch.relu && !launch.requantization) refuse("ReLU is part of requantisation, and none is asked for");
  if (launch.pool && !launch.requantization)
    refuse("pooling needs requantised results, and none are asked for");
  if (launch.pool && !makes_pool(launch.pool->window, shape))
    refuse("the pooling windows do not fit the layer's map");

  const Piece activations = piece("activations", launch.activations, shape.activation_bytes());
  const Piece output = piece("output", launch.output, shape.outputs() * (launch.requantization ? 1 : 4));
  std::vector<Piece> read = {activations, piece("weights", launch.weights, shape.weight_bytes())};
  need_dram(read.back(), chip);
  if (launch.requantization) {
    read.push_back(piece("requantisation table", *launch.requantization,
                         shape.out_c * static_cast<std::int64_t>(sizeof(Requantization))));
    need_dram(read.back(), chip);
  }
  std::vector<Piece> written = {output};
  check_place(activations, chip);
  if (launch.pool) {
    const MaxPool& window = launch.pool->window;
    written.push_back(
        piece("pooled map", launch.pool->result, shape.batch * window.out_h * window.out_w * shape.out_c));
    check_place(written.back(), chip);
    need_dram(output, chip);
    refuse_overlap(written.back(), output);
  } else {
    check_place(output, chip);
  }
  for (const Piece& w : written)
    for (const Piece& r : read) refuse_overlap(w, r);

  const Piece work = working_space(launch, chip);
  refuse_in_working_space(activations, work);
  refuse_in_working_space(written.back(), work);
  if (launch.next) {
    if (!makes_layer(launch.next->shape)) refuse("the next layer's sizes do not fit together");
    need_dram(piece("next layer's weights", launch.next->weights, launch.next->shape.weight_bytes()), chip);
  }
}

void check_launch(const VectorLaunch& launch, const configs::ChipConfig& chip) {
  if (const std::string problem = vector_problem(launch); !problem.empty()) refuse(problem);
  const std::int64_t bytes = launch.rows * launch.channels;
  const bool add = launch.kind == VectorLaunch::Kind::add;
  const Piece output = piece("output", launch.output, bytes);
  std::vector<Piece> maps = {output, piece("first operand", launch.a, bytes)};
  if (add) maps.push_back(piece("second operand", launch.b, bytes));
  for (const Piece& map : maps) check_place(map, chip);
  for (std::size_t i = 1; i < maps.size(); ++i)
    // Element by element, a sum may take its operand's place.
    if (!add || maps[i].at != output.at) refuse_overlap(output, maps[i]);
  const Piece work = working_space(launch, chip);
  if (std::ranges::all_of(maps, in_buffer)) return;  // nothing passes through it
  for (const Piece& map : maps) refuse_in_working_space(map, work);
}

}  // namespace kintsugi::array
