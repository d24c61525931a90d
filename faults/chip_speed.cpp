#include "faults/chip_speed.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <stdexcept>

#include "common/diagnostics.h"
#include "common/text.h"
#include "faults/delay_map.h"
#include "faults/netlist_model.h"
#include "faults/table_model.h"
#include "faults/timed_netlist.h"
#include "faults/variation.h"

namespace kintsugi::faults {
namespace {

using common::format_number;
using common::InputError;

constexpr double kPicosecondsMhz = 1e6;  // period in ps · clock in MHz
// A PE whose share of Tmin is 1 up to rounding is on time.
constexpr double kRounding = 1e-12;
constexpr double kTableNominalC = 25;
// Of the supply, where nobody gives a threshold voltage.
constexpr double kThresholdShare = 0.25;
constexpr double kAbsoluteZero = -273.15;

// Effective periods in steps of a bin's width.
struct Bins {
  double width = ChipSpeed::kBinWidth;

  explicit Bins(double least_period) {
    const double widths = (1 - least_period) / (ChipSpeed::kBinWidth * ChipSpeed::kMostBins);
    width *= std::max(1.0, std::ceil(widths - kRounding));
  }
  int step_of(double period) const { return static_cast<int>(std::floor(period / width + 1e-9)); }
};

}  // namespace

struct ChipSpeed::Impl {
  configs::ChipConfig chip;
  OperatingPoint nominal, configured;
  bool has_delays = false;
  // Of netlists: on the netlist's own scale.
  std::shared_ptr<const TimedNetlist> netlist;
  double netlist_tmin_ps = 0;
  std::shared_ptr<const ErrorTable> error_table;  // of tables

  // Without a known supply the law is that of a chip at its nominal one, whatever that is.
  AlphaPowerLaw law;
  bool supply_known = false;
  Variation variation;           // empty unless sampled
  std::vector<double> measured;  // empty unless measured
  double tmin_ps = 0;
  std::string delays_from, process;
  std::optional<double> guard_band;

  explicit Impl(const configs::ChipConfig& description);
  void read_netlist(const configs::NetlistTiming& config);
  void set_law(const configs::VoltageScaling& scaling);
  void set_variation(const configs::VariationConfig& config);
  void set_tmin();

