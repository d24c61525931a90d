// What the DMA engine is asked to move, and by whom.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace kintsugi::memory {

// In order of precedence where two became ready in the same cycle.
enum class TransferKind { weights, activations, outputs };

// `bytes` between DRAM (at `dram`) and a buffer on the chip (at `chip`, an address on the chip's own bus).
struct Run {
  std::uint64_t dram = 0;
  std::uint64_t chip = 0;
  std::int64_t bytes = 0;
};

// Runs that are issued to the DRAM at once, in order. Weights and activations are read from DRAM, outputs
// written to it.
struct Transfer {
  TransferKind kind = TransferKind::weights;
  std::int64_t request = 0;  // what it is part of; its source's own number
  std::vector<Run> runs;
  std::int64_t bytes = 0;
};

// Cycles are counted from an origin that the DMA engine and its source share.
class TransferSource {
 public:
  virtual ~TransferSource() = default;
  // The transfer to issue in this cycle, if any is ready. Called again in the same cycle until there is none
  // or the engine's limit of outstanding transfers is reached.
  virtual std::optional<Transfer> next(std::int64_t cycle) = 0;
  // Told in cycle order.
  virtual void complete(const Transfer& transfer, std::int64_t cycle) = 0;
};

}  // namespace kintsugi::memory
