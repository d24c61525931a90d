#include "sim/overclock.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <set>

#include "common/diagnostics.h"
#include "common/sha256.h"
#include "common/text.h"
#include "sim/image_sets.h"
#include "sim/pretraining.h"

namespace kintsugi::sim {
namespace {

using common::InputError;
using overclock::Method;

const std::vector<std::string> kBaselines{"control", "noise", "dropout"};

std::string percent(const std::vector<std::uint8_t>& hits) {
  const auto right = static_cast<double>(std::count(hits.begin(), hits.end(), 1));
  return common::format_percent(right / static_cast<double>(std::max<std::size_t>(1, hits.size())));
}

}  // namespace

Overclock::Overclock(OverclockInputs inputs, const std::filesystem::path& out, const CampaignRun& run)
    : inputs_(std::move(inputs)), folder_(out), run_(run), colours_(::isatty(STDOUT_FILENO) == 1) {
  for (std::size_t p = 0; p < inputs_.points.size(); ++p) errs_.push_back(!timing_at(inputs_, p)->harmless());
  if (run.role == Role::worker) {
    check_manifest(folder_.manifest(), manifest_of(inputs_));
    return;
  }
  lock_.emplace(out);
  write_or_check_manifest(folder_.manifest(), manifest_of(inputs_));
  if (inputs_.test_is_cut) write_cut_test_set(out / "test", inputs_.test);
}

void Overclock::say(const std::string& text) const {
  if (run_.quiet) return;
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

Phase Overclock::phase(const std::string& name) {
  if (name == "pretrain") return pretrain_phase();
  if (name == "reference_decision") return reference_phase("decision");
  if (name == "original") return evaluation_phase(name, original_evaluations());
  if (name == "reference_test") return reference_phase("test");
  if (name == "train" || name == "decide" || name == "test") {
    decide();
    if (name == "train") return train_phase();
    return evaluation_phase(name, name == "decide" ? decisive_evaluations() : test_evaluations());
  }
  throw InputError(fmt::format(
      "an overclocking campaign has no phase '{}'; it has pretrain, reference_decision, original, train, "
      "decide, reference_test and test",
      name));
}

std::int64_t Overclock::images(const std::string& set) const {
  return set == "test" ? inputs_.test.size() : inputs_.decision.size();
}

std::string Overclock::weights_digest(const std::string& model) const {
  const std::filesystem::path file = folder_.weights(model);
  return std::filesystem::exists(file) ? common::sha256_file(file) : std::string();
}

Phase Overclock::pretrain_phase() const {
  const Pretraining pretraining{inputs_.config.pretrain, inputs_.network, inputs_.training, inputs_.seed};
  Phase phase{folder_.root(), "pretrain", "steps"};
  phase.one_worker = true;
  phase.add({"pretraining", std::max<std::int64_t>(1, pretraining.steps()), "pretraining",
             folder_.weights("original")},
            has_whole_weights(folder_.weights("original")));
  phase.start = [this, pretraining]() -> RunTask {
    return [this, pretraining](std::size_t, const ReportSteps& progress) {
      pretraining.run(folder_.weights("original"), run_.workers * run_.threads, run_.checkpoint_seconds,
                      progress);
    };
  };
  return phase;
}

void Overclock::pretrain() {
  run_phase([&] { return pretrain_phase(); }, run_);
  run_phase([&] { return reference_phase("decision"); }, run_);
  const Reference reference = need_reference("decision");
  say(fmt::format("{} on {}, without errors: float {}, int8 {} of {} decision images", inputs_.network.name,
                  inputs_.training.name, percent(reference.floating.top1), percent(reference.int8.top1),
                  inputs_.decision.size()));
}

Phase Overclock::reference_phase(const std::string& set) const {
  Phase phase{folder_.root(), "reference_" + set};
  phase.one_worker = true;
  phase.add({"reference on the " + set + " set", 1, set, folder_.reference(set)},
            folder_.read_reference(set, images(set)).has_value());
  phase.start = [this, set]() -> RunTask {
    auto worker = std::make_shared<OverclockWorker>(inputs_, folder_, run_.workers * run_.threads,
                                                    run_.checkpoint_seconds);
    return [worker, set](std::size_t, const ReportSteps&) { worker->reference(set); };
  };
  return phase;
}

Reference Overclock::need_reference(const std::string& set) const {
  auto reference = folder_.read_reference(set, images(set));
  if (!reference)
    throw InputError({folder_.reference(set).string()}, "is missing or damaged; run the command again");
  if (weights_digest("original") != reference->weights_sha256)
    throw InputError({folder_.weights("original").string()},
                     "these are not the weights that this folder's tasks were run with; restore the file, or "
                     "choose another "
                     "--out (a campaign can start from given weights: 'pretrain: {weights: file}')");
  return std::move(*reference);
}

Place Overclock::place_of(const Evaluation& e) const {
  return {e.point ? inputs_.points[*e.point].name : std::string(), e.other_chip};
}

std::optional<overclock::Measured> Overclock::find(const Evaluation& e) const {
  return folder_.read_evaluation(e.model, place_of(e), e.set, images(e.set), inputs_.network,
                                 weights_digest(e.model));
}

overclock::Measured Overclock::need(const Evaluation& e) const {
  auto measured = find(e);
  if (!measured)
    throw InputError({folder_.root().string()},
                     fmt::format("the figures of weights '{}' on the {} set are missing or damaged; run the "
                                 "command again",
                                 e.model, e.set));
  return std::move(*measured);
}

Phase Overclock::evaluation_phase(const std::string& name, const std::vector<Evaluation>& wanted) const {
  Phase phase{folder_.root(), name};
  std::vector<Evaluation> evaluations;
  std::set<std::string> keys;  // what two tables ask for is measured once
  for (const Evaluation& e : wanted) {
    const std::string key = fmt::format("{}_at_{}", e.model, place_of(e).file_name());
    if (!keys.insert(key).second) continue;
    phase.add({fmt::format("{} at {}", e.model, e.point ? inputs_.points[*e.point].label : "no errors"), 1,
               key, folder_.evaluation(e.model, place_of(e), e.set)},
              find(e).has_value());
    evaluations.push_back(e);
  }
  phase.start = [this, evaluations]() -> RunTask {
    auto worker = std::make_shared<OverclockWorker>(inputs_, folder_, run_.threads, run_.checkpoint_seconds);
    return
        [worker, evaluations](std::size_t task, const ReportSteps&) { worker->evaluate(evaluations[task]); };
  };
  return phase;
}

std::vector<Evaluation> Overclock::original_evaluations() const {
  std::vector<Evaluation> wanted;
  for (std::size_t p = 0; p < inputs_.points.size(); ++p)
    wanted.push_back({"original", p, std::nullopt, std::nullopt, true, "decision"});
  return wanted;
}

void Overclock::decide() {
  critical_.clear();
  std::vector<double> accuracy;
  for (std::size_t p = 0; p < inputs_.points.size(); ++p) {
    const auto measured = need({"original", p, std::nullopt, std::nullopt, true, "decision"});
    critical_.push_back(overclock::critical_layer(measured.errors));
    const auto& top1 = measured.hits.top1;
    accuracy.push_back(static_cast<double>(std::count(top1.begin(), top1.end(), 1)) /
                       static_cast<double>(top1.size()));
  }
  const auto& reference = need_reference("decision").int8.top1;
  const double baseline = static_cast<double>(std::count(reference.begin(), reference.end(), 1)) /
                          static_cast<double>(reference.size());
  tipping_ = overclock::tipping_point(accuracy, baseline, inputs_.config.tipping_drop);
}

void Overclock::say_decisions() const {
  say(tipping_
          ? fmt::format("tipping point: {}, critical layer there: {}", inputs_.points[*tipping_].label,
                        critical_[*tipping_] ? inputs_.network.stages[*critical_[*tipping_]].name : "none")
          : "no tipping point: the original loses too little at every point");
}

std::string Overclock::trained_at(std::size_t point, bool protect) const {
  if (!errs_[point]) return "control";
  return (protect && critical_[point] ? "twa_clp_" : "twa_") + inputs_.points[point].name;
}

std::vector<OverclockModel> Overclock::models() const {
  std::vector<OverclockModel> all{
      {"control", {Method::control, std::nullopt, 0}, std::nullopt},
      {"noise", {Method::noise, std::nullopt, inputs_.config.noise}, std::nullopt},
      {"dropout", {Method::dropout, std::nullopt, inputs_.config.dropout}, std::nullopt}};
  for (std::size_t p = 0; p < inputs_.points.size(); ++p) {
    if (!errs_[p]) continue;
    all.push_back({trained_at(p, false), {Method::chip, std::nullopt, 0}, p});
    if (critical_[p]) all.push_back({trained_at(p, true), {Method::chip, critical_[p], 0}, p});
  }
  return all;
}

Phase Overclock::train_phase() const {
  std::vector<OverclockModel> all = models();
  std::reverse(all.begin(), all.end());  // the longest, at the harshest points, first
  Phase phase{folder_.root(), "train", "steps"};
  for (const OverclockModel& model : all)
    phase.add(
        {"training of " + model.name, inputs_.config.retrain_steps, model.name, folder_.weights(model.name)},
        has_whole_weights(folder_.weights(model.name)));
  phase.start = [this, all]() -> RunTask {
    auto worker = std::make_shared<OverclockWorker>(inputs_, folder_, run_.threads, run_.checkpoint_seconds);
    return
        [worker, all](std::size_t task, const ReportSteps& progress) { worker->train(all[task], progress); };
  };
  return phase;
}

std::vector<Evaluation> Overclock::final_evaluations() const {
  std::vector<Evaluation> all;
  for (std::size_t p = inputs_.points.size(); p-- > 0;) {
    all.push_back({"original", p, std::nullopt, std::nullopt, false, "test"});
    for (const std::string& name : kBaselines)
      all.push_back({name, p, std::nullopt, std::nullopt, false, "test"});
    if (errs_[p]) {
      all.push_back({trained_at(p, false), p, std::nullopt, std::nullopt, false, "test"});
      if (critical_[p]) all.push_back({trained_at(p, true), p, std::nullopt, critical_[p], false, "test"});
    }
  }
  return all;
}

std::vector<Evaluation> Overclock::control_evaluations() const {
  std::vector<Evaluation> all;
  const std::size_t at = tipping_.value_or(inputs_.points.size() - 1);
  const std::string twa = trained_at(at, false);
  const auto neighbours = static_cast<std::size_t>(inputs_.config.neighbours);
  for (std::size_t p = at - std::min(at, neighbours); p <= at + neighbours && p < inputs_.points.size(); ++p)
    all.push_back({twa, p, std::nullopt, std::nullopt, false, "test"});
  for (const std::uint64_t seed : inputs_.config.other_chips) {
    all.push_back({"original", at, seed, std::nullopt, false, "test"});
    all.push_back({twa, at, seed, std::nullopt, false, "test"});
  }
  return all;
}

std::vector<Evaluation> Overclock::decisive_evaluations() const {
  std::vector<Evaluation> decisive;
  for (std::size_t p = inputs_.points.size(); p-- > 0;) {
    decisive.push_back({trained_at(p, false), p, std::nullopt, std::nullopt, true, "decision"});
    if (errs_[p] && critical_[p])
      decisive.push_back({trained_at(p, true), p, std::nullopt, critical_[p], false, "decision"});
  }
  return decisive;
}

std::vector<Evaluation> Overclock::test_evaluations() const {
  std::vector<Evaluation> last = final_evaluations();
  for (const Evaluation& e : control_evaluations())
    if (e.other_chip || trained_at(*e.point, false) != e.model)
      last.push_back(e);  // the rest is there already
  return last;
}

void Overclock::run() {
  pretrain();
  run_phase([&] { return evaluation_phase("original", original_evaluations()); }, run_);
  decide();
  say_decisions();
  run_phase([&] { return train_phase(); }, run_);
  run_phase([&] { return evaluation_phase("decide", decisive_evaluations()); }, run_);
  run_phase([&] { return reference_phase("test"); }, run_);
  run_phase([&] { return evaluation_phase("test", test_evaluations()); }, run_);
  const OverclockReport result = report();
  write(result);
  say(fmt::format("\n{}", overclock_tables(result, colours_)));
}

}  // namespace kintsugi::sim