  const configs::TimingConfig& timing() const { return *chip.timing; }
  std::size_t pes() const { return static_cast<std::size_t>(chip.array.rows) * chip.array.cols; }
  void require_delays() const {
    if (!has_delays) throw std::logic_error("the PEs of this chip have no delays");
  }
  void check_point(double voltage_v, double temperature_c) const;
  // Of a PE with these, relative to the mean.
  double relative_delay(double voltage_v, double temperature_c, double threshold, double length) const;
  double fresh_factor(std::size_t pe, double voltage_v, double temperature_c) const;
  std::vector<double> factors(double voltage_v, double temperature_c) const;
  double greatest_factor(double voltage_v, double temperature_c) const {
    const std::vector<double> all = factors(voltage_v, temperature_c);
    return *std::max_element(all.begin(), all.end());
  }
  // Clock period / Tmin of a PE with this delay factor.
  double period_of(double frequency_mhz, double factor) const {
    return kPicosecondsMhz / frequency_mhz / (factor * tmin_ps);
  }
  std::shared_ptr<const TimingModel> model(const std::vector<double>& periods) const;
};

ChipSpeed::Impl::Impl(const configs::ChipConfig& description) : chip(description) {
  nominal.frequency_mhz = configured.frequency_mhz = chip.clock_mhz;
  if (!chip.timing) return;
  nominal.frequency_mhz = timing().nominal_clock_mhz;
  if (std::holds_alternative<configs::RandomTiming>(timing().model)) return;
  has_delays = true;
  if (const auto* config = std::get_if<configs::NetlistTiming>(&timing().model)) {
    read_netlist(*config);
  } else {
    const auto& table = std::get<configs::TableTiming>(timing().model);
    delays_from = "table " + table.table.filename().string();
    guard_band = table.guard_band;
    error_table = std::make_shared<const ErrorTable>(read_error_table(table.table));
  }
  set_law(timing().scaling);
  set_variation(timing().variation);
  set_tmin();
}

void ChipSpeed::Impl::read_netlist(const configs::NetlistTiming& config) {
  netlist = std::make_shared<const TimedNetlist>(read_timed_netlist(config.netlist));
  const configs::ArrayConfig& array = chip.array;
  if (netlist->accumulator_bits != array.accumulator_bits || netlist->operand_bits != array.operand_bits)
    throw InputError(
        {config.netlist.string()},
        fmt::format(
            "this PE multiplies {} bits and adds {}, but the array of chip '{}' multiplies {} and adds "
            "{}; take the timing file of a PE of that width ('kintsugi timing import' makes one), or "
            "change 'operand_bits' and 'accumulator_bits' of the chip",
            netlist->operand_bits, netlist->accumulator_bits, chip.name, array.operand_bits,
            array.accumulator_bits));
  netlist_tmin_ps = slowest_path_ps(*netlist);
  delays_from = "netlist " + netlist->name;
  process = netlist->process;
  if (config.tmin_at_clock) guard_band = config.guard_band;
}

void ChipSpeed::Impl::set_law(const configs::VoltageScaling& scaling) {
  nominal.voltage_v = scaling.nominal_v.value_or(netlist ? netlist->voltage_v : 0);
  supply_known = nominal.voltage_v > 0;
  law.nominal_v = supply_known ? nominal.voltage_v : 1;
  law.nominal_c = scaling.nominal_c.value_or(netlist ? netlist->temperature_c : kTableNominalC);
  law.threshold_v = scaling.threshold_v.value_or(kThresholdShare * law.nominal_v);
  law.alpha = scaling.alpha;
  if (supply_known && law.threshold_v >= law.nominal_v)
    throw InputError({chip.file.string()},
                     fmt::format("'threshold_v' is {} V, but the nominal supply is {} V; it must be below",
                                 format_number(law.threshold_v), format_number(law.nominal_v)));
  nominal.temperature_c = law.nominal_c;
  const configs::OperatingPointConfig& point = timing().operating_point;
  configured.voltage_v = point.voltage_v.value_or(nominal.voltage_v);
  configured.temperature_c = point.temperature_c.value_or(nominal.temperature_c);
}

void ChipSpeed::Impl::set_variation(const configs::VariationConfig& config) {
  const configs::ArrayConfig& array = chip.array;
  if (const auto* sampled = std::get_if<configs::SampledVariation>(&config)) {
    variation = sample_variation(*sampled, array.rows, array.cols);
    if (*std::ranges::min_element(variation.length) <= 0)
      throw InputError(
          {chip.file.string()},
          "with this 'variation' some PE's channel length would be below zero; lower 'vth_sigma' or "
          "'leff_sigma_ratio'");
  } else if (const auto* map = std::get_if<configs::MeasuredVariation>(&config)) {
    measured = read_delay_map(map->delay_map, array.rows, array.cols);
  }
}

void ChipSpeed::Impl::set_tmin() {
  const auto fit = [&](double band, configs::FittedPe fitted) {
    double factor = 1;
    if (fitted == configs::FittedPe::slowest) {
      check_point(nominal.voltage_v, nominal.temperature_c);
      factor = 0;
      for (std::size_t pe = 0; pe < pes(); ++pe)
        factor = std::max(factor, fresh_factor(pe, nominal.voltage_v, nominal.temperature_c));
    }
    return kPicosecondsMhz / nominal.frequency_mhz / ((1 + band) * factor);
  };
  if (const auto* config = std::get_if<configs::NetlistTiming>(&timing().model)) {
    tmin_ps = config->tmin_at_clock ? fit(config->guard_band, config->fitted) : netlist_tmin_ps;
  } else {
    const auto& table = std::get<configs::TableTiming>(timing().model);
    tmin_ps = fit(table.guard_band, table.fitted);
  }
}

void ChipSpeed::Impl::check_point(double voltage_v, double temperature_c) const {
  if (temperature_c <= kAbsoluteZero)
    throw InputError(fmt::format("a temperature must be above {} C, but is {}", format_number(kAbsoluteZero),
                                 format_number(temperature_c)));
  if (!supply_known) {
    if (voltage_v == nominal.voltage_v) return;
    throw InputError(
        {chip.file.string()},
        fmt::format("the chip's delays are not said to hold for any supply, so that nothing is known "
                    "of {} V; add 'scaling: {{nominal_v: volts}}' to 'timing'",
                    format_number(voltage_v)));
  }
  double threshold = law.threshold_v;
  if (!variation.threshold.empty())
    threshold *= std::max(1.0, *std::ranges::max_element(variation.threshold));
  if (voltage_v <= threshold)
    throw InputError(fmt::format(
        "at {} V the PE with the highest threshold voltage of chip '{}', {:.3f} V, does not switch at all; "
        "raise the supply",
        format_number(voltage_v), chip.name, threshold));
}

double ChipSpeed::Impl::relative_delay(double voltage_v, double temperature_c, double threshold,
                                       double length) const {
  return law.relative_delay(supply_known ? voltage_v : law.nominal_v, temperature_c,
                            threshold * law.threshold_v, length);
}

// Before ageing.
double ChipSpeed::Impl::fresh_factor(std::size_t pe, double voltage_v, double temperature_c) const {
  if (!variation.threshold.empty())
    return relative_delay(voltage_v, temperature_c, variation.threshold[pe], variation.length[pe]);
  return (measured.empty() ? 1.0 : measured[pe]) * relative_delay(voltage_v, temperature_c, 1, 1);
}

std::vector<double> ChipSpeed::Impl::factors(double voltage_v, double temperature_c) const {
  require_delays();
  check_point(voltage_v, temperature_c);
  std::vector<double> all(pes());
  for (std::size_t pe = 0; pe < all.size(); ++pe)
    all[pe] = timing().ageing_factor * fresh_factor(pe, voltage_v, temperature_c);
  return all;
}

std::shared_ptr<const TimingModel> ChipSpeed::Impl::model(const std::vector<double>& periods) const {
  if (error_table) return std::make_shared<TableModel>(*error_table, periods, chip.array.accumulator_bits);
  const auto& config = std::get<configs::NetlistTiming>(timing().model);
  std::vector<double> periods_ps;
  for (const double period : periods) periods_ps.push_back(period * netlist_tmin_ps);
  return std::make_shared<NetlistModel>(netlist, config.step_ps, std::move(periods_ps));
}

ChipSpeed::ChipSpeed(const configs::ChipConfig& chip) : impl_(std::make_shared<const Impl>(chip)) {}

const OperatingPoint& ChipSpeed::configured() const {
  return impl_->configured;
}

const OperatingPoint& ChipSpeed::nominal() const {
  return impl_->nominal;
}

bool ChipSpeed::has_delays() const {
  return impl_->has_delays;
}

std::shared_ptr<const ChipTiming> ChipSpeed::at(const OperatingPoint& point) const {
  const configs::ChipConfig& chip = impl_->chip;
  auto timing = std::make_shared<ChipTiming>();
  timing->rows = chip.array.rows;
  timing->cols = chip.array.cols;
  if (!chip.timing) return timing;
  timing->seed = chip.timing->seed;
  if (const auto* random = std::get_if<configs::RandomTiming>(&chip.timing->model)) {
    timing->random = {random->activation_rate, random->weight_rate, random->psum_rate, random->output_rate};
    return timing;
  }
  if (chip.timing->mitigation == configs::TimingMitigation::te_drop) timing->mitigation = Mitigation::te_drop;

  std::vector<double> periods = impl_->factors(point.voltage_v, point.temperature_c);
  for (double& period : periods) period = impl_->period_of(point.frequency_mhz, period);
  const double least = *std::ranges::min_element(periods);
  if (least < kLeastPeriod) {
    throw InputError(
        fmt::format("at {} MHz the slowest PE of chip '{}' would have {:.3f} of its Tmin; below {} nothing "
                    "is known about its "
                    "errors, so lower the clock to {:.0f} MHz, or raise the supply",
                    format_number(point.frequency_mhz), chip.name, least, kLeastPeriod,
                    std::floor(point.frequency_mhz * least / kLeastPeriod)));
  }
  const Bins bins(least);
  std::map<int, int> bin_of;  // step -> bin
  for (const double period : periods)
    if (period < 1 - kRounding) bin_of[bins.step_of(period)] = 0;
  if (bin_of.empty()) return timing;
  std::vector<double> bin_periods;
  for (auto& [step, bin] : bin_of) {
    bin = static_cast<int>(bin_periods.size());
    bin_periods.push_back(step * bins.width);
  }
  for (std::size_t pe = 0; pe < periods.size(); ++pe) {
    if (periods[pe] >= 1 - kRounding) continue;
    const int row = static_cast<int>(pe / chip.array.cols), col = static_cast<int>(pe % chip.array.cols);
    timing->at_risk.push_back({row, col, bin_of.at(bins.step_of(periods[pe]))});
  }
  timing->model = impl_->model(bin_periods);
  return timing;
}

double ChipSpeed::relative_period(const OperatingPoint& point) const {
  impl_->require_delays();
  impl_->check_point(point.voltage_v, point.temperature_c);
  return impl_->period_of(
      point.frequency_mhz,
      impl_->timing().ageing_factor * impl_->relative_delay(point.voltage_v, point.temperature_c, 1, 1));
}

double ChipSpeed::slowest_relative_period(const OperatingPoint& point) const {
  return impl_->period_of(point.frequency_mhz, impl_->greatest_factor(point.voltage_v, point.temperature_c));
}

double ChipSpeed::tmin_ps() const {
  impl_->require_delays();
  return impl_->tmin_ps;
}

double ChipSpeed::delay_factor(int row, int col, double voltage_v, double temperature_c) const {
  impl_->require_delays();
  impl_->check_point(voltage_v, temperature_c);
  const std::size_t pe = static_cast<std::size_t>(row) * impl_->chip.array.cols + col;
  return impl_->timing().ageing_factor * impl_->fresh_factor(pe, voltage_v, temperature_c);
}

std::vector<double> ChipSpeed::delay_factors(double voltage_v, double temperature_c) const {
  return impl_->factors(voltage_v, temperature_c);
}

std::vector<double> ChipSpeed::fresh_factors() const {
  impl_->require_delays();
  std::vector<double> factors(impl_->pes());
  for (std::size_t pe = 0; pe < factors.size(); ++pe)
    factors[pe] = impl_->fresh_factor(pe, impl_->nominal.voltage_v, impl_->nominal.temperature_c);
  return factors;
}

std::vector<PeDelay> ChipSpeed::slowest(double voltage_v, double temperature_c, std::size_t most) const {
  const std::vector<double> factors = impl_->factors(voltage_v, temperature_c);
  std::vector<std::size_t> order(factors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  most = std::min(most, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end(),
                    [&](std::size_t a, std::size_t b) {
                      return factors[a] != factors[b] ? factors[a] > factors[b] : a < b;
                    });
  std::vector<PeDelay> slowest;
  const auto cols = static_cast<std::size_t>(impl_->chip.array.cols);
  for (std::size_t i = 0; i < most; ++i)
    slowest.push_back(
        {static_cast<int>(order[i] / cols), static_cast<int>(order[i] % cols), factors[order[i]]});
  return slowest;
}

double ChipSpeed::first_failure_mhz(double voltage_v, double temperature_c) const {
  return kPicosecondsMhz / (impl_->greatest_factor(voltage_v, temperature_c) * impl_->tmin_ps);
}

std::int64_t ChipSpeed::at_risk(const OperatingPoint& point) const {
  const std::vector<double> factors = impl_->factors(point.voltage_v, point.temperature_c);
  return std::ranges::count_if(
      factors, [&](double factor) { return impl_->period_of(point.frequency_mhz, factor) < 1 - kRounding; });
}

const std::string& ChipSpeed::delays_from() const {
  return impl_->delays_from;
}

const std::string& ChipSpeed::process() const {
  return impl_->process;
}

std::optional<double> ChipSpeed::guard_band() const {
  return impl_->guard_band;
}

}  // namespace kintsugi::faults
