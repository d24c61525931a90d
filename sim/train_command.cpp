// `kintsugi train`: float training, or training through a faulty chip, from the command line.
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>

#include "array/functional_accelerator.h"
#include "common/diagnostics.h"
#include "common/files.h"
#include "common/progress.h"
#include "common/sha256.h"
#include "common/text.h"
#include "common/thread_pool.h"
#include "configs/chip.h"
#include "configs/network.h"
#include "faults/array_faults.h"
#include "faults/chip_speed.h"
#include "faults/fault_map_io.h"
#include "sim/operating_options.h"
#include "sim/timing_report.h"
#include "sim/train_log.h"
#include "sim/train_options.h"
#include "training/learning_rate.h"
#include "training/trainer.h"
#include "workloads/dataset.h"
#include "workloads/deployed.h"
#include "workloads/float_forward.h"
#include "workloads/inference.h"
#include "workloads/pruning_mask.h"
#include "workloads/safetensors.h"

namespace kintsugi::sim {
namespace {

using common::InputError;

// Everything the options name, read and checked.
struct Inputs {
  workloads::Network network;
  workloads::DecisionSplit images;
  std::optional<workloads::ImageSet> test;
  workloads::Parameters start;
  configs::ChipConfig chip;                          // the default 256×256 chip if none was named
  faults::ArrayFaults faults;                        // none then
  std::shared_ptr<const faults::ChipTiming> timing;  // null for a chip without timing
  std::string timing_lines;                          // of the summary
  std::string faults_digest;                         // of what is broken and late
  std::int64_t total_steps = 0;
  std::int64_t steps_per_epoch = 0;
};

void read_timing(Inputs& inputs) {
  if (!inputs.chip.timing) return;
  const faults::ChipSpeed speed(inputs.chip);
  inputs.timing = speed.at(speed.configured());
  inputs.timing_lines = timing_yaml(inputs.chip, speed, speed.configured(), "    ");
  inputs.faults_digest += timing_digest(inputs.chip, speed, speed.configured());
}

void read_chip_and_faults(const TrainOptions& options, Inputs& inputs) {
  if (options.chip)
    inputs.chip = at_chosen_point(configs::read_chip(*options.chip, options.common.set), options.point,
                                  "kintsugi train");
  const configs::ArrayConfig& array = inputs.chip.array;
  inputs.faults = faults::fault_free(array.rows, array.cols);
  const auto map_file = options.fault_map ? options.fault_map : inputs.chip.fault_map;
  const auto bypass_file =
      options.bypass_map || options.no_bypass ? options.bypass_map : inputs.chip.bypass_map;
  if (options.chip && array.bypass == configs::Bypass::none) {
    if (bypass_file)
      throw InputError(
          {options.chip->string()},
          "the chip has 'bypass: none', but a bypass map is given; drop the map or give the chip "
          "'bypass: fap'");
    if (options.forward == configs::Forward::masked_float)
      throw InputError({options.chip->string()},
                       "the chip has 'bypass: none', and --forward masked_float sees bypassed PEs only: it "
                       "would train as without a chip");
  }
  if (!map_file) {
    if (bypass_file) throw InputError("a bypass map without a fault map; give --fault-map");
    if (options.no_bypass) throw InputError("--no-bypass without a fault map; give --fault-map");
    return;
  }
  const faults::ArrayGeometry geometry{array.rows, array.cols, array.accumulator_bits};
  const faults::FaultMap map = faults::read_fault_map(*map_file, geometry, options.common.set);
  std::optional<faults::FaultMap> bypass;
  if (bypass_file) bypass = faults::read_fault_map(*bypass_file, geometry, options.common.set);
  faults::BypassSource source = bypass ? faults::BypassSource::bypass_map : faults::BypassSource::fault_map;
  if (options.no_bypass || array.bypass == configs::Bypass::none) source = faults::BypassSource::none;
  inputs.faults = faults::compile(map, source, bypass ? &*bypass : nullptr, array.rows, array.cols,
                                  array.accumulator_bits);
  inputs.faults_digest =
      common::sha256(faults::fault_map_yaml(map)) +
      common::sha256(std::string(inputs.faults.bypass.begin(), inputs.faults.bypass.end()));
}

Inputs read_inputs(const TrainOptions& options) {
  Inputs inputs;
  inputs.network = workloads::build_network(configs::read_network(options.network, options.common.set));
  read_chip_and_faults(options, inputs);
  read_timing(inputs);
  const auto& data_dir = options.common.data_dir;
  const workloads::ImageSet all =
      workloads::load_dataset(options.training_data, configs::Split::train, data_dir);
  workloads::check_dataset(all, inputs.network, options.training_data.where);
  if (options.test_data) {
    inputs.test = workloads::load_dataset(*options.test_data, configs::Split::test, data_dir);
    workloads::check_dataset(*inputs.test, inputs.network, options.test_data->where);
  }
  inputs.images = workloads::hold_out(all, options.decision_images, options.split_seed);
  if (options.weights) {
    inputs.start = workloads::read_parameters(*options.weights);
    workloads::check_parameters(inputs.network, inputs.start, options.weights->string());
  } else {
    inputs.start = workloads::initial_parameters(inputs.network, options.common.seed);
  }
  if (inputs.images.training.size() < options.sgd.batch) {
    throw InputError(fmt::format("--batch {} is more than the {} images left for training", options.sgd.batch,
                                 inputs.images.training.size()));
  }
  inputs.steps_per_epoch = inputs.images.training.size() / options.sgd.batch;
  inputs.total_steps = options.steps ? *options.steps
                                     : static_cast<std::int64_t>(std::llround(
                                           options.epochs * static_cast<double>(inputs.steps_per_epoch)));
  return inputs;
}

struct Accuracies {
  double in_float = 0;
  double fault_free = 0;
  double this_chip = 0;
};

// Measures weights on the three machines an accuracy is always given for.
class Judge {
 public:
  Judge(const Inputs& inputs, common::ThreadPool& pool)
      : inputs_(inputs),
        pool_(pool),
        device_(inputs.chip, &pool),
        none_(faults::fault_free(inputs.chip.array.rows, inputs.chip.array.cols)) {}

