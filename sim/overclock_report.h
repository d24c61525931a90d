// What an overclocking campaign hands back: points.csv, errors.csv, results.csv, controls.csv, summary.yaml,
// and the table on the terminal. docs/overclocking.md explains every column.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/overclock_inputs.h"
#include "training/overclock/error_classes.h"
#include "training/overclock/offload.h"
#include "training/reduce/constraint.h"
#include "workloads/layer_report.h"

namespace kintsugi::sim {

namespace overclock = training::overclock;
namespace reduce = training::reduce;

// Right images; gained and lost are against the original weights in the same place (the original's own:
// against no errors).
struct OverclockScore {
  reduce::Score top1;
  std::optional<reduce::Score> top5;
};

struct ModelAtPoint {
  std::string name;  // "original", "control", "noise", "dropout", "twa", "twa_clp"
  OverclockScore test;
  std::optional<OverclockScore> decision;
};

// What an image costs on the chip, all layers or without the protected one.
struct ImageCost {
  double cycles = 0;
  double seconds = 0;  // on the chip
  std::optional<double> energy_uj;
};

struct PointReport {
  std::vector<ModelAtPoint> models;  // in the order above; twa_clp only with a critical layer
  std::vector<overclock::ErrorCounts> original, twa;  // by stage, on the decision images
  std::optional<std::size_t> critical;                // stage
  ImageCost cost, protected_cost;                     // the latter without the critical layer
  std::optional<overclock::Offload> offload;          // of one batch; with a host and a critical layer

  // Null if there is no such model here.
  const ModelAtPoint* model(const std::string& name) const;
};

// Weights trained at one place and evaluated at another.
struct ControlLine {
  std::string model;
  std::size_t point = 0;
  std::optional<std::uint64_t> other_chip;
  OverclockScore test;
};

struct OverclockReport {
  const OverclockInputs* inputs = nullptr;
  OverclockScore decision, test;  // of the original weights without errors; nothing to be compared with
  std::int64_t decision_float = 0, test_float = 0;
  std::vector<PointReport> points;
  std::optional<std::size_t> tipping;
  std::optional<std::size_t> acceptable_twa, acceptable_clp;
  std::size_t controlled = 0;  // the point whose TWA weights the controls evaluate elsewhere
  std::vector<ControlLine> controls;
};

std::string points_csv(const OverclockReport& report);
std::string errors_csv(const OverclockReport& report);
std::string results_csv(const OverclockReport& report);
std::string controls_csv(const OverclockReport& report);
std::string summary_yaml(const OverclockReport& report);
// For the terminal.
std::string overclock_tables(const OverclockReport& report, bool colours);

// What only PEs failing means, in one sentence; every report says it.
std::string scope_of(const OverclockInputs& inputs);

// Adds up per layer; `batch` is that of the evaluation.
ImageCost image_cost(const std::vector<workloads::LayerReport>& layers, std::int64_t images,
                     const OverclockPoint& point, const OverclockInputs& inputs,
                     std::optional<std::size_t> without);

}  // namespace kintsugi::sim
