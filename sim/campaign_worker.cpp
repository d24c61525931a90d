#include "sim/campaign_worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "common/sha256.h"
#include "common/text.h"
#include "sim/task_checkpoints.h"
#include "workloads/float_forward.h"
#include "workloads/pruning_mask.h"
#include "workloads/safetensors.h"

namespace kintsugi::sim {
namespace {

reduce::BenchInputs bench_inputs(const CampaignInputs& inputs) {
  return {&inputs.chip,          &inputs.network, &inputs.training,    inputs.config.retrain,
          inputs.config.forward, inputs.seed,     inputs.config.repair};
}

// For reduce::Resumable: the last mark of what was taken back.
std::int64_t last_mark(const std::vector<CharacterizedPoint>& points) {
  return points.empty() ? -1 : points.back().steps;
}
std::int64_t last_mark(const std::vector<RetrainedPoint>& points) {
  return points.empty() ? -1 : points.back().steps;
}

// What a retraining task's result depends on beside the campaign.
std::string tag_of(const RetrainJob& job) {
  std::string text =
      fmt::format("deliver {} planned {} repair {} marks", job.deliver, job.planned.value_or(-1), job.repair);
  for (const std::int64_t mark : job.wanted.marks) text += fmt::format(" {}", mark);
  for (const reduce::Ladder& ladder : job.wanted.ladders) {
    text += fmt::format(", ladder {}", static_cast<int>(ladder.extend));
    for (const std::int64_t amount : ladder.amounts) text += fmt::format(" {}", amount);
  }
  return text;
}

void add(StageTimes& times, const char* stage, const common::Seconds& seconds, std::int64_t count = 1) {
  times[stage] += StageTime{seconds, count};
}

}  // namespace

reduce::ScoreAt decision_scores(const std::vector<RetrainedPoint>& points) {
  return [&points](std::int64_t steps) -> const reduce::Score* {
    const auto found = std::find_if(points.begin(), points.end(),
                                    [&](const RetrainedPoint& point) { return point.steps == steps; });
    return found == points.end() ? nullptr : &found->decision;
  };
}

CampaignWorker::CampaignWorker(const CampaignInputs& inputs, const CampaignFolder& folder, int threads,
                               double checkpoint_seconds)
    : inputs_(inputs),
      folder_(folder),
      checkpoint_seconds_(checkpoint_seconds),
      pool_(threads),
      bench_(bench_inputs(inputs), pool_),
      weights_(workloads::read_parameters(folder.weights())) {
  workloads::check_parameters(inputs.network, weights_, folder.weights().string());
}

const workloads::ActivationScales& CampaignWorker::scales() {
  if (!scales_) scales_ = folder_.read_scales();
  return *scales_;
}

const reduce::Correct& CampaignWorker::baseline_of(const std::string& set,
                                                   const workloads::ImageSet& images) {
  auto found = baselines_.find(set);
  if (found == baselines_.end()) {
    auto baseline = folder_.read_baseline(set, images.size());
    if (!baseline) throw std::logic_error("no baseline of the " + set + " set");
    found = baselines_.emplace(set, std::move(baseline->int8)).first;
  }
  return found->second;
}

void CampaignWorker::baseline(const std::string& set, const workloads::ImageSet& images) {
  // Those of the decision set are the first: whatever is there is left from before.
  if (set == "decision" || !std::filesystem::exists(folder_.scales())) {
    scales_.reset();
    configs::QuantizationConfig config = inputs_.config.quantization;
    config.images = std::min(config.images, inputs_.held_out.size());
    folder_.write_scales(workloads::calibrate(inputs_.network, weights_, inputs_.held_out, config, &pool_));
  }
  bench_.insert_chip(faults::fault_free(inputs_.chip.array.rows, inputs_.chip.array.cols));
  const workloads::DeployedNetwork deployed = bench_.deploy(weights_, scales());
  workloads::write_deployed(folder_.deployed(), inputs_.network, deployed);
  Baseline result;
  result.int8 = bench_.measure(deployed, images);
  result.floating = bench_.measure_float(weights_, images);
  result.weights_sha256 = common::sha256_file(folder_.weights());
  folder_.write_baseline(set, result);
}

void CampaignWorker::insert(const faults::FaultMap& map, const faults::ArrayFaults& faults, bool keep_away) {
  if (keep_away)
    bench_.insert_chip(faults, faults::find_unbypassable(map, faults.bypass));
  else
    bench_.insert_chip(faults);
}

workloads::Parameters CampaignWorker::repaired(StageTimes& times) {
  workloads::Parameters parameters = bench_.repair(weights_, scales());
  const configs::RepairConfig& config = inputs_.config.repair;
  if (config.any()) add(times, "shared_repair", bench_.repair_seconds().shared);
  if (config.mapping) add(times, "mapping", bench_.repair_seconds().mapping);
  if (config.compensation) add(times, "compensation", bench_.repair_seconds().compensation);
  if (config.batch_norm) add(times, "batch_norm", bench_.repair_seconds().batch_norm);
  return parameters;
}

reduce::Score CampaignWorker::check(const workloads::Parameters& parameters, StageTimes& times,
                                    double* loss) {
  const reduce::Correct& baseline = baseline_of("decision", inputs_.decision);
  const common::Stopwatch watch;
  const auto deployed = bench_.deploy(parameters, scales());
  const reduce::Score score = reduce::score(bench_.measure(deployed, inputs_.decision, loss), baseline);
  add(times, "checks", watch.elapsed());
  return score;
}

training::Checkpointer CampaignWorker::checkpoints(const std::filesystem::path& result,
                                                   const std::string& tag) const {
  return training::Checkpointer(
      checkpoints_beside(result, checkpoint_seconds_, folder_.digest() + " " + tag));
}

CharacterizedMap CampaignWorker::characterized(const std::string& stream, const ReportSteps& progress,
                                               StageTimes& times, training::Checkpointer& checkpointer,
                                               const std::function<bool(const reduce::Score&)>& needs_run) {
  CharacterizedMap map;
  const workloads::Parameters start = repaired(times);
  map.repair_steps = bench_.repair_steps();
  // Not of a map without faults: what this worker did before must not show.
  if (map.repair_steps.total() > 0) map.shared_repair_steps = bench_.shared_repair_steps();
  map.predictors = bench_.pruned(weights_);
  bool run = true;
  const reduce::NextMark amounts = reduce::each_of(inputs_.config.characterize.evaluated());
  const reduce::Resumable resumable{
      &checkpointer, [&] { return CampaignFolder::text_of(map); },
      [&](const std::string& text) {
        if (auto known = CampaignFolder::parse_characterized(text, inputs_.decision.size())) {
          map.points = std::move(known->points);
          map.predictors.loss = known->predictors.loss;
          run = needs_run(map.points.front().decision);
        }
        return last_mark(map.points);
      }};
  const common::Stopwatch watch;
  common::Seconds checks;
  map.steps_run = bench_.retrain(
      start, scales(), stream, [&] { return run ? amounts() : std::nullopt; },
      [&](std::int64_t steps, const workloads::Parameters& parameters) {
        const common::Stopwatch pause;
        map.points.push_back({steps, check(parameters, times, steps == 0 ? &map.predictors.loss : nullptr)});
        if (steps == 0) run = needs_run(map.points.back().decision);
        checks += pause.elapsed();
      },
      progress, resumable);
  add(times, "retraining", watch.elapsed() - checks, map.steps_run);
  return map;
}

void CampaignWorker::characterize(std::size_t rate_index, int repeat, const ReportSteps& progress) {
  const double rate = inputs_.config.characterize.fault_rates[rate_index];
  const faults::FaultMap map = characterization_map(inputs_, rate_index, repeat);
  insert(map, compile_for(inputs_, map));
  StageTimes times;
  auto checkpointer = checkpoints(folder_.characterize_task(rate, repeat), "characterize");
  const CharacterizedMap result =
      characterized(fmt::format("characterize/{}/{}", common::format_number(rate), repeat), progress, times,
                    checkpointer, [](const reduce::Score&) { return true; });
  write_timings(folder_.root(), "characterize",
                fmt::format("rate_{}_repeat_{}", common::format_number(rate), repeat), times);
  folder_.write_characterized(rate, repeat, result);
  checkpointer.remove();
}

void CampaignWorker::calibrate(const faults::FaultMap& map, const ReportSteps& progress) {
  const reduce::Constraint constraint(inputs_.config.constraint);
  insert(map, compile_for(inputs_, map));
  StageTimes times;
  auto checkpointer = checkpoints(folder_.calibrate_task(map.chip), "calibrate");
  // A chip that is delivered without retraining needs none, whatever is planned.
  const CharacterizedMap result = characterized(
      "calibrate/" + map.chip, progress, times, checkpointer,
      [&](const reduce::Score& start) { return constraint.judge(start) != reduce::Outcome::pass; });
  write_timings(folder_.root(), "calibrate", map.chip, times);
  folder_.write_calibrated(map.chip, result);
  checkpointer.remove();
}

void CampaignWorker::before(const faults::FaultMap& map) {
  const faults::ArrayFaults faults = compile_for(inputs_, map);
  insert(map, faults);
  reduce::ChipFacts facts = facts_of_map(inputs_, map, faults);
  StageTimes times;
  double loss = 0;
  if (inputs_.config.check_before_repair) facts.before = check(weights_, times, &loss);
  if (inputs_.config.repair.any()) {
    const workloads::Parameters parameters = repaired(times);
    facts.repaired = check(parameters, times, &loss);
    facts.repair_steps = bench_.repair_steps();
    facts.dropped = bench_.dropped();
    if (facts.dropped && facts.dropped->problem.empty())
      facts.live_faults -= faults::find_unbypassable(map, faults.bypass).faulty_pes;
    RepairedNetwork keep{parameters, std::nullopt};
    if (bench_.placement() != nullptr) keep.placement = *bench_.placement();
    folder_.write_repaired(map.chip, inputs_.network, keep);
  }
  facts.predictors = bench_.pruned(weights_);
  facts.predictors->loss = loss;
  write_timings(folder_.root(), "before", map.chip, times);
  folder_.write_before(facts);
}

void CampaignWorker::hand_over(const std::string& id, const workloads::Parameters& parameters,
                               const workloads::DeployedNetwork& deployed, RetrainedPoint& point) {
  point.test_float_correct = reduce::count(bench_.measure_float(parameters, inputs_.test));
  point.test_fault_free_correct = reduce::count(bench_.measure_fault_free(deployed, inputs_.test));
  const std::filesystem::path chip = folder_.chip(id);
  workloads::write_parameters(chip / "weights.safetensors", bench_.as_written(parameters));
  workloads::write_deployed(chip / "deployed.safetensors", bench_.network(), deployed, bench_.placement());
}

void CampaignWorker::retrain(const faults::FaultMap& map, const RetrainJob& job,
                             const ReportSteps& progress) {
  const auto facts = folder_.read_before(map.chip, inputs_.decision.size());
  insert(map, compile_for(inputs_, map), !facts || !facts->dropped || facts->dropped->problem.empty());
  StageTimes times;
  workloads::Parameters start = weights_;
  if (job.repair && inputs_.config.repair.any()) {
    auto kept = folder_.read_repaired(map.chip, inputs_.network);
    if (kept) {
      if (kept->placement) bench_.place_channels(*kept->placement);
      start = std::move(kept->parameters);
    } else {
      start = repaired(times);
    }
  }
  const reduce::Constraint constraint(inputs_.config.constraint);
  const reduce::Correct& test = baseline_of("test", inputs_.test);
  std::vector<RetrainedPoint> points;
  const reduce::ScoreAt score_at = decision_scores(points);
  const auto delivered = [&](std::int64_t steps) {
    if (!job.deliver) return false;
    if (job.planned) return *job.planned == steps;
    const reduce::Climb climb = reduce::climb(job.wanted.ladders.front(), score_at, constraint);
    return !climb.missing && climb.reached == steps;
  };
  auto checkpointer = checkpoints(folder_.retrain_task(map.chip), tag_of(job));
  const reduce::Resumable resumable{
      &checkpointer, [&] { return CampaignFolder::text_of(points); },
      [&](const std::string& text) {
        if (auto known = CampaignFolder::parse_retrained(text, inputs_.decision.size(), inputs_.test.size()))
          points = std::move(*known);
        return last_mark(points);
      }};
  // An older plan's result must not vouch for the weights that are written now.
  std::filesystem::remove(folder_.retrain_task(map.chip));
  const common::Stopwatch watch;
  common::Seconds elsewhere;
  const std::int64_t steps_run = bench_.retrain(
      start, scales(), "retrain/" + map.chip,
      [&] { return reduce::next_amount(job.wanted, score_at, constraint); },
      [&](std::int64_t steps, const workloads::Parameters& parameters) {
        const common::Stopwatch pause;
        RetrainedPoint point;
        point.steps = steps;
        if (!inputs_.config.leak_as_published) point.decision = check(parameters, times);
        const common::Stopwatch experiment;
        const auto deployed = bench_.deploy(parameters, scales());
        point.test = reduce::score(bench_.measure(deployed, inputs_.test), test);
        if (inputs_.config.leak_as_published) point.decision = point.test;
        points.push_back(point);
        if (delivered(steps)) hand_over(map.chip, parameters, deployed, points.back());
        add(times, inputs_.config.leak_as_published ? "checks" : "experiment", experiment.elapsed());
        elsewhere += pause.elapsed();
      },
      progress, resumable);
  add(times, "retraining", watch.elapsed() - elsewhere, steps_run);
  write_timings(folder_.root(), "retrain", map.chip, times);
  // Last: its presence says that the weights are there too.
  folder_.write_retrained(map.chip, points, job.deliver);
  checkpointer.remove();
  folder_.remove_repaired(map.chip);
}

}  // namespace kintsugi::sim
