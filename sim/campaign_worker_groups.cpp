// What a worker does for chips that share a network.
#include <fmt/format.h>

#include <stdexcept>

#include "sim/campaign_worker.h"
#include "workloads/deployed.h"
#include "workloads/safetensors.h"

namespace kintsugi::sim {

void CampaignWorker::retrain_group(const GroupJob& job, const ReportSteps& progress) {
  // A chip whose bypass hides all: so do the group's chips, or they would not be in it.
  faults::ArrayFaults fused = faults::fault_free(inputs_.chip.array.rows, inputs_.chip.array.cols);
  for (const std::size_t chip : job.chips) {
    const faults::ArrayFaults own = compile_for(inputs_, inputs_.chips[chip]);
    for (std::size_t pe = 0; pe < fused.bypass.size(); ++pe) fused.bypass[pe] |= own.bypass[pe];
  }
  bench_.insert_chip(fused);
  StageTimes times;
  GroupNetwork result;
  workloads::Parameters start = weights_;
  if (inputs_.config.repair.any()) {
    start = repaired(times);
    result.repair_steps = bench_.repair_steps();
  }
  const reduce::Constraint constraint(inputs_.config.constraint);
  const bool climbs = !job.wanted.ladders.empty();
  std::vector<RetrainedPoint> points;  // of a ladder; nothing is measured otherwise
  const reduce::ScoreAt score_at = decision_scores(points);
  const reduce::NextMark planned = reduce::each_of(job.wanted.marks);
  auto checkpointer = checkpoints(folder_.group_task(job.id), job.tag);
  const reduce::Resumable resumable{
      &checkpointer, [&] { return CampaignFolder::text_of(points); },
      [&](const std::string& text) {
        if (auto known = CampaignFolder::parse_retrained(text, inputs_.decision.size(), inputs_.test.size()))
          points = std::move(*known);
        return points.empty() ? std::int64_t{-1} : points.back().steps;
      }};
  // An older plan's result must not vouch for the network that is written now.
  std::filesystem::remove(folder_.group_task(job.id));
  const common::Stopwatch watch;
  common::Seconds checks;
  const std::int64_t steps_run = bench_.retrain(
      start, scales(), "retrain/" + job.id,
      [&] { return climbs ? reduce::next_amount(job.wanted, score_at, constraint) : planned(); },
      [&](std::int64_t steps, const workloads::Parameters& parameters) {
        const common::Stopwatch pause;
        if (climbs) {
          RetrainedPoint point;
          point.steps = steps;
          point.decision = check(parameters, times);
          point.test.images = inputs_.test.size();
          points.push_back(point);
        }
        result.network.parameters = parameters;  // the last amount is the network's
        checks += pause.elapsed();
      },
      progress, resumable);
  times["retraining"] += StageTime{watch.elapsed() - checks, steps_run};
  if (bench_.placement() != nullptr) result.network.placement = *bench_.placement();
  result.tried =
      climbs ? reduce::climb(job.wanted.ladders.front(), score_at, constraint).tried : job.wanted.marks;
  result.checks = std::ssize(points);
  write_timings(folder_.root(), "group", job.id, times);
  folder_.write_group(job.id, job.tag, inputs_.network, result);
  checkpointer.remove();
}

void CampaignWorker::deliver(const faults::FaultMap& map, const GroupJob& job) {
  const auto group = folder_.read_group(job.id, job.tag, inputs_.network);
  if (!group) throw std::logic_error("no network of group " + job.id);
  bench_.insert_chip(compile_for(inputs_, map));
  if (group->network.placement) bench_.place_channels(*group->network.placement);
  // What the group's other chips bypass is zero already.
  const workloads::Parameters& parameters = group->network.parameters;
  StageTimes times;
  RetrainedPoint point;
  point.steps = group->tried.back();
  if (!inputs_.config.leak_as_published) point.decision = check(parameters, times);
  const common::Stopwatch experiment;
  const auto deployed = bench_.deploy(parameters, scales());
  point.test = reduce::score(bench_.measure(deployed, inputs_.test), baseline_of("test", inputs_.test));
  if (inputs_.config.leak_as_published) point.decision = point.test;
  // An older network's result must not vouch for this one's weights.
  std::filesystem::remove(folder_.deliver_task(map.chip));
  hand_over(map.chip, parameters, deployed, point);
  times[inputs_.config.leak_as_published ? "checks" : "experiment"] += StageTime{experiment.elapsed(), 1};
  write_timings(folder_.root(), "deliver", map.chip, times);
  folder_.write_delivered(map.chip, point, group->sha256);
}

}  // namespace kintsugi::sim
