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
#include "sim/phase.h"

namespace kintsugi::sim {

class Overclock {
 public:
  // A coordinator takes the folder: it writes the manifest, or refuses the folder if it belongs to other
  // inputs. A worker only checks that.
  Overclock(OverclockInputs inputs, const std::filesystem::path& out, const CampaignRun& run);

  // Everything.
  void run();

  // A phase as the folder's files show it now: "pretrain", "reference_decision", "original", "train",
  // "decide", "reference_test" or "test". Throws common::InputError for any other name and where files of
  // phases before it are missing.
  Phase phase(const std::string& name);

 private:
  void pretrain();
  Phase pretrain_phase() const;
  Phase reference_phase(const std::string& set) const;
  // What needs the decisions: decide() first.
  Phase train_phase() const;
  Phase evaluation_phase(const std::string& name, const std::vector<Evaluation>& wanted) const;
  Reference need_reference(const std::string& set) const;
  // The original weights at every point, on the decision images; critical layers and tipping point follow
  // from it.
  std::vector<Evaluation> original_evaluations() const;
  void decide();
  void say_decisions() const;
  std::vector<Evaluation> decisive_evaluations() const;
  std::vector<Evaluation> final_evaluations() const;
  std::vector<Evaluation> control_evaluations() const;
  std::vector<Evaluation> test_evaluations() const;

  // The name of the weights that are trained at a point, or of the control where nothing errs: there they are
  // the same.
  std::string trained_at(std::size_t point, bool protect) const;
  std::vector<OverclockModel> models() const;
  Place place_of(const Evaluation& evaluation) const;
  std::optional<overclock::Measured> find(const Evaluation& evaluation) const;
  overclock::Measured need(const Evaluation& evaluation) const;
  OverclockScore score(const Evaluation& evaluation, const overclock::Hits& baseline) const;
  OverclockReport report() const;
  PointReport point_report(std::size_t point, const OverclockReport& report) const;
  void write(const OverclockReport& report) const;
  void say(const std::string& text) const;
  std::int64_t images(const std::string& set) const;
  std::string weights_digest(const std::string& model) const;

  OverclockInputs inputs_;
  OverclockFolder folder_;
  CampaignRun run_;
  std::optional<FolderLock> lock_;
  bool colours_;
  std::vector<bool> errs_;                            // by point: some PE may be late, or bits flip
  std::vector<std::optional<std::size_t>> critical_;  // by point
  std::optional<std::size_t> tipping_;
};

}  // namespace kintsugi::sim
