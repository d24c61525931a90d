// Runs a campaign's phases as arrays of Slurm jobs.
//
// The campaign's result files are the truth, not Slurm's job states: a phase is done when its files are
// there. What is missing and in no live job is submitted, a few times at most. Everything that a later
// process must know to go on is in the folder `slurm/<phase>/`, so the process that waits here may be killed
// at any moment:
//   <n>.tasks   which tasks the n-th array does, and the name of its jobs, by which the queue is asked for
//   them;
//               written before sbatch is called, so that nothing that was submitted is ever forgotten
//   <n>.sh      the script of its jobs
//   <n>_<i>.log what element i said
// Two jobs at the same task are harmless: they write the same bytes, each file whole.
#pragma once

#include <functional>

#include "sim/phase.h"

namespace kintsugi::sim {

// Returns when all results of the phase are there; `build` tells what is missing by the folder's files as
// they are then. Throws common::InputError if Slurm refuses a job, or if jobs of a task end without its
// result again and again; jobs of other tasks then go on. `run.slurm` is present.
void run_on_slurm(const std::function<Phase()>& build, const CampaignRun& run);

}  // namespace kintsugi::sim
