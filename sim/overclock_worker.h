// What a worker process of an overclocking campaign does with its tasks. Built inside the worker: it starts
// threads.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common/thread_pool.h"
#include "sim/overclock_folder.h"
#include "sim/overclock_inputs.h"
#include "sim/pretraining.h"
#include "training/overclock/overclock_bench.h"

namespace kintsugi::sim {

// A set of weights, how they come about, and where they are made.
struct OverclockModel {
  std::string name;  // names its files
  overclock::Training training;
  std::optional<std::size_t> point;  // of the sweep; absent: without errors
};

struct Evaluation {
  std::string model;
  std::optional<std::size_t> point;  // absent: without errors
  std::optional<std::uint64_t> other_chip;
  std::optional<std::size_t> protected_stage;
  bool count_errors = false;
  std::string set;  // "decision" or "test"
};

class OverclockWorker {
 public:
  OverclockWorker(const OverclockInputs& inputs, const OverclockFolder& folder, int threads,
                  double checkpoint_seconds);

  // Activation scales, if they are not there yet; then the original weights over the set, float and int8
  // without errors.
  void reference(const std::string& set);
  void train(const OverclockModel& model, const ReportSteps& progress);
  void evaluate(const Evaluation& evaluation);

 private:
  const workloads::ImageSet& images(const std::string& set) const;
  const workloads::ActivationScales& scales();
  const workloads::Parameters& original();
  void go_to(std::optional<std::size_t> point, std::optional<std::uint64_t> other_chip);

  const OverclockInputs& inputs_;
  const OverclockFolder& folder_;
  double checkpoint_seconds_;
  common::ThreadPool pool_;
  overclock::OverclockBench bench_;
  // Kept, since a netlist is compiled when it is first used.
  std::map<std::pair<std::size_t, std::optional<std::uint64_t>>, std::shared_ptr<const faults::ChipTiming>>
      timings_;
  std::optional<workloads::ActivationScales> scales_;
  std::optional<workloads::Parameters> original_;
};

}  // namespace kintsugi::sim
