#include "array/vnni_chain.h"

#include <algorithm>
#include <bit>

namespace kintsugi::array {

namespace {

constexpr int kLanes = 16, kVectors = static_cast<int>(kVnniPositions) / kLanes;
constexpr std::int32_t kVectorBytes = 64, kWordBytes = 4;

// Vector registers. A run is what is added to a column between two masks; it has sums of its own, so that the
// next run need not wait for the mask before it.
constexpr int sum_of(int column, int v = 0) {
  return column * kVectors + v;
}
constexpr int run_of(int column, int v = 0) {
  return (ChainCode::kColumns + column) * kVectors + v;
}
constexpr int kQuad = run_of(ChainCode::kColumns), kProduct = kQuad + kVectors, kWeight = kProduct + kVectors,
              kKeep = kWeight, kFlip = kWeight + 1;
static_assert(kFlip < 32);

constexpr Pointer kQuads = Pointer::first, kStream = Pointer::second, kConstants = Pointer::third,
                  kSums = Pointer::fourth, kStride = Pointer::fifth, kAdd = Pointer::sixth;

std::int32_t bits(std::uint32_t x) {
  return static_cast<std::int32_t>(x);
}

// An argument that moves on, so that the offsets from it stay short.
struct Cursor {
  Pointer pointer;
  std::int32_t unit;
  std::int64_t moved = 0;

  // `size` bytes from `offset` on are wanted next.
  void reach(CodeWriter& code, std::int64_t offset, std::int64_t size) {
    if (offset + size - moved <= 128 * unit) return;
    const std::int64_t to = offset + 128 * unit;
    code.advance(pointer, static_cast<std::int32_t>(to - moved));
    moved = to;
  }
  Memory at(std::int64_t offset) const { return {pointer, static_cast<std::int32_t>(offset - moved)}; }
};

}  // namespace

class ChainCode::Compiler {
 public:
  Compiler(const FaultPlan& plan, std::int64_t used, int accumulator_bits, CodeWriter& code)
      : plan_(plan), used_(used), accumulator_bits_(accumulator_bits), code_(code) {}

  // altered_from: the first column whose activation register has not acted yet. store_back: whether there are
  // groups further right.
  std::int64_t compile(Group& group, int altered_from, bool store_back) {
    group_ = &group;
    words_ = Cursor{kStream, kWordBytes};
    constants_ = Cursor{kConstants, kWordBytes};
    quads_ = Cursor{kQuads, kVectorBytes};
    events_ = 0;
    const int columns = static_cast<int>(group.columns.size());
    find_alterations(altered_from);
    next_break_.assign(group.columns.size(), 0);
    dots_.assign(group.columns.size(), 0);
    for (int i = 0; i < columns; ++i) {
      code_.bit_xor(sum_of(i), sum_of(i), sum_of(i));
      for (int v = 1; v < kVectors; ++v) code_.copy(sum_of(i, v), sum_of(i));
      begin_run(i, 0);
    }
    for (int q = 0; q < (plan_.rows + 3) / 4; ++q) {
      loaded_ = false;
      bool altered = false;
      for (int i = 0; i < columns; ++i) {
        const HookMask& mask = alterations_[static_cast<std::size_t>(q) * group.columns.size() + i];
        if (!mask.identity()) {
          load(q);
          apply(mask, kQuad);
          altered = true;
          ++events_;
        }
        column_quad(i, q);
      }
      if (altered && store_back)
        for (int v = 0; v < kVectors; ++v) code_.store(quad_at(q, v), kQuad + v);
    }
    for (int i = 0; i < columns; ++i) end_run(i);
    leave(columns);
    return events_;
  }

 private:
  Memory next_word(Slot slot) {
    const auto offset = kWordBytes * static_cast<std::int64_t>(group_->slots.size());
    group_->slots.push_back(slot);
    words_.reach(code_, offset, kWordBytes);
    return words_.at(offset);
  }

  Memory constant(std::uint32_t x) {
    const auto offset = kWordBytes * static_cast<std::int64_t>(group_->constants.size());
    group_->constants.push_back(bits(x));
    constants_.reach(code_, offset, kWordBytes);
    return constants_.at(offset);
  }

  Memory quad_at(int q, int v) const { return quads_.at((std::int64_t{q} * kVectors + v) * kVectorBytes); }

  void load(int q) {
    if (loaded_) return;
    loaded_ = true;
    quads_.reach(code_, std::int64_t{q} * kVectors * kVectorBytes, kVectors * kVectorBytes);
    for (int v = 0; v < kVectors; ++v) code_.load(kQuad + v, quad_at(q, v));
  }

  // What activation registers do to each quad just before each column of the group reads it.
  void find_alterations(int from) {
    const std::size_t columns = group_->columns.size();
    alterations_.assign(static_cast<std::size_t>((plan_.rows + 3) / 4) * columns, {});
    for (std::size_t i = 0; i < columns; ++i)
      for (; from < group_->columns[i]; ++from)
        for (const ActivationFault& fault : plan_.activations[from])
          alterations_[static_cast<std::size_t>(fault.row / 4) * columns + i].then(
              HookMask::of_activation(fault.hook, fault.row));
  }

