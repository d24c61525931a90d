// Timing errors from the PE's own gates: a bit-parallel simulation of its netlist in steps of time, with
// inertial delays per pin and edge. One bit lane is one (previous inputs -> present inputs) pair.
//
// The method, its grid and how far it may be trusted: docs/timing-errors.md.
#pragma once

#include <memory>
#include <vector>

#include "faults/chip_timing.h"
#include "faults/timed_netlist.h"

namespace kintsugi::faults {

class NetlistModel final : public TimingModel {
 public:
  // Bin b captures periods_ps[b] after launch, on the netlist's own scale: a PE whose delays are all k times
  // the nominal ones is, at period T, the nominal PE sampled at T / k. step_ps: the grid of time. Programs
  // are compiled when a bin is first asked for, and kept; the instruction set is the fastest that the
  // processor has, or what the environment variable KINTSUGI_ISA allows, with the same bits.
  NetlistModel(std::shared_ptr<const TimedNetlist> netlist, double step_ps, std::vector<double> periods_ps);
  ~NetlistModel() override;

  void evaluate(int bin, std::uint64_t job_key, const PeCycles& cycles, std::uint32_t* errors) const override;
  int accumulator_bits() const override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kintsugi::faults
