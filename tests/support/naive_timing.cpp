#include "tests/support/naive_timing.h"

#include <algorithm>

#include "tests/support/naive_array.h"

namespace kintsugi::test {

namespace {

struct Tile {
  std::int64_t group = 0, n0 = 0, n = 0, m0 = 0, m = 0, k0 = 0, k = 0;
  std::int64_t load = 0, stream = 0;  // cycles in which they begin
};

// What enters the corner in a cycle.
struct Corner {
  enum Kind { gated, idle, position } kind = gated;
  std::int64_t tile = 0, m = 0;
  std::int64_t since_first = 0;  // clocked cycles since the stream's first
};

struct Inputs {
  std::int64_t a = 0, w = 0, p = 0;
};

struct Cell {
  pe::PeHooks hooks;
  bool bypass = false;
  int risk = -1, bin = 0;
  std::int64_t active = 0, shadow = 0;
  Inputs before;
  // Registers: what neighbours read in the next cycle.
  std::int64_t act_reg = 0, psum_reg = 0;
  bool late_reg = false;
};

std::int64_t wrap(std::int64_t value, int width) {
  const std::int64_t size = std::int64_t{1} << width;
  const std::int64_t rest = ((value % size) + size) % size;
  return rest < size / 2 ? rest : rest - size;
}

std::int64_t hook(const Cell& cell, pe::Site site, std::int64_t value, int width) {
  const pe::Hook& h = cell.hooks.at[static_cast<std::size_t>(site)];
  return h.identity() ? wrap(value, width) : bit_string_hook(h, value, width);
}

std::int64_t exclusive_or(std::int64_t value, std::uint32_t mask, int width) {
  if (mask == 0) return value;
  std::vector<int> bits = to_bits(value, width);
  for (int i = 0; i < width; ++i)
    if ((mask >> i & 1) != 0) bits[i] = 1 - bits[i];
  return from_bits(bits);
}

class Grid {
 public:
  explicit Grid(const NaiveTimingCase& c) : c_(c), R_(c.array.rows), C_(c.array.cols) {
    cells_.resize(static_cast<std::size_t>(R_ * C_));
    for (const faults::FaultyPe& faulty : c.faults.faulty) at(faulty.row, faulty.col).hooks = faulty.hooks;
    for (int i = 0; i < R_ * C_; ++i) cells_[i].bypass = c.faults.bypass[i] != 0;
    for (std::size_t i = 0; i < c.timing->at_risk.size(); ++i) {
      const faults::RiskyPe& risky = c.timing->at_risk[i];
      at(risky.row, risky.col).risk = static_cast<int>(i);
      at(risky.row, risky.col).bin = risky.bin;
    }
    cut();
    plan();
    result_.accumulators.assign(static_cast<std::size_t>(c.shape.m() * c.shape.out_c), 0);
    result_.late_words.assign(c.timing->at_risk.size(), 0);
  }

  NaiveTimingResult run() {
    settle();
    const auto cycles = static_cast<std::int64_t>(corner_.size());
    for (std::int64_t y = 0; y < cycles + R_ + C_; ++y) step(y);
    return result_;
  }

 private:
  Cell& at(int r, int c) { return cells_[r * C_ + c]; }

  void cut() {
    const array::LayerShape& s = c_.shape;
    const std::int64_t chunk = c_.chunk == 0 ? s.m() : c_.chunk;
    const std::int64_t run = c_.mapping == configs::ConvolutionMapping::channel ? s.in_c / s.groups : s.k();
    for (std::int64_t g = 0; g < s.groups; ++g)
      for (std::int64_t n0 = 0; n0 < s.n(); n0 += C_)
        for (std::int64_t m0 = 0; m0 < s.m(); m0 += chunk)
          for (std::int64_t run0 = 0; run0 < s.k(); run0 += run)
            for (std::int64_t k0 = run0; k0 < run0 + run; k0 += R_)
              tiles_.push_back({g, n0, std::min<std::int64_t>(C_, s.n() - n0), m0,
                                std::min(chunk, s.m() - m0), k0,
                                std::min<std::int64_t>(R_, run0 + run - k0)});
  }

