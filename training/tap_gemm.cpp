#include "training/tap_gemm.h"

#include <dnnl.h>

#include <algorithm>
#include <map>
#include <stdexcept>
#include <type_traits>

#include "common/thread_pool.h"

namespace kintsugi::training {
namespace {

// Row-major C (m×n) = op(A) op(B) + beta C.
void multiply(char transpose_a, char transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
              const float* a, std::int64_t lda, const float* b, std::int64_t ldb, float beta, float* c,
              std::int64_t ldc) {
  if (dnnl_sgemm(transpose_a, transpose_b, m, n, k, 1.0F, a, lda, b, ldb, beta, c, ldc) != dnnl_success) {
    throw std::runtime_error("oneDNN refused a matrix product");
  }
}

// A block of rows that one tap multiplies, counted in pixels of H, W order.
struct Slab {
  std::int64_t in = 0, out = 0;  // first pixel of either map
  std::int64_t pixels = 0;
};

struct Geometry {
  std::int64_t in_h, in_w, out_h, out_w, kernel, stride, padding;
  std::int64_t taps() const { return kernel * kernel; }
};

// The pixels of output line `oy` that tap (ky, kx) meets, and what they read.
void add_line(const Geometry& g, std::int64_t ky, std::int64_t kx, std::int64_t oy,
              std::vector<Slab>& slabs) {
  const std::int64_t iy = oy * g.stride + ky - g.padding;
  if (iy < 0 || iy >= g.in_h) return;
  for (std::int64_t ox = 0; ox < g.out_w; ++ox) {
    const std::int64_t ix = ox * g.stride + kx - g.padding;
    if (ix < 0 || ix >= g.in_w) continue;
    const Slab next{iy * g.in_w + ix, oy * g.out_w + ox, 1};
    if (!slabs.empty()) {
      Slab& last = slabs.back();
      if (last.in + last.pixels == next.in && last.out + last.pixels == next.out) {
        ++last.pixels;
        continue;
      }
    }
    slabs.push_back(next);
  }
}

// Pixels begin … end − 1 of one map, and images first … first + images − 1: one task of a product that writes
// this map. Constants of the numbers, like the shards of training/shards.h.
struct Piece {
  std::int64_t begin, end;
  std::int64_t first, images;
};

std::vector<Piece> cut(std::int64_t height, std::int64_t width, std::int64_t batch) {
  constexpr std::int64_t kPieces = 4;  // at least so many, for as many threads
  std::vector<Piece> pieces;
  if (height >= kPieces) {
    for (std::int64_t y = 0; y < height; ++y) pieces.push_back({y * width, (y + 1) * width, 0, batch});
  } else if (height * width > 1) {
    for (std::int64_t p = 0; p < height * width; ++p) pieces.push_back({p, p + 1, 0, batch});
  } else {
    const std::int64_t count = std::min(kPieces, batch);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t begin = batch * i / count;
      pieces.push_back({0, 1, begin, batch * (i + 1) / count - begin});
    }
  }
  return pieces;
}

// One product into a piece of a map.
struct Step {
  std::int64_t tap;
  std::int64_t from, to;  // pixels of the map that is read, and of the one that is written
  std::int64_t pixels;
};

struct WeightTask {
  std::int64_t tap;
  std::int64_t first, outputs;  // output channels
  std::int64_t pixels;
};

class TapGemm final : public StageGemm {
 public:
  TapGemm(const workloads::Stage& stage, std::int64_t batch, common::ThreadPool& pool,
          GemmWorkspace& workspace, configs::Backward backward)
      : bf16_(backward == configs::Backward::bf16),
        pool_(pool),
        workspace_(workspace),
        batch_(batch),
        in_c_(stage.in.channels),
        out_c_(stage.gemm_out.channels),
        in_pixels_(stage.in.height * stage.in.width),
        out_pixels_(stage.gemm_out.height * stage.gemm_out.width),
        geometry_{stage.in.height, stage.in.width, stage.gemm_out.height, stage.gemm_out.width,
                  stage.kernel,    stage.stride,   stage.padding} {
    plan(stage);
    if (geometry_.taps() > 1) grow(workspace_.gradient, stage.weight_count());
    if (geometry_.taps() > 1) grow(workspace_.weight, stage.weight_count());
    if (!bf16_) return;
    grow(workspace_.rounded_x, batch_ * in_pixels_ * in_c_);
    grow(workspace_.rounded_z, batch_ * out_pixels_ * out_c_);
    grow(workspace_.rounded_weight, stage.weight_count());
    plan_bf16();
  }

