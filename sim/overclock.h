// An overclocking campaign on one folder: each step does what its files show to be missing, so it may be
// killed and run again; the bytes at the end are the same.
//
// Decisions (tipping point, critical layers, last acceptable points) are made on decision images; the test
// images are read for the final figures only. As in sim/campaign.h the calling process starts no thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/campaign_run.h"
#include "sim/folder_lock.h"
#include "sim/overclock_folder.h"
#include "sim/overclock_inputs.h"
#include "sim/overclock_report.h"
#include "sim/overclock_worker.h"
#include "sim/task_executor.h"

namespace kintsugi::sim {

class Overclock {
 public:
  // Takes the folder: writes its manifest, or refuses it if it belongs to other inputs.
  Overclock(OverclockInputs inputs, const std::filesystem::path& out, const CampaignRun& run);

  // Everything.
  void run();

 private:
  void pretrain();
  void make_reference(const std::string& set);
  Reference need_reference(const std::string& set) const;
  // The original weights at every point, on the decision images; from it follow critical layers and tipping
  // point.
  void measure_original();
  void decide();
  void train();
  void evaluate(const std::string& label, const std::vector<Evaluation>& wanted);
  std::vector<Evaluation> final_evaluations() const;
  std::vector<Evaluation> control_evaluations() const;

  // The name of the weights that are trained at a point, or of the control where nothing errs: there they are
  // the same.
  std::string trained_at(std::size_t point, bool protect) const;
  std::vector<OverclockModel> models() const;
  std::optional<overclock::Measured> find(const Evaluation& evaluation) const;
  overclock::Measured need(const Evaluation& evaluation) const;
  OverclockScore score(const Evaluation& evaluation, const overclock::Hits& baseline) const;
  OverclockReport report() const;
  PointReport point_report(std::size_t point, const OverclockReport& report) const;
  void write(const OverclockReport& report) const;
  void run_missing(const std::string& label, const std::string& unit, const std::vector<Task>& tasks,
                   std::size_t all, const StartWorker& start, bool one_worker = false) const;
  void say(const std::string& text) const;
  std::int64_t images(const std::string& set) const;
  std::string weights_digest(const std::string& model) const;

  OverclockInputs inputs_;
  OverclockFolder folder_;
  CampaignRun run_;
  FolderLock lock_;
  bool colours_;
  std::vector<bool> errs_;                            // by point: some PE may be late, or bits flip
  std::vector<std::optional<std::size_t>> critical_;  // by point
  std::optional<std::size_t> tipping_;
};

}  // namespace kintsugi::sim
