#include "array/vnni_layer.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <span>

#include "array/im2col.h"
#include "common/arithmetic.h"

namespace kintsugi::array {

namespace {

constexpr std::int64_t kPanel = PackedWeights::kPanel;
// A chained column without events costs this many times a column of a product, measured: its activations are
// transposed and its sums transposed back.
constexpr double kChainCost = 1.3;

using common::divide_up;

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
  if (chain_columns_ > 0) prepare_chains(context, job);
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
    const double whole = static_cast<double>(divide_up(static_cast<std::int64_t>(panel.size()), 16) * 16);
    if (chains > 0 && static_cast<double>(products) * kChainCost < whole)
      std::ranges::fill(panel, 1);
    else
      panels_.push_back(p);
  }
  chain_columns_ = std::ranges::count(chained_, 1);
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
  const std::size_t k_tiles = tiling_.k_tiles.size(), n_tiles = tiling_.n_tiles.size();
  codes_.assign(n_tiles * k_tiles, nullptr);
  alters_ = false;
  for (std::size_t nt = 0; nt < n_tiles; ++nt) {
    std::vector<int> columns;
    for (int c = 0; c < static_cast<int>(tiling_.n_tiles[nt].count); ++c)
      if (chained_[tiling_.n_tiles[nt].begin + c] != 0) columns.push_back(c);
    if (columns.empty()) continue;
    for (int c = 0; c < columns.back(); ++c) alters_ = alters_ || !context.plan.activations[c].empty();
    for (std::size_t kt = 0; kt < k_tiles; ++kt)
      codes_[nt * k_tiles + kt] = context.chain_codes->get(context.plan, columns, tiling_.k_tiles[kt].count,
                                                           context.array.accumulator_bits);
  }
  streams_.resize(static_cast<std::size_t>(shape_.groups) * codes_.size());
  context.for_each(static_cast<std::int64_t>(streams_.size()), [&](std::int64_t index) {
    const std::size_t tile = static_cast<std::size_t>(index) % codes_.size(), nt = tile / k_tiles,
                      kt = tile % k_tiles;
    const std::int64_t group = index / static_cast<std::int64_t>(codes_.size());
    const ChainCode* const code = codes_[tile].get();
    if (code == nullptr) return;
    std::vector<std::int32_t>& stream = streams_[static_cast<std::size_t>(index)];
    stream.resize(static_cast<std::size_t>(code->words()));
    code->fill(context.plan,
               job.weights + (group * K + tiling_.k_tiles[kt].begin) * N + tiling_.n_tiles[nt].begin, N,
               stream.data());
  });
}

void VnniLayer::run(const LayerContext& context, const LayerJob& job,
                    ScratchPool<VnniScratch>& scratch) const {
  if (!panels_.empty()) run_products(context, job, scratch);
  if (chain_columns_ == 0) return;
  // Stream positions worked on together: their activations and sums stay in the second-level cache, and the
  // code of each group of columns, which comes from further away, is used for all of them.
  // Code of many megabytes, that of very large arrays, comes from so far that the activations had better do.
  constexpr std::int64_t kMost = 1024, kMostOfFarCode = 4096, kMostOfTiles = 512, kGatherBytes = 2 << 20;
  constexpr std::size_t kFarCode = 8 << 20;
  const bool far = std::ranges::any_of(
      codes_, [](const auto& code) { return code != nullptr && code->bytes() > kFarCode; });
  const std::int64_t m = job.shape.m();
  std::int64_t rows = std::min(tiling_.k_tiles.size() > 1 ? kMostOfTiles
                               : far                      ? kMostOfFarCode
                                                          : kMost,
                               divide_up(m, context.threads()));
  if (!shape_.is_gemm()) rows = std::min(rows, kGatherBytes / shape_.k());
  rows = std::max<std::int64_t>(1, divide_up(rows, kVnniPositions)) * kVnniPositions;
  context.for_each(divide_up(m, rows), [&](std::int64_t block) {
    scratch.with([&](VnniScratch& mine) {
      run_chains(context, job, block * rows, std::min(rows, m - block * rows), mine);
    });
  });
}

