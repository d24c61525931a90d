#include "array/vector_pass.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/arithmetic.h"
#include "common/diagnostics.h"

namespace kintsugi::array {
namespace {

DeviceAddress working_space(const VectorLaunch& launch) {
  return kBufferBase + launch.buffer_offset;
}

// Operands that are fetched and a result that is written pass through the working space.
std::vector<memory::Run> runs_of(const VectorLaunch& launch, const std::vector<DeviceAddress>& maps) {
  std::vector<memory::Run> runs;
  for (const DeviceAddress map : maps)
    if (map < kBufferBase) runs.push_back({map, working_space(launch), launch.rows * launch.channels});
  return runs;
}

std::vector<DeviceAddress> operands_of(const VectorLaunch& launch) {
  if (launch.kind == VectorLaunch::Kind::add) return {launch.a, launch.b};
  return {launch.a};
}

}  // namespace

VectorPass::VectorPass(const VectorLaunch& launch, const configs::ChipConfig& chip, TileSupply& supply)
    : supply_(supply),
      elements_(launch.rows * launch.channels),
      operands_(std::ssize(operands_of(launch))),
      result_place_(launch.output < kBufferBase ? working_space(launch) : launch.output),
      read_(runs_of(launch, operands_of(launch)), chip.memory->dma.transfer_bytes),
      write_(runs_of(launch, {launch.output}), chip.memory->dma.transfer_bytes) {
  const auto buffer = static_cast<std::uint64_t>(chip.memory->unified_buffer.bytes);
  const std::uint64_t space =
      launch.buffer_bytes > 0 ? launch.buffer_bytes : buffer - std::min(buffer, launch.buffer_offset);
  if ((!read_.empty() || !write_.empty()) && space < static_cast<std::uint64_t>(elements_))
    throw common::InputError(fmt::format(
        "a map of {} bytes must pass the activation unit through the unified buffer, which has {} bytes for "
        "it; give the chip a larger 'memory: unified_buffer: size_kib', or the layer 'unit: host'",
        elements_, space));
  const std::int64_t port = chip.memory->unified_buffer.bytes_per_cycle;
  pass_cycles_ = std::max({common::divide_up(elements_, chip.memory->activation_unit_width),
                           common::divide_up(operands_ * elements_, port), std::int64_t{1}});
}

Traffic VectorPass::traffic() const {
  Traffic traffic;
  traffic.dram_activation_bytes = read_bytes_;
  traffic.dram_output_bytes = write_bytes_;
  traffic.buffer_bytes = (operands_ + 1) * elements_ + read_bytes_ + write_bytes_;
  return traffic;
}

std::optional<memory::Transfer> VectorPass::next(std::int64_t) {
  memory::Transfer transfer;
  if (!read_.empty()) {
    transfer.kind = memory::TransferKind::activations;
    read_.next(transfer);
    read_bytes_ += transfer.bytes;
    ++fetches_;
    return transfer;
  }
  if (passed_ && !write_.empty()) {
    transfer.kind = memory::TransferKind::outputs;
    write_.next(transfer);
    write_bytes_ += transfer.bytes;
    ++writes_;
    return transfer;
  }
  return std::nullopt;
}

void VectorPass::complete(const memory::Transfer& transfer, std::int64_t cycle) {
  switch (transfer.kind) {
    case memory::TransferKind::weights:
      supply_.complete(transfer, cycle);
      break;
    case memory::TransferKind::activations:
      --fetches_;
      break;
    case memory::TransferKind::outputs:
      --writes_;
      break;
  }
}

}  // namespace kintsugi::array
