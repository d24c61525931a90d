// Where the chips of a lot come from: the section `chips` of a campaign. Sampled lots are those of `kintsugi
// fault-map sample` with the same options; docs/fault-map.md says what these mean.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "configs/yaml_reader.h"

namespace kintsugi::configs {

enum class SampleModel {
  iid,        // every PE fails independently with probability `rate`
  exact,      // exactly `faulty` PEs (or rate·R·C, rounded to nearest), all sets equally likely
  clustered,  // negative binomial: blocks of PEs share a gamma-distributed rate
  rows,       // whole rows: each with probability `rate`, or exactly `faulty` of them
  columns,    // whole columns, likewise
  radial      // the rate grows with the square of the distance from the wafer's centre
};

struct Uniform {
  double low, high;
};
struct LogUniform {
  double low, high;
};

// What is wrong with a faulty PE.
struct UnknownSites {};
struct AreaSites {};
// Relative weights of weight register, multiplier, adder, psum register, activation register.
using SiteWeights = std::array<double, 5>;

struct SampleChips {
  int count = 0;
  std::variant<double, Uniform, LogUniform> fault_rate;
  std::optional<std::int64_t> faults;  // instead of fault_rate: faulty PEs, rows or columns of every chip
  SampleModel model = SampleModel::iid;
  double clustering = 2;                         // clustered
  int block = 16;                                // clustered
  double edge_factor = 4;                        // radial
  double die_size = 0.08;                        // radial
  std::optional<std::pair<double, double>> die;  // radial
  std::variant<UnknownSites, AreaSites, SiteWeights> sites;
  std::int64_t escapes = 0;
};
// A glob, resolved against the campaign file's folder.
struct FaultMapFiles {
  std::string pattern;
};
// The long CSV of a tester.
struct LotFile {
  std::filesystem::path path;
};
using ChipsConfig = std::variant<SampleChips, FaultMapFiles, LotFile>;

// Reads the section; problems go to the file's diagnostics.
ChipsConfig read_chips(Section chips);

}  // namespace kintsugi::configs
