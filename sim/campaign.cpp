#include "sim/campaign.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "common/files.h"
#include "common/sha256.h"
#include "common/text.h"
#include "sim/campaign_manifest.h"
#include "sim/campaign_worker.h"
#include "sim/image_sets.h"
#include "sim/pretraining.h"

namespace kintsugi::sim {
namespace {

using common::format_number;
using common::InputError;

std::string percent(std::int64_t part, std::int64_t whole) {
  return common::format_percent(static_cast<double>(part) /
                                static_cast<double>(std::max<std::int64_t>(1, whole)));
}

}  // namespace

Campaign::Campaign(CampaignInputs inputs, const std::filesystem::path& out, const CampaignRun& run)
    : inputs_(std::move(inputs)),
      folder_(out),
      run_(run),
      constraint_(inputs_.config.constraint),
      colours_(::isatty(STDOUT_FILENO) == 1) {
  if (run.role == Role::worker) {
    check_manifest(folder_.manifest(), manifest_of(inputs_));
    return;
  }
  lock_.emplace(out);
  write_or_check_manifest(folder_.manifest(), manifest_of(inputs_));
  if (inputs_.test_is_cut) write_cut_test_set(out / "test", inputs_.test);
}

std::string Campaign::decided_on() const {
  return inputs_.config.leak_as_published ? "test" : "decision";
}

void Campaign::say(const std::string& text) const {
  if (run_.quiet) return;
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

Phase Campaign::phase(const std::string& name) const {
  if (name == "pretrain") return pretrain_phase();
  if (name == "baseline_decision") return baseline_phase("decision", inputs_.decision);
  if (name == "characterize") return characterize_phase();
  if (name == "calibrate") return calibrate_phase();
  if (name == "plan") return plan_phase();
  if (name == "baseline_test") return baseline_phase("test", inputs_.test);
  if (name == "retrain_planned") return retrain_phase(need_plan(), false);
  if (name == "retrain") return retrain_phase(need_plan(), true);
  if (name == "group") return group_phase(need_plan());
  if (name == "deliver") return deliver_phase(need_plan());
  throw InputError(
      fmt::format("a Reduce campaign has no phase '{}'; it has pretrain, baseline_decision, characterize, "
                  "calibrate, plan, "
                  "baseline_test, retrain_planned, retrain, group and deliver",
                  name));
}

Phase Campaign::pretrain_phase() const {
  const Pretraining pretraining{inputs_.config.pretrain, inputs_.network, inputs_.training, inputs_.seed};
  Phase phase{folder_.root(), "pretrain", "steps"};
  phase.one_worker = true;
  phase.add({"pretraining", std::max<std::int64_t>(1, pretraining.steps()), "pretraining", folder_.weights()},
            has_whole_weights(folder_.weights()));
  phase.start = [this, pretraining]() -> RunTask {
    return [this, pretraining](std::size_t, const ReportSteps& progress) {
      pretraining.run(folder_.weights(), run_.workers * run_.threads, run_.checkpoint_seconds, progress);
    };
  };
  return phase;
}

void Campaign::pretrain() {
  run_phase([&] { return pretrain_phase(); }, run_);
  run_phase([&] { return baseline_phase("decision", inputs_.decision); }, run_);
  const Baseline baseline = need_baseline("decision", inputs_.decision.size());
  say(fmt::format("{} on {}, without faults: float {}, int8 {} of {} {} images", inputs_.network.name,
                  inputs_.training.name, percent(reduce::count(baseline.floating), inputs_.decision.size()),
                  percent(reduce::count(baseline.int8), inputs_.decision.size()), inputs_.decision.size(),
                  inputs_.config.leak_as_published ? "test (leak_as_published)" : "decision"));
}

Phase Campaign::baseline_phase(const std::string& set, const workloads::ImageSet& images) const {
  Phase phase{folder_.root(), "baseline_" + set};
  phase.one_worker = true;
  phase.add({"baseline on the " + set + " set", 1, set, folder_.baseline(set)},
            std::filesystem::exists(folder_.scales()) && std::filesystem::exists(folder_.deployed()) &&
                folder_.read_baseline(set, images.size()).has_value());
  phase.start = [this, set, &images]() -> RunTask {
    auto worker = std::make_shared<CampaignWorker>(inputs_, folder_, run_.workers * run_.threads,
                                                   run_.checkpoint_seconds);
    return [worker, set, &images](std::size_t, const ReportSteps&) { worker->baseline(set, images); };
  };
  return phase;
}

Baseline Campaign::need_baseline(const std::string& set, std::int64_t images) const {
  auto baseline = folder_.read_baseline(set, images);
  if (!baseline || !std::filesystem::exists(folder_.weights()))
    throw InputError(
        {folder_.root().string()},
        "there are no pretrained weights and baseline here yet; run 'kintsugi reduce characterize' with "
        "the same --campaign and --out first");
  if (common::sha256_file(folder_.weights()) != baseline->weights_sha256)
    throw InputError(
        {folder_.weights().string()},
        "these are not the weights that this folder's tasks were run with; restore the file, or choose "
        "another --out (a campaign can start from given weights: 'pretrain: {weights: file}')");
  return std::move(*baseline);
}

Phase Campaign::characterize_phase() const {
  const configs::CharacterizeConfig& config = inputs_.config.characterize;
  Phase phase{folder_.root(), "characterize", "steps"};
  std::vector<std::pair<std::size_t, int>> which;
  const std::int64_t work = reduce::steps_spent(config.evaluated(), inputs_.config.retrain.schedule.kind);
  for (std::size_t rate = 0; rate < config.fault_rates.size(); ++rate)
    for (int repeat = 0; repeat < config.repeats; ++repeat) {
      const std::string value = format_number(config.fault_rates[rate]);
      phase.add(
          {fmt::format("characterise fault rate {}, repeat {}", value, repeat), work,
           fmt::format("rate_{}_repeat_{}", value, repeat),
           folder_.characterize_task(config.fault_rates[rate], repeat)},
          folder_.read_characterized(config.fault_rates[rate], repeat, inputs_.decision.size()).has_value());
      which.emplace_back(rate, repeat);
    }
  phase.start = [this, which]() -> RunTask {
    auto worker = std::make_shared<CampaignWorker>(inputs_, folder_, run_.threads, run_.checkpoint_seconds);
    return [worker, which](std::size_t task, const ReportSteps& progress) {
      worker->characterize(which[task].first, which[task].second, progress);
    };
  };
  return phase;
}

void Campaign::characterize() {
  pretrain();
  run_phase([&] { return characterize_phase(); }, run_);
  if (!inputs_.calibration.empty()) run_phase([&] { return calibrate_phase(); }, run_);
  const configs::CharacterizeConfig& config = inputs_.config.characterize;
  std::string text = "fault_rate,repeat,steps,epochs,accuracy" + leak_column(decided_on(), true) + "\n";
  for (const double rate : config.fault_rates)
    for (int repeat = 0; repeat < config.repeats; ++repeat)
      for (const CharacterizedPoint& point : need_characterized(rate, repeat).points)
        text += fmt::format(
            "{},{},{},{},{}{}\n", format_number(rate), repeat, point.steps,
            format_number(static_cast<double>(point.steps) / static_cast<double>(inputs_.steps_per_epoch())),
            format_number(point.decision.accuracy()), leak_column(decided_on(), false));
  common::write_file_atomic(folder_.characterization(), text);
  const auto rates = planning_data().rates;
  common::write_file_atomic(folder_.resilience(), resilience_csv(rates, decided_on()));
  say(fmt::format("\n{}", resilience_table(rates, decided_on(), colours_)));
}

}  // namespace kintsugi::sim
