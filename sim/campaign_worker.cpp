#include "sim/campaign_worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "common/sha256.h"
#include "common/text.h"
#include "workloads/float_forward.h"
#include "workloads/pruning_mask.h"
#include "workloads/safetensors.h"

namespace kintsugi::sim {
namespace {

reduce::BenchInputs bench_inputs(const CampaignInputs& inputs) {
  return {&inputs.chip,          &inputs.network, &inputs.training,    inputs.config.retrain,
          inputs.config.forward, inputs.seed,     inputs.config.repair};
}

}  // namespace

CampaignWorker::CampaignWorker(const CampaignInputs& inputs, const CampaignFolder& folder, int threads)
    : inputs_(inputs),
      folder_(folder),
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
  if (!std::filesystem::exists(folder_.scales())) {
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

void CampaignWorker::characterize(std::size_t rate_index, int repeat, const ReportSteps& progress) {
  const configs::CharacterizeConfig& config = inputs_.config.characterize;
  const double rate = config.fault_rates[rate_index];
  bench_.insert_chip(compile_for(inputs_, characterization_map(inputs_, rate_index, repeat)));
  std::vector<std::int64_t> marks;
  for (std::int64_t steps = 0; steps <= config.max_steps; steps += config.evaluate_every_steps)
    marks.push_back(steps);
  const reduce::Correct& baseline = baseline_of("decision", inputs_.decision);
  std::vector<CharacterizedPoint> points;
  bench_.retrain(
      bench_.repair(weights_, scales()), scales(),
      fmt::format("characterize/{}/{}", common::format_number(rate), repeat), marks,
      [&](std::int64_t steps, const workloads::Parameters& parameters) {
        const auto deployed = bench_.deploy(parameters, scales());
        points.push_back({steps, reduce::score(bench_.measure(deployed, inputs_.decision), baseline)});
      },
      progress);
  folder_.write_characterized(rate, repeat, points);
}

void CampaignWorker::before(const faults::FaultMap& map) {
  const faults::ArrayFaults faults = compile_for(inputs_, map);
  bench_.insert_chip(faults);
  reduce::ChipFacts facts;
  facts.id = map.chip;
  facts.faulty_pes = map.faulty_pes();
  facts.fault_rate = map.fault_rate();
  facts.assumed_maskable = faults.assumed_maskable;
  facts.live_faults = reduce::live_faulty_pes(faults);
  for (const workloads::Stage& stage : inputs_.network.stages)
    facts.mapped_fault_rate.emplace_back(stage.name,
                                         workloads::mapped_fault_rate(stage, faults, inputs_.chip));
  const auto deployed = bench_.deploy(weights_, scales());
  facts.before =
      reduce::score(bench_.measure(deployed, inputs_.decision), baseline_of("decision", inputs_.decision));
  if (inputs_.config.repair.any()) {
    const workloads::Parameters repaired = bench_.repair(weights_, scales());
    facts.repaired = reduce::score(bench_.measure(bench_.deploy(repaired, scales()), inputs_.decision),
                                   baseline_of("decision", inputs_.decision));
    facts.repair_steps = bench_.repair_multiply_adds() / bench_.step_multiply_adds();
  }
  folder_.write_before(facts);
}

void CampaignWorker::retrain(const faults::FaultMap& map, const std::vector<std::int64_t>& marks,
                             std::optional<std::int64_t> planned, bool repair, const ReportSteps& progress) {
  bench_.insert_chip(compile_for(inputs_, map));
  const workloads::Parameters start = repair ? bench_.repair(weights_, scales()) : weights_;
  const reduce::Correct& decision = baseline_of("decision", inputs_.decision);
  const reduce::Correct& test = baseline_of("test", inputs_.test);
  std::vector<RetrainedPoint> points;
  // An older plan's result must not vouch for the weights that are written now.
  std::filesystem::remove(folder_.retrain_task(map.chip));
  bench_.retrain(
      start, scales(), "retrain/" + map.chip, marks,
      [&](std::int64_t steps, const workloads::Parameters& parameters) {
        const auto deployed = bench_.deploy(parameters, scales());
        RetrainedPoint point;
        point.steps = steps;
        point.test = reduce::score(bench_.measure(deployed, inputs_.test), test);
        point.decision = inputs_.config.leak_as_published
                             ? point.test
                             : reduce::score(bench_.measure(deployed, inputs_.decision), decision);
        if (planned && *planned == steps) {
          point.test_float_correct = reduce::count(bench_.measure_float(parameters, inputs_.test));
          point.test_fault_free_correct = reduce::count(bench_.measure_fault_free(deployed, inputs_.test));
          const std::filesystem::path chip = folder_.chip(map.chip);
          workloads::write_parameters(chip / "weights.safetensors", bench_.as_written(parameters));
          workloads::write_deployed(chip / "deployed.safetensors", bench_.network(), deployed,
                                    bench_.placement());
        }
        points.push_back(point);
      },
      progress);
  // Last: its presence says that the weights are there too.
  folder_.write_retrained(map.chip, points);
}

}  // namespace kintsugi::sim
