// A pass of the activation unit alone: what is fetched, how long it takes, what is written. See the end of
// "The memory system" in docs/timing.md.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "array/accelerator.h"
#include "array/layer_cost.h"
#include "array/layer_plan.h"
#include "array/tile_supply.h"
#include "array/transfer_cutter.h"
#include "configs/chip.h"
#include "memory/transfer.h"

namespace kintsugi::array {

// Three steps: operands that lie in DRAM are fetched, the pass is made, a result whose home is DRAM is
// written. Its owner attaches it to the DMA engine, calls pass() when fetched(), and is done when written()
// after it.
class VectorPass final : public memory::TransferSource {
 public:
  // With a memory system only. `supply` is told of weights that were fetched ahead and arrive now; no further
  // ones are fetched during a pass. Throws common::InputError if the working space cannot hold a map.
  VectorPass(const VectorLaunch& launch, const configs::ChipConfig& chip, TileSupply& supply);

  // Where the pass must leave its result before passed(): its home in the unified buffer, or the working
  // space.
  DeviceAddress result_place() const { return result_place_; }

  bool fetched() const { return fetches_ == 0 && read_.empty(); }
  // Cycles of the pass itself.
  std::int64_t pass_cycles() const { return pass_cycles_; }
  // The pass is over: the result may be written.
  void passed() { passed_ = true; }
  bool written() const { return passed_ && writes_ == 0 && write_.empty(); }

  Traffic traffic() const;

  std::optional<memory::Transfer> next(std::int64_t cycle) override;
  void complete(const memory::Transfer& transfer, std::int64_t cycle) override;

 private:
  TileSupply& supply_;
  std::int64_t elements_, operands_;
  DeviceAddress result_place_;
  std::int64_t pass_cycles_;
  TransferCutter read_, write_;
  std::int64_t read_bytes_ = 0, write_bytes_ = 0;
  std::int64_t fetches_ = 0, writes_ = 0;  // on their way
  bool passed_ = false;
};

}  // namespace kintsugi::array
