#include "array/functional_engine.h"

#include <algorithm>
#include <functional>
#include <mutex>
#include <span>
#include <stdexcept>
#include <vector>

#include "array/column_chain.h"
#include "array/fault_plan.h"
#include "array/im2col.h"
#include "array/int8_gemm.h"
#include "common/thread_pool.h"

namespace kintsugi::array {

namespace {

// Working memory of one block of stream positions; kept between launches.
struct Scratch {
  GemmScratch gemm;
  std::vector<std::int8_t> rows;       // gathered activations
  std::vector<std::int32_t> products;  // of the columns that are plain dot products
  ActivationBlock edge, seen;          // as they enter a row, as the current column sees them
};

std::int32_t add(std::int32_t a, std::int32_t b) {
  return pe::wrapping_add(a, b, 32);
}

// One group's operands and where its results go.
struct GroupWork {
  const std::int8_t* a = nullptr;  // rows of activations
  std::int64_t lda = 0;
  const std::int8_t* weights = nullptr;    // K×N as given
  const std::int8_t* effective = nullptr;  // K×(number of plain columns), as the registers hold them
  std::int32_t* out = nullptr;             // first row, first column of the group
  std::int64_t ldc = 0;
  std::int64_t count = 0;  // rows
};

}  // namespace

struct FunctionalEngine::Impl {
  configs::ArrayConfig array;
  configs::ConvolutionMapping mapping;
  common::ThreadPool* pool;
  GemmKernel kernel = choose_gemm_kernel();
  ChainKernel chain_kernel = choose_chain_kernel();

  FaultPlan plan;
  std::vector<std::uint8_t> chained;  // per column of the array: evaluated as a chain

  // Of the launch being run.
  LayerShape shape;
  Tiling tiling;
  std::vector<std::int64_t> plain;               // columns n of the group that are matrix products
  std::vector<std::int8_t> effective;            // all groups
  std::vector<std::vector<ColumnChain>> chains;  // by (group, n-tile, k-tile), then chained columns in order
  bool has_chains = false, has_corrections = false;

  std::mutex mutex;
  std::vector<std::unique_ptr<Scratch>> idle;

  void for_each(std::int64_t n, const std::function<void(std::int64_t)>& body) const {
    if (pool != nullptr && pool->threads() > 1 && n > 1) {
      pool->parallel_for(n, body);
    } else {
      for (std::int64_t i = 0; i < n; ++i) body(i);
    }
  }

  std::unique_ptr<Scratch> take_scratch() {
    const std::lock_guard lock(mutex);
    if (idle.empty()) return std::make_unique<Scratch>();
    std::unique_ptr<Scratch> scratch = std::move(idle.back());
    idle.pop_back();
    return scratch;
  }
  void give_back(std::unique_ptr<Scratch> scratch) {
    const std::lock_guard lock(mutex);
    idle.push_back(std::move(scratch));
  }

  void load(const faults::ArrayFaults& faults);
  void prepare(const LayerJob& job);
  void prepare_effective_weights(const LayerJob& job);
  void prepare_chains(const LayerJob& job);
  std::int64_t block_rows() const;
  void run_block(const LayerJob& job, std::int64_t begin, std::int64_t count, Scratch& scratch) const;
  void run_products(const GroupWork& work, Scratch& scratch) const;
  void run_columns(const GroupWork& work, std::int64_t group, Scratch& scratch) const;
  void correct(const GroupWork& work, const Range& k_tile, std::int64_t n, int col, const Scratch& scratch,
               std::int32_t* sums) const;

