// The Reduce campaign, step by step, on one folder. Each step does what its files show to be missing, so any
// of them may be killed and run again; the bytes at the end are the same.
//
// The calling process starts no thread and computes nothing: all work is done by worker processes
// (task_executor.h), which is what makes it safe to fork them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/campaign_folder.h"
#include "sim/campaign_inputs.h"
#include "sim/campaign_report.h"
#include "sim/campaign_run.h"
#include "sim/campaign_worker.h"
#include "sim/folder_lock.h"
#include "sim/phase.h"
#include "training/reduce/planner.h"

namespace kintsugi::sim {

class Campaign {
 public:
  // A coordinator takes the folder: it writes the manifest, or refuses the folder if it belongs to other
  // inputs. A worker only checks that.
  Campaign(CampaignInputs inputs, const std::filesystem::path& out, const CampaignRun& run);

  // Steps 1, 2 and 3 of Reduce and the comparison. A step whose predecessor's files are missing throws
  // common::InputError naming the command to run first.
  void characterize();  // pretrains first
  void plan();
  // `for_comparison`: also record what the compared policies need, in the same retraining run.
  void retrain(bool for_comparison);
  void compare();

  // A phase of these steps as the folder's files show it now: "pretrain", "baseline_decision",
  // "characterize", "calibrate", "plan", "baseline_test", "retrain_planned" (of retrain(false)), "retrain",
  // "group" or "deliver".
  // Throws common::InputError for any other name and where files of phases before it are missing.
  Phase phase(const std::string& name) const;

  // After retrain(): true if no delivered chip's outcome is fail or undecided.
  bool all_pass() const;

 private:
  struct Policy {
    std::string name;
    reduce::Planner planner;
  };
  // What a chip reached under a plan, and the amounts that were looked at on the way.
  struct Reached {
    RetrainedPoint point;
    std::vector<std::int64_t> tried;
  };

  // Pretrained weights, scales, and the baseline on one set of images.
  void pretrain();
  Phase pretrain_phase() const;
  Phase baseline_phase(const std::string& set, const workloads::ImageSet& images) const;
  Phase characterize_phase() const;
  Phase calibrate_phase() const;
  Phase plan_phase() const;
  Phase retrain_phase(const reduce::Plan& plan, bool for_comparison) const;
  Phase group_phase(const reduce::Plan& plan) const;
  Phase deliver_phase(const reduce::Plan& plan) const;
  Baseline need_baseline(const std::string& set, std::int64_t images) const;
  CharacterizedMap need_characterized(double fault_rate, int repeat) const;
  CharacterizedMap need_calibrated(const std::string& id) const;
  reduce::Experience experience(double fault_rate, const CharacterizedMap& map, reduce::Runs runs) const;
  reduce::PlanningData planning_data() const;
  reduce::Plan need_plan() const;
  std::vector<Policy> policies(const reduce::PlanningData& data) const;
  // Marks the chips that share a network.
  std::vector<reduce::PlannedGroup> make_groups(const reduce::Planner& planner,
                                                std::vector<reduce::ChipPlan>& chips) const;
  // By group of the plan.
  std::vector<GroupJob> group_jobs(const reduce::Plan& plan) const;
  void run_groups(const reduce::Plan& plan);
  // By chip of the plan; with what the compared policies need.
  std::vector<RetrainJob> jobs(const reduce::Plan& plan, bool for_comparison) const;
  bool retrained(const reduce::ChipPlan& chip, const RetrainJob& job) const;
  Reached need_reached(const reduce::ChipPlan& chip, const configs::PolicyConfig& policy) const;
  // "max", "quantile by loss", "fixed 200".
  static std::string name_of(const configs::PolicyConfig& policy);
  Arithmetic spent(const reduce::ChipPlan& chip, const std::vector<std::int64_t>& tried) const;
  Arithmetic spent(const CharacterizedMap& map) const;
  // What these steps and checks of a chip took; absent if its timings are gone.
  std::optional<common::Seconds> seconds(const reduce::ChipPlan& chip, const Reached& reached) const;
  void add_costs(CampaignReport& report) const;
  CampaignReport report(const reduce::Plan& plan) const;
  // What grouped chips reached and took; a group's costs are its first chip's.
  void add_groups(CampaignReport& report, const reduce::Plan& plan) const;
  void add_policies(CampaignReport& report, const reduce::Plan& plan) const;
  // The plan as it was carried out, if it has groups.
  void add_grouped_policy(CampaignReport& report, const reduce::Plan& plan,
                          const std::vector<reduce::Stratum>& cuts) const;
  std::string decided_on() const;
  void say(const std::string& text) const;

  CampaignInputs inputs_;
  CampaignFolder folder_;
  CampaignRun run_;
  std::optional<FolderLock> lock_;
  reduce::Constraint constraint_;
  bool colours_;
};

}  // namespace kintsugi::sim