  void forward(const float* weight, const float* x, float* z) override {
    const float* const by_tap = weight_by_tap(weight);
    const float* const from = by_pixel(x, in_pixels_, in_c_, nullptr, workspace_.x);
    write_pieces(output_pieces_, output_steps_, out_pixels_, out_c_, z,
                 [&](const Piece& piece, const Step& step, float* sums, GemmWorkspace::Scratch&) {
                   multiply('N', 'T', step.pixels * piece.images, out_c_, in_c_,
                            from + (step.from * batch_ + piece.first) * in_c_, in_c_,
                            by_tap + step.tap * in_c_ * out_c_, in_c_, 1.0F, sums, out_c_);
                 });
  }

  void backward(const float* weight, const float* x, float* dz, const BatchNormGradient* norm, float* dx,
                float* dw) override {
    if (bf16_) {
      const Bf16* const z = by_pixel(dz, out_pixels_, out_c_, norm, workspace_.rounded_z);
      if (dx) data_gradient(z, rounded_by_tap(weight), dx);
      weight_gradient(by_pixel(x, in_pixels_, in_c_, nullptr, workspace_.rounded_x), z, dw);
      return;
    }
    const float* const z = by_pixel(dz, out_pixels_, out_c_, norm, workspace_.z);
    if (dx) data_gradient(z, weight_by_tap(weight), dx);
    weight_gradient(by_pixel(x, in_pixels_, in_c_, nullptr, workspace_.x), z, dw);
  }

 private:
  template <class T>
  static void grow(std::vector<T>& buffer, std::int64_t count) {
    if (static_cast<std::int64_t>(buffer.size()) < count) buffer.resize(count);
  }

  void plan(const workloads::Stage& stage) {
    const std::int64_t taps = geometry_.taps();
    slabs_.resize(taps);
    for (std::int64_t t = 0; t < taps; ++t)
      for (std::int64_t oy = 0; oy < geometry_.out_h; ++oy)
        add_line(geometry_, t / geometry_.kernel, t % geometry_.kernel, oy, slabs_[t]);

    output_pieces_ = cut(geometry_.out_h, geometry_.out_w, batch_);
    input_pieces_ = cut(geometry_.in_h, geometry_.in_w, batch_);
    const auto steps_of = [&](const std::vector<Piece>& pieces, bool outputs) {
      std::vector<std::vector<Step>> steps(pieces.size());
      for (std::size_t p = 0; p < pieces.size(); ++p)
        for (std::int64_t t = 0; t < taps; ++t)
          for (const Slab& slab : slabs_[t]) {
            const std::int64_t begin = outputs ? slab.out : slab.in, other = outputs ? slab.in : slab.out;
            const std::int64_t first = std::max(begin, pieces[p].begin);
            const std::int64_t end = std::min(begin + slab.pixels, pieces[p].end);
            if (first < end) steps[p].push_back({t, other + (first - begin), first, end - first});
          }
      return steps;
    };
    output_steps_ = steps_of(output_pieces_, true);
    input_steps_ = steps_of(input_pieces_, false);

    const std::int64_t most = taps > 1 ? stage.gemm_out.channels / 256 + 1 : 4;
    const std::int64_t blocks = std::clamp<std::int64_t>(out_c_ / 16, 1, most);
    for (std::int64_t t = 0; t < taps; ++t) {
      std::int64_t pixels = 0;
      for (const Slab& slab : slabs_[t]) pixels += slab.pixels;
      for (std::int64_t b = 0; b < blocks; ++b) {
        const std::int64_t first = out_c_ * b / blocks;
        weight_tasks_.push_back({t, first, out_c_ * (b + 1) / blocks - first, pixels});
      }
    }
    // Large ones first, so that threads finish together.
    std::stable_sort(weight_tasks_.begin(), weight_tasks_.end(),
                     [](const WeightTask& a, const WeightTask& b) { return a.pixels > b.pixels; });
  }

