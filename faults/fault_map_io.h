// Fault maps in and out: one YAML file (plain or gzip) or one 0/1 CSV grid per chip; see docs/fault-map.md.
//
// Reading lists every problem at its line and column: keys, ranges, sites and bits that do not exist,
// duplicates, stuck-ats that contradict each other. Writing is deterministic, and what was written reads back
// as the same map, `meta:` to the letter.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "configs/yaml_reader.h"
#include "faults/fault_map.h"

namespace kintsugi::faults {

// What a map is checked against.
struct ArrayGeometry {
  int rows = 0;
  int cols = 0;
  int accumulator_bits = 32;  // bits of adder and psum_register, 16 … 32
};

inline constexpr int kMaxArrayDimension = 1024;

// Reads a map, in whichever of the formats its content is. A CSV grid gives a map named after the file, every
// 1 a fault of unknown nature. With `array`, also checks the map against it, in the same list of problems.
// `overrides` that start with "fault_map." apply to YAML. Throws common::InputError with all problems.
FaultMap read_fault_map(const std::filesystem::path& path,
                        const std::optional<ArrayGeometry>& array = std::nullopt,
                        const configs::Overrides& overrides = {});

// Checks a map that is already in memory: size, positions, bits, duplicates, contradictions. Throws
// common::InputError with all problems, at the places the faults were read from if they are known.
void check_against(const FaultMap& map, int rows, int cols, int accumulator_bits);

// The text of a map file. Faults stand in order, one a line.
std::string fault_map_yaml(const FaultMap& map);
// One line per row of the array, 1 where a PE is named. Sites, bits, escapes and meta have no place in it.
std::string fault_map_grid(const FaultMap& map);

// By name: *.yaml or *.yml, *.yaml.gz or *.yml.gz, *.csv or *.csv.gz (a grid). Atomic. Throws
// common::InputError for any other name.
void write_fault_map(const std::filesystem::path& path, const FaultMap& map);

}  // namespace kintsugi::faults
