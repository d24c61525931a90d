#include "faults/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/diagnostics.h"
#include "common/random.h"
#include "common/text.h"
#include "faults/fault_map_io.h"

namespace kintsugi::faults {
namespace {

constexpr std::array<const char*, 6> kModelNames = {"iid", "exact", "clustered", "rows", "columns", "radial"};

void require(bool ok, const std::string& message) {
  if (!ok) throw common::InputError("fault-map sampler: error: " + message);
}

bool uses_lines(SampleModel model) {
  return model == SampleModel::rows || model == SampleModel::columns;
}

// What `faulty` and `rate` count: PEs, rows or columns.
std::int64_t population(const SampleSpec& spec) {
  if (spec.model == SampleModel::rows) return spec.rows;
  if (spec.model == SampleModel::columns) return spec.cols;
  return static_cast<std::int64_t>(spec.rows) * spec.cols;
}

void check_weights(const SiteWeights& weights) {
  double sum = 0;
  for (const double weight : weights) {
    require(std::isfinite(weight) && weight >= 0,
            fmt::format("a site's weight is {}, allowed is 0 or more", weight));
    sum += weight;
  }
  require(sum > 0, "all site weights are 0; give at least one site a weight above 0");
}

void check(const SampleSpec& spec) {
  for (const int size : {spec.rows, spec.cols})
    require(size >= 1 && size <= kMaxArrayDimension,
            fmt::format("an array of {}x{} PEs; rows and cols are 1 to {}", spec.rows, spec.cols,
                        kMaxArrayDimension));
  require(spec.accumulator_bits >= 16 && spec.accumulator_bits <= 32,
          fmt::format("accumulator_bits {}; allowed are 16 to 32", spec.accumulator_bits));
  require(spec.rate >= 0 && spec.rate <= 1,
          fmt::format("a rate of {}; it is a share of faulty PEs, 0 to 1", common::format_number(spec.rate)));
  if (spec.faulty) {
    require(spec.model == SampleModel::exact || uses_lines(spec.model),
            fmt::format("an exact number of faults goes with the models exact, rows and columns, not with {}",
                        to_string(spec.model)));
    require(*spec.faulty >= 0 && *spec.faulty <= population(spec),
            fmt::format("{} faulty {}; the array has {}", *spec.faulty,
                        uses_lines(spec.model) ? to_string(spec.model) : "PEs", population(spec)));
  }
  if (spec.model == SampleModel::clustered) {
    require(
        spec.clustering > 0 && spec.clustering <= 1e6,
        fmt::format("clustering {}; allowed is above 0, up to 1e6", common::format_number(spec.clustering)));
    require(spec.block >= 1, fmt::format("a block of {} PEs; allowed is 1 or more", spec.block));
    require(spec.rate < 1, "the clustered model needs a rate below 1");
  }
  if (spec.model == SampleModel::radial) {
    require(spec.edge_factor >= 1 && spec.edge_factor <= 1e6,
            fmt::format("edge factor {}; allowed is 1 (no gradient) to 1e6",
                        common::format_number(spec.edge_factor)));
    require(spec.die_size >= 0.005 && spec.die_size <= 1.4,
            fmt::format("die size {}; allowed is 0.005 to 1.4 wafer radii",
                        common::format_number(spec.die_size)));
    if (spec.die)
      require(std::hypot(spec.die->first, spec.die->second) <= 1,
              fmt::format(
                  "a die at ({}, {}) lies outside the wafer; coordinates are in wafer radii from its centre",
                  common::format_number(spec.die->first), common::format_number(spec.die->second)));
  }
  require(spec.escapes >= 0, fmt::format("{} escapes; allowed is 0 or more", spec.escapes));
  if (spec.sites) check_weights(*spec.sites);
}

// `count` distinct positions of 0 … n−1, all sets equally likely (Floyd's method would need a set; a partial
// shuffle is as short, and n is at most a million).
std::vector<std::int64_t> choose(std::int64_t n, std::int64_t count, common::RandomStream& random) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(n));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  for (std::int64_t i = 0; i < count; ++i)
    std::swap(all[i], all[i + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(n - i)))]);
  all.resize(static_cast<std::size_t>(count));
  return all;
}

