// The terminal tables of overclock_report.h.
#include <fmt/format.h>

#include "common/text.h"
#include "sim/overclock_report.h"
#include "sim/text_table.h"

namespace kintsugi::sim {
namespace {

std::string bare_percent(double fraction) {
  return fmt::format("{:.2f}", 100 * fraction);
}

std::string accuracy_text(const PointReport& point, const std::string& name, bool top5) {
  const ModelAtPoint* model = point.model(name);
  if (model == nullptr) return "-";
  return bare_percent((top5 ? *model->test.top5 : model->test.top1).accuracy());
}

std::string change_text(const reduce::Interval& change) {
  return fmt::format("{:+.2f} [{:+.2f}, {:+.2f}]", 100 * change.estimate, 100 * change.low,
                     100 * change.high);
}

std::string share_text(double share) {
  if (share == 0) return "0";
  return share < 1e-4 ? fmt::format("{:.1e}", share) : fmt::format("{:.4f}", share);
}

constexpr const char* kModels[] = {"original", "control", "noise", "dropout", "twa", "twa_clp"};
constexpr const char* kHeaders[] = {"original", "more\nsteps", "noise", "dropout", "TWA", "TWA\n+CLP"};

std::string accuracy_table(const OverclockReport& report, bool top5, bool colours) {
  TextTable table;
  table.column("point");
  for (const char* header : kHeaders) table.column(header);
  table.column("critical\nlayer", Align::left);
  for (std::size_t p = 0; p < report.points.size(); ++p) {
    const PointReport& point = report.points[p];
    std::vector<TableCell> cells{{report.inputs->points[p].label + (report.tipping == p ? " *" : "")}};
    for (const char* name : kModels) cells.push_back({accuracy_text(point, name, top5)});
    cells.push_back({point.critical ? report.inputs->network.stages[*point.critical].name : "-"});
    table.row(std::move(cells));
  }
  return table.render(colours);
}

std::string points_table(const OverclockReport& report, bool colours) {
  TextTable table;
  table.column("point");
  table.column("T/Tmin");
  table.column("PEs\nat risk");
  table.column("late\nwords");
  table.column("wrong\noutputs");
  table.column("by more\nthan 5");
  table.column("images/s");
  table.column("uJ/image");
  table.column("with CLP\nimages/s");
  const auto batch = static_cast<double>(report.inputs->config.evaluation_batch);
  for (std::size_t p = 0; p < report.points.size(); ++p) {
    const PointReport& point = report.points[p];
    const OverclockPoint& at = report.inputs->points[p];
    overclock::ErrorCounts errors;
    for (const overclock::ErrorCounts& layer : point.original) errors += layer;
    table.row({{at.label},
               {at.relative_period ? fmt::format("{:.3f}", *at.relative_period) : "-"},
               {at.pes_at_risk ? fmt::format("{}", *at.pes_at_risk) : "-"},
               {share_text(errors.word_error_rate())},
               {share_text(errors.wrong_share())},
               {share_text(errors.large_share())},
               {fmt::format("{:.0f}", 1 / point.cost.seconds)},
               {point.cost.energy_uj ? fmt::format("{:.3g}", *point.cost.energy_uj) : "-"},
               {point.offload ? fmt::format("{:.0f}", 1 / (point.protected_cost.seconds +
                                                           point.offload->seconds() / batch))
                              : "-"}});
  }
  return table.render(colours);
}

std::string gain_line(const OverclockReport& report, const std::string& what,
                      const std::optional<std::size_t>& index, const char* name, const char* title) {
  if (!index) return "";
  const ModelAtPoint* model = report.points[*index].model(name);
  if (model == nullptr) return "";
  std::string text = fmt::format("{} {}, {}: top-1 {} points", what, report.inputs->points[*index].label,
                                 title, change_text(model->test.top1.change()));
  if (model->test.top5) text += fmt::format(", top-5 {}", change_text(model->test.top5->change()));
  return text + "\n";
}

}  // namespace

std::string overclock_tables(const OverclockReport& report, bool colours) {
  const OverclockInputs& inputs = *report.inputs;
  std::string text =
      fmt::format("Accuracy on {} test images, per cent top-1{}\n\n", report.test.top1.images,
                  report.tipping ? fmt::format(" (*: tipping point, the original loses more than {} points)",
                                               common::format_number(100 * inputs.config.tipping_drop))
                                 : "");
  text += accuracy_table(report, false, colours);
  if (report.test.top5) text += "\nThe same, top-5\n\n" + accuracy_table(report, true, colours);
  text += fmt::format("\nWithout errors: float {}, int8 {}.\n\n",
                      common::format_percent(static_cast<double>(report.test_float) /
                                             static_cast<double>(report.test.top1.images)),
                      common::format_percent(report.test.top1.accuracy()));
  text += points_table(report, colours);
  text += "\nGain over the original in the same place [95 %]\n";
  if (!report.tipping)
    text += fmt::format("The original loses more than {} points nowhere: no tipping point.\n",
                        common::format_number(100 * inputs.config.tipping_drop));
  text += gain_line(report, "tipping point", report.tipping, "twa", "TWA");
  text += gain_line(report, "tipping point", report.tipping, "twa_clp", "TWA+CLP");
  text += gain_line(report, "last acceptable", report.acceptable_twa, "twa", "TWA");
  text += gain_line(report, "last acceptable", report.acceptable_clp, "twa_clp", "TWA+CLP");
  return text + scope_of(inputs) + "\n";
}

}  // namespace kintsugi::sim