  double in_float(const workloads::Parameters& weights, const workloads::ImageSet& images) const {
    return workloads::accuracy(workloads::float_predictions(inputs_.network, weights, images, &pool_),
                               images.labels);
  }
  // With timing errors, results depend on what streams beside what, and so on the batch.
  double on_chip(const workloads::DeployedNetwork& deployed, const workloads::ImageSet& images,
                 const faults::ArrayFaults& faults, const std::shared_ptr<const faults::ChipTiming>& timing) {
    constexpr std::int64_t kBatch = 200;
    device_.load_faults(faults);
    device_.load_timing(timing);
    const auto result = workloads::infer(device_, inputs_.network, deployed, images, kBatch, faults);
    return workloads::accuracy(result.predicted, images.labels);
  }
  Accuracies all(const workloads::Parameters& weights, const workloads::DeployedNetwork& deployed,
                 const workloads::ImageSet& images) {
    return {in_float(weights, images), on_chip(deployed, images, none_, nullptr),
            on_chip(deployed, images, inputs_.faults, inputs_.timing)};
  }

 private:
  const Inputs& inputs_;
  common::ThreadPool& pool_;
  array::FunctionalAccelerator device_;
  faults::ArrayFaults none_;
};

std::string summary(const TrainOptions& options, const Inputs& inputs, const std::filesystem::path& weights,
                    const Accuracies& decision, const std::optional<Accuracies>& test) {
  const auto number = common::format_number;
  const auto accuracies = [&](const Accuracies& a) {
    std::string text =
        fmt::format("{{float: {}, int8_fault_free: {}", number(a.in_float), number(a.fault_free));
    return text + (options.chip ? fmt::format(", int8_this_chip: {}}}", number(a.this_chip)) : "}");
  };
  const configs::SgdConfig& sgd = options.sgd;
  std::string text = "train:\n  version: 1\n";
  text +=
      fmt::format("  network: {}\n  weights_sha256: {}\n", inputs.network.name, common::sha256_file(weights));
  text += fmt::format("  forward: {}\n", !options.chip                               ? "float"
                                         : options.forward == configs::Forward::chip ? "chip"
                                                                                     : "masked_float");
  if (options.weights)
    text += fmt::format("  start_weights_sha256: {}\n", common::sha256_file(*options.weights));
  text += fmt::format(
      "  seed: {}\n  steps: {}\n  epochs: {}\n", options.common.seed, inputs.total_steps,
      number(static_cast<double>(inputs.total_steps) / static_cast<double>(inputs.steps_per_epoch)));
  text += fmt::format("  batch: {}\n  learning_rate: {}\n  momentum: {}\n  weight_decay: {}\n", sgd.batch,
                      number(sgd.learning_rate), number(sgd.momentum), number(sgd.weight_decay));
  text += fmt::format("  images: {{training: {}, decision: {}, test: {}}}\n", inputs.images.training.size(),
                      inputs.images.decision.size(), inputs.test ? inputs.test->size() : 0);
  if (options.chip) {
    text += fmt::format("  chip: {{file: {}, faulty_pes: {}, bypassed_pes: {}, assumed_maskable: {}}}\n",
                        common::yaml_scalar(options.chip->string()), inputs.faults.named_faulty,
                        inputs.faults.bypassed_pes(), inputs.faults.assumed_maskable);
    if (inputs.timing) text += fmt::format("  timing:\n{}", inputs.timing_lines);
  }
  text += "  accuracy:\n    decision: " + accuracies(decision) + "\n";
  if (test) text += "    test: " + accuracies(*test) + "\n";
  return text;
}

void print_table(const TrainOptions& options, const Inputs& inputs, const Accuracies& decision,
                 const std::optional<Accuracies>& test) {
  const std::string held_out = fmt::format("decision ({})", inputs.images.decision.size());
  const std::string final_set = test ? fmt::format("test ({})", inputs.test->size()) : "";
  std::cout << fmt::format("{:<24}{:>18}{:>16}\n", "accuracy", held_out, final_set);
  const auto line = [&](const char* name, double Accuracies::*what) {
    std::cout << fmt::format("{:<24}{:>18}{:>16}\n", name, common::format_percent(decision.*what),
                             test ? common::format_percent((*test).*what) : "");
  };
  line("float", &Accuracies::in_float);
  line("int8, fault-free chip", &Accuracies::fault_free);
  if (options.chip) line("int8, this chip", &Accuracies::this_chip);
  std::cout << "results in " << options.common.out.string() << "\n";
}

// Steps up to the end, with log, checkpoints and progress.
void run_steps(const TrainOptions& options, const Inputs& inputs, training::Trainer& trainer, Judge& judge,
               const workloads::ActivationScales& scales, const workloads::Masks& masks) {
  const std::filesystem::path checkpoint = options.common.out / "checkpoint.safetensors";
  const std::filesystem::path log_file = options.common.out / "log.csv";
  TrainLog log;
  if (std::filesystem::exists(checkpoint)) {
    trainer.load(checkpoint);
    log.continue_from(log_file, trainer.steps_done());
    if (trainer.steps_done() > inputs.total_steps) {
      throw InputError({checkpoint.string(), 0, 0},
                       fmt::format("has {} steps already, more than the {} asked for; take another --out",
                                   trainer.steps_done(), inputs.total_steps));
    }
  }
  const auto every = [&](std::int64_t chosen) { return chosen > 0 ? chosen : inputs.steps_per_epoch; };
  const std::int64_t evaluate_every = every(options.evaluate_every);
  const std::int64_t checkpoint_every = every(options.checkpoint_every);
  const auto save = [&] {
    log.write(log_file);  // before the checkpoint, which relies on it
    trainer.save(checkpoint);
  };

  if (inputs.total_steps == 0) return save();
  common::Progress progress("training", inputs.total_steps, options.progress, "steps", trainer.steps_done());
  std::string note;
  while (trainer.steps_done() < inputs.total_steps) {
    const double rate = training::learning_rate(options.sgd, trainer.steps_done(), inputs.total_steps);
    const double loss = trainer.step();
    const std::int64_t step = trainer.steps_done();
    std::optional<double> accuracy;
    if (step % evaluate_every == 0 || step == inputs.total_steps) {
      if (options.chip) {
        const auto deployed = workloads::deploy(inputs.network, trainer.parameters(), scales, masks);
        accuracy = judge.on_chip(deployed, inputs.images.decision, inputs.faults, inputs.timing);
      } else {
        accuracy = judge.in_float(trainer.parameters(), inputs.images.decision);
      }
      note = ", accuracy " + common::format_percent(*accuracy);
    }
    log.add(step, static_cast<double>(step) / static_cast<double>(inputs.steps_per_epoch), loss, rate,
            accuracy);
    progress.set(step, fmt::format("loss {:.4f}{}", loss, note));
    if (step % checkpoint_every == 0 || step == inputs.total_steps) save();
  }
}

}  // namespace

int train_command(const std::vector<std::string>& arguments) {
  const std::optional<TrainOptions> parsed = parse_train_options(arguments);
  if (!parsed) return kExitDone;
  const TrainOptions& options = *parsed;
  common::ThreadPool pool(options.common.threads);
  const Inputs inputs = read_inputs(options);

  workloads::Masks masks;
  workloads::ActivationScales scales;  // of the start weights, frozen; without a chip, of the trained ones
  if (options.chip) {
    masks = workloads::pruning_masks(inputs.network, inputs.faults, inputs.chip);
    scales = workloads::calibrate(inputs.network, inputs.start, inputs.images.decision, options.quantization,
                                  &pool);
  }
  array::FunctionalAccelerator device(inputs.chip, &pool);
  device.load_faults(inputs.faults);
  device.load_timing(inputs.timing);
  std::optional<training::ChipInTheLoop> loop;
  if (options.chip && options.forward == configs::Forward::chip)
    loop = training::ChipInTheLoop{&device, scales};

  training::TrainerOptions trainer_options;
  trainer_options.sgd = options.sgd;
  trainer_options.total_steps = inputs.total_steps;
  // No steps, no schedule: the weights are only measured.
  if (inputs.total_steps == 0) trainer_options.sgd.schedule.kind = configs::ScheduleKind::constant;
  trainer_options.seed = options.common.seed;
  trainer_options.tag = inputs.faults_digest;
  training::Trainer trainer(inputs.network, inputs.start, inputs.images.training, trainer_options, masks,
                            loop, &pool);
  Judge judge(inputs, pool);
  run_steps(options, inputs, trainer, judge, scales, masks);

  const workloads::Parameters& weights = trainer.parameters();
  if (!options.chip) {
    scales =
        workloads::calibrate(inputs.network, weights, inputs.images.decision, options.quantization, &pool);
  }
  workloads::DeployedNetwork deployed = workloads::deploy(inputs.network, weights, scales, masks);
  if (options.chip) {
    deployed.bypass = inputs.faults.bypass;
    deployed.rows = inputs.faults.rows;
    deployed.cols = inputs.faults.cols;
  }
  const std::filesystem::path weights_file = options.common.out / "weights.safetensors";
  workloads::write_parameters(weights_file, weights);
  workloads::write_deployed(options.common.out / "deployed.safetensors", inputs.network, deployed);
  const Accuracies decision = judge.all(weights, deployed, inputs.images.decision);
  std::optional<Accuracies> test;
  if (inputs.test) test = judge.all(weights, deployed, *inputs.test);
  common::write_file_atomic(options.common.out / "summary.yaml",
                            summary(options, inputs, weights_file, decision, test));
  print_table(options, inputs, decision, test);
  return kExitDone;
}

}  // namespace kintsugi::sim
