#include "training/tap_gemm.h"

#include <dnnl.h>

#include <algorithm>
#include <mutex>
#include <stdexcept>

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
          GemmWorkspace& workspace)
      : pool_(pool),
        workspace_(workspace),
        batch_(batch),
        in_c_(stage.in.channels),
        out_c_(stage.gemm_out.channels),
        in_pixels_(stage.in.height * stage.in.width),
        out_pixels_(stage.gemm_out.height * stage.gemm_out.width),
        geometry_{stage.in.height, stage.in.width, stage.gemm_out.height, stage.gemm_out.width,
                  stage.kernel,    stage.stride,   stage.padding} {
    plan(stage);
    if (in_pixels_ > 1) grow(workspace_.x, batch_ * in_pixels_ * in_c_);
    if (out_pixels_ > 1) grow(workspace_.z, batch_ * out_pixels_ * out_c_);
    if (geometry_.taps() > 1) {
      weight_.resize(stage.weight_count());
      gradient_.resize(stage.weight_count());
    }
  }

  void set_weight(const float* weight) override {
    if (geometry_.taps() == 1) {
      by_tap_ = weight;
      return;
    }
    const std::int64_t taps = geometry_.taps();
    pool_.parallel_for(out_c_, [&](std::int64_t o) {
      const float* const from = weight + o * in_c_ * taps;
      for (std::int64_t t = 0; t < taps; ++t) {
        float* const to = weight_.data() + (t * out_c_ + o) * in_c_;
        for (std::int64_t i = 0; i < in_c_; ++i) to[i] = from[i * taps + t];
      }
    });
    by_tap_ = weight_.data();
  }

  void forward(const float* x, float* z) override {
    const float* const from = by_pixel(x, in_pixels_, in_c_, workspace_.x);
    write_pieces(output_pieces_, output_steps_, from, in_c_, out_pixels_, out_c_, true, z);
  }

  void backward(const float* x, const float* dz, float* dx, float* dw) override {
    const float* const from = by_pixel(dz, out_pixels_, out_c_, workspace_.z);
    if (dx) write_pieces(input_pieces_, input_steps_, from, out_c_, in_pixels_, in_c_, false, dx);
    weight_gradient(by_pixel(x, in_pixels_, in_c_, workspace_.x), from, dw);
  }

 private:
  static void grow(std::vector<float>& buffer, std::int64_t count) {
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

  // N, H, W, C -> H, W, N, C.
  const float* by_pixel(const float* values, std::int64_t pixels, std::int64_t channels,
                        std::vector<float>& buffer) {
    if (pixels == 1) return values;
    pool_.parallel_for(pixels, [&](std::int64_t p) {
      float* const to = buffer.data() + p * batch_ * channels;
      for (std::int64_t n = 0; n < batch_; ++n)
        std::copy_n(values + (n * pixels + p) * channels, channels, to + n * channels);
    });
    return buffer.data();
  }

  // result (N, H, W, C) = Σ_taps from · W: by columns of the weights (outputs × inputs), or by their rows.
  void write_pieces(const std::vector<Piece>& pieces, const std::vector<std::vector<Step>>& steps,
                    const float* from, std::int64_t depth, std::int64_t pixels, std::int64_t channels,
                    bool transposed, float* result) {
    pool_.parallel_for(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t i) {
      const Piece& piece = pieces[i];
      const std::int64_t rows = (piece.end - piece.begin) * piece.images;
      std::vector<float> scratch;
      float* sums = result + piece.first * channels;
      if (pixels > 1) {
        scratch = take_scratch(rows * channels);
        sums = scratch.data();
      }
      std::fill(sums, sums + rows * channels, 0.0F);
      for (const Step& step : steps[i]) {
        multiply('N', transposed ? 'T' : 'N', step.pixels * piece.images, channels, depth,
                 from + (step.from * batch_ + piece.first) * depth, depth,
                 by_tap_ + step.tap * in_c_ * out_c_, in_c_, 1.0F,
                 sums + (step.to - piece.begin) * piece.images * channels, channels);
      }
      if (pixels == 1) return;
      for (std::int64_t n = 0; n < batch_; ++n)
        for (std::int64_t p = piece.begin; p < piece.end; ++p)
          std::copy_n(sums + ((p - piece.begin) * batch_ + n) * channels, channels,
                      result + (n * pixels + p) * channels);
      give_back(std::move(scratch));
    });
  }

  void weight_gradient(const float* x, const float* dz, float* dw) {
    const std::int64_t taps = geometry_.taps();
    float* const by_tap = taps == 1 ? dw : gradient_.data();
    pool_.parallel_for(static_cast<std::int64_t>(weight_tasks_.size()), [&](std::int64_t i) {
      const WeightTask& task = weight_tasks_[i];
      float* const sums = by_tap + (task.tap * out_c_ + task.first) * in_c_;
      if (task.pixels == 0) std::fill(sums, sums + task.outputs * in_c_, 0.0F);
      float beta = 0;
      for (const Slab& slab : slabs_[task.tap]) {
        multiply('T', 'N', task.outputs, in_c_, slab.pixels * batch_,
                 dz + slab.out * batch_ * out_c_ + task.first, out_c_, x + slab.in * batch_ * in_c_, in_c_,
                 beta, sums, in_c_);
        beta = 1;
      }
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

  std::vector<float> take_scratch(std::int64_t count) {
    std::vector<float> scratch;
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        scratch = std::move(idle_.back());
        idle_.pop_back();
      }
    }
    grow(scratch, count);
    return scratch;
  }
  void give_back(std::vector<float>&& scratch) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(scratch));
  }

  common::ThreadPool& pool_;
  GemmWorkspace& workspace_;
  std::int64_t batch_, in_c_, out_c_, in_pixels_, out_pixels_;
  Geometry geometry_;
  std::vector<std::vector<Slab>> slabs_;  // by tap
  std::vector<Piece> output_pieces_, input_pieces_;
  std::vector<std::vector<Step>> output_steps_, input_steps_;  // by piece
  std::vector<WeightTask> weight_tasks_;
  const float* by_tap_ = nullptr;         // taps × outputs × inputs
  std::vector<float> weight_, gradient_;  // in this order, where it is not PyTorch's
  std::mutex mutex_;
  std::vector<std::vector<float>> idle_;
};

}  // namespace

std::unique_ptr<StageGemm> make_tap_gemm(const workloads::Stage& stage, std::int64_t batch,
                                         common::ThreadPool& pool, GemmWorkspace& workspace) {
  return std::make_unique<TapGemm>(stage, batch, pool, workspace);
}

}  // namespace kintsugi::training