  // Whether a row can add anything to a column, other than by hooks.
  bool counts(int row, int col) const {
    return row < used_ || (plan_.effective_weight(row, col, 0) != 0 &&
                           std::ranges::binary_search(plan_.altered_rows[col], row));
  }

  void column_quad(int i, int q) {
    const int col = group_->columns[i];
    const std::vector<ChainBreak>& breaks = plan_.breaks[col];
    std::size_t& at = next_break_[i];
    const auto column = static_cast<std::uint8_t>(i);
    unsigned rows = 0;
    const auto add_rows = [&] {
      if (rows == 0) return;
      load(q);
      code_.broadcast(kWeight, next_word({Kind::weights, column, static_cast<std::uint8_t>(rows), q}));
      const int to = next_sum(i);
      for (int v = 0; v < kVectors; ++v) code_.dot(to + v, kQuad + v, kWeight);
      rows = 0;
    };
    for (int r = 4 * q; r < std::min(4 * q + 4, plan_.rows); ++r) {
      HookMask product, sum;
      if (at < breaks.size() && breaks[at].row == r) {
        const ChainBreak& one = breaks[at++];
        if (!one.bypass) {
          product = HookMask::of_product(one.hooks[pe::Site::multiplier]);
          sum = HookMask::of(one.hooks[pe::Site::adder]);
        }
        sum.then(HookMask::of(one.hooks[pe::Site::psum_register]));
      }
      const unsigned row = 1u << r % 4;
      if (!product.identity()) {
        add_product(i, q, row, product);
        ++events_;
      } else if (counts(r, col)) {
        rows |= row;
      }
      if (!sum.identity()) {
        add_rows();
        end_run(i);
        apply(sum, sum_of(i));
        begin_run(i, q);
        ++events_;
      }
    }
    add_rows();
  }

  void fill(int first, Memory from) {
    code_.broadcast(first, from);
    for (int v = 1; v < kVectors; ++v) code_.copy(first + v, first);
  }
  void begin_run(int i, int q) {
    const Memory offset = next_word({Kind::run_offset, static_cast<std::uint8_t>(i), 0, q});
    fill(run_of(i), offset);
    dots_[i] = 0;
  }
  void end_run(int i) {
    for (int v = 0; v < kVectors; ++v) code_.add(sum_of(i, v), sum_of(i, v), run_of(i, v));
  }
  // Where the next dot product of a run is added: in long runs half of them to the sum itself, which by then
  // is there.
  int next_sum(int i) { return ++dots_[i] > 2 && dots_[i] % 2 == 0 ? sum_of(i) : run_of(i); }

  void add_product(int i, int q, unsigned row, const HookMask& mask) {
    load(q);
    const Slot slot{Kind::product, static_cast<std::uint8_t>(i), static_cast<std::uint8_t>(row), q};
    code_.broadcast(kWeight, next_word(slot));
    fill(kProduct, next_word(slot));
    for (int v = 0; v < kVectors; ++v) code_.dot(kProduct + v, kQuad + v, kWeight);
    apply(mask, kProduct);
    for (int v = 0; v < kVectors; ++v) code_.add(run_of(i, v), run_of(i, v), kProduct + v);
  }

  // On the kVectors registers from `first` on. A stuck bit needs one constant, other hooks two.
  void apply(const HookMask& mask, int first) {
    if (mask.flip == 0) {
      code_.broadcast(kKeep, constant(mask.keep));
      for (int v = first; v < first + kVectors; ++v) code_.bit_and(v, v, kKeep);
    } else if (mask.flip == ~mask.keep) {
      code_.broadcast(kFlip, constant(mask.flip));
      for (int v = first; v < first + kVectors; ++v) code_.bit_or(v, v, kFlip);
    } else if (mask.keep == ~std::uint32_t{0}) {
      code_.broadcast(kFlip, constant(mask.flip));
      for (int v = first; v < first + kVectors; ++v) code_.bit_xor(v, v, kFlip);
    } else {
      code_.broadcast(kKeep, constant(mask.keep));
      code_.broadcast(kFlip, constant(mask.flip));
      for (int v = first; v < first + kVectors; ++v) code_.ternary(v, kKeep, kFlip, HookMask::kFunction);
    }
  }

