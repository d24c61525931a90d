// When a chip's layers run, without SystemC: the rules of the memory system (array/tile_supply.h) played
// event by event, with the array in closed form. Cycles, stalls, traffic and timeline are those of the
// platform.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "array/accelerator.h"
#include "array/layer_cost.h"
#include "array/layer_plan.h"
#include "configs/chip.h"

namespace kintsugi::array {

class LayerCalendar {
 public:
  explicit LayerCalendar(const configs::ChipConfig& chip);
  ~LayerCalendar();

  // The launch must be one that check_launch() accepts. Throws common::InputError as LayerPlan does.
  LaunchReport run(const LayerLaunch& launch);
  LaunchReport run(const VectorLaunch& launch);

  // Of every launch from now on, on chips with a memory system.
  void observe(TimelineSink sink);

 private:
  struct Machine;

  LaunchReport ideal(const LayerLaunch& launch) const;
  LaunchReport simulate(const LayerLaunch& launch);

  configs::ChipConfig chip_;
  std::unique_ptr<Machine> machine_;  // none with ideal memory
  // A launch always costs the same where nothing is left over from those before: no row that a bank holds
  // open, no weights fetched ahead.
  bool repeats_;
  std::map<std::vector<std::int64_t>, LaunchReport> known_;
};

}  // namespace kintsugi::array
