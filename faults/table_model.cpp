#include "faults/table_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "common/files.h"
#include "common/text.h"

namespace kintsugi::faults {
namespace {

using common::format_number;

constexpr const char* kHeader = "period_relative,operand_class,bit,probability";
constexpr const char* kColumns[] = {"period_relative", "operand_class", "bit", "probability"};
constexpr const char* kClasses[] = {"product_unchanged", "sign_change", "weight_negative", "weight_positive",
                                    "all"};
constexpr int kAll = kOperandClasses;  // its place in kClasses

class TableReader {
 public:
  explicit TableReader(const std::filesystem::path& file) : file_(file.string()) {
    std::string text = common::read_file_maybe_gzip(file);
    diagnostics_.add_source(file_, text);
    records_ = common::parse_csv(text, file_, diagnostics_);
  }

  ErrorTable read() {
    const auto headed = [&] {
      return records_[0].cells.size() == 4 &&
             std::equal(records_[0].cells.begin(), records_[0].cells.end(), std::begin(kColumns),
                        [](const common::CsvCell& cell, const char* name) { return cell.text == name; });
    };
    if (records_.empty() || !headed())
      diagnostics_.error({file_, records_.empty() ? 0 : records_[0].line, records_.empty() ? 0 : 1},
                         fmt::format("a table of error probabilities begins with the line '{}'", kHeader));
    else if (records_.size() == 1)
      diagnostics_.error({file_}, fmt::format("the table has no lines; add some of the form '{}'", kHeader));
    diagnostics_.throw_if_any();
    for (std::size_t i = 1; i < records_.size(); ++i) take(records_[i]);
    diagnostics_.throw_if_any();
    return table();
  }

 private:
  struct Place {
    double period = 0;
    int bit = 0, which = 0;
    friend auto operator<=>(const Place&, const Place&) = default;
  };

  void error(const common::CsvRow& record, std::size_t cell, const std::string& text) {
    diagnostics_.error({file_, record.line, record.cells[cell].column}, text);
  }

  void take(const common::CsvRow& record) {
    if (record.cells.size() != 4) {
      diagnostics_.error({file_, record.line, 1}, fmt::format("a line has 4 cells, {}, but this one has {}",
                                                              kHeader, record.cells.size()));
      return;
    }
    const auto period = common::parse_real(record.cells[0].text);
    if (!period || !(*period > 0 && *period < 1))
      error(record, 0,
            fmt::format(
                "period_relative is the clock's period divided by the PE's slowest path, above 0 and below 1 "
                "(at 1 a PE is on time), but this is '{}'",
                record.cells[0].text));
    const auto* const name = std::ranges::find(kClasses, record.cells[1].text);
    if (name == std::end(kClasses))
      error(
          record, 1,
          fmt::format(
              "operand_class is one of product_unchanged, sign_change, weight_negative, weight_positive and "
              "all, but this is '{}'",
              record.cells[1].text));
    const auto bit = common::parse_integer(record.cells[2].text);
    if (!bit || *bit < 0 || *bit > 31)
      error(record, 2,
            fmt::format("bit is a whole number from 0 to 31, but this is '{}'", record.cells[2].text));
    const auto probability = common::parse_real(record.cells[3].text);
    if (!probability || !(*probability >= 0 && *probability <= 1))
      error(record, 3,
            fmt::format("probability is a number from 0 to 1, but this is '{}'", record.cells[3].text));
    if (!period || name == std::end(kClasses) || !bit || !probability) return;
    const Place place{*period, static_cast<int>(*bit), static_cast<int>(name - std::begin(kClasses))};
    const auto [known, added] = lines_.try_emplace(place, std::pair(*probability, record.line));
    if (!added)
      error(record, 0,
            fmt::format("line {} has this period, class and bit already; remove one of the two",
                        known->second.second));
  }

  ErrorTable table() const {
    ErrorTable result;
    result.file = file_;
    // In the order of periods; `all` comes after the classes that it makes way for.
    for (const auto& [place, line] : lines_) {
      if (result.periods.empty() || result.periods.back() != place.period) {
        result.periods.push_back(place.period);
        result.rates.push_back({});
      }
      result.highest_bit = std::max(result.highest_bit, place.bit);
      for (int which = 0; which < kOperandClasses; ++which)
        if (place.which == which ||
            (place.which == kAll && !lines_.contains({place.period, place.bit, which})))
          result.rates.back()[static_cast<std::size_t>(which)][static_cast<std::size_t>(place.bit)] =
              line.first;
    }
    return result;
  }