// Faulty lines (rows, columns) or PEs by count or by independent trials.
std::vector<std::int64_t> faulty_of(const SampleSpec& spec, common::RandomStream& random) {
  const std::int64_t n = population(spec);
  if (spec.model == SampleModel::exact || spec.faulty) {
    const std::int64_t count = spec.faulty.value_or(std::llround(spec.rate * static_cast<double>(n)));
    return choose(n, count, random);
  }
  std::vector<std::int64_t> hit;
  for (std::int64_t i = 0; i < n; ++i)
    if (random.uniform() < spec.rate) hit.push_back(i);
  return hit;
}

std::vector<std::int64_t> clustered_pes(const SampleSpec& spec, common::RandomStream& random) {
  // A PE is faulty if at least one defect falls on it. Defects of a block are Poisson with mean μ·G per PE,
  // G ~ Gamma(α, 1/α); then P(PE fails) = 1 − E[exp(−μG)] = 1 − (1 + μ/α)^−α, which is set to `rate`.
  const double alpha = spec.clustering;
  const double mean = alpha * std::expm1(-std::log1p(-spec.rate) / alpha);
  std::vector<std::uint8_t> hit(static_cast<std::size_t>(population(spec)), 0);
  for (int top = 0; top < spec.rows; top += spec.block) {
    for (int left = 0; left < spec.cols; left += spec.block) {
      const int height = std::min(spec.block, spec.rows - top);
      const int width = std::min(spec.block, spec.cols - left);
      const double block_mean = mean * random.gamma(alpha) / alpha;
      // Independent Poisson counts per PE and one Poisson count thrown at random on the block are the same
      // thing; the former has no long loop where a block's rate is extreme.
      const double probability = -std::expm1(-block_mean);
      for (int r = top; r < top + height; ++r)
        for (int c = left; c < left + width; ++c)
          hit[static_cast<std::size_t>(r) * spec.cols + c] = random.uniform() < probability;
    }
  }
  std::vector<std::int64_t> pes;
  for (std::size_t i = 0; i < hit.size(); ++i)
    if (hit[i]) pes.push_back(static_cast<std::int64_t>(i));
  return pes;
}

struct WaferPlace {
  double x = 0, y = 0;
  std::uint64_t wafer = 0;
};

WaferPlace place_on_wafer(const SampleSpec& spec) {
  if (spec.die) return {spec.die->first, spec.die->second, 0};
  const auto dies = wafer_dies(spec.die_size);
  const auto& die = dies[spec.index % dies.size()];
  return {die.first, die.second, spec.index / dies.size()};
}

// p(ρ) = rate · (1 + (e − 1) ρ²) / (1 + (e − 1)/2): its mean over the wafer's disc is `rate`, since ρ²
// averages to 1/2 there.
double radial_rate(const SampleSpec& spec, double x, double y) {
  const double gain = spec.edge_factor - 1;
  return std::min(1.0, spec.rate * (1 + gain * (x * x + y * y)) / (1 + gain / 2));
}

std::vector<std::int64_t> radial_pes(const SampleSpec& spec, const WaferPlace& place, double& die_rate,
                                     common::RandomStream& random) {
  std::vector<std::int64_t> pes;
  double sum = 0;
  for (int r = 0; r < spec.rows; ++r) {
    const double y = place.y + ((r + 0.5) / spec.rows - 0.5) * spec.die_size;
    for (int c = 0; c < spec.cols; ++c) {
      const double x = place.x + ((c + 0.5) / spec.cols - 0.5) * spec.die_size;
      const double probability = radial_rate(spec, x, y);
      sum += probability;
      if (random.uniform() < probability) pes.push_back(static_cast<std::int64_t>(r) * spec.cols + c);
    }
  }
  die_rate = sum / static_cast<double>(population(spec));
  return pes;
}

