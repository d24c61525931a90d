#include "sim/resilience_curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "common/files.h"
#include "common/text.h"
#include "sim/campaign_folder.h"
#include "sim/svg_plot.h"
#include "sim/text_table.h"
#include "workloads/safetensors.h"

namespace kintsugi::sim {
namespace {

using common::InputError;

// Of the original weights in int8 on the decision set.
std::optional<double> accuracy_without_faults(const CampaignFolder& folder) {
  const std::filesystem::path file = folder.baseline("decision");
  if (!std::filesystem::exists(file)) return std::nullopt;
  const workloads::SafeTensors tensors = workloads::read_safetensors(file);
  const auto found = tensors.tensors.find("int8");
  if (found == tensors.tensors.end()) return std::nullopt;
  const auto* right = std::get_if<workloads::Tensor<std::uint8_t>>(&found->second);
  if (right == nullptr || right->data.empty()) return std::nullopt;
  return static_cast<double>(reduce::count(right->data)) / static_cast<double>(right->data.size());
}

double number_in(const std::string& file, const common::CsvRow& row, const common::CsvCell& cell) {
  const auto value = common::parse_real(cell.text);
  if (!value)
    throw InputError({file, row.line, cell.column}, fmt::format("expected a number, found '{}'", cell.text));
  return *value;
}

}  // namespace

CurveChoice parse_curve(const std::string& text) {
  const std::size_t equals = text.find('='), at = text.rfind('@');
  const bool has_steps = at != std::string::npos && equals != std::string::npos && at > equals;
  CurveChoice choice;
  std::optional<std::int64_t> steps = 0;
  if (equals != std::string::npos) {
    choice.name = text.substr(0, equals);
    choice.folder = text.substr(equals + 1, (has_steps ? at : text.size()) - equals - 1);
  }
  if (has_steps) steps = common::parse_integer(text.substr(at + 1));
  if (choice.name.empty() || choice.folder.empty() || !steps || *steps < 0)
    throw InputError(fmt::format(
        "a curve is NAME=FOLDER or NAME=FOLDER@STEPS, like 'FAP+T=campaign/fap@100'; found '{}'", text));
  choice.steps = *steps;
  return choice;
}

ResilienceCurve read_curve(const CurveChoice& choice) {
  const CampaignFolder folder(choice.folder);
  const std::string file = folder.characterization().string();
  if (!std::filesystem::exists(folder.characterization()))
    throw InputError(
        {choice.folder.string()},
        "there is no characterization.csv here; run 'kintsugi reduce characterize' with --out on "
        "this folder first");
  common::Diagnostics problems;
  const std::vector<common::CsvRow> rows = common::parse_csv(common::read_file(file), file, problems);
  problems.throw_if_any();
  const std::vector<std::string> header{"fault_rate", "repeat", "steps", "epochs", "accuracy"};
  const auto has_header = [&](const common::CsvRow& row) {
    return row.cells.size() >= header.size() &&
           std::equal(header.begin(), header.end(), row.cells.begin(),
                      [](const std::string& name, const common::CsvCell& cell) { return name == cell.text; });
  };
  if (rows.empty() || !has_header(rows.front()))
    throw InputError({file, 1}, fmt::format("expected the columns {}", common::join(header, ",")));
  ResilienceCurve curve;
  curve.choice = choice;
  curve.without_faults = accuracy_without_faults(folder);
  std::map<double, CurvePoint> points;
  std::set<std::int64_t> evaluated;
  for (std::size_t r = 1; r < rows.size(); ++r) {
    const common::CsvRow& row = rows[r];
    if (row.cells.size() != rows.front().cells.size())
      throw InputError({file, row.line}, fmt::format("expected {} cells, found {}", rows.front().cells.size(),
                                                     row.cells.size()));
    const double rate = number_in(file, row, row.cells[0]), accuracy = number_in(file, row, row.cells[4]);
    const auto steps = static_cast<std::int64_t>(number_in(file, row, row.cells[2]));
    evaluated.insert(steps);
    if (steps != choice.steps) continue;
    if (row.cells.size() > header.size()) curve.decided_on = row.cells[5].text;
    CurvePoint& point = points.try_emplace(rate, CurvePoint{rate, 0, 0, accuracy, accuracy}).first->second;
    ++point.maps;
    point.mean += accuracy;
    point.lowest = std::min(point.lowest, accuracy);
    point.highest = std::max(point.highest, accuracy);
  }
  if (points.empty()) {
    std::vector<std::string> known;
    for (const std::int64_t steps : evaluated) known.push_back(fmt::format("{}", steps));
    throw InputError({file}, fmt::format("nothing was evaluated after {} steps; there are {}", choice.steps,
                                         common::join(known, ", ")));
  }
  for (auto& [rate, point] : points) {
    point.mean /= point.maps;
    curve.points.push_back(point);
  }
  return curve;
}

std::string curves_csv(const std::vector<ResilienceCurve>& curves) {
  std::string text = "curve,steps,fault_rate,maps,mean_accuracy,lowest_accuracy,highest_accuracy\n";
  for (const ResilienceCurve& curve : curves)
    for (const CurvePoint& p : curve.points)
      text += fmt::format("{},{},{},{},{},{},{}\n", common::csv_cell(curve.choice.name), curve.choice.steps,
                          common::format_number(p.fault_rate), p.maps, common::format_number(p.mean),
                          common::format_number(p.lowest), common::format_number(p.highest));
  return text;
}

std::string curves_table(const std::vector<ResilienceCurve>& curves) {
  std::set<double> rates;
  for (const ResilienceCurve& curve : curves)
    for (const CurvePoint& p : curve.points) rates.insert(p.fault_rate);
  TextTable table;
  table.column("accuracy, mean of maps\n[lowest, highest] (%)", Align::left);
  for (const double rate : rates) table.column(fmt::format("faulty PEs\n{:.4g} %", 100 * rate));
  for (const ResilienceCurve& curve : curves) {
    std::vector<TableCell> cells{{curve.choice.name}};
    for (const double rate : rates) {
      const auto found = std::find_if(curve.points.begin(), curve.points.end(),
                                      [&](const CurvePoint& p) { return p.fault_rate == rate; });
      cells.push_back({found == curve.points.end() ? ""
                                                   : fmt::format("{:.2f} [{:.1f}, {:.1f}]", 100 * found->mean,
                                                                 100 * found->lowest, 100 * found->highest)});
    }
    table.row(std::move(cells));
  }
  return table.render(false);
}

std::string curves_svg(const std::vector<ResilienceCurve>& curves, const std::string& title) {
  LineChart chart;
  chart.title = title;
  chart.x_label = "faulty PEs (%)";
  const bool test = std::any_of(curves.begin(), curves.end(),
                                [](const ResilienceCurve& curve) { return curve.decided_on == "test"; });
  chart.y_label = test ? "accuracy on the test set (%)" : "accuracy on the decision set (%)";
  std::optional<double> best;
  for (const ResilienceCurve& curve : curves) {
    ChartSeries series;
    series.name = curve.choice.name;
    series.dashed = curve.choice.steps > 0;
    for (const CurvePoint& p : curve.points)
      series.points.push_back({100 * p.fault_rate, 100 * p.mean, 100 * p.lowest, 100 * p.highest});
    chart.series.push_back(std::move(series));
    if (curve.without_faults) best = std::max(best.value_or(0), *curve.without_faults);
  }
  if (best) chart.y_rules.push_back({100 * *best, "without faults"});
  return svg(chart);
}

}  // namespace kintsugi::sim
