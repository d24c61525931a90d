// The memory system's side of the array in SystemC: the rules of array/tile_supply.h on simulated time, the
// DMA engine, and the activation unit's thread.
//
// Phases of a cycle that begins at t·P: at t·P what ends with the cycle before is told (transfers, drains,
// and by clocked arrays half a cycle earlier what their registers finish); at P/4 drains begin and the DMA
// engine chooses; from 3/8 on loads and streams are decided; at P/2 the clock of clocked arrays rises.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <systemc>

#include "array/closed_form_array.h"
#include "array/layer_plan.h"
#include "array/tile_gate.h"
#include "array/tile_supply.h"
#include "array/vector_pass.h"
#include "configs/chip.h"
#include "memory/dma_engine_sc.h"

namespace kintsugi::array {

class SupplyUnit : public sc_core::sc_module, public TileGate, private memory::TransferSource {
 public:
  memory::DmaEngine dma;

  SC_HAS_PROCESS(SupplyUnit);
  // The chip must have a memory system. `cycle` in femtoseconds.
  SupplyUnit(sc_core::sc_module_name name, const configs::ChipConfig& chip, std::uint64_t cycle);

  // What follows is called in an SC_THREAD, at the beginning of a cycle. A failed transfer ends the
  // simulation (SC_ERROR) with the reason.

  // Starts a layer. `deliver` is called in the cycle in which a block has been drained. The plans must stay
  // until the next layer begins (`next` may be null).
  void begin(const LayerPlan& plan, const LayerPlan* next, std::function<void(std::int64_t block)> deliver);
  // Lets the array in closed form run the layer that was begun, to its end; returns all of its cycles.
  CycleBreakdown run(ClosedFormArray& array);
  // Sleeps until the layer has ended.
  void wait_finished();
  // Makes a pass to its end. `deliver` is called when the pass is over and its result must stand in place.
  CycleBreakdown run(VectorPass& pass, const std::function<void()>& deliver);

  TileSupply& supply() { return supply_; }
  // Tells `sink` of passes too.
  void observe(TimelineSink sink);

  // TileGate, for clocked arrays.
  bool may_load(std::int64_t tile) override;
  Wait may_stream(std::int64_t tile) override;
  void load_begun(std::int64_t tile) override;
  void load_ended(std::int64_t tile) override;
  void stream_begun(std::int64_t tile) override;
  void stream_fed(std::int64_t tile) override;
  void stream_out(std::int64_t tile) override;

 private:
  // TransferSource, for the DMA engine: the layer's or the pass's.
  std::optional<memory::Transfer> next(std::int64_t cycle) override;
  void complete(const memory::Transfer& transfer, std::int64_t cycle) override;

  void drain_blocks();
  // Something that ends with a cycle has been told.
  void changed();
  std::int64_t now() const;
  // From now to the given eighth of the given cycle.
  sc_core::sc_time until(std::int64_t cycle, int eighths = 0) const;

  std::uint64_t cycle_;
  TileSupply supply_;
  VectorPass* pass_ = nullptr;
  std::function<void(std::int64_t)> deliver_;
  TimelineSink sink_;
  bool active_ = false;  // a layer has begun and not finished
  sc_core::sc_event_queue settle_{"settle"};
  sc_core::sc_event changed_{"changed"};
  sc_core::sc_event finished_{"finished"};
};

}  // namespace kintsugi::array
