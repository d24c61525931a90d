// Timing errors as the semantics read, cycle by cycle: a grid of PEs with their registers, moved once a
// cycle, and a table that says what enters the corner when. The witness of all engines; it shares with them
// the timing model and the operands' layout, and nothing else: schedule, tiles, history, gating, TE-Drop and
// the PE's arithmetic are written here.
#pragma once

#include <cstdint>
#include <vector>

#include "array/layer_shape.h"
#include "configs/chip.h"
#include "faults/array_faults.h"
#include "faults/chip_timing.h"

namespace kintsugi::test {

struct NaiveFlip {
  std::int64_t tile = 0, position = 0;
  int row = 0, col = 0;
  std::uint32_t mask = 0;
};

struct NaiveTimingCase {
  configs::ArrayConfig array;
  configs::ConvolutionMapping mapping = configs::ConvolutionMapping::im2col;
  std::int64_t chunk = 0;  // the longest m-chunk; 0: any
  faults::ArrayFaults faults;
  const faults::ChipTiming* timing = nullptr;
  std::uint64_t job_key = 0;
  std::vector<NaiveFlip> flips;
  array::LayerShape shape;
  const std::int8_t* activations = nullptr;
  const std::int8_t* weights = nullptr;
  // By tile: cycles that the sequencer waits before the load and before the stream; those beyond are 0.
  std::vector<int> load_stalls, stream_stalls;
};

struct NaiveTimingResult {
  std::vector<std::int32_t> accumulators;  // M×out_c
  std::vector<std::int64_t> late_words;    // by PE of at_risk
  std::int64_t dropped_products = 0;
};

NaiveTimingResult naive_timing(const NaiveTimingCase& c);

}  // namespace kintsugi::test
