// Timing errors from measured silicon: error probabilities by bit, clock period and class of operands, in a
// CSV.
//
//   period_relative,operand_class,bit,probability
//   0.9,sign_change,31,0.012
//
// period_relative: clock period / Tmin of the PE, above 0 and below 1 (at 1 a PE is on time). operand_class:
// what the PE multiplies, since the carry that is late starts at a product's sign: product_unchanged (as in
// the cycle before), sign_change (the sign bit of the product changes), weight_negative, weight_positive
// (weights from 0 on); each cycle is of the first class that fits. `all` stands for those that the file does
// not name at this period and bit. What a period in the file has no line for does not err. Between periods,
// probabilities are interpolated linearly in their logarithm (linearly, if one of them is 0), from the
// longest one on to 1 linearly to 0.
//
// Every bit errs by itself. An error is drawn by hashing the job's key, the cycle's and the bit's number, so
// it can be played again in any order.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "faults/chip_timing.h"

namespace kintsugi::faults {

enum class OperandClass { product_unchanged, sign_change, weight_negative, weight_positive };
inline constexpr int kOperandClasses = 4;

OperandClass operand_class(int activation_before, int weight_before, int activation, int weight);

struct ErrorTable {
  // Probabilities by class and bit.
  using Rates = std::array<std::array<double, 32>, kOperandClasses>;

  std::string file;
  std::vector<double> periods;  // ascending
  std::vector<Rates> rates;     // by period
  int highest_bit = -1;         // named

  // Throws common::InputError for a period shorter than all in the table.
  Rates at(double period_relative) const;
};

// Throws common::InputError with all problems.
ErrorTable read_error_table(const std::filesystem::path& file);

class TableModel final : public TimingModel {
 public:
  // PEs of bin b have a period of periods_relative[b]. Throws common::InputError if the table names a bit
  // that the accumulator has not, or has nothing to say about a period.
  TableModel(const ErrorTable& table, const std::vector<double>& periods_relative, int accumulator_bits);

  void evaluate(int bin, std::uint64_t job_key, const PeCycles& cycles, std::uint32_t* errors) const override;
  bool settled_can_err() const override { return settled_can_err_; }
  bool needs_keys() const override { return true; }
  int accumulator_bits() const override { return accumulator_bits_; }

 private:
  // A bit errs if its hash is below.
  struct Bit {
    int bit = 0;
    std::uint64_t below = 0;
  };
  using Bin = std::array<std::vector<Bit>, kOperandClasses>;

  std::vector<Bin> bins_;
  int accumulator_bits_;
  bool settled_can_err_ = false;
};

}  // namespace kintsugi::faults
