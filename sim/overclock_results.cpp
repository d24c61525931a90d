// From an overclocking campaign's task files to its report.
#include <algorithm>

#include "common/files.h"
#include "sim/overclock.h"
#include "sim/overclock_plots.h"
#include "training/reduce/chip_bench.h"

namespace kintsugi::sim {
namespace {

OverclockScore score_of(const overclock::Hits& now, const overclock::Hits& baseline) {
  OverclockScore score{reduce::score(now.top1, baseline.top1), std::nullopt};
  if (!now.top5.empty()) score.top5 = reduce::score(now.top5, baseline.top5);
  return score;
}

double decision_accuracy(const PointReport& point, const char* name) {
  const ModelAtPoint* model = point.model(name);
  return (model != nullptr ? model : point.model("twa"))->decision->top1.accuracy();
}

}  // namespace

OverclockScore Overclock::score(const Evaluation& evaluation, const overclock::Hits& baseline) const {
  return score_of(need(evaluation).hits, baseline);
}

PointReport Overclock::point_report(std::size_t p, const OverclockReport& report) const {
  PointReport point;
  point.critical = critical_[p];
  const Evaluation original{"original", p, std::nullopt, std::nullopt, false, "test"};
  const Evaluation decided{"original", p, std::nullopt, std::nullopt, true, "decision"};
  const overclock::Measured decision = need(decided), test = need(original);
  point.original = decision.errors;
  point.models.push_back({"original", score_of(test.hits, need_reference("test").int8),
                          score_of(decision.hits, need_reference("decision").int8)});
  for (const char* name : {"control", "noise", "dropout"})
    point.models.push_back(
        {name, score({name, p, std::nullopt, std::nullopt, false, "test"}, test.hits), std::nullopt});
  const auto trained = [&](const char* name, bool protect) {
    const auto stage = protect ? critical_[p] : std::nullopt;
    const std::string weights = trained_at(p, protect);
    const overclock::Measured on_decision = need({weights, p, std::nullopt, stage, !protect, "decision"});
    point.models.push_back({name, score({weights, p, std::nullopt, stage, false, "test"}, test.hits),
                            score_of(on_decision.hits, decision.hits)});
    if (!protect) point.twa = on_decision.errors;
  };
  trained("twa", false);
  if (errs_[p] && critical_[p]) trained("twa_clp", true);

  const std::int64_t images = report.decision.top1.images;
  point.cost = image_cost(decision.layers, images, inputs_.points[p], inputs_, std::nullopt);
  if (!point.critical) return point;
  point.protected_cost = image_cost(decision.layers, images, inputs_.points[p], inputs_, point.critical);
  if (inputs_.config.host)
    point.offload = overclock::offload_cost(inputs_.network, *point.critical, inputs_.config.evaluation_batch,
                                            *inputs_.config.host);
  return point;
}

OverclockReport Overclock::report() const {
  OverclockReport report;
  report.inputs = &inputs_;
  const Reference decision = need_reference("decision"), test = need_reference("test");
  report.decision = score_of(decision.int8, decision.int8);
  report.test = score_of(test.int8, test.int8);
  report.decision_float = std::count(decision.floating.top1.begin(), decision.floating.top1.end(), 1);
  report.test_float = std::count(test.floating.top1.begin(), test.floating.top1.end(), 1);
  report.tipping = tipping_;
  report.controlled = tipping_.value_or(inputs_.points.size() - 1);
  std::vector<double> twa, clp;
  for (std::size_t p = 0; p < inputs_.points.size(); ++p) {
    report.points.push_back(point_report(p, report));
    twa.push_back(decision_accuracy(report.points.back(), "twa"));
    clp.push_back(decision_accuracy(report.points.back(), "twa_clp"));
  }
  const double baseline = report.decision.top1.accuracy(), drop = inputs_.config.acceptable_drop;
  report.acceptable_twa = overclock::last_acceptable(twa, baseline, drop);
  report.acceptable_clp = overclock::last_acceptable(clp, baseline, drop);
  for (const Evaluation& e : control_evaluations()) {
    const Evaluation original{"original", e.point, e.other_chip, std::nullopt, false, "test"};
    report.controls.push_back({e.model == "original" ? "original" : "twa", *e.point, e.other_chip,
                               score(e, e.model == "original" ? test.int8 : need(original).hits)});
  }
  return report;
}

void Overclock::write(const OverclockReport& report) const {
  const auto file = [&](const char* name, const std::string& text) {
    common::write_file_atomic(folder_.root() / name, text);
  };
  file("points.csv", points_csv(report));
  file("errors.csv", errors_csv(report));
  file("results.csv", results_csv(report));
  file("controls.csv", controls_csv(report));
  for (const auto& [name, picture] : overclock_plots(report)) file(name.c_str(), picture);
  file("summary.yaml", summary_yaml(report));
}

}  // namespace kintsugi::sim
