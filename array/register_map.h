// The array target's registers as the host sees them; docs/architecture.md has the same table for readers.
//
// Offsets count bytes from the target's base. Registers are 64 bits wide and may be accessed whole (8 bytes,
// 8-aligned) or by halves (4 bytes, 4-aligned, low half first). Windows take any number of whole 4-byte
// words.
#pragma once

#include <cstdint>

namespace kintsugi::array {

// Register i stands at offset 8·i.
enum class Register : std::uint32_t {
  identity,  // ro  kIdentity
  rows,      // ro
  cols,      // ro
  control,   // wo  Control bits, in the low half
  status,    // ro  Status bits
  error,     // ro  JobError of the last job
  cycles,    // ro  from here: LaunchReport of the last job; what they are, by CycleBreakdown
  cycles_active,
  cycles_weight_shift,
  cycles_pipeline,
  stall_weights,
  stall_activations,
  stall_accumulators,
  stall_output,
  dram_weight_bytes,  // ro  from here: Traffic
  dram_activation_bytes,
  dram_output_bytes,
  dram_bus_bytes,
  row_hits,
  row_misses,
  buffer_traffic,
  fifo_traffic,
  accumulator_traffic,
  register_traffic,
  batch,  // rw  from here: LayerShape
  in_h,
  in_w,
  in_c,
  kernel_h,
  kernel_w,
  stride,
  padding,
  groups,
  out_c,
  activations,  // rw  from here: byte addresses in memory; also a pass's first operand …
  weights,
  output,  // … and its result
  requantization,
  flags,        // rw  JobFlag bits
  pool_kernel,  // rw  from here: PoolLaunch
  pool_stride,
  pool_padding,
  pool_out_h,
  pool_out_w,
  pool_result,  // byte address
  work_offset,  // rw  working space in the unified buffer: buffer_offset and buffer_bytes of layers and
                // passes
  work_bytes,
  next_batch,  // rw  from here: NextWeights, its shape in the order above
  next_in_h,
  next_in_w,
  next_in_c,
  next_kernel_h,
  next_kernel_w,
  next_stride,
  next_padding,
  next_groups,
  next_out_c,
  next_weights,  // byte address
  vector_kind,   // rw  VectorKind; from here: a pass of the activation unit alone
  vector_rows,
  vector_channels,
  vector_b,          // byte address of an add's second operand
  add_multiplier_a,  // rw  from here: ResidualAdd, signed
  add_multiplier_b,
  add_shift,
  add_offset,
  norm_size,  // rw  from here: LocalResponseNorm; what is real as the bits of a double
  norm_alpha,
  norm_beta,
  norm_k,
  norm_in_scale,
  norm_out_scale,
  count
};

inline constexpr std::uint64_t kIdentity = 0x3149475553544E4B;  // "KNTSUGI1"
inline constexpr std::uint64_t kRegisterWindowBytes = static_cast<std::uint64_t>(Register::count) * 8;

constexpr std::uint64_t offset_of(Register which) {
  return static_cast<std::uint64_t>(which) * 8;
}

// Writing CONTROL: one bit at a time.
enum Control : std::uint32_t {
  kStart = 1,        // begin the layer described by the registers; returns at once
  kAcknowledge = 2,  // lower the interrupt, forget done and failed
  kClearFaults = 4,  // both windows: no bypass, every hook the identity
  kLoadFaults = 8,   // what the windows hold takes effect in the array
  kStartVector = 16  // begin the pass of the activation unit described by the registers; returns at once
};

enum Status : std::uint32_t { kBusy = 1, kDone = 2, kFailed = 4 };

// ReLU and pooling only together with requantisation.
enum JobFlag : std::uint32_t { kRequantize = 1, kRelu = 2, kPool = 4, kNext = 8 };

enum class VectorKind : std::uint64_t { add, add_relu, local_response_norm };

// Why a job failed.
enum class JobError : std::uint64_t {
  none,
  bad_shape,  // sizes that make no layer, or no pooled map
  activations_unreadable,
  weights_unreadable,
  requantization_unreadable,
  bad_requantization,  // a shift outside 1 … 62
  output_unwritable,
  buffer_too_small,  // for what the layer or the pass needs at once
  bad_vector         // sizes, scales or factors of a pass of the activation unit
};

constexpr const char* to_string(JobError error) {
  switch (error) {
    case JobError::none:
      return "no error";
    case JobError::bad_shape:
      return "the sizes make no layer";
    case JobError::activations_unreadable:
      return "the activations are not in memory";
    case JobError::weights_unreadable:
      return "the weights are not in memory";
    case JobError::requantization_unreadable:
      return "the requantisation table is not in memory";
    case JobError::bad_requantization:
      return "a requantisation shift is outside 1 ... 62";
    case JobError::output_unwritable:
      return "the output does not fit in memory";
    case JobError::buffer_too_small:
      return "the unified buffer cannot hold what the job needs at once";
    case JobError::bad_vector:
      return "sizes or factors make no pass of the activation unit";
  }
  return "";
}

// Bypass window: bit (r·cols + c), packed in 32-bit words, 1 = bypassed. Absent on a chip without bypass.
inline constexpr std::uint64_t kBypassWindow = 0x0010'0000;
// Hooks window: PE (r, c) at (r·cols + c)·64 as words keep, set, flip of each pe::Site in order; word 15 is
// reserved.
inline constexpr std::uint64_t kHooksWindow = 0x1000'0000;
inline constexpr std::uint64_t kHooksStride = 64;
inline constexpr std::uint64_t kHooksBytes = 60;

inline constexpr std::uint64_t kArrayTargetBytes = 0x2000'0000;

}  // namespace kintsugi::array
