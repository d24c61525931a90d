// Columns with PEs at risk, taken through a block of tokens from the top row to the bottom one.
//
// Every column of a group goes down to its next PE at risk: clean runs as sums of products, hooked PEs by
// pe/datapath.h. There it waits, and the bin of delays for which most columns wait is evaluated, all their
// tokens in one call of the model. Each lane depends on its own cycle only, so results know nothing of
// groups.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "array/aligned.h"
#include "array/isa.h"
#include "array/pe_cycle_batch.h"
#include "array/timed_job.h"
#include "array/timed_plan.h"
#include "array/token_block.h"

namespace kintsugi::array {

// What a group of columns shares.
struct SweepContext {
  Isa isa = Isa::portable;
  int accumulator_bits = 32;
  const FaultPlan* plan = nullptr;
  const std::vector<std::uint8_t>* bypass = nullptr;  // by PE
  TimedJob* job = nullptr;                            // late_words of different columns are different
  const TileFeed* feed = nullptr;
  const TokenBlock* block = nullptr;
  std::span<pe::PeInputs> before;  // by PE at risk: its last clocked cycle
  const std::vector<std::vector<PsumFlip>>* flips =
      nullptr;  // by column, sorted by (row, position); may be null
};

class TimedSweep {
 public:
  // Adds the columns' results to the job's accumulators; returns products dropped.
  std::int64_t run(const SweepContext& context, std::span<const TimedColumn* const> columns);

 private:
  struct Column {
    const TimedColumn* plan = nullptr;
    std::int32_t* psums = nullptr;  // by token: what leaves the last row done
    int row = 0;                    // the next to do
    std::size_t next = 0;           // of the PEs
    std::size_t next_flip = 0;
    std::vector<std::int32_t> dropping;  // tokens in which `row` drops its product
    std::span<const PsumFlip> flips;
    bool waiting = false;
  };
  struct UpsetToken {
    std::int32_t token = 0;
    pe::Upset upset;
    std::int32_t psum = 0;  // what comes of it
  };
  // A column's tokens in the batch.
  struct Segment {
    Column* column = nullptr;
    std::size_t first = 0, count = 0;
    bool all = true;  // every token; else those of tokens_
  };

  void begin(Column& column, const TimedColumn& plan, std::int32_t* psums);
  // To the next PE at risk, or to the bottom.
  void advance(Column& column);
  void clean_run(Column& column, int end);
  void add_products(const Column& column, int begin, int end);
  void add_altered(const Column& column, int begin, int end);
  void drop_product(Column& column);
  void flip_in_run(Column& column, int end);
  void wrap(std::int32_t* psums) const;
  void deliver(const Column& column) const;
  void evaluate_bin(int bin);
  void append(Column& column, const TimedPe& pe);
  void resolve(const Segment& segment);
  void apply(Column& column, const TimedPe& pe, const std::uint32_t* errors);

  std::int8_t weight(const Column& column, int row, bool following) const;
  std::int8_t weight_at(const Column& column, int row, std::int64_t token) const {
    return weight(column, row, token >= context_.block->switch_token(row));
  }
  std::int8_t activation_at(const Column& column, int row, std::int64_t token) const;
  // Activations and weights of one PE, by token, from activations_[1] and weights_[1] on.
  void load_operands(const Column& column, int row);

  SweepContext context_;
  TileWork following_;
  std::int64_t tokens_count_ = 0, dropped_ = 0;
  std::vector<Column> columns_;
  AlignedVector<std::int32_t> psums_;
  std::vector<int> waiting_;  // columns, by bin
  std::vector<std::int32_t> words_;
  // One PE's operands, with the token before in front.
  std::vector<std::int8_t> activations_, weights_;
  std::vector<std::uint32_t> errors_;
  std::vector<UpsetToken> upsets_;
  // The batch.
  std::vector<Segment> segments_;
  std::vector<std::int32_t> tokens_;
  PeCycleBatch batch_;
  std::vector<std::uint32_t> batch_errors_;
  std::vector<std::int32_t> changed_;
};

}  // namespace kintsugi::array