  // N, H, W, C -> H, W, N, C, as float or rounded, and through a batch-norm if one is given.
  template <class T>
  const T* by_pixel(const float* values, std::int64_t pixels, std::int64_t channels,
                    const BatchNormGradient* norm, std::vector<T>& buffer) {
    constexpr bool kRounds = std::is_same_v<T, Bf16>;
    if constexpr (!kRounds) {
      if (pixels == 1 && !norm) return values;
    }
    grow(buffer, batch_ * pixels * channels);
    pool_.parallel_for(pixels, [&](std::int64_t p) {
      T* const to = buffer.data() + p * batch_ * channels;
      std::vector<float> row(norm && kRounds ? channels : 0);
      for (std::int64_t n = 0; n < batch_; ++n) {
        const std::int64_t at = (n * pixels + p) * channels;
        const float* from = values + at;
        if constexpr (kRounds) {
          if (norm) {
            norm->apply(from, norm->x + at, 1, row.data());
            from = row.data();
          }
          to_bf16(from, channels, to + n * channels);
        } else if (norm) {
          norm->apply(from, norm->x + at, 1, to + n * channels);
        } else {
          std::copy_n(from, channels, to + n * channels);
        }
      }
    });
    return buffer.data();
  }

  // Outputs × inputs × taps -> taps × outputs × inputs.
  const float* weight_by_tap(const float* weight) {
    const std::int64_t taps = geometry_.taps();
    if (taps == 1) return weight;
    pool_.parallel_for(out_c_, [&](std::int64_t o) { arrange(weight, o, workspace_.weight.data(), out_c_); });
    return workspace_.weight.data();
  }
  const Bf16* rounded_by_tap(const float* weight) {
    const std::int64_t taps = geometry_.taps();
    Bf16* const rounded = workspace_.rounded_weight.data();
    pool_.parallel_for(out_c_, [&](std::int64_t o) {
      std::vector<float> one(taps * in_c_);
      arrange(weight + o * taps * in_c_, 0, one.data(), 1);
      for (std::int64_t t = 0; t < taps; ++t)
        to_bf16(one.data() + t * in_c_, in_c_, rounded + (t * out_c_ + o) * in_c_);
    });
    return rounded;
  }
  // Output channel `o` of `outputs`.
  void arrange(const float* weight, std::int64_t o, float* by_tap, std::int64_t outputs) const {
    const std::int64_t taps = geometry_.taps();
    const float* const from = weight + o * in_c_ * taps;
    for (std::int64_t t = 0; t < taps; ++t) {
      float* const to = by_tap + (t * outputs + o) * in_c_;
      for (std::int64_t i = 0; i < in_c_; ++i) to[i] = from[i * taps + t];
    }
  }

  // result (N, H, W, C) = Σ of the pieces' steps.
  template <class Add>
  void write_pieces(const std::vector<Piece>& pieces, const std::vector<std::vector<Step>>& steps,
                    std::int64_t pixels, std::int64_t channels, float* result, Add add) {
    pool_.parallel_for(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t i) {
      const Piece& piece = pieces[i];
      const std::int64_t rows = (piece.end - piece.begin) * piece.images;
      std::unique_ptr<GemmWorkspace::Scratch> scratch = workspace_.take_scratch();
      float* sums = result + piece.first * channels;
      if (pixels > 1) {
        grow(scratch->sums, rows * channels);
        sums = scratch->sums.data();
      }
      std::fill(sums, sums + rows * channels, 0.0F);
      for (const Step& step : steps[i]) {
        add(piece, step, sums + (step.to - piece.begin) * piece.images * channels, *scratch);
      }
      if (pixels > 1) {
        for (std::int64_t n = 0; n < batch_; ++n)
          for (std::int64_t p = piece.begin; p < piece.end; ++p)
            std::copy_n(sums + ((p - piece.begin) * batch_ + n) * channels, channels,
                        result + (n * pixels + p) * channels);
      }
      workspace_.give_back(std::move(scratch));
    });
  }