  std::string file_;
  common::Diagnostics diagnostics_;
  std::vector<common::CsvRow> records_;
  std::map<Place, std::pair<double, int>> lines_;  // probability, line
};

double between(double low, double high, double share) {
  if (low <= 0 || high <= 0) return low + (high - low) * share;
  return std::exp(std::log(low) + (std::log(high) - std::log(low)) * share);
}

std::uint64_t mix(std::uint64_t x) {  // the finaliser of SplitMix64
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

}  // namespace

OperandClass operand_class(int activation_before, int weight_before, int activation, int weight) {
  const int before = activation_before * weight_before, now = activation * weight;
  if (before == now) return OperandClass::product_unchanged;
  if ((before < 0) != (now < 0)) return OperandClass::sign_change;
  return weight < 0 ? OperandClass::weight_negative : OperandClass::weight_positive;
}

ErrorTable::Rates ErrorTable::at(double period_relative) const {
  Rates result{};
  if (period_relative >= 1) return result;
  if (periods.empty() || period_relative < periods.front())
    throw common::InputError(
        {file},
        fmt::format(
            "the table's shortest period is {} of Tmin, but PEs have {}: add lines for shorter periods, "
            "or slow the clock down",
            periods.empty() ? "none" : format_number(periods.front()), format_number(period_relative)));
  const auto after = std::ranges::upper_bound(periods, period_relative);
  const auto low = static_cast<std::size_t>(after - periods.begin()) - 1;
  const double high_period = after == periods.end() ? 1 : *after;
  const double share = (period_relative - periods[low]) / (high_period - periods[low]);
  static constexpr Rates kNone{};
  const Rates& high = after == periods.end() ? kNone : rates[low + 1];
  for (std::size_t which = 0; which < result.size(); ++which)
    for (std::size_t bit = 0; bit < result[which].size(); ++bit)
      result[which][bit] = between(rates[low][which][bit], high[which][bit], share);
  return result;
}

ErrorTable read_error_table(const std::filesystem::path& file) {
  return TableReader(file).read();
}

TableModel::TableModel(const ErrorTable& table, const std::vector<double>& periods_relative,
                       int accumulator_bits)
    : accumulator_bits_(accumulator_bits) {
  if (table.highest_bit >= accumulator_bits)
    throw common::InputError(
        {table.file}, fmt::format("the table names bit {}, but the chip's accumulators have {} bits, 0 to {}",
                                  table.highest_bit, accumulator_bits, accumulator_bits - 1));
  for (const double period : periods_relative) {
    const ErrorTable::Rates rates = table.at(period);
    Bin& bin = bins_.emplace_back();
    for (std::size_t which = 0; which < rates.size(); ++which)
      for (int bit = 0; bit < accumulator_bits; ++bit) {
        const double rate = rates[which][static_cast<std::size_t>(bit)];
        const double below = std::ldexp(rate, 64);
        if (below >= 1)
          bin[which].push_back(
              {bit, below >= 0x1.0p64 ? ~std::uint64_t{0} : static_cast<std::uint64_t>(below)});
      }
    settled_can_err_ =
        settled_can_err_ || !bin[static_cast<std::size_t>(OperandClass::product_unchanged)].empty();
  }
}

void TableModel::evaluate(int bin, std::uint64_t job_key, const PeCycles& cycles,
                          std::uint32_t* errors) const {
  const Bin& bits = bins_[static_cast<std::size_t>(bin)];
  for (std::size_t i = 0; i < cycles.count; ++i) {
    const OperandClass which = operand_class(cycles.activation_before[i], cycles.weight_before[i],
                                             cycles.activation[i], cycles.weight[i]);
    const std::uint64_t key = mix(job_key ^ cycles.key[i]);
    std::uint32_t error = 0;
    for (const Bit& bit : bits[static_cast<std::size_t>(which)])
      if (mix(key + 0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(bit.bit + 1)) <= bit.below)
        error |= std::uint32_t{1} << bit.bit;
    errors[i] = error;
  }
}

}  // namespace kintsugi::faults
