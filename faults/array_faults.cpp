#include "faults/array_faults.h"

#include <fmt/format.h>

#include <numeric>
#include <stdexcept>

#include "common/diagnostics.h"

namespace kintsugi::faults {
namespace {

std::string chip_name(const FaultMap& map) {
  return map.chip.empty() ? "(unnamed chip)" : map.chip;
}

void require_size(const FaultMap& map, const char* what, int rows, int cols) {
  if (map.rows == rows && map.cols == cols) return;
  throw common::InputError(
      fmt::format("{} of {} is for an array of {}x{} PEs, the chip's array has {}x{}; use the map of this "
                  "chip, or a chip "
                  "description with array: {{rows: {}, cols: {}}}",
                  what, chip_name(map), map.rows, map.cols, rows, cols, map.rows, map.cols));
}

// "file:line:column: error: " where the fault was read, or a place in the map.
std::string place(const FaultMap& map, const Fault& fault) {
  if (!fault.where.file.empty()) return common::to_string(fault.where) + ": error: ";
  return fmt::format("fault map of {}: ", chip_name(map));
}

void mark(std::vector<std::uint8_t>& bits, const FaultMap& map) {
  for (const Fault& fault : map.faults)
    if (!fault.escape) bits[static_cast<std::size_t>(fault.row) * map.cols + fault.col] = 1;
}

// Maps built in memory have not been through the reader's checks.
void require_positions(const FaultMap& map) {
  for (const Fault& fault : map.faults)
    if (fault.row < 0 || fault.row >= map.rows || fault.col < 0 || fault.col >= map.cols)
      throw common::InputError(fmt::format("{}row {}, col {} is outside the array of {}x{} PEs",
                                           place(map, fault), fault.row, fault.col, map.rows, map.cols));
}

}  // namespace

std::int64_t ArrayFaults::bypassed_pes() const {
  return std::accumulate(bypass.begin(), bypass.end(), std::int64_t{0});
}

ArrayFaults fault_free(int rows, int cols) {
  ArrayFaults out;
  out.rows = rows;
  out.cols = cols;
  out.bypass.assign(static_cast<std::size_t>(rows) * cols, 0);
  return out;
}

std::vector<std::uint8_t> bypass_bits(const FaultMap& physical, BypassSource source,
                                      const FaultMap* bypass_map) {
  std::vector<std::uint8_t> bits(static_cast<std::size_t>(physical.rows) * physical.cols, 0);
  switch (source) {
    case BypassSource::fault_map:
      require_positions(physical);
      mark(bits, physical);
      break;
    case BypassSource::bypass_map:
      if (bypass_map == nullptr) throw std::logic_error("BypassSource::bypass_map without a bypass map");
      require_size(*bypass_map, "the bypass map", physical.rows, physical.cols);
      require_positions(*bypass_map);
      mark(bits, *bypass_map);
      break;
    case BypassSource::none:
      break;
  }
  return bits;
}

ArrayFaults compile(const FaultMap& physical, BypassSource source, const FaultMap* bypass_map, int rows,
                    int cols, int accumulator_bits) {
  require_size(physical, "the fault map", rows, cols);
  require_positions(physical);
  ArrayFaults out = fault_free(rows, cols);
  out.bypass = bypass_bits(physical, source, bypass_map);

  FaultMap sorted = physical;
  sorted.sort();
  std::int64_t uncomputable = 0;
  const Fault* first_uncomputable = nullptr;
  for (std::size_t i = 0; i < sorted.faults.size();) {
    FaultyPe pe{sorted.faults[i].row, sorted.faults[i].col, {}};
    const bool bypassed = out.bypassed(pe.row, pe.col);
    bool unknown = false;
    for (; i < sorted.faults.size() && sorted.faults[i].row == pe.row && sorted.faults[i].col == pe.col;
         ++i) {
      const Fault& fault = sorted.faults[i];
      if (!fault.stuck) {
        if (!bypassed && !unknown && ++uncomputable == 1) first_uncomputable = &fault;
        unknown = true;
        continue;
      }
      const int bits = pe::site_bits(fault.stuck->site, accumulator_bits);
      if (fault.stuck->bit < 0 || fault.stuck->bit >= bits) {
        throw common::InputError(fmt::format(
            "{}row {}, col {}: {} has bits 0 to {} on this chip, found bit {}", place(sorted, fault),
            fault.row, fault.col, to_string(fault.stuck->site), bits - 1, fault.stuck->bit));
      }
      pe.hooks[fault.stuck->site].stick(fault.stuck->bit, fault.stuck->value);
    }
    ++out.named_faulty;
    if (unknown && bypassed) ++out.assumed_maskable;
    if (!pe.hooks.identity()) out.faulty.push_back(pe);
  }
  if (uncomputable > 0) {
    throw common::InputError(
        fmt::format("{}row {}, col {} has a fault of unknown nature and is not bypassed{}, so there are no "
                    "bits to compute; "
                    "bypass it, give the fault a site, bit and stuck_at, or reject the chip",
                    place(sorted, *first_uncomputable), first_uncomputable->row, first_uncomputable->col,
                    uncomputable > 1 ? fmt::format(" (as are {} more PEs)", uncomputable - 1) : ""));
  }
  return out;
}

}  // namespace kintsugi::faults