  // Sums are wrapped, and replace or are added to what is there.
  void leave(int columns) {
    const int shift = 32 - accumulator_bits_;
    const auto all = [&](const auto& body) {
      for (int i = 0; i < columns; ++i) {
        for (int v = 0; v < kVectors; ++v) body(sum_of(i, v), Memory{kSums, v * kVectorBytes});
        if (i + 1 < columns) code_.advance(kSums, kStride);
      }
    };
    if (shift != 0)
      for (int i = 0; i < columns; ++i)
        for (int v = 0; v < kVectors; ++v) {
          code_.shift_left(sum_of(i, v), sum_of(i, v), shift);
          code_.shift_right_signed(sum_of(i, v), sum_of(i, v), shift);
        }
    const std::size_t replaces = code_.skip_if_zero(kAdd);
    all([&](int sum, Memory to) {
      code_.add(sum, sum, to);
      code_.store(to, sum);
    });
    code_.finish();
    code_.land(replaces);
    all([&](int sum, Memory to) { code_.store(to, sum); });
    code_.finish();
  }

  const FaultPlan& plan_;
  std::int64_t used_;
  int accumulator_bits_;
  CodeWriter& code_;
  Group* group_ = nullptr;
  Cursor words_{kStream, kWordBytes}, constants_{kConstants, kWordBytes}, quads_{kQuads, kVectorBytes};
  bool loaded_ = false;  // the current quad is in registers
  std::int64_t events_ = 0;
  std::vector<HookMask> alterations_;  // by quad, then column of the group
  std::vector<std::size_t> next_break_;
  std::vector<int> dots_;  // of the current run
};

ChainCode::ChainCode(const FaultPlan& plan, std::span<const int> columns, std::int64_t used,
                     int accumulator_bits)
    : used_(used) {
  CodeWriter code;
  Compiler compiler(plan, used, accumulator_bits, code);
  int altered_from = 0;
  bytes_ = sizeof *this;
  for (std::size_t first = 0; first < columns.size(); first += kColumns) {
    const auto mine = columns.subspan(first, std::min<std::size_t>(kColumns, columns.size() - first));
    Group& group = groups_.emplace_back();
    group.columns.assign(mine.begin(), mine.end());
    group.entry = code.size();
    group.first_word = words_;
    events_ += compiler.compile(group, altered_from, first + kColumns < columns.size());
    words_ += static_cast<std::int64_t>(group.slots.size());
    altered_from = mine.back();
    bytes_ +=
        sizeof group + group.slots.size() * sizeof(Slot) + group.constants.size() * sizeof(std::int32_t);
  }
  code_ = ExecutableCode(code.code());
  bytes_ += code_.bytes();
}

void ChainCode::fill(const FaultPlan& plan, const std::int8_t* weights, std::int64_t stride,
                     std::int32_t* stream) const {
  for (const Group& group : groups_) {
    std::int32_t* pending[kColumns] = {};  // −128·Σw of the run is wanted there
    std::int32_t run[kColumns] = {};
    std::int32_t* word = stream + group.first_word;
    for (std::size_t s = 0; s < group.slots.size(); ++s, ++word) {
      const Slot& slot = group.slots[s];
      const int i = slot.column;
      if (slot.kind == Kind::run_offset) {
        if (pending[i] != nullptr) *pending[i] = -128 * run[i];
        pending[i] = word;
        run[i] = 0;
        continue;
      }
      std::uint32_t value = 0;
      std::int32_t sum = 0;
      for (unsigned rows = slot.rows; rows != 0; rows &= rows - 1) {
        const int b = std::countr_zero(rows), row = 4 * slot.quad + b, col = group.columns[i];
        const std::int8_t weight =
            plan.effective_weight(row, col, row < used_ ? weights[row * stride + col] : std::int8_t{0});
        value |= std::uint32_t{static_cast<std::uint8_t>(weight)} << 8 * b;
        sum += weight;
      }
      *word = bits(value);
      if (slot.kind == Kind::product) {
        *++word = -128 * sum;
        ++s;
      } else {
        run[i] += sum;
      }
    }
    for (std::size_t i = 0; i < group.columns.size(); ++i) *pending[i] = -128 * run[i];
  }
}

void ChainCode::run(std::int64_t group, std::int32_t* quads, const std::int32_t* stream, bool add,
                    std::int32_t* sums, std::int64_t stride) const {
  using Code = void(std::int32_t * quads, const std::int32_t* stream, const std::int32_t* constants,
                    std::int32_t* sums, std::int64_t stride, std::int64_t add);
  const Group& one = groups_[group];
  const auto code = reinterpret_cast<Code*>(reinterpret_cast<std::uintptr_t>(code_.data() + one.entry));
  code(quads, stream + one.first_word, one.constants.data(), sums,
       stride * static_cast<std::int64_t>(sizeof *sums), add ? 1 : 0);
}

std::shared_ptr<const ChainCode> ChainCodes::get(const FaultPlan& plan, const std::vector<int>& columns,
                                                 std::int64_t used, int accumulator_bits) {
  std::weak_ptr<const ChainCode>& known = codes_[{used, columns}];
  std::shared_ptr<const ChainCode> code = known.lock();
  if (code == nullptr) {
    code = std::make_shared<const ChainCode>(plan, columns, used, accumulator_bits);
    known = code;
  }
  return code;
}

}  // namespace kintsugi::array