  template <class T>
  void data_gradient(const T* dz, const T* by_tap, float* dx) {
    write_pieces(input_pieces_, input_steps_, in_pixels_, in_c_, dx,
                 [&](const Piece& piece, const Step& step, float* sums, GemmWorkspace::Scratch& scratch) {
                   const T* const from = dz + (step.from * batch_ + piece.first) * out_c_;
                   const std::int64_t rows = step.pixels * piece.images, weight = step.tap * in_c_ * out_c_;
                   if constexpr (std::is_same_v<T, Bf16>) {
                     products_.at(data_sizes(rows)).run(from, by_tap + weight, sums, scratch.library);
                   } else {
                     multiply('N', 'N', rows, in_c_, out_c_, from, out_c_, by_tap + weight, in_c_, 1.0F, sums,
                              in_c_);
                   }
                 });
  }

  template <class T>
  void weight_gradient(const T* x, const T* dz, float* dw) {
    const std::int64_t taps = geometry_.taps();
    float* const by_tap = taps == 1 ? dw : workspace_.gradient.data();
    pool_.parallel_for(static_cast<std::int64_t>(weight_tasks_.size()), [&](std::int64_t i) {
      const WeightTask& task = weight_tasks_[i];
      std::unique_ptr<GemmWorkspace::Scratch> scratch = workspace_.take_scratch();
      float* const sums = by_tap + (task.tap * out_c_ + task.first) * in_c_;
      std::fill(sums, sums + task.outputs * in_c_, 0.0F);
      for (const Slab& slab : slabs_[task.tap]) {
        const T* const from_z = dz + slab.out * batch_ * out_c_ + task.first;
        const T* const from_x = x + slab.in * batch_ * in_c_;
        const std::int64_t rows = slab.pixels * batch_;
        if constexpr (std::is_same_v<T, Bf16>) {
          products_.at(weight_sizes(task.outputs, rows)).run(from_z, from_x, sums, scratch->library);
        } else {
          multiply('T', 'N', task.outputs, in_c_, rows, from_z, out_c_, from_x, in_c_, 1.0F, sums, in_c_);
        }
      }
      workspace_.give_back(std::move(scratch));
    });
    if (taps == 1) return;
    pool_.parallel_for(out_c_, [&](std::int64_t o) {
      float* const to = dw + o * in_c_ * taps;
      for (std::int64_t t = 0; t < taps; ++t) {
        const float* const from = by_tap + (t * out_c_ + o) * in_c_;
        for (std::int64_t i = 0; i < in_c_; ++i) to[i * taps + t] = from[i];
      }
    });
  }

  Bf16Product::Sizes data_sizes(std::int64_t rows) const { return {rows, in_c_, out_c_, out_c_, false}; }
  Bf16Product::Sizes weight_sizes(std::int64_t outputs, std::int64_t rows) const {
    return {outputs, in_c_, rows, out_c_, true};
  }
  void plan_bf16() {
    for (std::size_t p = 0; p < input_pieces_.size(); ++p)
      for (const Step& step : input_steps_[p]) add_product(data_sizes(step.pixels * input_pieces_[p].images));
    for (const WeightTask& task : weight_tasks_)
      for (const Slab& slab : slabs_[task.tap]) add_product(weight_sizes(task.outputs, slab.pixels * batch_));
  }
  void add_product(const Bf16Product::Sizes& sizes) {
    if (!products_.contains(sizes)) products_.emplace(sizes, Bf16Product(sizes));
  }

  bool bf16_;
  common::ThreadPool& pool_;
  GemmWorkspace& workspace_;
  std::int64_t batch_, in_c_, out_c_, in_pixels_, out_pixels_;
  Geometry geometry_;
  std::vector<std::vector<Slab>> slabs_;  // by tap
  std::vector<Piece> output_pieces_, input_pieces_;
  std::vector<std::vector<Step>> output_steps_, input_steps_;  // by piece
  std::vector<WeightTask> weight_tasks_;
  std::map<Bf16Product::Sizes, Bf16Product> products_;
};

}  // namespace

std::unique_ptr<StageGemm> make_tap_gemm(const workloads::Stage& stage, std::int64_t batch,
                                         common::ThreadPool& pool, GemmWorkspace& workspace,
                                         configs::Backward backward) {
  return std::make_unique<TapGemm>(stage, batch, pool, workspace, backward);
}

}  // namespace kintsugi::training