StuckAt random_stuck_at(const SiteWeights& weights, int accumulator_bits, common::RandomStream& random) {
  double left = random.uniform() * std::accumulate(weights.begin(), weights.end(), 0.0);
  int site = -1;
  for (int i = 0; i < pe::kSites; ++i) {
    if (weights[i] <= 0) continue;
    site = i;  // the last site of any weight also takes what rounding leaves over
    if (left < weights[i]) break;
    left -= weights[i];
  }
  StuckAt stuck;
  stuck.site = static_cast<pe::Site>(site);
  stuck.bit =
      static_cast<int>(random.below(static_cast<std::uint64_t>(pe::site_bits(stuck.site, accumulator_bits))));
  stuck.value = static_cast<int>(random.below(2));
  return stuck;
}

std::string weights_text(const SiteWeights& weights) {
  std::string out;
  for (int i = 0; i < pe::kSites; ++i) {
    if (weights[i] <= 0) continue;
    out += fmt::format("{}{}: {}", out.empty() ? "" : ", ", to_string(static_cast<pe::Site>(i)),
                       common::format_number(weights[i]));
  }
  return "{" + out + "}";
}

}  // namespace

std::string to_string(SampleModel model) {
  return kModelNames[static_cast<std::size_t>(model)];
}

std::optional<SampleModel> sample_model_from(const std::string& word) {
  for (std::size_t i = 0; i < kModelNames.size(); ++i)
    if (word == kModelNames[i]) return static_cast<SampleModel>(i);
  return std::nullopt;
}

SiteWeights area_weights() {
  // weight_register, multiplier, adder, psum_register, activation_register. 40 flip-flops of psum and
  // activation are 16 %, so the 8 of the weight are 3 %; the rest by full adders of an 8×8 multiplier and a
  // 32-bit adder.
  return {3, 57, 24, 13, 3};
}

FaultMap sample(const SampleSpec& spec) {
  check(spec);
  common::RandomStream random(spec.seed, "fault-map", spec.index);
  FaultMap map;
  map.chip = spec.chip;
  map.rows = spec.rows;
  map.cols = spec.cols;

  const WaferPlace place = spec.model == SampleModel::radial ? place_on_wafer(spec) : WaferPlace{};
  double die_rate = 0;
  std::vector<std::int64_t> pes;
  switch (spec.model) {
    case SampleModel::iid:
    case SampleModel::exact:
      pes = faulty_of(spec, random);
      break;
    case SampleModel::clustered:
      pes = clustered_pes(spec, random);
      break;
    case SampleModel::rows:
      for (const std::int64_t row : faulty_of(spec, random))
        for (int c = 0; c < spec.cols; ++c) pes.push_back(row * spec.cols + c);
      break;
    case SampleModel::columns:
      for (const std::int64_t col : faulty_of(spec, random))
        for (int r = 0; r < spec.rows; ++r) pes.push_back(static_cast<std::int64_t>(r) * spec.cols + col);
      break;
    case SampleModel::radial:
      pes = radial_pes(spec, place, die_rate, random);
      break;
  }
  std::sort(pes.begin(), pes.end());

  const auto add = [&](std::int64_t pe, const std::optional<SiteWeights>& sites, bool escape) {
    Fault fault;
    fault.row = static_cast<int>(pe / spec.cols);
    fault.col = static_cast<int>(pe % spec.cols);
    if (sites) fault.stuck = random_stuck_at(*sites, spec.accumulator_bits, random);
    fault.escape = escape;
    map.faults.push_back(fault);
  };
  for (const std::int64_t pe : pes) add(pe, spec.sites, false);

  const std::int64_t all = static_cast<std::int64_t>(spec.rows) * spec.cols;
  const SiteWeights escape_sites = spec.sites.value_or(area_weights());
  if (spec.escapes > 0) {
    const std::int64_t healthy = all - static_cast<std::int64_t>(pes.size());
    require(spec.escapes <= healthy,
            fmt::format("{} escapes; {} PEs of {} are not faulty already", spec.escapes, healthy, spec.chip));
    std::vector<std::int64_t> left;
    for (std::int64_t pe = 0; pe < all; ++pe)
      if (!std::binary_search(pes.begin(), pes.end(), pe)) left.push_back(pe);
    for (const std::int64_t i : choose(healthy, spec.escapes, random)) add(left[i], escape_sites, true);
  }
  map.sort();

  // Everything needed to draw this map again.
  const double n = static_cast<double>(population(spec));
  const double nominal = spec.faulty ? static_cast<double>(*spec.faulty) / n : spec.rate;
  std::string& meta = map.meta;
  meta += fmt::format("sampler: {}\n", to_string(spec.model));
  if (spec.model == SampleModel::clustered)
    meta += fmt::format("clustering: {}\nblock: {}\n", common::format_number(spec.clustering), spec.block);
  if (spec.model == SampleModel::radial) {
    meta += fmt::format("edge_factor: {}\ndie_size: {}\n", common::format_number(spec.edge_factor),
                        common::format_number(spec.die_size));
    meta += fmt::format("wafer: {}\ndie_x: {}\ndie_y: {}\n", place.wafer, common::format_number(place.x),
                        common::format_number(place.y));
  }
  meta += fmt::format("seed: {}\nindex: {}\n", spec.seed, spec.index);
  if (spec.faulty) meta += fmt::format("faulty: {}\n", *spec.faulty);
  meta += fmt::format("nominal_rate: {}\n", common::format_number(nominal));
  if (spec.model == SampleModel::radial)
    meta += fmt::format("die_rate: {}\n", common::format_number(die_rate));
  meta += fmt::format("realised_rate: {}\n",
                      common::format_number(static_cast<double>(pes.size()) / static_cast<double>(all)));
  meta += fmt::format("sites: {}\n", spec.sites ? weights_text(*spec.sites) : "unknown");
  if (spec.escapes > 0)
    meta += fmt::format("escapes: {{count: {}, sites: {}}}\n", spec.escapes, weights_text(escape_sites));
  return map;
}