  static int stall(const std::vector<int>& stalls, std::size_t i) {
    return i < stalls.size() ? stalls[i] : 0;
  }

  // The table of what enters when.
  void plan() {
    for (std::size_t i = 0; i < tiles_.size(); ++i) {
      Tile& tile = tiles_[i];
      if (i == 0) {
        tile.load = stall(c_.load_stalls, 0);
        tile.stream = tile.load + R_ + stall(c_.stream_stalls, 0);
        continue;
      }
      const Tile& last = tiles_[i - 1];
      const std::int64_t fed = last.stream + last.m;
      if (c_.array.weight_double_buffer) {
        tile.load = last.stream + stall(c_.load_stalls, i);
        tile.stream = std::max(fed, tile.load + R_) + stall(c_.stream_stalls, i);
      } else {
        tile.load = fed + R_ + C_ - 2 + stall(c_.load_stalls, i);
        tile.stream = tile.load + R_ + stall(c_.stream_stalls, i);
      }
    }
    corner_.resize(static_cast<std::size_t>(tiles_.back().stream + tiles_.back().m));
    for (std::size_t i = 0; i < tiles_.size(); ++i) {
      const Tile& tile = tiles_[i];
      for (std::int64_t m = 0; m < tile.m; ++m)
        corner_[tile.stream + m] = {Corner::position, static_cast<std::int64_t>(i), m, 0};
      if (i + 1 == tiles_.size()) break;
      const std::int64_t fed = tile.stream + tile.m;
      for (std::int64_t y = fed; y < tiles_[i + 1].stream; ++y) {
        const std::int64_t load = tiles_[i + 1].load;
        const bool clocked = c_.array.weight_double_buffer
                                 ? y - fed < R_ - tile.m
                                 : y - fed < R_ + C_ - 2 || (y >= load && y < load + R_);
        if (clocked) corner_[y] = {Corner::idle, static_cast<std::int64_t>(i), 0, 0};
      }
    }
    std::int64_t since = 0;
    for (Corner& corner : corner_) {
      if (corner.kind == Corner::gated) continue;
      since = corner.kind == Corner::position && corner.m == 0 ? 0 : since + 1;
      corner.since_first = since;
    }
  }

  std::int64_t weight_of(const Tile& tile, int r, int c) const {
    if (r >= tile.k || c >= tile.n) return 0;
    const array::LayerShape& s = c_.shape;
    return c_.weights[tile.group * s.k() * s.n() + (tile.k0 + r) * s.n() + tile.n0 + c];
  }

  // Zeros at the edges and in the weight registers, everything at rest.
  void settle() {
    for (int r = 0; r < R_; ++r)
      for (int c = 0; c < C_; ++c) {
        Cell& cell = at(r, c);
        cell.before.a = c == 0 ? 0 : at(r, c - 1).act_reg;
        cell.before.p = r == 0 ? 0 : at(r - 1, c).psum_reg;
        cell.before.w = hook(cell, pe::Site::weight_register, 0, 8);
        compute(cell, cell.before, 0, false, 0);
        cell.late_reg = false;
      }
  }

  void compute(Cell& cell, const Inputs& in, std::uint32_t error, bool drop, std::uint32_t flip) const {
    const int bits = c_.array.accumulator_bits;
    const std::int64_t product = hook(cell, pe::Site::multiplier, in.a * in.w, 16);
    const std::int64_t sum = hook(cell, pe::Site::adder, in.p + product, bits);
    std::int64_t written = cell.bypass || drop ? in.p : exclusive_or(sum, error, bits);
    written = exclusive_or(written, flip, bits);
    cell.psum_reg = hook(cell, pe::Site::psum_register, written, bits);
    cell.act_reg = hook(cell, pe::Site::activation_register, in.a, 8);
  }

