// Everything an overclocking campaign starts from, read and checked: chip, network, images, and the points of
// its sweep.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "configs/chip.h"
#include "configs/network.h"
#include "configs/overclock.h"
#include "faults/array_faults.h"
#include "faults/chip_timing.h"
#include "sim/manifest.h"
#include "workloads/dataset.h"
#include "workloads/network.h"

namespace kintsugi::sim {

// One point of the sweep.
struct OverclockPoint {
  std::string name;          // of its files: "875_mhz", "1.6_v", "1e-05_ber"
  std::string label;         // for people: "875 MHz"
  double value = 0;          // as in the campaign file
  configs::ChipConfig chip;  // running there
  // Of the chip's delays; absent in a sweep of bit error rates.
  std::optional<double> voltage_v;
  std::optional<double> relative_period;          // T/Tmin of a PE without variation
  std::optional<double> slowest_relative_period;  // of the slowest PE
  std::optional<std::int64_t> pes_at_risk;
};

struct OverclockInputs {
  configs::OverclockConfig config;
  configs::ChipConfig chip;
  configs::NetworkConfig network_config;
  workloads::Network network;
  workloads::ImageSet training;
  workloads::ImageSet held_out;  // of the training images: for calibration
  workloads::ImageSet decision;  // those of held_out that decisions are made on
  workloads::ImageSet test;
  bool test_is_cut = false;    // see sim/image_sets.h
  faults::ArrayFaults faults;  // permanent ones, of the chip description
  std::vector<OverclockPoint> points;
  std::optional<double> nominal_voltage_v;  // of the chip's energies, where its timing knows voltages
  std::string delays_from;                  // where the timing errors come from, in words
  std::uint64_t seed = 1;
  std::string chip_settings;  // what --set changed in the chip description

  // Index of a layer by name.
  std::size_t stage(const std::string& name) const;
};

// Throws common::InputError for anything that would stop the campaign later on.
OverclockInputs load_overclock(const std::filesystem::path& file, const configs::Overrides& overrides,
                               std::uint64_t seed, const std::filesystem::path& data_dir);

// The timing errors at a point; of the chip, or of another one of the same make (the variation sampled from,
// or the random errors drawn from, that seed).
std::shared_ptr<const faults::ChipTiming> timing_at(const OverclockInputs& inputs, std::size_t point,
                                                    std::optional<std::uint64_t> other_chip = std::nullopt);

// In a fixed order.
std::vector<ManifestEntry> manifest_of(const OverclockInputs& inputs);

}  // namespace kintsugi::sim
