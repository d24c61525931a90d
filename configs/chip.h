// A chip description (configs/chips/*.yaml) as a checked, immutable value.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "configs/memory.h"
#include "configs/timing.h"
#include "configs/yaml_reader.h"

namespace kintsugi::configs {

// fap: the multiplexer after the adder lets a PE pass its psum_in on. none: the chip has no such multiplexer.
enum class Bypass { fap, none };

// How a convolution becomes tiles. im2col: k = (ky·KW + kx)·Cin + ci cut into tiles of R rows. channel: the
// mapping of the FAP paper, k-tiles within each (ky, kx), so that a row always holds one input channel.
enum class ConvolutionMapping { im2col, channel };

struct ArrayConfig {
  int rows = 256;             // 1 … 1024
  int cols = 256;             // 1 … 1024
  int operand_bits = 8;       // 8 only, so far
  int accumulator_bits = 32;  // 16 … 32
  bool weight_double_buffer = true;
  Bypass bypass = Bypass::fap;
};

// Energies in picojoules per action. What counts as how many actions: docs/commands.md, "Energy".
struct EnergyConfig {
  double mac = 0;  // one multiply-accumulate at the array's operand width
  double register_byte = 0;
  double accumulator_byte = 0;
  double buffer_byte = 0;
  double dram_byte = 0;
};

struct ChipConfig {
  std::filesystem::path file;
  std::string name;
  ArrayConfig array;
  double clock_mhz = 700;  // that the chip runs at: of the operating point, if timing gives one
  ConvolutionMapping convolution = ConvolutionMapping::im2col;
  std::optional<MemoryConfig> memory;  // none: ideal, no stalls and accumulators of any depth
  std::optional<EnergyConfig> energy;
  std::optional<TimingConfig> timing;  // none: no PE is ever late
  // Resolved against the chip file's folder.
  std::optional<std::filesystem::path> fault_map;
  std::optional<std::filesystem::path> bypass_map;
};

// Throws common::InputError listing every problem of the file. A `dataflow` other than weight_stationary is
// refused with a message that says it does not exist yet.
ChipConfig read_chip(const std::filesystem::path& file, const Overrides& overrides = {});

// The same chip at another clock, or at another operating point: what `point` does not give stays as it is. A
// chip without timing has no voltage and no temperature: throws std::invalid_argument for them.
ChipConfig at_frequency(ChipConfig chip, double frequency_mhz);
ChipConfig at_point(ChipConfig chip, const OperatingPointConfig& point);

}  // namespace kintsugi::configs
