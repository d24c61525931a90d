#include "faults/fault_checker.h"

#include <fmt/format.h>

namespace kintsugi::faults {
namespace {

// Site and bit of a PE in one number; `value` is not part of it, so that contradictions meet.
std::uint64_t identity(const Fault& fault) {
  const std::uint64_t site = fault.stuck ? static_cast<std::uint64_t>(fault.stuck->site) + 1 : 0;
  const std::uint64_t bit = fault.stuck ? static_cast<std::uint64_t>(fault.stuck->bit) : 0;
  return (static_cast<std::uint64_t>(fault.row) << 40) | (static_cast<std::uint64_t>(fault.col) << 16) |
         (site << 8) | bit;
}

std::string name_of(const Fault& fault) {
  if (!fault.stuck) return fmt::format("row {}, col {} of unknown nature", fault.row, fault.col);
  return fmt::format("row {}, col {}, {} bit {}", fault.row, fault.col, to_string(fault.stuck->site),
                     fault.stuck->bit);
}

std::string earlier(const common::Location& where) {
  return where.line > 0 ? fmt::format(" on line {}", where.line) : "";
}

}  // namespace

std::string bit_problem(pe::Site site, std::int64_t bit, int accumulator_bits) {
  const int bits = pe::site_bits(site, accumulator_bits);
  if (bit >= 0 && bit < bits) return "";
  return fmt::format("{} has bits 0 to {}, found bit {}", to_string(site), bits - 1, bit);
}

FaultChecker::FaultChecker(int rows, int cols, int accumulator_bits, common::Diagnostics& diagnostics)
    : rows_(rows), cols_(cols), accumulator_bits_(accumulator_bits), diagnostics_(diagnostics) {}

bool FaultChecker::accept(const Fault& fault) {
  if (rows_ > 0 && (fault.row < 0 || fault.row >= rows_ || fault.col < 0 || fault.col >= cols_)) {
    diagnostics_.error(fault.where,
                       fmt::format("row {}, col {} is outside the array; rows are 0 to {}, columns 0 to {}",
                                   fault.row, fault.col, rows_ - 1, cols_ - 1));
    return false;
  }
  if (fault.stuck) {
    const std::string problem = bit_problem(fault.stuck->site, fault.stuck->bit, accumulator_bits_);
    if (!problem.empty()) {
      diagnostics_.error(fault.where, fmt::format("row {}, col {}: {}", fault.row, fault.col, problem));
      return false;
    }
  }
  const First now{fault.stuck ? fault.stuck->value : 0, fault.where};
  const auto [at, added] = seen_.try_emplace(identity(fault), now);
  if (added) return true;
  const std::string key = fmt::format("{}|{}|{}", common::to_string(fault.where),
                                      common::to_string(at->second.where), at->second.value == now.value);
  const bool has_place = fault.where.line > 0;
  const auto known = clash_at_.find(key);
  if (has_place && known != clash_at_.end()) {
    ++clashes_[known->second].more;
  } else {
    clash_at_[key] = clashes_.size();
    clashes_.push_back({fault, at->second, 0});
  }
  return false;
}

void FaultChecker::finish() {
  for (const Clash& clash : clashes_) {
    const std::string more = clash.more > 0 ? fmt::format(" (and {} more of this entry)", clash.more) : "";
    if (clash.fault.stuck && clash.fault.stuck->value != clash.first.value) {
      diagnostics_.error(
          clash.fault.where,
          fmt::format("{} is stuck at {} here and at {}{}{}; a bit can be stuck at one value only, "
                      "remove one of the two",
                      name_of(clash.fault), clash.fault.stuck->value, clash.first.value,
                      clash.first.where.line > 0 ? earlier(clash.first.where) : " before", more));
    } else {
      diagnostics_.error(clash.fault.where,
                         fmt::format("duplicate fault: {} was already given{}{}; remove one of the two",
                                     name_of(clash.fault), earlier(clash.first.where), more));
    }
  }
  clashes_.clear();
}

}  // namespace kintsugi::faults
