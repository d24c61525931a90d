#include "array/vnni_layer.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <span>

#include "array/im2col.h"

namespace kintsugi::array {

namespace {

constexpr std::int64_t kPanel = PackedWeights::kPanel;
// A chained column without events costs this many times a column of a product, measured: its activations are
// transposed and its sums transposed back.
constexpr double kChainCost = 1.3;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

// Rows [begin, begin + count) of a group's GEMM, gathered where the layer is a convolution.
struct Rows {
  const std::int8_t* a;
  std::int64_t lda;
};
Rows gather(const LayerShape& shape, const std::int8_t* activations, std::int64_t group, std::int64_t begin,
            std::int64_t count, std::vector<std::int8_t>& rows) {
  const std::int64_t K = shape.k();
  if (shape.is_gemm()) return {activations + begin * shape.in_c + group * K, shape.in_c};
  if (rows.size() < static_cast<std::size_t>(count * K)) rows.resize(static_cast<std::size_t>(count * K));
  im2col(shape, activations, group, begin, count, rows.data());
  return {rows.data(), K};
}

}  // namespace

void VnniLayer::prepare(const LayerContext& context, const LayerJob& job) {
  shape_ = job.shape;
  shape_.batch = 1;
  tiling_ = make_tiling(shape_, context.array.rows, context.array.cols, context.mapping);
  wide_ = context.array.accumulator_bits == 32;
  choose(context);
  if (!panels_.empty()) prepare_products(context, job);
  if (chain_columns_ == 0) return;
  alterations_.resize(static_cast<std::size_t>(context.array.cols));
  for (int c = 0; c < context.array.cols; ++c) alterations_[c] = alterations(context.plan.activations[c]);
  choose_chains(context);
  programs_.clear();
  columns_.clear();
  if (single_)
    prepare_columns(context, job);
  else
    prepare_chains(context, job);
}

// Columns with breaks or altered activations must be chains. Other columns are products, unless the panel
// they lie in has so few of them that chains without events are cheaper than the whole panel.
void VnniLayer::choose(const LayerContext& context) {
  const FaultPlan& plan = context.plan;
  const std::int64_t N = shape_.n();
  chained_.assign(static_cast<std::size_t>(N), 0);
  panels_.clear();
  for (std::int64_t n = 0; n < N; ++n) {
    const auto c = static_cast<std::size_t>(n % context.array.cols);
    chained_[n] = !plan.breaks[c].empty() || !plan.altered_rows[c].empty();
  }
  for (std::int64_t p = 0; p * kPanel < N; ++p) {
    const auto panel = std::span(chained_).subspan(p * kPanel, std::min(kPanel, N - p * kPanel));
    const auto chains = std::ranges::count(panel, 1),
               products = static_cast<std::ptrdiff_t>(panel.size()) - chains;
    const double whole = static_cast<double>(ceil_div(static_cast<std::int64_t>(panel.size()), 16) * 16);
    if (chains > 0 && static_cast<double>(products) * kChainCost < whole)
      std::ranges::fill(panel, 1);
    else
      panels_.push_back(p);
  }
  chain_places_.clear();
  for (std::int64_t n = 0; n < N; ++n)
    if (chained_[n] != 0) chain_places_.push_back(n);
  chain_columns_ = static_cast<std::int64_t>(chain_places_.size());

  groups_.assign(tiling_.n_tiles.size(), {});
  first_program_.clear();
  programs_per_tile_ = 0;
  alters_ = false;
  for (std::size_t t = 0; t < tiling_.n_tiles.size(); ++t) {
    const Range& tile = tiling_.n_tiles[t];
    std::vector<Group>& groups = groups_[t];
    for (int c = 0; c < static_cast<int>(tile.count); ++c) {
      if (chained_[tile.begin + c] == 0) continue;
      if (groups.empty() || groups.back().size() == kVnniColumns) groups.emplace_back();
      groups.back().push_back(c);
    }
    if (!groups.empty())
      for (int c = 0; c < groups.back().back(); ++c) alters_ = alters_ || !plan.activations[c].empty();
    first_program_.push_back(programs_per_tile_);
    programs_per_tile_ += groups.size();
  }
}

// Four columns at a time share loads but pay for each event that the processor did not foresee; single
// columns pay a little in every quad. Costs in cycles for sixteen stream positions of one column and tile,
// measured.
void VnniLayer::choose_chains(const LayerContext& context) {
  constexpr double kQuad = 0.7, kEvent = 1.65;                     // four at a time
  constexpr double kColumn = 19, kCleanStep = 0.75, kStep = 0.95;  // alone
  constexpr double kAlter = 1.0;                                   // a quad of activations
  const FaultPlan& plan = context.plan;
  const double quads = static_cast<double>(ceil_div(tiling_.k_tiles.front().count, 4));
  four_cost_ = single_cost_ = 0;
  for (const std::vector<Group>& groups : groups_)
    for (const Group& group : groups) {
      double events = 0, altered = 0;
      for (const int c : group) {
        double products = 0, sums = 0;
        for (const ChainBreak& b : plan.breaks[c]) {
          const bool product = !b.bypass && !b.hooks[pe::Site::multiplier].identity();
          products += product;
          sums += !product || !b.hooks[pe::Site::adder].identity() ||
                  !b.hooks[pe::Site::psum_register].identity();
        }
        const double faults = static_cast<double>(plan.activations[c].size());
        single_cost_ += kColumn + kAlter * std::min(quads, faults) +
                        (products + sums > 0 ? kStep * (quads + products + 0.75 * sums) : kCleanStep * quads);
        // Rows altered inside the group are events of the columns to their right.
        events += products + sums + (c == group.back() ? 0 : 1.5 * faults);
        altered += faults;
      }
      four_cost_ += static_cast<double>(group.size()) * quads * kQuad + kEvent * events +
                    kAlter * std::min(quads, altered);
    }
  single_ = single_cost_ < four_cost_;
}

void VnniLayer::prepare_products(const LayerContext& context, const LayerJob& job) {
  const FaultPlan& plan = context.plan;
  const std::int64_t K = shape_.k(), N = shape_.n(), G = shape_.groups;
  std::vector<std::int8_t> effective;
  if (plan.weights_altered) effective.resize(static_cast<std::size_t>(K * N));
  const std::size_t pieces = wide_ ? 1 : tiling_.k_tiles.size();
  packed_.resize(static_cast<std::size_t>(G) * pieces);
  for (std::int64_t g = 0; g < G; ++g) {
    const std::int8_t* weights = job.weights + g * K * N;
    if (plan.weights_altered) {
      for (const Range& k_tile : tiling_.k_tiles)
        for (const Range& n_tile : tiling_.n_tiles)
          for (std::int64_t r = 0; r < k_tile.count; ++r)
            plan.effective_row(static_cast<int>(r), n_tile.count,
                               weights + (k_tile.begin + r) * N + n_tile.begin,
                               effective.data() + (k_tile.begin + r) * N + n_tile.begin);
      weights = effective.data();
    }
    PackedWeights* packed = packed_.data() + static_cast<std::size_t>(g) * pieces;
    if (wide_) {
      const std::int64_t taps = shape_.is_gemm() ? 1 : shape_.kernel_h * shape_.kernel_w;
      packed->pack(weights, taps, K / taps, N, N);
    } else {
      for (std::size_t t = 0; t < pieces; ++t)
        packed[t].pack(weights + tiling_.k_tiles[t].begin * N, 1, tiling_.k_tiles[t].count, N, N);
    }
  }
  if (wide_ && !shape_.is_gemm()) windows_.build(shape_);
}

void VnniLayer::prepare_chains(const LayerContext& context, const LayerJob& job) {
  const std::int64_t K = shape_.k(), N = shape_.n();
  const std::size_t k_tiles = tiling_.k_tiles.size();
  const std::size_t tiles = static_cast<std::size_t>(shape_.groups) * k_tiles;
  programs_.resize(tiles * programs_per_tile_);
  context.for_each(static_cast<std::int64_t>(tiles), [&](std::int64_t tile) {
    const std::size_t group = static_cast<std::size_t>(tile) / k_tiles;
    const Range& k_tile = tiling_.k_tiles[static_cast<std::size_t>(tile) % k_tiles];
    ChainProgram* program = programs_.data() + static_cast<std::size_t>(tile) * programs_per_tile_;
    for (std::size_t t = 0; t < groups_.size(); ++t)
      for (const Group& columns : groups_[t]) {
        const std::int8_t* first = job.weights + (static_cast<std::int64_t>(group) * K + k_tile.begin) * N +
                                   tiling_.n_tiles[t].begin;
        program++->build(context.plan, columns, k_tile.count,
                         [&](int row, std::size_t i) { return first[row * N + columns[i]]; });
      }
  });
}

void VnniLayer::prepare_columns(const LayerContext& context, const LayerJob& job) {
  const FaultPlan& plan = context.plan;
  const std::int64_t K = shape_.k(), N = shape_.n();
  const std::size_t k_tiles = tiling_.k_tiles.size();
  const std::size_t tiles = static_cast<std::size_t>(shape_.groups) * k_tiles;
  columns_.resize(tiles * static_cast<std::size_t>(chain_columns_));
  context.for_each(static_cast<std::int64_t>(tiles), [&](std::int64_t tile) {
    const std::size_t group = static_cast<std::size_t>(tile) / k_tiles;
    const Range& k_tile = tiling_.k_tiles[static_cast<std::size_t>(tile) % k_tiles];
    ColumnProgram* program = columns_.data() + tile * chain_columns_;
    std::vector<std::int8_t> effective(static_cast<std::size_t>(plan.rows));
    for (std::int64_t n = 0; n < N; ++n) {
      if (chained_[n] == 0) continue;
      const int c = static_cast<int>(n % context.array.cols);
      const std::int8_t* from = job.weights + (static_cast<std::int64_t>(group) * K + k_tile.begin) * N + n;
      for (int r = 0; r < plan.rows; ++r)
        effective[r] = plan.effective_weight(r, c, r < k_tile.count ? from[r * N] : std::int8_t{0});
      program++->build(plan, c, k_tile.count, effective);
    }
  });
}

void VnniLayer::run(const LayerContext& context, const LayerJob& job,
                    ScratchPool<VnniScratch>& scratch) const {
  if (!panels_.empty()) run_products(context, job, scratch);
  if (chain_columns_ == 0) return;
  // Stream positions worked on together: their activations and sums stay in the second-level cache, and each
  // chain runs over several blocks of them, so that the processor learns its branches.
  constexpr std::int64_t kMost = 12 * kVnniPositions, kGatherBytes = 2 << 20;
  const std::int64_t m = job.shape.m();
  std::int64_t rows = std::min(kMost, ceil_div(m, context.threads()));
  if (!shape_.is_gemm()) rows = std::min(rows, kGatherBytes / shape_.k());
  const std::int64_t unit = single_ ? kColumnPositions : kVnniPositions;
  rows = std::max<std::int64_t>(1, ceil_div(rows, unit)) * unit;
  context.for_each(ceil_div(m, rows), [&](std::int64_t block) {
    scratch.with([&](VnniScratch& mine) {
      const std::int64_t begin = block * rows, count = std::min(rows, m - begin);
      if (single_)
        run_single_columns(context, job, begin, count, mine);
      else
        run_chains(context, job, begin, count, mine);
    });
  });
}

void VnniLayer::run_products(const LayerContext& context, const LayerJob& job,
                             ScratchPool<VnniScratch>& scratch) const {
  const std::int64_t N = shape_.n(), K = shape_.k(), threads = context.threads();
  const auto blocks = [&](std::int64_t all, std::int64_t bytes_each, std::int64_t unit, const auto& body) {
    constexpr std::int64_t kBytes = 1 << 18;  // of activations
    std::int64_t each = std::max<std::int64_t>(1, kBytes / std::max<std::int64_t>(1, bytes_each));
    each = ceil_div(std::min(each, ceil_div(all, threads)), unit) * unit;
    context.for_each(ceil_div(all, each), [&](std::int64_t b) {
      scratch.with([&](VnniScratch& mine) { body(b * each, std::min(each, all - b * each), mine); });
    });
  };
  if (!wide_) {
    blocks(job.shape.m(), K, 12, [&](std::int64_t begin, std::int64_t count, VnniScratch& mine) {
      run_narrow_products(context, job, begin, count, mine);
    });
  } else if (shape_.is_gemm()) {
    blocks(job.shape.m(), shape_.in_c, 12, [&](std::int64_t begin, std::int64_t count, VnniScratch& mine) {
      for (std::int64_t g = 0; g < shape_.groups; ++g)
        vnni_gemm(packed_[g], panels_, count, job.activations + begin * shape_.in_c + g * K, shape_.in_c,
                  job.accumulators + begin * shape_.out_c + g * N, shape_.out_c, mine.product);
    });
  } else {
    const std::int64_t image = shape_.in_h * shape_.in_w * shape_.in_c;
    blocks(job.shape.batch, image, 1, [&](std::int64_t begin, std::int64_t count, VnniScratch& mine) {
      for (std::int64_t g = 0; g < shape_.groups; ++g)
        vnni_convolution(packed_[g], panels_, windows_, job.shape,
                         job.activations + g * (shape_.in_c / shape_.groups), begin, count,
                         job.accumulators + g * N, shape_.out_c, mine.product);
    });
  }
}

// A narrow accumulator wraps at the foot of the array, so that each k-tile is a product of its own.
void VnniLayer::run_narrow_products(const LayerContext& context, const LayerJob& job, std::int64_t begin,
                                    std::int64_t count, VnniScratch& scratch) const {
  const std::int64_t N = shape_.n();
  const int bits = context.array.accumulator_bits;
  const std::size_t pieces = tiling_.k_tiles.size();
  std::int32_t* const products = scratch.products.ensure(static_cast<std::size_t>(count * N));
  for (std::int64_t g = 0; g < shape_.groups; ++g) {
    const Rows rows = gather(job.shape, job.activations, g, begin, count, scratch.rows);
    for (std::size_t t = 0; t < pieces; ++t) {
      vnni_gemm(packed_[static_cast<std::size_t>(g) * pieces + t], panels_, count,
                rows.a + tiling_.k_tiles[t].begin, rows.lda, products, N, scratch.product);
      for (const std::int64_t p : panels_)
        for (std::int64_t m = 0; m < count; ++m)
          for (std::int64_t n = p * kPanel; n < std::min(N, (p + 1) * kPanel); ++n) {
            std::int32_t& out = job.accumulators[(begin + m) * shape_.out_c + g * N + n];
            const std::int32_t psum = pe::sign_extend(static_cast<std::uint32_t>(products[m * N + n]), bits);
            out = t == 0 ? psum : pe::wrapping_add(out, psum, 32);
          }
    }
  }
}

void VnniLayer::run_chains(const LayerContext& context, const LayerJob& job, std::int64_t begin,
                           std::int64_t count, VnniScratch& scratch) const {
  const std::size_t k_tiles = tiling_.k_tiles.size();
  const std::int64_t stride = ceil_div(count, kVnniPositions) * kVnniPositions;
  constexpr std::size_t kStored = 16;  // columns whose sums are stored together
  for (std::int64_t g = 0; g < shape_.groups; ++g) {
    const Rows rows = gather(job.shape, job.activations, g, begin, count, scratch.rows);
    bool loaded = false;
    for (std::size_t nt = 0; nt < groups_.size(); ++nt) {
      const std::vector<Group>& groups = groups_[nt];
      if (groups.empty()) continue;
      const std::int64_t first = tiling_.n_tiles[nt].begin;
      // With one k-tile, sums leave as soon as there are sixteen columns of them.
      const std::size_t kept = k_tiles == 1 ? kStored / kVnniColumns : groups.size();
      std::int32_t* const sums = scratch.sums.ensure(kept * kVnniColumns * static_cast<std::size_t>(stride));
      for (std::size_t kt = 0; kt < k_tiles; ++kt) {
        const Range& k_tile = tiling_.k_tiles[kt];
        if (!loaded || k_tiles > 1 || alters_)
          scratch.quads.load(rows.a + k_tile.begin, rows.lda, count, k_tile.count, context.array.rows);
        loaded = true;
        int passed = 0;  // columns whose activation registers have done what they do
        const ChainProgram* program = programs_.data() +
                                      (static_cast<std::size_t>(g) * k_tiles + kt) * programs_per_tile_ +
                                      first_program_[nt];
        for (std::size_t i = 0; i < groups.size(); ++i, ++program) {
          for (; passed < groups[i].front(); ++passed) scratch.quads.apply(alterations_[passed]);
          std::int32_t* const mine = sums + static_cast<std::int64_t>(i % kept) * kVnniColumns * stride;
          for (std::int64_t b = 0; b < scratch.quads.blocks(); ++b)
            program->run(scratch.quads.block(b), context.array.accumulator_bits, kt > 0,
                         mine + b * kVnniPositions, stride);
          if (kt + 1 < k_tiles) continue;
          const bool full = (i + 1) % (kStored / kVnniColumns) == 0;
          if (!full && i + 1 < groups.size()) continue;
          const std::size_t from = i / (kStored / kVnniColumns) * (kStored / kVnniColumns);
          std::int64_t to[kStored];
          std::size_t columns = 0;
          for (std::size_t j = from; j <= i; ++j)
            for (const int c : groups[j]) to[columns++] = g * shape_.n() + first + c;
          store_columns(sums + static_cast<std::int64_t>(from % kept) * kVnniColumns * stride, stride,
                        std::span(to, columns), count, job.accumulators + begin * shape_.out_c, shape_.out_c);
        }
      }
    }
  }
}

namespace {

std::span<const Alteration> in_segment(const std::vector<Alteration>& all, int segment) {
  const auto first = std::ranges::lower_bound(all, segment * kSegmentQuads, {}, &Alteration::quad);
  const auto last = std::ranges::lower_bound(all, (segment + 1) * kSegmentQuads, {}, &Alteration::quad);
  return {first, last};
}

}  // namespace

void VnniLayer::run_single_columns(const LayerContext& context, const LayerJob& job, std::int64_t begin,
                                   std::int64_t count, VnniScratch& scratch) const {
  const std::size_t k_tiles = tiling_.k_tiles.size();
  const int segments = static_cast<int>(ceil_div(ceil_div(context.array.rows, 4), kSegmentQuads));
  for (std::int64_t g = 0; g < shape_.groups; ++g) {
    const Rows rows = gather(job.shape, job.activations, g, begin, count, scratch.rows);
    for (std::int64_t m0 = 0; m0 < count; m0 += kColumnPositions) {
      const std::int64_t positions = std::min(kColumnPositions, count - m0);
      std::int32_t* const out = job.accumulators + (begin + m0) * shape_.out_c;
      std::int64_t before = 0;  // chained columns in n-tiles further left
      bool loaded = false;
      for (const Range& n_tile : tiling_.n_tiles) {
        const std::int64_t chains =
            std::ranges::count(std::span(chained_).subspan(n_tile.begin, n_tile.count), 1);
        if (chains == 0) continue;
        // Sums between segments; and, with several k-tiles, over tiles.
        std::int32_t* const sums = scratch.sums.ensure(static_cast<std::size_t>(chains * kColumnPositions));
        std::int32_t* totals = sums;
        if (k_tiles > 1) totals = scratch.totals.ensure(static_cast<std::size_t>(chains * kColumnPositions));
        for (std::size_t kt = 0; kt < k_tiles; ++kt) {
          const Range& k_tile = tiling_.k_tiles[kt];
          if (!loaded || k_tiles > 1 || alters_)
            scratch.quads.load(rows.a + m0 * rows.lda + k_tile.begin, rows.lda, positions, k_tile.count,
                               context.array.rows, kColumnPositions);
          loaded = true;
          const ColumnProgram* const programs =
              columns_.data() +
              (g * static_cast<std::int64_t>(k_tiles) + static_cast<std::int64_t>(kt)) * chain_columns_ +
              before;
          for (int segment = 0; segment < segments; ++segment) {
            std::int64_t done = 0;
            for (std::int64_t c = 0; done < chains; ++c) {
              if (chained_[n_tile.begin + c] != 0) {
                programs[done].run(scratch.quads.block(0), segment, sums + done * kColumnPositions);
                ++done;
              }
              if (done < chains) scratch.quads.apply(in_segment(alterations_[c], segment));
            }
          }
          if (k_tiles > 1 || !wide_)
            add_sums(sums, chains * kColumnPositions, context.array.accumulator_bits, kt > 0, totals);
        }
        store_columns(totals, kColumnPositions, std::span(chain_places_).subspan(before, chains), positions,
                      out + g * shape_.n(), shape_.out_c);
        before += chains;
      }
    }
  }
}

std::size_t VnniLayer::bytes() const {
  std::size_t sum = sizeof *this;
  for (const PackedWeights& packed : packed_) sum += packed.bytes();
  for (const ChainProgram& program : programs_) sum += program.bytes();
  for (const ColumnProgram& program : columns_) sum += program.bytes();
  return sum;
}

std::string VnniLayer::describe() const {
  const std::int64_t products =
      std::transform_reduce(panels_.begin(), panels_.end(), std::int64_t{0}, std::plus<>(),
                            [&](std::int64_t p) { return std::min(kPanel, shape_.n() - p * kPanel); });
  std::string text = fmt::format("K {}, N {}, {} groups: {} columns in {} product panels ({})", shape_.k(),
                                 shape_.n(), shape_.groups, products, panels_.size(),
                                 shape_.is_gemm() ? "matrix product"
                                 : wide_          ? "direct convolution"
                                                  : "gathered");
  if (chain_columns_ > 0) {
    std::int64_t events = 0;
    for (const ChainProgram& program : programs_) events += program.events();
    for (const ColumnProgram& program : columns_) events += program.events();
    text += fmt::format(
        ", {} columns as chains with {} events, {} (estimated cost {:.0f} alone, {:.0f} by four)",
        chain_columns_, events, single_ ? "each alone" : "four at a time", single_cost_, four_cost_);
  }
  return text + fmt::format("; {} kB", bytes() / 1024);
}

}  // namespace kintsugi::array
