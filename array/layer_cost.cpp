#include "array/layer_cost.h"

namespace kintsugi::array {

CycleBreakdown& CycleBreakdown::operator+=(const CycleBreakdown& other) {
  active += other.active;
  weight_shift += other.weight_shift;
  pipeline += other.pipeline;
  stall_weights += other.stall_weights;
  stall_activations += other.stall_activations;
  stall_accumulators += other.stall_accumulators;
  stall_output += other.stall_output;
  return *this;
}

Traffic& Traffic::operator+=(const Traffic& other) {
  dram_weight_bytes += other.dram_weight_bytes;
  dram_activation_bytes += other.dram_activation_bytes;
  dram_output_bytes += other.dram_output_bytes;
  dram_bus_bytes += other.dram_bus_bytes;
  row_hits += other.row_hits;
  row_misses += other.row_misses;
  buffer_bytes += other.buffer_bytes;
  fifo_bytes += other.fifo_bytes;
  accumulator_bytes += other.accumulator_bytes;
  register_bytes += other.register_bytes;
  return *this;
}

}  // namespace kintsugi::array
