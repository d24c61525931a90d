// A netlist at one sample time as a list of operations on bit planes: what the executors run. One bit of
// every plane belongs to one pair of cycles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "faults/netlist_grid.h"
#include "faults/netlist_logic.h"

namespace kintsugi::faults {

// slots[out] = the function of three slots. Operations that need fewer name one twice.
struct PlaneOperation {
  std::uint32_t out = 0, a = 0, b = 0, c = 0;
};

// Successive operations of the same function: bit 4·a + 2·b + c of `truth` is its value.
struct PlaneRun {
  std::uint8_t truth = 0;
  std::uint32_t begin = 0, end = 0;  // of Program::operations
};

// A slot that holds a bit of what the PEs compute with before the first operation.
struct PlaneInput {
  Operand operand = Operand::activation;
  bool before = false;  // of the previous cycle
  int bit = 0;
  std::uint32_t slot = 0;
};

// A slot that holds the error of a bit of the psum after the last operation.
struct PlaneError {
  int bit = 0;
  std::uint32_t slot = 0;
};

struct Program {
  std::vector<PlaneInput> inputs;
  std::vector<PlaneOperation> operations;
  std::vector<PlaneRun> runs;
  std::vector<PlaneError> errors;
  std::uint32_t slots = 0;
  // A pair of cycles in which none of these bits changes cannot err: all that changes arrives in time.
  std::uint8_t late_activation = 0, late_weight = 0;
  std::uint32_t late_psum = 0;
};

// What a flip-flop captures differently when the clock comes period_ps after the launch.
Program compile_program(const TimeGrid& grid, double period_ps);

// The graph's named literals as operations on slots. inputs[i].slot and errors[i].slot are not set yet.
struct LogicOutputs {
  std::vector<std::pair<PlaneInput, Literal>> inputs;
  std::vector<std::pair<int, Literal>> errors;  // by bit
};
Program map_to_operations(const LogicGraph& graph, const LogicOutputs& outputs);

}  // namespace kintsugi::faults