double sample_rate(double low, double high, bool log_uniform, std::uint64_t seed, std::uint64_t index) {
  require(low <= high && high <= 1 && (log_uniform ? low > 0 : low >= 0),
          fmt::format("a rate between {} and {}; the two are ascending, {} to 1", common::format_number(low),
                      common::format_number(high), log_uniform ? "above 0" : "0"));
  common::RandomStream random(seed, "fault-rate", index);
  const double u = random.uniform();
  return log_uniform ? std::clamp(low * std::exp(u * std::log(high / low)), low, high)
                     : low + u * (high - low);
}

SampleSpec chip_of_lot(const configs::SampleChips& config, const configs::ArrayConfig& array,
                       std::uint64_t seed, std::uint64_t index) {
  SampleSpec spec;
  spec.chip =
      fmt::format("chip-{:0{}}", index + 1, std::max<std::size_t>(4, std::to_string(config.count).size()));
  spec.rows = array.rows;
  spec.cols = array.cols;
  spec.accumulator_bits = array.accumulator_bits;
  spec.model = config.model;
  spec.faulty = config.faults;
  if (const auto* range = std::get_if<configs::Uniform>(&config.fault_rate))
    spec.rate = sample_rate(range->low, range->high, false, seed, index);
  else if (const auto* log_range = std::get_if<configs::LogUniform>(&config.fault_rate))
    spec.rate = sample_rate(log_range->low, log_range->high, true, seed, index);
  else
    spec.rate = std::get<double>(config.fault_rate);
  spec.clustering = config.clustering;
  spec.block = config.block;
  spec.edge_factor = config.edge_factor;
  spec.die_size = config.die_size;
  spec.die = config.die;
  if (const auto* weights = std::get_if<configs::SiteWeights>(&config.sites))
    spec.sites = *weights;
  else if (std::holds_alternative<configs::AreaSites>(config.sites))
    spec.sites = area_weights();
  spec.escapes = config.escapes;
  spec.seed = seed;
  spec.index = index;
  return spec;
}

std::vector<std::pair<double, double>> wafer_dies(double die_size) {
  std::vector<std::pair<double, double>> dies;
  const int reach = static_cast<int>(std::ceil(1 / die_size));
  for (int j = -reach; j <= reach; ++j) {
    for (int i = -reach; i <= reach; ++i) {
      const double x = i * die_size, y = j * die_size, half = die_size / 2;
      if (std::hypot(std::abs(x) + half, std::abs(y) + half) <= 1) dies.emplace_back(x, y);
    }
  }
  return dies;
}

}  // namespace kintsugi::faults
