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
      lock_(out),
      constraint_(inputs_.config.constraint),
      colours_(::isatty(STDOUT_FILENO) == 1) {
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

void Campaign::run_missing(const std::string& label, const std::string& unit, const std::vector<Task>& tasks,
                           std::size_t all, const StartWorker& start, bool one_worker) const {
  if (tasks.size() < all)
    say(fmt::format("{}: {} of {} tasks were done before", label, all - tasks.size(), all));
  run_tasks(tasks, start, {one_worker ? 1 : run_.workers, label, unit, run_.quiet});
}

void Campaign::pretrain() {
  if (!std::filesystem::exists(folder_.weights())) {
    const Pretraining pretraining{inputs_.config.pretrain, inputs_.network, inputs_.training, inputs_.seed};
    run_missing(
        "pretrain", "steps", {{"pretraining", std::max<std::int64_t>(1, pretraining.steps())}}, 1,
        [&] {
          return [&](std::size_t, const ReportSteps& progress) {
            pretraining.run(folder_.weights(), run_.workers * run_.threads, progress);
          };
        },
        true);
  }
  measure_baseline("decision", inputs_.decision);
  const Baseline baseline = need_baseline("decision", inputs_.decision.size());
  say(fmt::format("{} on {}, without faults: float {}, int8 {} of {} {} images", inputs_.network.name,
                  inputs_.training.name, percent(reduce::count(baseline.floating), inputs_.decision.size()),
                  percent(reduce::count(baseline.int8), inputs_.decision.size()), inputs_.decision.size(),
                  inputs_.config.leak_as_published ? "test (leak_as_published)" : "decision"));
}

void Campaign::measure_baseline(const std::string& set, const workloads::ImageSet& images) {
  const bool complete = std::filesystem::exists(folder_.scales()) &&
                        std::filesystem::exists(folder_.deployed()) &&
                        folder_.read_baseline(set, images.size()).has_value();
  if (complete) return;
  run_missing(
      "baseline", "tasks", {{"baseline on the " + set + " set", 1}}, 1,
      [&] {
        auto worker = std::make_shared<CampaignWorker>(inputs_, folder_, run_.workers * run_.threads);
        return [&, worker](std::size_t, const ReportSteps&) { worker->baseline(set, images); };
      },
      true);
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

void Campaign::characterize() {
  pretrain();
  const configs::CharacterizeConfig& config = inputs_.config.characterize;
  const std::int64_t images = inputs_.decision.size();
  std::vector<Task> tasks;
  std::vector<std::pair<std::size_t, int>> which;
  for (std::size_t rate = 0; rate < config.fault_rates.size(); ++rate)
    for (int repeat = 0; repeat < config.repeats; ++repeat) {
      if (folder_.read_characterized(config.fault_rates[rate], repeat, images)) continue;
      tasks.push_back({fmt::format("characterise fault rate {}, repeat {}",
                                   format_number(config.fault_rates[rate]), repeat),
                       config.max_steps});
      which.emplace_back(rate, repeat);
    }
  run_missing("characterize", "steps", tasks,
              config.fault_rates.size() * static_cast<std::size_t>(config.repeats), [&] {
                auto worker = std::make_shared<CampaignWorker>(inputs_, folder_, run_.threads);
                return [&, worker](std::size_t task, const ReportSteps& progress) {
                  worker->characterize(which[task].first, which[task].second, progress);
                };
              });

  std::string text = "fault_rate,repeat,steps,epochs,accuracy" + leak_column(decided_on(), true) + "\n";
  for (const double rate : config.fault_rates)
    for (int repeat = 0; repeat < config.repeats; ++repeat)
      for (const CharacterizedPoint& point : need_characterized(rate, repeat))
        text += fmt::format(
            "{},{},{},{},{}{}\n", format_number(rate), repeat, point.steps,
            format_number(static_cast<double>(point.steps) / static_cast<double>(inputs_.steps_per_epoch())),
            format_number(point.decision.accuracy()), leak_column(decided_on(), false));
  common::write_file_atomic(folder_.characterization(), text);
  const auto rates = need_resilience();
  common::write_file_atomic(folder_.resilience(), resilience_csv(rates, decided_on()));
  say(fmt::format("\n{}", resilience_table(rates, decided_on(), colours_)));
}

std::vector<CharacterizedPoint> Campaign::need_characterized(double fault_rate, int repeat) const {
  auto points = folder_.read_characterized(fault_rate, repeat, inputs_.decision.size());
  if (!points)
    throw InputError(
        {folder_.root().string()},
        fmt::format("the characterisation is not complete (fault rate {}, repeat {} is missing); run "
                    "'kintsugi reduce characterize' with the same --campaign and --out first",
                    format_number(fault_rate), repeat));
  return std::move(*points);
}

std::vector<reduce::RateResilience> Campaign::need_resilience() const {
  const configs::CharacterizeConfig& config = inputs_.config.characterize;
  std::vector<reduce::RateResilience> rates;
  for (const double rate : config.fault_rates) {
    std::vector<reduce::Needed> needed;
    for (int repeat = 0; repeat < config.repeats; ++repeat) {
      std::vector<reduce::Evaluated> evaluated;
      for (const CharacterizedPoint& point : need_characterized(rate, repeat))
        evaluated.push_back({point.steps, constraint_.met(point.decision)});
      needed.push_back(reduce::needed_amount(evaluated, config.amount, config.max_steps));
    }
    rates.push_back(reduce::summarize_rate(rate, needed));
  }
  return rates;
}

}  // namespace kintsugi::sim
