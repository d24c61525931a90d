#include "array/widened_layer.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "array/im2col.h"

namespace kintsugi::array {

// One group's operands and where its results go.
struct WidenedLayer::GroupWork {
  std::int64_t group = 0;
  const std::int8_t* a = nullptr;  // rows of activations
  std::int64_t lda = 0;
  const std::int8_t* weights = nullptr;  // K×N as given
  std::int32_t* out = nullptr;           // first row, first column of the group
  std::int64_t ldc = 0;
  std::int64_t count = 0;  // rows
};

void WidenedLayer::prepare(const LayerContext& context, const LayerJob& job) {
  const FaultPlan& plan = context.plan;
  shape_ = job.shape;
  shape_.batch = 1;
  tiling_ = make_tiling(shape_, context.array.rows, context.array.cols, context.mapping);
  wide_ = context.array.accumulator_bits == 32;
  chained_.assign(plan.cols, 0);
  for (int c = 0; c < plan.cols; ++c) {
    // Where activations differ from the edge's in few rows, correcting a matrix product is cheaper than a
    // chain. A narrow accumulator wraps at the foot of each tile, so there is no product to correct.
    const std::size_t altered = plan.altered_rows[c].size();
    chained_[c] = !plan.breaks[c].empty() ||
                  (altered > 0 && (!wide_ || altered * 4 > static_cast<std::size_t>(plan.rows)));
  }
  plain_.clear();
  for (const Range& n_tile : tiling_.n_tiles)
    for (std::int64_t n = 0; n < n_tile.count; ++n)
      if (chained_[n] == 0) plain_.push_back(n_tile.begin + n);
  const std::int64_t widest = tiling_.n_tiles.front().count;
  has_chains_ = static_cast<std::int64_t>(plain_.size()) < shape_.n();
  has_corrections_ = false;
  for (std::int64_t c = 0; c < widest; ++c)
    has_corrections_ = has_corrections_ || (chained_[c] == 0 && !plan.altered_rows[c].empty());
  if (!plain_.empty()) prepare_products(context, job);
  if (has_chains_) prepare_chains(context, job);
}

// The plain columns' weights as the registers hold them, side by side: one product over all of K, or, where a
// narrow accumulator wraps at the foot of the array, one for each k-tile.
void WidenedLayer::prepare_products(const LayerContext& context, const LayerJob& job) {
  const std::int64_t K = shape_.k(), N = shape_.n(), P = static_cast<std::int64_t>(plain_.size());
  const std::size_t pieces = wide_ ? 1 : tiling_.k_tiles.size();
  std::vector<std::int8_t> effective(static_cast<std::size_t>(K * P));
  packed_.resize(static_cast<std::size_t>(shape_.groups) * pieces);
  for (std::int64_t g = 0; g < shape_.groups; ++g) {
    for (const Range& k_tile : tiling_.k_tiles)
      for (std::int64_t r = 0; r < k_tile.count; ++r) {
        const std::int8_t* from = job.weights + (g * K + k_tile.begin + r) * N;
        std::int8_t* to = effective.data() + (k_tile.begin + r) * P;
        for (const std::int64_t n : plain_)
          *to++ = context.plan.effective_weight(static_cast<int>(r), static_cast<int>(n % context.array.cols),
                                                from[n]);
      }
    WidenedPanels* packed = packed_.data() + static_cast<std::size_t>(g) * pieces;
    if (wide_)
      packed->pack(P, K, effective.data(), P);
    else
      for (std::size_t t = 0; t < pieces; ++t)
        packed[t].pack(P, tiling_.k_tiles[t].count, effective.data() + tiling_.k_tiles[t].begin * P, P);
  }
}

void WidenedLayer::prepare_chains(const LayerContext& context, const LayerJob& job) {
  const std::int64_t K = shape_.k(), N = shape_.n();
  const std::size_t tiles = tile_index(shape_.groups, 0, 0);
  chains_.resize(tiles);
  context.for_each(static_cast<std::int64_t>(tiles), [&](std::int64_t index) {
    const std::size_t k_tiles = tiling_.k_tiles.size(), n_tiles = tiling_.n_tiles.size();
    const Range& k_tile = tiling_.k_tiles[static_cast<std::size_t>(index) % k_tiles];
    const Range& n_tile = tiling_.n_tiles[static_cast<std::size_t>(index) / k_tiles % n_tiles];
    const std::int64_t group = index / static_cast<std::int64_t>(k_tiles * n_tiles);
    std::vector<ColumnChain>& columns = chains_[static_cast<std::size_t>(index)];
    std::vector<std::int8_t> column(static_cast<std::size_t>(k_tile.count));
    std::size_t used = 0;
    for (std::int64_t c = 0; c < n_tile.count; ++c) {
      if (chained_[c] == 0) continue;
      for (std::int64_t r = 0; r < k_tile.count; ++r)
        column[r] = job.weights[(group * K + k_tile.begin + r) * N + n_tile.begin + c];
      if (columns.size() <= used) columns.emplace_back();
      columns[used++].build(context.plan, static_cast<int>(c), column);
    }
    columns.resize(used);
  });
}

void WidenedLayer::run(const LayerContext& context, const LayerJob& job,
                       ScratchPool<WidenedScratch>& scratch) const {
  constexpr std::int64_t kGatherBytes = 1 << 20;
  const std::int64_t m = job.shape.m(), threads = context.threads();
  std::int64_t rows = (m + threads - 1) / threads;
  rows = std::min(rows, kGatherBytes / std::max<std::int64_t>(1, shape_.k()));
  rows = std::clamp<std::int64_t>(rows, kChainBlock, 4096);
  rows = (rows + kChainBlock - 1) / kChainBlock * kChainBlock;
  context.for_each((m + rows - 1) / rows, [&](std::int64_t block) {
    scratch.with([&](WidenedScratch& mine) {
      run_block(context, job, block * rows, std::min(rows, m - block * rows), mine);
    });
  });
}

void WidenedLayer::run_block(const LayerContext& context, const LayerJob& job, std::int64_t begin,
                             std::int64_t count, WidenedScratch& scratch) const {
  const std::int64_t K = shape_.k(), N = shape_.n();
  for (std::int64_t g = 0; g < shape_.groups; ++g) {
    GroupWork work;
    work.group = g;
    if (shape_.is_gemm()) {
      work.a = job.activations + begin * shape_.in_c + g * K;
      work.lda = shape_.in_c;
    } else {
      scratch.rows.resize(static_cast<std::size_t>(count * K));
      im2col(job.shape, job.activations, g, begin, count, scratch.rows.data());
      work.a = scratch.rows.data();
      work.lda = K;
    }
    work.weights = job.weights + g * K * N;
    work.out = job.accumulators + begin * shape_.out_c + g * N;
    work.ldc = shape_.out_c;
    work.count = count;
    if (!plain_.empty()) run_products(context, work, scratch);
    if (has_chains_ || has_corrections_) run_columns(context, work, scratch);
  }
}

void WidenedLayer::run_products(const LayerContext& context, const GroupWork& work,
                                WidenedScratch& scratch) const {
  if (wide_ && !has_chains_) {
    int8_gemm(context.isa, work.count, work.a, work.lda, packed_[work.group], work.out, work.ldc,
              scratch.widened);
    return;
  }
  const std::int64_t P = static_cast<std::int64_t>(plain_.size());
  scratch.products.resize(static_cast<std::size_t>(work.count * P));
  const std::size_t pieces = wide_ ? 1 : tiling_.k_tiles.size();
  for (std::size_t t = 0; t < pieces; ++t) {
    int8_gemm(context.isa, work.count, work.a + (wide_ ? 0 : tiling_.k_tiles[t].begin), work.lda,
              packed_[static_cast<std::size_t>(work.group) * pieces + t], scratch.products.data(), P,
              scratch.widened);
    for (std::int64_t m = 0; m < work.count; ++m)
      for (std::int64_t i = 0; i < P; ++i) {
        std::int32_t& out = work.out[m * work.ldc + plain_[i]];
        const std::int32_t psum = pe::sign_extend(static_cast<std::uint32_t>(scratch.products[m * P + i]),
                                                  context.array.accumulator_bits);
        out = t == 0 ? psum : pe::wrapping_add(out, psum, 32);
      }
  }
}

// Columns that break, and plain columns to the right of a broken activation register, tile by tile.
void WidenedLayer::run_columns(const LayerContext& context, const GroupWork& work,
                               WidenedScratch& scratch) const {
  const FaultPlan& plan = context.plan;
  std::int32_t sums[kChainBlock];
  for (std::int64_t m0 = 0; m0 < work.count; m0 += kChainBlock) {
    const std::int64_t positions = std::min(kChainBlock, work.count - m0);
    for (std::size_t nt = 0; nt < tiling_.n_tiles.size(); ++nt)
      for (std::size_t kt = 0; kt < tiling_.k_tiles.size(); ++kt) {
        const Range& n_tile = tiling_.n_tiles[nt];
        const Range& k_tile = tiling_.k_tiles[kt];
        const std::vector<ColumnChain>* columns =
            has_chains_ ? &chains_[tile_index(work.group, nt, kt)] : nullptr;
        scratch.seen.load(work.a + m0 * work.lda + k_tile.begin, work.lda, positions, k_tile.count,
                          context.array.rows);
        if (has_corrections_) scratch.edge = scratch.seen;
        std::size_t next = 0;
        for (std::int64_t c = 0; c < n_tile.count; ++c) {
          const int col = static_cast<int>(c);
          std::int32_t* out = work.out + m0 * work.ldc + n_tile.begin + c;
          if (chained_[c] != 0) {
            (*columns)[next++].run(context.isa, scratch.seen, context.array.accumulator_bits, sums);
            for (std::int64_t m = 0; m < positions; ++m)
              out[m * work.ldc] = kt == 0 ? sums[m] : pe::wrapping_add(out[m * work.ldc], sums[m], 32);
          } else if (!plan.altered_rows[c].empty()) {
            correct(context, work, k_tile, n_tile.begin + c, col, scratch, sums);
            for (std::int64_t m = 0; m < positions; ++m)
              out[m * work.ldc] = pe::wrapping_add(out[m * work.ldc], sums[m], 32);
          }
          for (const ActivationFault& fault : plan.activations[c]) scratch.seen.apply(fault);
        }
      }
  }
}

// What a plain column's sum changes by because some rows bring it another activation than the edge sent.
void WidenedLayer::correct(const LayerContext& context, const GroupWork& work, const Range& k_tile,
                           std::int64_t n, int col, const WidenedScratch& scratch, std::int32_t* sums) const {
  std::fill_n(sums, kChainBlock, 0);
  for (const int r : context.plan.altered_rows[col]) {
    const std::int8_t given =
        r < k_tile.count ? work.weights[(k_tile.begin + r) * shape_.n() + n] : std::int8_t{0};
    const std::int32_t weight = context.plan.effective_weight(r, col, given);
    if (weight == 0) continue;
    const std::int32_t* edge = scratch.edge.pair(r / 2);
    const std::int32_t* seen = scratch.seen.pair(r / 2);
    for (std::int64_t m = 0; m < kChainBlock; ++m)
      sums[m] += weight * (ActivationBlock::value(seen[m], r) - ActivationBlock::value(edge[m], r));
  }
}

std::size_t WidenedLayer::bytes() const {
  std::size_t sum = sizeof *this;
  for (const WidenedPanels& packed : packed_) sum += packed.bytes();
  for (const std::vector<ColumnChain>& columns : chains_)
    for (const ColumnChain& column : columns) sum += column.bytes();
  return sum;
}

std::string WidenedLayer::describe() const {
  return fmt::format("K {}, N {}, {} groups: {} columns as a matrix product{}, {} as chains; {} kB",
                     shape_.k(), shape_.n(), shape_.groups, plain_.size(),
                     has_corrections_ ? " with corrections" : "",
                     shape_.n() - static_cast<std::int64_t>(plain_.size()), bytes() / 1024);
}

}  // namespace kintsugi::array
