#include "array/job_registers.h"

#include <bit>

namespace kintsugi::array {
namespace {

// One list for each group of registers, walked in both directions.
struct ShapeField {
  std::uint32_t place;  // behind the register of the batch
  std::int64_t LayerShape::*field;
};
constexpr ShapeField kShape[] = {{0, &LayerShape::batch},    {1, &LayerShape::in_h},
                                 {2, &LayerShape::in_w},     {3, &LayerShape::in_c},
                                 {4, &LayerShape::kernel_h}, {5, &LayerShape::kernel_w},
                                 {6, &LayerShape::stride},   {7, &LayerShape::padding},
                                 {8, &LayerShape::groups},   {9, &LayerShape::out_c}};
static_assert(static_cast<int>(Register::out_c) - static_cast<int>(Register::batch) == 9);
static_assert(static_cast<int>(Register::next_out_c) - static_cast<int>(Register::next_batch) == 9);

template <class Struct>
struct Field {
  Register which;
  std::int64_t Struct::*field;
};
constexpr Field<MaxPool> kPoolFields[] = {{Register::pool_kernel, &MaxPool::kernel},
                                          {Register::pool_stride, &MaxPool::stride},
                                          {Register::pool_padding, &MaxPool::padding},
                                          {Register::pool_out_h, &MaxPool::out_h},
                                          {Register::pool_out_w, &MaxPool::out_w}};
constexpr Field<CycleBreakdown> kBreakdown[] = {
    {Register::cycles_active, &CycleBreakdown::active},
    {Register::cycles_weight_shift, &CycleBreakdown::weight_shift},
    {Register::cycles_pipeline, &CycleBreakdown::pipeline},
    {Register::stall_weights, &CycleBreakdown::stall_weights},
    {Register::stall_activations, &CycleBreakdown::stall_activations},
    {Register::stall_accumulators, &CycleBreakdown::stall_accumulators},
    {Register::stall_output, &CycleBreakdown::stall_output}};
static_assert(sizeof(CycleBreakdown) == sizeof(std::int64_t) * std::size(kBreakdown));
constexpr Field<Traffic> kTraffic[] = {{Register::dram_weight_bytes, &Traffic::dram_weight_bytes},
                                       {Register::dram_activation_bytes, &Traffic::dram_activation_bytes},
                                       {Register::dram_output_bytes, &Traffic::dram_output_bytes},
                                       {Register::dram_bus_bytes, &Traffic::dram_bus_bytes},
                                       {Register::row_hits, &Traffic::row_hits},
                                       {Register::row_misses, &Traffic::row_misses},
                                       {Register::buffer_traffic, &Traffic::buffer_bytes},
                                       {Register::fifo_traffic, &Traffic::fifo_bytes},
                                       {Register::accumulator_traffic, &Traffic::accumulator_bytes},
                                       {Register::register_traffic, &Traffic::register_bytes}};
static_assert(sizeof(Traffic) == sizeof(std::int64_t) * std::size(kTraffic));

std::uint64_t bits(std::int64_t value) {
  return static_cast<std::uint64_t>(value);
}

Register behind(Register first, std::uint32_t places) {
  return static_cast<Register>(static_cast<std::uint32_t>(first) + places);
}

void put(RegisterValues& values, Register first, const LayerShape& shape) {
  for (const auto& [place, field] : kShape) values.emplace_back(behind(first, place), bits(shape.*field));
}

void get(const ReadRegister& read, Register first, LayerShape& shape) {
  for (const auto& [place, field] : kShape)
    shape.*field = static_cast<std::int64_t>(read(behind(first, place)));
}

template <class Struct, std::size_t count>
void put(RegisterValues& values, const Field<Struct> (&fields)[count], const Struct& from) {
  for (const auto& [which, field] : fields) values.emplace_back(which, bits(from.*field));
}

template <class Struct, std::size_t count>
void get(const ReadRegister& read, const Field<Struct> (&fields)[count], Struct& to) {
  for (const auto& [which, field] : fields) to.*field = static_cast<std::int64_t>(read(which));
}

}  // namespace

RegisterValues registers_of(const LayerLaunch& launch) {
  RegisterValues values;
  put(values, Register::batch, launch.shape);
  values.emplace_back(Register::activations, launch.activations);
  values.emplace_back(Register::weights, launch.weights);
  values.emplace_back(Register::output, launch.output);
  values.emplace_back(Register::requantization, launch.requantization.value_or(0));
  values.emplace_back(Register::flags, (launch.requantization ? kRequantize : 0u) |
                                           (launch.relu ? kRelu : 0u) | (launch.pool ? kPool : 0u) |
                                           (launch.next ? kNext : 0u));
  if (launch.pool) {
    put(values, kPoolFields, launch.pool->window);
    values.emplace_back(Register::pool_result, launch.pool->result);
  }
  values.emplace_back(Register::work_offset, launch.buffer_offset);
  values.emplace_back(Register::work_bytes, launch.buffer_bytes);
  if (launch.next) {
    put(values, Register::next_batch, launch.next->shape);
    values.emplace_back(Register::next_weights, launch.next->weights);
  }
  return values;
}

RegisterValues registers_of(const VectorLaunch& launch) {
  const bool add = launch.kind == VectorLaunch::Kind::add;
  const VectorKind kind = !add          ? VectorKind::local_response_norm
                          : launch.relu ? VectorKind::add_relu
                                        : VectorKind::add;
  RegisterValues values = {{Register::vector_kind, static_cast<std::uint64_t>(kind)},
                           {Register::vector_rows, bits(launch.rows)},
                           {Register::vector_channels, bits(launch.channels)},
                           {Register::activations, launch.a},
                           {Register::output, launch.output},
                           {Register::work_offset, launch.buffer_offset},
                           {Register::work_bytes, launch.buffer_bytes}};
  if (add) {
    values.insert(values.end(), {{Register::vector_b, launch.b},
                                 {Register::add_multiplier_a, bits(launch.add.multiplier_a)},
                                 {Register::add_multiplier_b, bits(launch.add.multiplier_b)},
                                 {Register::add_shift, bits(launch.add.shift)},
                                 {Register::add_offset, bits(launch.add.offset)}});
  } else {
    const auto real = [](double value) { return std::bit_cast<std::uint64_t>(value); };
    values.insert(values.end(), {{Register::norm_size, bits(launch.norm.size)},
                                 {Register::norm_alpha, real(launch.norm.alpha)},
                                 {Register::norm_beta, real(launch.norm.beta)},
                                 {Register::norm_k, real(launch.norm.k)},
                                 {Register::norm_in_scale, real(launch.norm_in_scale)},
                                 {Register::norm_out_scale, real(launch.norm_out_scale)}});
  }
  return values;
}

RegisterValues registers_of(const LaunchReport& report) {
  RegisterValues values = {{Register::cycles, bits(report.cycles)}};
  put(values, kBreakdown, report.breakdown);
  put(values, kTraffic, report.traffic);
  return values;
}

LayerLaunch layer_in_registers(const ReadRegister& read) {
  const std::uint64_t flags = read(Register::flags);
  LayerLaunch launch;
  get(read, Register::batch, launch.shape);
  launch.activations = read(Register::activations);
  launch.weights = read(Register::weights);
  launch.output = read(Register::output);
  if ((flags & kRequantize) != 0) launch.requantization = read(Register::requantization);
  launch.relu = (flags & kRelu) != 0;
  if ((flags & kPool) != 0) {
    launch.pool.emplace();
    get(read, kPoolFields, launch.pool->window);
    launch.pool->result = read(Register::pool_result);
  }
  launch.buffer_offset = read(Register::work_offset);
  launch.buffer_bytes = read(Register::work_bytes);
  if ((flags & kNext) != 0) {
    launch.next.emplace();
    get(read, Register::next_batch, launch.next->shape);
    launch.next->weights = read(Register::next_weights);
  }
  return launch;
}

VectorLaunch vector_in_registers(const ReadRegister& read) {
  const auto kind = static_cast<VectorKind>(read(Register::vector_kind));
  const auto whole = [&](Register which) { return static_cast<std::int64_t>(read(which)); };
  const auto real = [&](Register which) { return std::bit_cast<double>(read(which)); };
  VectorLaunch launch;
  launch.rows = whole(Register::vector_rows);
  launch.channels = whole(Register::vector_channels);
  launch.a = read(Register::activations);
  launch.output = read(Register::output);
  launch.buffer_offset = read(Register::work_offset);
  launch.buffer_bytes = read(Register::work_bytes);
  if (kind == VectorKind::local_response_norm) {
    launch.kind = VectorLaunch::Kind::local_response_norm;
    launch.norm = {whole(Register::norm_size), real(Register::norm_alpha), real(Register::norm_beta),
                   real(Register::norm_k)};
    launch.norm_in_scale = real(Register::norm_in_scale);
    launch.norm_out_scale = real(Register::norm_out_scale);
    return launch;
  }
  launch.relu = kind == VectorKind::add_relu;
  launch.b = read(Register::vector_b);
  launch.add = {static_cast<std::int32_t>(read(Register::add_multiplier_a)),
                static_cast<std::int32_t>(read(Register::add_multiplier_b)),
                static_cast<std::int32_t>(read(Register::add_shift)), whole(Register::add_offset)};
  return launch;
}

LaunchReport report_in_registers(const ReadRegister& read) {
  LaunchReport report;
  report.cycles = static_cast<std::int64_t>(read(Register::cycles));
  get(read, kBreakdown, report.breakdown);
  get(read, kTraffic, report.traffic);
  return report;
}

}  // namespace kintsugi::array
