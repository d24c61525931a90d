// Random fault maps: how many PEs are faulty, where they lie, and what is wrong with them.
//
// A map is fixed by its specification, seed and index alone (stream "fault-map"), and its `meta` records all
// of them with the nominal and the realised rate. Models and sources: docs/fault-map.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "configs/chip.h"
#include "configs/chip_lot.h"
#include "faults/fault_map.h"

namespace kintsugi::faults {

using configs::SampleModel;
std::string to_string(SampleModel model);
std::optional<SampleModel> sample_model_from(const std::string& word);

// Relative weight of each site, by pe::Site; not all zero.
using configs::SiteWeights;

// Weights in proportion to an estimate of the synthesised PE's area: the psum and activation registers take
// about 16 %, the multiplier somewhat more than twice the adder.
SiteWeights area_weights();

struct SampleSpec {
  std::string chip = "chip-0001";
  int rows = 0;
  int cols = 0;
  int accumulator_bits = 32;
  SampleModel model = SampleModel::iid;
  double rate = 0;                     // expected faulty PEs / (R·C), 0 … 1
  std::optional<std::int64_t> faulty;  // exact: PEs; rows, columns: lines. Instead of `rate`
  double clustering = 2;               // clustered: α of the negative binomial, > 0; large = i.i.d.
  int block = 16;                      // clustered: side of a block, in PEs
  double edge_factor = 4;              // radial: rate at the wafer's edge / rate at its centre, ≥ 1
  double die_size = 0.08;              // radial: side of a die, in wafer radii
  std::optional<std::pair<double, double>> die;  // radial: centre of the die, in wafer radii from the wafer's
                                                 // centre; default: the die number `index` of the wafer
  std::optional<SiteWeights> sites;              // nullopt: nature unknown; else one random stuck-at per PE
  std::int64_t escapes = 0;                      // live, undetected faulty PEs beside the others
  std::uint64_t seed = 1;
  std::uint64_t index = 0;  // number of the chip in its lot
};

// Throws common::InputError for values outside the ranges above, and for more faulty PEs than there are.
// Escapes are never of unknown nature: without `sites` they take area_weights().
FaultMap sample(const SampleSpec& spec);

// A rate for chip `index` of a lot: uniform, or log-uniform, in low … high (stream "fault-rate").
double sample_rate(double low, double high, bool log_uniform, std::uint64_t seed, std::uint64_t index);

// Chip `index` (from 0) of a lot of `config.count`, named as `kintsugi fault-map sample` names it.
SampleSpec chip_of_lot(const configs::SampleChips& config, const configs::ArrayConfig& array,
                       std::uint64_t seed, std::uint64_t index);

// Centres of all whole dies on a wafer of radius 1, row by row.
std::vector<std::pair<double, double>> wafer_dies(double die_size);

}  // namespace kintsugi::faults