  void step(std::int64_t y) {
    const std::vector<Cell> old = cells_;
    for (int r = 0; r < R_; ++r)
      for (int c = 0; c < C_; ++c) {
        const std::int64_t t = y - r - c;
        if (t < 0 || t >= static_cast<std::int64_t>(corner_.size())) continue;
        step_cell(corner_[t], r, c, c == 0 ? nullptr : &old[r * C_ + c - 1],
                  r == 0 ? nullptr : &old[(r - 1) * C_ + c]);
      }
    // Weights that arrive at the end of this cycle.
    for (const Tile& tile : tiles_)
      for (int c = 0; c < C_; ++c) {
        if (y != tile.load + R_ - 1 + c) continue;
        for (int r = 0; r < R_; ++r)
          (c_.array.weight_double_buffer ? at(r, c).shadow : at(r, c).active) = weight_of(tile, r, c);
      }
  }

  void step_cell(const Corner& corner, int r, int c, const Cell* left, const Cell* above) {
    Cell& cell = at(r, c);
    const Tile& tile = tiles_[corner.tile];
    if (corner.kind == Corner::position && corner.m == 0 && c_.array.weight_double_buffer)
      cell.active = cell.shadow;
    Inputs in;
    if (left != nullptr)
      in.a = left->act_reg;
    else if (corner.kind == Corner::position && r < tile.k)
      in.a = naive_activation(c_.shape, c_.activations, tile.group, tile.m0 + corner.m, tile.k0 + r);
    in.p = above != nullptr ? above->psum_reg : 0;
    in.w = hook(cell, pe::Site::weight_register, cell.active, 8);
    const bool clocked = corner.kind != Corner::gated && c < tile.n;

    std::uint32_t error = 0, flip = 0;
    bool late = false;
    const bool drop = clocked && above != nullptr && above->late_reg && !cell.bypass;
    if (drop) ++result_.dropped_products;
    if (clocked && cell.risk >= 0 && !cell.bypass && !drop) {
      error = ask(cell, in, corner, r, c);
      if (error != 0) ++result_.late_words[cell.risk];
      if (c_.timing->mitigation == faults::Mitigation::te_drop && error != 0) {
        late = true;
        error = 0;
      }
    }
    if (clocked && corner.kind == Corner::position)
      for (const NaiveFlip& f : c_.flips)
        if (f.tile == corner.tile && f.position == corner.m && f.row == r && f.col == c) flip ^= f.mask;
    compute(cell, in, error, drop, flip);
    cell.late_reg = late;
    if (clocked) cell.before = in;
    if (r == R_ - 1 && clocked && corner.kind == Corner::position) {
      std::int32_t& sum =
          result_
              .accumulators[(tile.m0 + corner.m) * c_.shape.out_c + tile.group * c_.shape.n() + tile.n0 + c];
      sum = static_cast<std::int32_t>(wrap(std::int64_t{sum} + cell.psum_reg, 32));
    }
  }

  std::uint32_t ask(const Cell& cell, const Inputs& in, const Corner& corner, int r, int c) const {
    const auto a0 = static_cast<std::int8_t>(cell.before.a), a1 = static_cast<std::int8_t>(in.a);
    const auto w0 = static_cast<std::int8_t>(cell.before.w), w1 = static_cast<std::int8_t>(in.w);
    const auto p0 = static_cast<std::int32_t>(cell.before.p), p1 = static_cast<std::int32_t>(in.p);
    const std::uint64_t key = faults::cycle_key(corner.tile, corner.since_first, r, c);
    std::uint32_t error = 0;
    c_.timing->model->evaluate(cell.bin, c_.job_key, {1, &a0, &a1, &w0, &w1, &p0, &p1, &key}, &error);
    return error;
  }

  const NaiveTimingCase& c_;
  int R_, C_;
  std::vector<Tile> tiles_;
  std::vector<Corner> corner_;
  std::vector<Cell> cells_;
  NaiveTimingResult result_;
};

}  // namespace

NaiveTimingResult naive_timing(const NaiveTimingCase& c) {
  return Grid(c).run();
}

}  // namespace kintsugi::test
