#include "configs/memory_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "common/text.h"

namespace kintsugi::configs {
namespace {

constexpr std::int64_t kLargestBlock = std::int64_t{1} << 30;
constexpr double kMostPicojoules = 1e9;

std::int64_t power_of_two(Section& section, const std::string& name, std::int64_t low, std::int64_t high,
                          std::int64_t fallback) {
  const std::int64_t value = section.integer(name, low, high, fallback);
  if (std::has_single_bit(static_cast<std::uint64_t>(value))) return value;
  const std::uint64_t below = std::bit_floor(static_cast<std::uint64_t>(value));
  section.error(name, fmt::format("'{}' must be a power of two, but is {}; the nearest are {} and {}", name,
                                  value, below, 2 * below));
  return fallback;
}

RowBufferConfig read_row_buffer(Section section, std::int64_t burst_bytes) {
  RowBufferConfig config;
  config.banks = static_cast<int>(section.integer("banks", 1, 1024, config.banks));
  config.row_bytes = section.integer("row_bytes", 1, kLargestBlock, config.row_bytes);
  if (config.row_bytes % burst_bytes != 0)
    section.error("row_bytes",
                  fmt::format("'row_bytes' must be a multiple of 'burst_bytes', {}, but is {}; a burst lies "
                              "in one row",
                              burst_bytes, config.row_bytes));
  config.miss_ns = section.real("miss_ns", 0, 1e5, config.miss_ns);
  return config;
}

DramConfig read_dram(Section section) {
  DramConfig config;
  config.bandwidth_gb_s = section.real("bandwidth_gb_s", 0.001, 1e5);
  config.latency_ns = section.real("latency_ns", 0, 1e5, config.latency_ns);
  config.burst_bytes = power_of_two(section, "burst_bytes", 1, 65536, config.burst_bytes);
  if (auto rows = section.optional_section("row_buffer"))
    config.row_buffer = read_row_buffer(*rows, config.burst_bytes);
  return config;
}

DmaConfig read_dma(Section section, std::int64_t burst_bytes) {
  DmaConfig config;
  config.outstanding = static_cast<int>(section.integer("outstanding", 1, 65536, config.outstanding));
  config.transfer_bytes =
      power_of_two(section, "transfer_bytes", 1, kLargestBlock, std::max(config.transfer_bytes, burst_bytes));
  if (config.transfer_bytes < burst_bytes)
    section.error("transfer_bytes",
                  fmt::format("'transfer_bytes' must be at least 'burst_bytes', {}, but is {}; a transfer is "
                              "made of whole bursts",
                              burst_bytes, config.transfer_bytes));
  return config;
}

UnifiedBufferConfig read_unified_buffer(Section section) {
  UnifiedBufferConfig config;
  const double kib = section.real("size_kib", 0.001, 1e7, static_cast<double>(config.bytes) / 1024);
  config.bytes = std::llround(1024 * kib);
  config.bytes_per_cycle = section.integer("bytes_per_cycle", 1, 1 << 20, config.bytes_per_cycle);
  return config;
}

AccumulatorConfig read_accumulators(Section section) {
  AccumulatorConfig config;
  config.entries = section.integer("entries", 1, kLargestBlock, config.entries);
  config.double_buffer = section.boolean("double_buffer", config.double_buffer);
  if (config.double_buffer && config.entries < 2)
    section.error(
        "entries",
        "'entries' must be at least 2, one for each half; raise it, or write 'double_buffer: false'");
  return config;
}

// A number, or a mapping from operand widths to numbers.
double read_mac(Section& energy, int operand_bits) {
  if (!energy.raw("mac").IsMap()) return energy.real("mac", 0, kMostPicojoules);
  Section widths = *energy.optional_section("mac");
  bool found = false;
  double picojoules = 0;
  for (const std::string& key : widths.keys()) {
    const auto bits = common::parse_integer(key);
    const double value = widths.real(key, 0, kMostPicojoules);
    if (!bits || *bits < 1 || *bits > 64) {
      widths.error(
          key, fmt::format("the keys of 'mac' are operand widths, 1 to 64 bits, but this one is '{}'", key));
      continue;
    }
    if (*bits != operand_bits) continue;
    picojoules = value;
    found = true;
  }
  if (!found)
    widths.error(fmt::format("'mac' needs an entry for the array's operand_bits, {0}: '{0}: picojoules'",
                             operand_bits));
  return picojoules;
}

}  // namespace

std::optional<MemoryConfig> read_memory(Section& chip, const ArrayConfig& array) {
  const YAML::Node node = chip.raw("memory");
  if (!node.IsDefined()) return std::nullopt;
  if (!node.IsMap()) {
    if (!node.IsScalar() || node.Scalar() != "ideal")
      chip.error(
          "memory",
          fmt::format("'memory' must be ideal, or a mapping like {{dram: {{bandwidth_gb_s: 34}}}}, but "
                      "is {}",
                      node.IsScalar() ? "'" + node.Scalar() + "'" : "something else"));
    return std::nullopt;
  }
  Section memory = *chip.optional_section("memory");
  MemoryConfig config;
  config.dram = read_dram(memory.section("dram"));
  config.dma.transfer_bytes = std::max(config.dma.transfer_bytes, config.dram.burst_bytes);
  if (auto section = memory.optional_section("dma")) config.dma = read_dma(*section, config.dram.burst_bytes);
  if (auto section = memory.optional_section("unified_buffer"))
    config.unified_buffer = read_unified_buffer(*section);
  if (auto section = memory.optional_section("weight_fifo"))
    config.weight_fifo_tiles = static_cast<int>(section->integer("tiles", 1, 1024, config.weight_fifo_tiles));
  if (auto section = memory.optional_section("accumulators"))
    config.accumulators = read_accumulators(*section);
  config.activation_unit_width = array.cols;
  if (auto section = memory.optional_section("activation_unit"))
    config.activation_unit_width =
        section->integer("elements_per_cycle", 1, 1 << 20, config.activation_unit_width);
  config.layer_overlap = memory.boolean("layer_overlap", config.layer_overlap);
  return config;
}

std::optional<EnergyConfig> read_energy(Section& chip, const ArrayConfig& array) {
  auto energy = chip.optional_section("energy");
  if (!energy) return std::nullopt;
  std::string missing;
  for (const char* key : {"mac", "register_byte", "accumulator_byte", "buffer_byte", "dram_byte"})
    if (!energy->has(key)) missing += fmt::format("{}'{}'", missing.empty() ? "" : ", ", key);
  if (!missing.empty()) {
    energy->error(
        fmt::format("'energy' lacks {}; a table of energies is given whole, each a number of picojoules, or "
                    "not at all",
                    missing));
  }
  const auto read = [&](const char* key) {
    return energy->has(key) ? energy->real(key, 0, kMostPicojoules) : 0;
  };
  EnergyConfig config;
  if (energy->has("mac")) config.mac = read_mac(*energy, array.operand_bits);
  config.register_byte = read("register_byte");
  config.accumulator_byte = read("accumulator_byte");
  config.buffer_byte = read("buffer_byte");
  config.dram_byte = read("dram_byte");
  return config;
}

}  // namespace kintsugi::configs
