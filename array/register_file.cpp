#include "array/register_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "array/job_registers.h"
#include "array/launch_check.h"

namespace kintsugi::array {
namespace {

static_assert(std::endian::native == std::endian::little, "registers are kept in the host's byte order");

constexpr std::uint64_t kHookWords = kHooksBytes / 4;

// One of the 15 words of a PE's hooks.
std::uint32_t& hook_word(pe::PeHooks& hooks, std::uint64_t word) {
  pe::Hook& hook = hooks.at[word / 3];
  return word % 3 == 0 ? hook.keep : word % 3 == 1 ? hook.set : hook.flip;
}

bool read_only(Register which) {
  return which < Register::batch && which != Register::control;
}

bool known_value(Register which, std::uint64_t value) {
  switch (which) {
    case Register::flags:
      return value <= (kRequantize | kRelu | kPool | kNext) &&
             ((value & kRequantize) != 0 || (value & (kRelu | kPool)) == 0);
    case Register::vector_kind:
      return value <= static_cast<std::uint64_t>(VectorKind::local_response_norm);
    default:
      return true;
  }
}

}  // namespace

RegisterFile::RegisterFile(const configs::ArrayConfig& array)
    : rows_(array.rows), cols_(array.cols), has_bypass_(array.bypass == configs::Bypass::fap) {
  at(Register::identity) = kIdentity;
  at(Register::rows) = static_cast<std::uint64_t>(rows_);
  at(Register::cols) = static_cast<std::uint64_t>(cols_);
  for (const Register which :
       {Register::batch, Register::in_h, Register::in_w, Register::in_c, Register::kernel_h,
        Register::kernel_w, Register::stride, Register::groups, Register::out_c}) {
    at(which) = 1;
  }
  bypass_.assign((pes() + 31) / 32, 0);
}

AccessResult RegisterFile::read(std::uint64_t offset, std::span<std::byte> data) const {
  if (offset % 4 != 0) return AccessResult::bad_address;
  if (offset < kRegisterWindowBytes) {
    if (data.size() != 4 && data.size() != 8) return AccessResult::bad_length;
    if (offset % data.size() != 0) return AccessResult::bad_address;
    const auto which = static_cast<Register>(offset / 8);
    if (which == Register::control) return AccessResult::bad_command;
    const std::uint64_t value = at(which) >> (offset % 8 * 8);
    std::memcpy(data.data(), &value, data.size());
    return AccessResult::ok;
  }
  if (data.empty() || data.size() % 4 != 0) return AccessResult::bad_length;
  if (offset >= kBypassWindow && offset - kBypassWindow < bypass_bytes()) {
    const std::uint64_t at = offset - kBypassWindow;
    if (data.size() > bypass_bytes() - at) return AccessResult::bad_address;
    std::memcpy(data.data(), bypass_.data() + at / 4, data.size());
    return AccessResult::ok;
  }
  if (offset >= kHooksWindow && offset - kHooksWindow < pes() * kHooksStride) {
    const std::uint64_t at = offset - kHooksWindow;
    if (data.size() > pes() * kHooksStride - at) return AccessResult::bad_address;
    for (std::size_t i = 0; i < data.size(); i += 4) {
      const std::uint64_t word = (at + i) % kHooksStride / 4;
      std::uint32_t value = 0;
      if (word < kHookWords) {
        const auto found = hooks_.find((at + i) / kHooksStride);
        pe::PeHooks hooks = found == hooks_.end() ? pe::PeHooks{} : found->second;
        value = hook_word(hooks, word);
      }
      std::memcpy(data.data() + i, &value, 4);
    }
    return AccessResult::ok;
  }
  return AccessResult::bad_address;
}

AccessResult RegisterFile::write_register(std::uint64_t offset, std::span<const std::byte> data) {
  if (data.size() != 4 && data.size() != 8) return AccessResult::bad_length;
  if (offset % data.size() != 0) return AccessResult::bad_address;
  const auto which = static_cast<Register>(offset / 8);
  if (read_only(which)) return AccessResult::bad_command;
  const std::uint64_t shift = offset % 8 * 8;
  std::uint64_t value = which == Register::control ? 0 : at(which);
  if (data.size() == 8) {
    std::memcpy(&value, data.data(), 8);
  } else {
    std::uint32_t half = 0;
    std::memcpy(&half, data.data(), 4);
    value = (value & ~(std::uint64_t{0xFFFFFFFF} << shift)) | (std::uint64_t{half} << shift);
  }
  if (which == Register::control) {
    const bool known = value == kStart || value == kAcknowledge || value == kClearFaults ||
                       value == kLoadFaults || value == kStartVector;
    if (!known || busy()) return AccessResult::refused;
    command_ = static_cast<std::uint32_t>(value);
    return AccessResult::ok;
  }
  if (busy() || !known_value(which, value)) return AccessResult::refused;
  at(which) = value;
  return AccessResult::ok;
}

AccessResult RegisterFile::write(std::uint64_t offset, std::span<const std::byte> data) {
  if (offset % 4 != 0) return AccessResult::bad_address;
  if (offset < kRegisterWindowBytes) return write_register(offset, data);
  if (data.empty() || data.size() % 4 != 0) return AccessResult::bad_length;
  if (offset >= kBypassWindow && offset - kBypassWindow < bypass_bytes()) {
    const std::uint64_t at = offset - kBypassWindow;
    if (data.size() > bypass_bytes() - at) return AccessResult::bad_address;
    if (busy()) return AccessResult::refused;
    std::memcpy(bypass_.data() + at / 4, data.data(), data.size());
    return AccessResult::ok;
  }
  if (offset >= kHooksWindow && offset - kHooksWindow < pes() * kHooksStride) {
    const std::uint64_t at = offset - kHooksWindow;
    if (data.size() > pes() * kHooksStride - at) return AccessResult::bad_address;
    if (busy()) return AccessResult::refused;
    for (std::size_t i = 0; i < data.size(); i += 4) {
      const std::uint64_t word = (at + i) % kHooksStride / 4;
      if (word >= kHookWords) return AccessResult::bad_address;
      std::uint32_t value = 0;
      std::memcpy(&value, data.data() + i, 4);
      hook_word(hooks_[(at + i) / kHooksStride], word) = value;
    }
    return AccessResult::ok;
  }
  return AccessResult::bad_address;
}

std::uint32_t RegisterFile::take_command() {
  return std::exchange(command_, 0);
}

std::optional<LayerLaunch> RegisterFile::layer_job() const {
  LayerLaunch launch = layer_in_registers([this](Register which) { return at(which); });
  if (!makes_layer(launch.shape)) return std::nullopt;
  if (launch.pool && !makes_pool(launch.pool->window, launch.shape)) return std::nullopt;
  if (launch.next && !makes_layer(launch.next->shape)) launch.next.reset();
  return launch;
}

std::optional<VectorLaunch> RegisterFile::vector_job() const {
  const VectorLaunch launch = vector_in_registers([this](Register which) { return at(which); });
  // Factors are 32 bits wide; what a register holds beyond them is not cut off silently.
  const auto narrow = [&](Register which) {
    const auto value = static_cast<std::int64_t>(at(which));
    return value == static_cast<std::int32_t>(value);
  };
  if (launch.kind == VectorLaunch::Kind::add &&
      !(narrow(Register::add_multiplier_a) && narrow(Register::add_multiplier_b) &&
        narrow(Register::add_shift)))
    return std::nullopt;
  if (!vector_problem(launch).empty()) return std::nullopt;
  return launch;
}

void RegisterFile::clear_faults() {
  std::fill(bypass_.begin(), bypass_.end(), 0);
  hooks_.clear();
}

faults::ArrayFaults RegisterFile::faults() const {
  faults::ArrayFaults faults = faults::fault_free(rows_, cols_);
  for (std::uint64_t pe = 0; pe < pes(); ++pe) {
    faults.bypass[pe] = static_cast<std::uint8_t>((bypass_[pe / 32] >> (pe % 32)) & 1);
  }
  for (const auto& [pe, hooks] : hooks_) {  // in row-major order, as ArrayFaults wants them
    if (hooks.identity()) continue;
    faults.faulty.push_back({static_cast<int>(pe / cols_), static_cast<int>(pe % cols_), hooks});
  }
  faults.named_faulty = static_cast<std::int64_t>(faults.faulty.size());
  return faults;
}

void RegisterFile::begin_job() {
  at(Register::status) = kBusy;
  at(Register::error) = static_cast<std::uint64_t>(JobError::none);
}

void RegisterFile::end_job(JobError error, const LaunchReport& report) {
  at(Register::error) = static_cast<std::uint64_t>(error);
  for (const auto& [which, value] : registers_of(report)) at(which) = value;
  at(Register::status) = error == JobError::none ? kDone : kDone | kFailed;
}

void RegisterFile::acknowledge() {
  at(Register::status) = 0;
}

}  // namespace kintsugi::array