void VnniLayer::run_products(const LayerContext& context, const LayerJob& job,
                             ScratchPool<VnniScratch>& scratch) const {
  const std::int64_t N = shape_.n(), K = shape_.k(), threads = context.threads();
  const auto blocks = [&](std::int64_t all, std::int64_t bytes_each, std::int64_t unit, const auto& body) {
    constexpr std::int64_t kBytes = 1 << 18;  // of activations
    std::int64_t each = std::max<std::int64_t>(1, kBytes / std::max<std::int64_t>(1, bytes_each));
    each = divide_up(std::min(each, divide_up(all, threads)), unit) * unit;
    context.for_each(divide_up(all, each), [&](std::int64_t b) {
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
  const std::int64_t stride = divide_up(count, kVnniPositions) * kVnniPositions;
  constexpr std::int64_t kStored = 16 / ChainCode::kColumns;  // groups whose sums are stored together
  for (std::int64_t g = 0; g < shape_.groups; ++g) {
    const Rows rows = gather(job.shape, job.activations, g, begin, count, scratch.rows);
    bool loaded = false;
    for (std::size_t nt = 0; nt < tiling_.n_tiles.size(); ++nt) {
      if (codes_[nt * k_tiles] == nullptr) continue;
      const std::int64_t first = tiling_.n_tiles[nt].begin, groups = codes_[nt * k_tiles]->groups();
      // With one k-tile, sums leave as soon as there are sixteen columns of them.
      const std::int64_t kept = k_tiles == 1 ? kStored : groups, apart = ChainCode::kColumns * stride;
      std::int32_t* const sums = scratch.sums.ensure(static_cast<std::size_t>(kept * apart));
      for (std::size_t kt = 0; kt < k_tiles; ++kt) {
        const Range& k_tile = tiling_.k_tiles[kt];
        if (!loaded || k_tiles > 1 || alters_)
          scratch.quads.load(rows.a + k_tile.begin, rows.lda, count, k_tile.count, context.array.rows);
        loaded = true;
        const ChainCode& code = *codes_[nt * k_tiles + kt];
        const std::int32_t* const stream =
            streams_[static_cast<std::size_t>(g) * codes_.size() + nt * k_tiles + kt].data();
        for (std::int64_t i = 0; i < groups; ++i) {
          for (std::int64_t b = 0; b < scratch.quads.blocks(); ++b)
            code.run(i, scratch.quads.block(b), stream, kt > 0, sums + i % kept * apart + b * kVnniPositions,
                     stride);
          if (kt + 1 < k_tiles || ((i + 1) % kStored != 0 && i + 1 < groups)) continue;
          const std::int64_t from = i / kStored * kStored;
          std::int64_t to[kStored * ChainCode::kColumns];
          std::size_t columns = 0;
          for (std::int64_t j = from; j <= i; ++j)
            for (const int c : code.columns(j)) to[columns++] = g * shape_.n() + first + c;
          store_columns(sums + from % kept * apart, stride, std::span(to, columns), count,
                        job.accumulators + begin * shape_.out_c, shape_.out_c);
        }
      }
    }
  }
}

std::size_t VnniLayer::bytes() const {
  std::size_t sum = sizeof *this;
  for (const PackedWeights& packed : packed_) sum += packed.bytes();
  for (auto code = codes_.begin(); code != codes_.end(); ++code)
    if (*code != nullptr && std::find(codes_.begin(), code, *code) == code)  // tiles share it
      sum += (*code)->bytes();
  for (const auto& stream : streams_) sum += stream.size() * sizeof(std::int32_t);
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
    for (const auto& code : codes_) events += code != nullptr ? code->events() : 0;
    text += fmt::format(", {} columns as chains with {} events", chain_columns_, events);
  }
  return text + fmt::format("; {} kB", bytes() / 1024);
}

}  // namespace kintsugi::array