  bool wide() const { return array.accumulator_bits == 32; }
  std::size_t tile_index(std::int64_t group, std::size_t n_tile, std::size_t k_tile) const {
    return (static_cast<std::size_t>(group) * tiling.n_tiles.size() + n_tile) * tiling.k_tiles.size() +
           k_tile;
  }
};

void FunctionalEngine::Impl::load(const faults::ArrayFaults& faults) {
  plan = make_fault_plan(faults);
  chained.assign(plan.cols, 0);
  for (int c = 0; c < plan.cols; ++c) {
    // Where activations differ from the edge's in few rows, correcting a matrix product is cheaper than a
    // chain. A narrow accumulator wraps at the foot of each tile, so there is no product to correct.
    const std::size_t altered = plan.altered_rows[c].size();
    chained[c] = !plan.breaks[c].empty() ||
                 (altered > 0 && (!wide() || altered * 4 > static_cast<std::size_t>(plan.rows)));
  }
}

void FunctionalEngine::Impl::prepare(const LayerJob& job) {
  shape = job.shape;
  tiling = make_tiling(shape, array.rows, array.cols, mapping);
  plain.clear();
  for (const Range& n_tile : tiling.n_tiles)
    for (std::int64_t n = 0; n < n_tile.count; ++n)
      if (chained[n] == 0) plain.push_back(n_tile.begin + n);
  const std::int64_t widest = tiling.n_tiles.front().count;
  has_chains = static_cast<std::int64_t>(plain.size()) < shape.n();
  has_corrections = false;
  for (std::int64_t c = 0; c < widest; ++c)
    has_corrections = has_corrections || (chained[c] == 0 && !plan.altered_rows[c].empty());
  prepare_effective_weights(job);
  if (has_chains) prepare_chains(job);
}

// The plain columns' weights as the registers hold them, packed together.
void FunctionalEngine::Impl::prepare_effective_weights(const LayerJob& job) {
  if (!plan.weights_altered && !has_chains) return;  // run_block takes the job's own
  const std::int64_t K = shape.k(), N = shape.n(), P = static_cast<std::int64_t>(plain.size());
  effective.resize(static_cast<std::size_t>(shape.groups * K * P));
  for (std::int64_t g = 0; g < shape.groups; ++g)
    for (const Range& k_tile : tiling.k_tiles)
      for (std::int64_t r = 0; r < k_tile.count; ++r) {
        const std::int64_t k = k_tile.begin + r;
        const std::int8_t* from = job.weights + (g * K + k) * N;
        std::int8_t* to = effective.data() + (g * K + k) * P;
        if (has_chains) {
          for (const std::int64_t n : plain)
            *to++ = plan.effective_weight(static_cast<int>(r), static_cast<int>(n % array.cols), from[n]);
          continue;
        }
        const std::size_t row = static_cast<std::size_t>(r) * array.cols;
        for (const Range& n_tile : tiling.n_tiles) {
          const std::uint8_t* keep = plan.keep.data() + row;
          const std::uint8_t* set = plan.set.data() + row;
          const std::uint8_t* flip = plan.flip.data() + row;
          const std::int8_t* in = from + n_tile.begin;
          std::int8_t* out = to + n_tile.begin;
          for (std::int64_t c = 0; c < n_tile.count; ++c)
            out[c] =
                static_cast<std::int8_t>(((static_cast<std::uint8_t>(in[c]) & keep[c]) | set[c]) ^ flip[c]);
        }
      }
}

void FunctionalEngine::Impl::prepare_chains(const LayerJob& job) {
  const std::int64_t K = shape.k(), N = shape.n();
  const std::size_t tiles = tile_index(shape.groups, 0, 0);
  if (chains.size() < tiles) chains.resize(tiles);
  for_each(static_cast<std::int64_t>(tiles), [&](std::int64_t index) {
    const std::size_t k_tiles = tiling.k_tiles.size(), n_tiles = tiling.n_tiles.size();
    const Range& k_tile = tiling.k_tiles[static_cast<std::size_t>(index) % k_tiles];
    const Range& n_tile = tiling.n_tiles[static_cast<std::size_t>(index) / k_tiles % n_tiles];
    const std::int64_t group = index / static_cast<std::int64_t>(k_tiles * n_tiles);
    std::vector<ColumnChain>& columns = chains[static_cast<std::size_t>(index)];
    std::vector<std::int8_t> column(static_cast<std::size_t>(k_tile.count));
    std::size_t used = 0;
    for (std::int64_t c = 0; c < n_tile.count; ++c) {
      if (chained[c] == 0) continue;
      for (std::int64_t r = 0; r < k_tile.count; ++r)
        column[r] = job.weights[(group * K + k_tile.begin + r) * N + n_tile.begin + c];
      if (columns.size() <= used) columns.emplace_back();
      columns[used++].build(plan, static_cast<int>(c), column);
    }
  });
}

// How many stream positions are worked on together. Results do not depend on it: integer sums are exact.
std::int64_t FunctionalEngine::Impl::block_rows() const {
  constexpr std::int64_t kGatherBytes = 1 << 20;
  const std::int64_t threads = pool != nullptr ? pool->threads() : 1;
  std::int64_t rows = (shape.m() + threads - 1) / threads;
  if (!shape.is_gemm()) rows = std::min(rows, kGatherBytes / std::max<std::int64_t>(1, shape.k()));
  rows = std::clamp<std::int64_t>(rows, kChainBlock, 4096);
  return (rows + kChainBlock - 1) / kChainBlock * kChainBlock;
}

void FunctionalEngine::Impl::run_block(const LayerJob& job, std::int64_t begin, std::int64_t count,
                                       Scratch& scratch) const {
  const std::int64_t K = shape.k(), N = shape.n(), P = static_cast<std::int64_t>(plain.size());
  for (std::int64_t g = 0; g < shape.groups; ++g) {
    GroupWork work;
    if (shape.is_gemm()) {
      work.a = job.activations + begin * shape.in_c + g * K;
      work.lda = shape.in_c;
    } else {
      scratch.rows.resize(static_cast<std::size_t>(count * K));
      im2col(shape, job.activations, g, begin, count, scratch.rows.data());
      work.a = scratch.rows.data();
      work.lda = K;
    }
    work.weights = job.weights + g * K * N;
    work.effective = plan.weights_altered || has_chains ? effective.data() + g * K * P : work.weights;
    work.out = job.accumulators + begin * shape.out_c + g * N;
    work.ldc = shape.out_c;
    work.count = count;
    if (P > 0) run_products(work, scratch);
    if (has_chains || has_corrections) run_columns(work, g, scratch);
  }
}

// The plain columns: one product over all of K, or, where a narrow accumulator wraps at the foot of the
// array, one for each k-tile.
void FunctionalEngine::Impl::run_products(const GroupWork& work, Scratch& scratch) const {
  const std::int64_t P = static_cast<std::int64_t>(plain.size());
  if (wide() && !has_chains) {
    int8_gemm(kernel, work.count, P, shape.k(), work.a, work.lda, work.effective, P, work.out, work.ldc,
              scratch.gemm);
    return;
  }
  scratch.products.resize(static_cast<std::size_t>(work.count * P));
  const Range whole{0, shape.k()};
  const std::span<const Range> pieces = wide() ? std::span(&whole, 1) : std::span(tiling.k_tiles);
  for (const Range& piece : pieces) {
    int8_gemm(kernel, work.count, P, piece.count, work.a + piece.begin, work.lda,
              work.effective + piece.begin * P, P, scratch.products.data(), P, scratch.gemm);
    for (std::int64_t m = 0; m < work.count; ++m)
      for (std::int64_t i = 0; i < P; ++i) {
        std::int32_t& out = work.out[m * work.ldc + plain[i]];
        const std::int32_t psum =
            pe::sign_extend(static_cast<std::uint32_t>(scratch.products[m * P + i]), array.accumulator_bits);
        out = piece.begin == 0 ? psum : add(out, psum);
      }
  }
}

// Columns that break, and plain columns to the right of a broken activation register, tile by tile.
void FunctionalEngine::Impl::run_columns(const GroupWork& work, std::int64_t group, Scratch& scratch) const {
  std::int32_t sums[kChainBlock];
  for (std::int64_t m0 = 0; m0 < work.count; m0 += kChainBlock) {
    const std::int64_t positions = std::min(kChainBlock, work.count - m0);
    for (std::size_t nt = 0; nt < tiling.n_tiles.size(); ++nt)
      for (std::size_t kt = 0; kt < tiling.k_tiles.size(); ++kt) {
        const Range& n_tile = tiling.n_tiles[nt];
        const Range& k_tile = tiling.k_tiles[kt];
        const std::vector<ColumnChain>* columns = has_chains ? &chains[tile_index(group, nt, kt)] : nullptr;
        scratch.seen.load(work.a + m0 * work.lda + k_tile.begin, work.lda, positions, k_tile.count,
                          array.rows);
        if (has_corrections) scratch.edge = scratch.seen;
        std::size_t next = 0;
        for (std::int64_t c = 0; c < n_tile.count; ++c) {
          const int col = static_cast<int>(c);
          std::int32_t* out = work.out + m0 * work.ldc + n_tile.begin + c;
          if (chained[c] != 0) {
            (*columns)[next++].run(chain_kernel, scratch.seen, array.accumulator_bits, sums);
            for (std::int64_t m = 0; m < positions; ++m)
              out[m * work.ldc] = kt == 0 ? sums[m] : add(out[m * work.ldc], sums[m]);
          } else if (!plan.altered_rows[c].empty()) {
            correct(work, k_tile, n_tile.begin + c, col, scratch, sums);
            for (std::int64_t m = 0; m < positions; ++m) out[m * work.ldc] = add(out[m * work.ldc], sums[m]);
          }
          for (const ActivationFault& fault : plan.activations[c]) scratch.seen.apply(fault);
        }
      }
  }
}

// What a plain column's sum changes by because some rows bring it another activation than the edge sent.
void FunctionalEngine::Impl::correct(const GroupWork& work, const Range& k_tile, std::int64_t n, int col,
                                     const Scratch& scratch, std::int32_t* sums) const {
  std::fill_n(sums, kChainBlock, 0);
  for (const int r : plan.altered_rows[col]) {
    const std::int8_t given =
        r < k_tile.count ? work.weights[(k_tile.begin + r) * shape.n() + n] : std::int8_t{0};
    const std::int32_t weight = plan.effective_weight(r, col, given);
    if (weight == 0) continue;
    const std::int32_t* edge = scratch.edge.pair(r / 2);
    const std::int32_t* seen = scratch.seen.pair(r / 2);
    for (std::int64_t m = 0; m < kChainBlock; ++m)
      sums[m] += weight * (ActivationBlock::value(seen[m], r) - ActivationBlock::value(edge[m], r));
  }
}

FunctionalEngine::FunctionalEngine(const configs::ArrayConfig& array, configs::ConvolutionMapping mapping,
                                   common::ThreadPool* pool)
    : impl_(std::make_unique<Impl>()) {
  impl_->array = array;
  impl_->mapping = mapping;
  impl_->pool = pool;
  faults::ArrayFaults none;
  none.rows = array.rows;
  none.cols = array.cols;
  none.bypass.assign(static_cast<std::size_t>(array.rows) * array.cols, 0);
  impl_->load(none);
}

FunctionalEngine::~FunctionalEngine() = default;

void FunctionalEngine::load_faults(const faults::ArrayFaults& faults) {
  if (faults.rows != impl_->array.rows || faults.cols != impl_->array.cols)
    throw std::invalid_argument("the faults loaded into an array must be compiled for its size");
  impl_->load(faults);
}

void FunctionalEngine::run(const LayerJob& job) {
  Impl& impl = *impl_;
  impl.prepare(job);
  const std::int64_t rows = impl.block_rows();
  const std::int64_t m = job.shape.m();
  impl.for_each((m + rows - 1) / rows, [&](std::int64_t block) {
    std::unique_ptr<Scratch> scratch = impl.take_scratch();
    impl.run_block(job, block * rows, std::min(rows, m - block * rows), *scratch);
    impl.give_back(std::move(scratch));
  });
}

}  // namespace kintsugi::array
