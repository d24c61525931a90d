#include "array/timed_layer.h"

#include <algorithm>
#include <numeric>
#include <optional>

namespace kintsugi::array {

namespace {

constexpr std::int64_t kStream = 512;       // positions of a block: a model's whole vectors
constexpr std::int64_t kLanes = 16 * 1024;  // of a group of columns: what a core's second cache holds

}  // namespace

TimedLayer::TimedLayer(const LayerContext& context, const std::vector<std::uint8_t>& bypass,
                       const TimedPlan& plan, ScratchPool<TimedSweep>& scratch)
    : context_(context), bypass_(bypass), plan_(plan), scratch_(scratch) {
  flips_.resize(static_cast<std::size_t>(context.array.cols));
  for (const TimedColumn& column : plan.columns)
    if (column.swept) swept_.push_back(&column);
}

// Idle cycles. With constant inputs at the edges and constant weights, a column that holds n PEs at risk
// comes to rest: the q-th of them from the top has, from the q-th idle cycle on, the inputs of the cycle
// before, since what is above it then passes on constant values (for q = 1 by the edges, for others because
// the PEs at risk above cannot err, or make a product be dropped, once their inputs stay the same). So all
// errors happen in the first n idle cycles, and in the n-th every PE at risk has the inputs that it keeps. If
// a model errs with equal inputs too, every cycle counts. Where weights are loaded into the registers in use,
// the cycles of the load change inputs again and are all taken.
void TimedLayer::run(TimedJob& job) {
  const configs::ArrayConfig& array = context_.array;
  const TileFeed feed(job.job(), job.tiling());
  const LayerShape& shape = job.job().shape;
  before_.resize(job.timing().at_risk.size());
  for (const TimedColumn* column : swept_) {
    for (const TimedPe& pe : column->pes)
      if (pe.risk >= 0) before_[static_cast<std::size_t>(pe.risk)] = pe.reset;
    for (std::int64_t n = column->col; n < shape.n(); n += array.cols)
      for (std::int64_t g = 0; g < shape.groups; ++g)
        for (std::int64_t m = 0; m < shape.m(); ++m)
          job.job().accumulators[m * shape.out_c + g * shape.n() + n] = 0;
  }
  const bool rests = !job.timing().model || !job.timing().model->settled_can_err();
  TokenBlock block(array.rows);
  for (std::int64_t tile = 0; tile < feed.tiles(); ++tile) {
    const std::int64_t positions = feed.tile(tile).m.count;
    const std::int64_t blocks = (positions + kStream - 1) / kStream;
    std::optional<TimedJob::PsumFlips> flips;
    if (job.flips_psums()) flips.emplace(job, tile);
    for (std::int64_t b = 0; b < blocks; ++b) {
      const std::int64_t first = positions * b / blocks, end = positions * (b + 1) / blocks;
      block.begin(feed, tile, first, end - first);
      if (b + 1 == blocks && tile + 1 < feed.tiles()) {
        const std::int64_t idle = array.weight_double_buffer
                                      ? std::max<std::int64_t>(0, array.rows - positions)
                                      : array.rows + array.cols - 2;
        block.add_idle(rests ? std::min<std::int64_t>(idle, plan_.most_at_risk) : idle, idle,
                       !array.weight_double_buffer);
      }
      if (flips) take_flips(*flips, job, feed, block);
      if (!swept_.empty()) run_block(job, feed, block);
    }
  }
}

void TimedLayer::run_block(TimedJob& job, const TileFeed& feed, TokenBlock& block) {
  // Spare columns are gated.
  const auto used = std::ranges::lower_bound(swept_, block.work().n.count, {},
                                             [](const TimedColumn* c) { return c->col; }) -
                    swept_.begin();
  if (used == 0) return;
  constexpr std::int64_t kPairs = 16;
  context_.for_each((block.pairs() + kPairs - 1) / kPairs, [&](std::int64_t i) {
    block.gather(i * kPairs, std::min(block.pairs(), (i + 1) * kPairs));
  });
  const std::int64_t threads = context_.threads();
  const std::int64_t size =
      std::clamp<std::int64_t>(kLanes / block.tokens(), 1, (used + threads - 1) / threads);
  const std::int64_t groups = (used + size - 1) / size;
  std::vector<std::int64_t> dropped(static_cast<std::size_t>(groups), 0);
  context_.for_each(groups, [&](std::int64_t group) {
    SweepContext sweep;
    sweep.isa = context_.isa;
    sweep.accumulator_bits = context_.array.accumulator_bits;
    sweep.plan = &context_.plan;
    sweep.bypass = &bypass_;
    sweep.job = &job;
    sweep.feed = &feed;
    sweep.block = &block;
    sweep.before = before_;
    sweep.flips = job.flips_psums() ? &flips_ : nullptr;
    const auto begin = static_cast<std::size_t>(group * size);
    const std::size_t count = static_cast<std::size_t>(std::min<std::int64_t>(size, used - group * size));
    scratch_.with([&](TimedSweep& mine) {
      dropped[static_cast<std::size_t>(group)] = mine.run(sweep, std::span(swept_).subspan(begin, count));
    });
  });
  job.counts.dropped_products += std::reduce(dropped.begin(), dropped.end());
}

void TimedLayer::take_flips(TimedJob::PsumFlips& source, TimedJob& job, const TileFeed& feed,
                            const TokenBlock& block) {
  for (auto& column : flips_) column.clear();
  drawn_.clear();
  source.take(block.first() + block.stream(), drawn_, job.counts.flipped_bits);
  for (const PsumFlip& flip : drawn_) flips_[static_cast<std::size_t>(flip.col)].push_back(flip);
  for (const TimedColumn& column : plan_.columns) {
    std::vector<PsumFlip>& flips = flips_[static_cast<std::size_t>(column.col)];
    if (column.swept) {
      std::ranges::stable_sort(flips, {}, &PsumFlip::row);
      continue;
    }
    for (std::size_t i = 0, end = 0; i < flips.size(); i = end) {
      while (end < flips.size() && flips[end].position == flips[i].position) ++end;
      std::int32_t* to = feed.accumulator(block.work(), flips[i].position, column.col);
      *to = pe::wrapping_add(*to, change(feed, block, column, std::span(flips).subspan(i, end - i)), 32);
    }
  }
}

std::int32_t TimedLayer::change(const TileFeed& feed, const TokenBlock& block, const TimedColumn& column,
                                std::span<const PsumFlip> flips) const {
  const int bits = context_.array.accumulator_bits;
  static constexpr pe::PeHooks kSound;
  std::int32_t sound = 0, flipped = 0;
  auto pe = column.pes.begin();
  auto flip = flips.begin();
  for (int r = 0; r < context_.array.rows; ++r) {
    // Below, clean PEs add the same to both.
    if (flip == flips.end() && pe == column.pes.end()) break;
    const AlteredRow* altered = column.find_altered(r);
    const std::int8_t edge = feed.activation(block.work(), flips.front().position, r);
    const std::int8_t activation = altered != nullptr ? altered->apply(edge) : edge;
    const std::int8_t weight =
        context_.plan.effective_weight(r, column.col, feed.weight(block.work(), r, column.col));
    const bool listed = pe != column.pes.end() && pe->row == r;
    const pe::PeHooks& hooks = listed ? pe->hooks : kSound;
    const bool bypass = listed && pe->bypass;
    if (listed) ++pe;
    const std::uint32_t mask = flip != flips.end() && flip->row == r ? (flip++)->mask : 0;
    sound = pe::evaluate(hooks, bypass, weight, activation, sound, bits).psum;
    flipped = pe::evaluate(hooks, bypass, weight, activation, flipped, bits, {0, false, mask}).psum;
  }
  return wrapping_difference(flipped, sound);
}

}  // namespace kintsugi::array
