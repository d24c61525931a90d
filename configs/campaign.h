// A Reduce campaign (configs/campaigns/*.yaml): the main job in one file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "configs/chip_lot.h"
#include "configs/executor.h"
#include "configs/workload.h"

namespace kintsugi::configs {

enum class Forward { chip, masked_float };
enum class ScheduleKind { constant, step, cosine, linear };
enum class ScaleMethod { minmax, percentile };
enum class Amount { sustained, first_crossing };
enum class PolicyName { max, mean, fixed, quantile, adaptive };
// What a chip's retraining amount is read off: its own fault rate; the share of all weights on bypassed PEs;
// the share of the layers' squared weights that is lost there; mean cross-entropy on the decision images.
// The last three are taken where retraining starts, after repair if there is any.
enum class Predictor { fault_rate, mapped_fault_rate, pruned_saliency, loss };
// When an adaptive policy stops: the constraint is met by the estimate, or beyond its 95 % interval.
enum class Extend { estimate, interval };

// Learning rate over steps. constant; step: multiplied by `gamma` after each of `milestones` (fractions of
// the whole run, 0…1); cosine: half a cosine from learning_rate to 0 over the whole run; linear: a straight
// line from learning_rate to 0 over the whole run.
struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::constant;
  std::vector<double> milestones;
  double gamma = 0.1;
};

// Of the matrix products of the backward pass: float, or operands rounded to bfloat16.
enum class Backward { f32, bf16 };

// SGD with momentum and weight decay (as in PyTorch: v = μ v + (g + λ w); w −= η v).
struct SgdConfig {
  int batch = 128;
  double learning_rate = 0.05;
  double momentum = 0.9;
  double weight_decay = 5e-4;
  ScheduleConfig schedule;
  bool augment = false;  // random crop (padding 4) and horizontal flip
  Backward backward = Backward::f32;
};

struct PretrainConfig {
  double epochs = 5;
  std::optional<std::filesystem::path> weights;  // instead of training
  SgdConfig sgd;
};

// What an accuracy must reach: either a drop (absolute, in fractions) against the fault-free int8 chip, or
// an absolute accuracy. Exactly one is set.
struct ConstraintConfig {
  std::optional<double> accuracy_drop;
  std::optional<double> accuracy;
};

// What resilience is measured on: i.i.d. maps of unknown nature, or maps of the sampled lot's own kind.
enum class CharacterizationMaps { iid, like_chips };

struct CharacterizeConfig {
  std::vector<double> fault_rates;  // ascending, in (0, 1)
  int repeats = 5;
  std::int64_t max_steps = 800;
  std::int64_t evaluate_every_steps = 25;
  Amount amount = Amount::sustained;
  CharacterizationMaps maps = CharacterizationMaps::iid;
  std::vector<std::int64_t> amounts;  // key `amounts`, instead of the two above; ascending

  // 0 and the amounts at which accuracy is measured, ascending, in steps.
  std::vector<std::int64_t> evaluated() const;
};

struct PolicyConfig {
  PolicyName name = PolicyName::max;
  std::int64_t steps = 0;  // for fixed
  Predictor predictor = Predictor::fault_rate;
  double coverage = 0.95;            // for quantile: share of chips that shall meet the constraint …
  double confidence = 0.95;          // … and how sure that is to be
  Extend extend = Extend::estimate;  // for adaptive
};

// What losing a weight is taken to cost: |w|, w², or w² times the mean square of what it multiplies.
enum class Saliency { magnitude, square, output };

// Stages of repair before any retraining (training/repair/). Images are training images, without labels.
struct MappingConfig {
  Saliency saliency = Saliency::output;
  bool spare_columns = true;
};
// Keeping away from what faults spoil that no bypass hides, within so many times the cycles.
struct DropConfig {
  double max_cycle_factor = 1;
};
struct CompensationConfig {
  std::int64_t images = 1000;
  double ridge = 0.01;
};
struct RecalibrationConfig {
  std::int64_t images = 1000;
};
struct RepairConfig {
  std::optional<MappingConfig> mapping;
  std::optional<CompensationConfig> compensation;
  std::optional<RecalibrationConfig> batch_norm;
  std::optional<DropConfig> drop;  // key `drop_unbypassable`; with mapping only
  bool any() const { return mapping || compensation || batch_norm; }
};

// One network for several chips where that is cheaper (eFAT).
struct GroupConfig {
  std::int64_t max_chips = 8;
};

struct QuantizationConfig {
  ScaleMethod method = ScaleMethod::minmax;
  double percentile = 99.99;  // for percentile
  std::int64_t images = 1000;
};

struct CampaignConfig {
  std::filesystem::path file;
  std::filesystem::path chip;
  std::filesystem::path network;
  DatasetConfig dataset;
  std::int64_t decision_images = 5000;
  // Which training images are held out for decisions: absent, the last ones; otherwise a random choice.
  std::optional<std::uint64_t> split_seed;
  bool leak_as_published = false;  // decide on the test set
  PretrainConfig pretrain;
  SgdConfig retrain;                // key `retrain`
  Forward forward = Forward::chip;  // key `retrain.forward`
  QuantizationConfig quantization;
  RepairConfig repair;  // key `repair`; absent: pruning only
  ConstraintConfig constraint;
  CharacterizeConfig characterize;
  ChipsConfig chips;
  PolicyConfig policy;
  // Key `plan.accuracy_check`: measure each chip before planning it; false: plan from its fault map alone.
  bool accuracy_check = true;
  // Key `plan.check_before_repair`: measure a chip before its repair too, so that one which needs none is
  // shipped.
  bool check_before_repair = true;
  std::optional<GroupConfig> group;      // key `group`; absent: every chip has a network of its own
  std::optional<int> calibration_chips;  // key `calibrate.chips`, for policy quantile
  std::optional<std::vector<PolicyName>> compare_policies;  // key `compare.policies`; absent: by default
  std::optional<std::vector<std::int64_t>>
      compare_fixed_steps;  // key `compare.fixed_steps`; absent: by default
  ExecutorConfig executor;
};

// Throws common::InputError with every problem.
CampaignConfig read_campaign(const std::filesystem::path& file, const Overrides& overrides = {});

// Reads the keys of SgdConfig from a section; shared with `kintsugi train`'s campaign-free defaults.
SgdConfig read_sgd(Section& section, const SgdConfig& defaults);
// Sections that every kind of campaign has: `pretrain`, `quantization` (and `executor`: executor.h).
PretrainConfig read_pretrain(Section pretrain);
QuantizationConfig read_quantization(Section section);

}  // namespace kintsugi::configs
