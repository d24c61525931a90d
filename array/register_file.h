// The state behind the array target's registers and windows (array/register_map.h): which accesses are
// allowed, what they change, what job they describe. Pure C++; the TLM target is a thin module around it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "array/accelerator.h"
#include "array/register_map.h"
#include "configs/chip.h"
#include "faults/array_faults.h"

namespace kintsugi::array {

enum class AccessResult {
  ok,
  bad_address,  // nothing there, unaligned, or beyond the end
  bad_length,   // not 4 or 8 bytes (registers), not whole words (windows)
  bad_command,  // writing a read-only register or reading a write-only one
  refused       // a job is running, or the value is not one of the register's
};

class RegisterFile {
 public:
  explicit RegisterFile(const configs::ArrayConfig& array);

  AccessResult read(std::uint64_t offset, std::span<std::byte> data) const;
  // A write to CONTROL only notes the command; the owner takes it with take_command().
  AccessResult write(std::uint64_t offset, std::span<const std::byte> data);
  // The command written last, 0 if none since the last call.
  std::uint32_t take_command();

  // The layer that START begins, or nullopt if the sizes make no layer or no pooled map (zero, negative, not
  // divisible by groups, a kernel larger than its padded input, or so large that byte counts pass 2^40).
  // Addresses are not looked at. Without kNext, or if the sizes of the next layer make none, it has no
  // `next`.
  std::optional<LayerLaunch> layer_job() const;
  // The pass that START VECTOR begins, or nullopt if the sizes or numbers are not those of one.
  std::optional<VectorLaunch> vector_job() const;

  void clear_faults();
  // What the windows hold now.
  faults::ArrayFaults faults() const;

  void begin_job();
  void end_job(JobError error, const LaunchReport& report = {});
  void acknowledge();

 private:
  std::uint64_t& at(Register which) { return registers_[static_cast<std::size_t>(which)]; }
  std::uint64_t at(Register which) const { return registers_[static_cast<std::size_t>(which)]; }
  bool busy() const { return (at(Register::status) & kBusy) != 0; }
  AccessResult write_register(std::uint64_t offset, std::span<const std::byte> data);
  std::uint64_t pes() const { return static_cast<std::uint64_t>(rows_) * cols_; }
  std::uint64_t bypass_bytes() const { return has_bypass_ ? (pes() + 31) / 32 * 4 : 0; }

  int rows_;
  int cols_;
  bool has_bypass_;
  std::uint32_t command_ = 0;
  std::array<std::uint64_t, static_cast<std::size_t>(Register::count)> registers_{};
  std::vector<std::uint32_t> bypass_;           // packed
  std::map<std::uint64_t, pe::PeHooks> hooks_;  // by PE, row-major; absent = identity
};

}  // namespace kintsugi::array
