#include "array/timed_sweep.h"

#include <algorithm>
#include <utility>

#include "array/token_products.h"

namespace kintsugi::array {

namespace {

constexpr std::int64_t kPad = kTokenWidth;  // psums are kept for whole groups of tokens

std::int32_t pair_word(std::int32_t low, std::int32_t high) {
  return static_cast<std::int32_t>((static_cast<std::uint32_t>(low) & 0xffffu) |
                                   static_cast<std::uint32_t>(high) << 16);
}

std::int32_t add(std::int32_t a, std::int32_t b) {
  return pe::wrapping_add(a, b, 32);
}

}  // namespace

std::int64_t TimedSweep::run(const SweepContext& context, std::span<const TimedColumn* const> columns) {
  context_ = context;
  const TokenBlock& block = *context.block;
  if (block.loaded()) following_ = context.feed->tile(block.tile() + 1);
  tokens_count_ = block.tokens();
  dropped_ = 0;
  const auto count = static_cast<std::size_t>(tokens_count_);
  const std::size_t stride = (count + kPad - 1) / kPad * kPad;
  psums_.assign(columns.size() * stride, 0);
  activations_.resize(count + 1);
  weights_.resize(count + 1);
  errors_.resize(count);
  changed_.resize(count);
  columns_.resize(columns.size());
  int bins = 0;
  for (const TimedColumn* column : columns)
    for (const TimedPe& pe : column->pes) bins = std::max(bins, pe.bin + 1);
  waiting_.assign(static_cast<std::size_t>(bins), 0);
  for (std::size_t i = 0; i < columns.size(); ++i) {
    begin(columns_[i], *columns[i], psums_.data() + i * stride);
    advance(columns_[i]);
  }
  for (;;) {
    const auto most = std::ranges::max_element(waiting_);
    if (most == waiting_.end() || *most == 0) break;
    evaluate_bin(static_cast<int>(most - waiting_.begin()));
  }
  return dropped_;
}

void TimedSweep::begin(Column& column, const TimedColumn& plan, std::int32_t* psums) {
  column.plan = &plan;
  column.psums = psums;
  column.row = 0;
  column.next = 0;
  column.next_flip = 0;
  column.dropping.clear();
  column.flips = {};
  if (context_.flips != nullptr) column.flips = (*context_.flips)[static_cast<std::size_t>(plan.col)];
  column.waiting = false;
}

void TimedSweep::advance(Column& column) {
  for (;;) {
    const bool last = column.next == column.plan->pes.size();
    clean_run(column, last ? context_.plan->rows : column.plan->pes[column.next].row);
    if (last) {
      deliver(column);
      return;
    }
    const TimedPe& pe = column.plan->pes[column.next];
    if (pe.risk >= 0) {
      column.waiting = true;
      ++waiting_[static_cast<std::size_t>(pe.bin)];
      return;
    }
    load_operands(column, pe.row);
    apply(column, pe, nullptr);
  }
}

// ---- Clean runs ----

std::int8_t TimedSweep::weight(const Column& column, int row, bool following) const {
  const TileWork& tile = following ? following_ : context_.block->work();
  return context_.plan->effective_weight(row, column.plan->col,
                                         context_.feed->weight(tile, row, column.plan->col));
}

std::int8_t TimedSweep::activation_at(const Column& column, int row, std::int64_t token) const {
  const TokenBlock& block = *context_.block;
  const std::int8_t edge =
      row < block.rows_used() && token < block.stream() ? block.row(row)[token] : std::int8_t{0};
  const AlteredRow* altered = column.plan->find_altered(row);
  return altered != nullptr ? altered->apply(edge) : edge;
}

// Rows column.row … end − 1: no PE of them is evaluated.
void TimedSweep::clean_run(Column& column, int end) {
  const int begin = column.row;
  if (begin < end) {
    if (!column.dropping.empty()) drop_product(column);
    flip_in_run(column, end);
    add_products(column, begin, std::min(end, context_.block->rows_used()));
    if (!column.plan->altered.empty()) add_altered(column, begin, end);
    wrap(column.psums);
  }
  column.row = end;
}

void TimedSweep::add_products(const Column& column, int begin, int end) {
  if (begin >= end) return;
  const TokenBlock& block = *context_.block;
  const int first = begin / 2, pairs = (end + 1) / 2 - first;
  const auto weight_in_run = [&](int row) {
    return row < begin || row >= end ? std::int8_t{0} : weight(column, row, false);
  };
  words_.clear();
  for (int p = first; p < first + pairs; ++p)
    words_.push_back(pair_word(weight_in_run(2 * p), weight_in_run(2 * p + 1)));
  add_to_psums(context_.isa, block, first, words_, column.psums);
}

// What rows add because the activation registers to the left alter what they see, in idle cycles too.
void TimedSweep::add_altered(const Column& column, int begin, int end) {
  const TokenBlock& block = *context_.block;
  for (auto row = std::ranges::lower_bound(column.plan->altered, begin, {}, &AlteredRow::row);
       row != column.plan->altered.end() && row->row < end; ++row) {
    const bool used = row->row < block.rows_used();
    const std::int32_t idle = row->apply(0), w = weight(column, row->row, false);
    std::int32_t* psums = column.psums;
    for (std::int64_t t = 0; t < block.stream(); ++t) {
      const std::int8_t edge = used ? block.row(row->row)[t] : std::int8_t{0};
      psums[t] = array::add(psums[t], (row->apply(edge) - edge) * w);
    }
    if (idle == 0) continue;
    const std::int64_t from = block.switch_token(row->row);
    for (std::int64_t t = block.stream(); t < from; ++t) psums[t] = array::add(psums[t], idle * w);
    if (from == tokens_count_) continue;
    const std::int32_t after = weight(column, row->row, true);
    for (std::int64_t t = from; t < tokens_count_; ++t) psums[t] = array::add(psums[t], idle * after);
  }
}

// The run's first row gives its product up in some tokens: what will be added is taken away beforehand.
void TimedSweep::drop_product(Column& column) {
  if ((*context_.bypass)[static_cast<std::size_t>(column.row) * context_.plan->cols + column.plan->col] ==
      0) {
    for (const std::int32_t t : column.dropping)
      column.psums[t] = array::add(column.psums[t],
                                   -activation_at(column, column.row, t) * weight_at(column, column.row, t));
    dropped_ += std::ssize(column.dropping);
  }
  column.dropping.clear();
}

// Sums are modular: what a flip changes in the middle of a run, it changes at its end.
void TimedSweep::flip_in_run(Column& column, int end) {
  if (column.next_flip == column.flips.size()) return;
  std::vector<PsumFlip> flips;
  for (; column.next_flip < column.flips.size() && column.flips[column.next_flip].row < end;
       ++column.next_flip)
    flips.push_back(column.flips[column.next_flip]);
  std::ranges::stable_sort(flips, {}, &PsumFlip::position);
  for (std::size_t i = 0; i < flips.size();) {
    const std::int64_t t = flips[i].position - context_.block->first();
    std::int32_t psum = column.psums[t], change = 0;
    int row = column.row;
    for (; i < flips.size() && flips[i].position - context_.block->first() == t; ++i) {
      for (; row <= flips[i].row; ++row)
        psum = pe::clean_psum(weight(column, row, false), activation_at(column, row, t), psum,
                              context_.accumulator_bits);
      const std::int32_t flipped =
          pe::sign_extend(static_cast<std::uint32_t>(psum) ^ flips[i].mask, context_.accumulator_bits);
      change = array::add(change, wrapping_difference(flipped, psum));
      psum = flipped;
    }
    column.psums[t] = array::add(column.psums[t], change);
  }
}

void TimedSweep::wrap(std::int32_t* psums) const {
  const int bits = context_.accumulator_bits;
  if (bits == 32) return;
  for (std::int64_t t = 0; t < tokens_count_; ++t)
    psums[t] = pe::sign_extend(static_cast<std::uint32_t>(psums[t]), bits);
}

void TimedSweep::deliver(const Column& column) const {
  const TokenBlock& block = *context_.block;
  const std::int64_t row = context_.feed->job().shape.out_c;
  std::int32_t* to = context_.feed->accumulator(block.work(), block.first(), column.plan->col);
  for (std::int64_t t = 0; t < block.stream(); ++t) to[t * row] = array::add(to[t * row], column.psums[t]);
}

// ---- Single PEs ----

void TimedSweep::load_operands(const Column& column, int row) {
  const TokenBlock& block = *context_.block;
  std::int8_t* a = activations_.data() + 1;
  if (row < block.rows_used())
    std::copy_n(block.row(row), block.stream(), a);
  else
    std::fill_n(a, block.stream(), std::int8_t{0});
  std::fill(a + block.stream(), a + tokens_count_, std::int8_t{0});
  if (const AlteredRow* altered = column.plan->find_altered(row))
    for (std::int64_t t = 0; t < tokens_count_; ++t) a[t] = altered->apply(a[t]);
  std::int8_t* w = weights_.data() + 1;
  const std::int64_t from = block.switch_token(row);
  std::fill_n(w, from, weight(column, row, false));
  if (from < tokens_count_) std::fill(w + from, w + tokens_count_, weight(column, row, true));
}

// Of activations_ and weights_; goes on to the row below.
void TimedSweep::apply(Column& column, const TimedPe& pe, const std::uint32_t* errors) {
  const std::int8_t* a = activations_.data() + 1;
  const std::int8_t* w = weights_.data() + 1;
  const int bits = context_.accumulator_bits;
  std::int32_t* psums = column.psums;

  // Tokens in which more happens than an error, done first.
  upsets_.clear();
  if (!pe.bypass) {
    dropped_ += std::ssize(column.dropping);
    for (const std::int32_t t : column.dropping) upsets_.push_back({t, {0, true, 0}, 0});
  }
  column.dropping.clear();
  const std::size_t drops = upsets_.size();
  for (; column.next_flip < column.flips.size() && column.flips[column.next_flip].row == pe.row;
       ++column.next_flip) {
    const PsumFlip& flip = column.flips[column.next_flip];
    const auto t = static_cast<std::int32_t>(flip.position - context_.block->first());
    const auto end = upsets_.begin() + static_cast<std::ptrdiff_t>(drops);
    const auto found =
        std::lower_bound(upsets_.begin(), end, t,
                         [](const UpsetToken& upset, std::int32_t token) { return upset.token < token; });
    if (found != end && found->token == t)
      found->upset.flip = flip.mask;
    else
      upsets_.push_back({t, {errors != nullptr ? errors[t] : 0, false, flip.mask}, 0});
  }
  for (auto& [t, upset, psum] : upsets_)
    psum = pe::evaluate(pe.hooks, pe.bypass, w[t], a[t], psums[t], bits, upset).psum;

  if (pe.hooked) {
    for (std::int64_t t = 0; t < tokens_count_; ++t)
      psums[t] = pe::evaluate(pe.hooks, pe.bypass, w[t], a[t], psums[t], bits,
                              {errors != nullptr ? errors[t] : 0, false, 0})
                     .psum;
  } else if (bits == 32) {
    for (std::int64_t t = 0; t < tokens_count_; ++t)
      psums[t] = static_cast<std::int32_t>(
          (static_cast<std::uint32_t>(psums[t]) + static_cast<std::uint32_t>(a[t] * w[t])) ^ errors[t]);
  } else {
    for (std::int64_t t = 0; t < tokens_count_; ++t)
      psums[t] = pe::sign_extend(
          (static_cast<std::uint32_t>(psums[t]) + static_cast<std::uint32_t>(a[t] * w[t])) ^ errors[t], bits);
  }
  for (const UpsetToken& upset : upsets_) psums[upset.token] = upset.psum;
  column.row = pe.row + 1;
  ++column.next;
}

// ---- PEs at risk ----

void TimedSweep::evaluate_bin(int bin) {
  segments_.clear();
  tokens_.clear();
  batch_.clear();
  for (Column& column : columns_)
    if (column.waiting && column.plan->pes[column.next].bin == bin)
      append(column, column.plan->pes[column.next]);
  waiting_[static_cast<std::size_t>(bin)] = 0;
  batch_errors_.resize(batch_.size());
  if (batch_.size() > 0)
    context_.job->timing().model->evaluate(bin, context_.job->key(), batch_.cycles(), batch_errors_.data());
  for (const Segment& segment : segments_) resolve(segment);
}

void TimedSweep::append(Column& column, const TimedPe& pe) {
  load_operands(column, pe.row);
  pe::PeInputs& before = context_.before[static_cast<std::size_t>(pe.risk)];
  const auto count = static_cast<std::size_t>(tokens_count_);
  std::int8_t* a = activations_.data();
  std::int8_t* w = weights_.data();
  const std::int32_t* p = column.psums;
  a[0] = before.activation;
  w[0] = before.weight;
  const faults::TimingModel& model = *context_.job->timing().model;

  Segment segment{&column, batch_.size(), count, true};
  std::size_t changed = 0;
  if (!model.settled_can_err()) {
    // Equal inputs in both cycles cannot err.
    const bool first = (a[1] != a[0]) | (w[1] != w[0]) | (p[0] != before.psum);
    std::int32_t moving = first ? 1 : 0;
    for (std::size_t t = 1; t < count; ++t)
      moving += static_cast<std::int32_t>((a[t + 1] != a[t]) | (w[t + 1] != w[t]) | (p[t] != p[t - 1]));
    segment.all = static_cast<std::size_t>(moving + moving / 8) >= count;
    if (!segment.all) {
      std::int32_t* at = changed_.data();
      at[0] = 0;
      changed = first ? 1 : 0;
      for (std::size_t t = 1; t < count; ++t) {
        at[changed] = static_cast<std::int32_t>(t);
        changed += static_cast<std::size_t>((a[t + 1] != a[t]) | (w[t + 1] != w[t]) | (p[t] != p[t - 1]));
      }
    }
  }
  const auto psum_before = [&](std::size_t t) { return t == 0 ? before.psum : p[t - 1]; };
  if (segment.all) {
    batch_.activation_before.insert(batch_.activation_before.end(), a, a + count);
    batch_.activation.insert(batch_.activation.end(), a + 1, a + 1 + count);
    batch_.weight_before.insert(batch_.weight_before.end(), w, w + count);
    batch_.weight.insert(batch_.weight.end(), w + 1, w + 1 + count);
    batch_.psum_before.push_back(before.psum);
    batch_.psum_before.insert(batch_.psum_before.end(), p, p + count - 1);
    batch_.psum.insert(batch_.psum.end(), p, p + count);
  } else {
    segment.count = changed;
    for (std::size_t i = 0; i < changed; ++i) {
      const auto t = static_cast<std::size_t>(changed_[i]);
      batch_.activation_before.push_back(a[t]);
      batch_.activation.push_back(a[t + 1]);
      batch_.weight_before.push_back(w[t]);
      batch_.weight.push_back(w[t + 1]);
      batch_.psum_before.push_back(psum_before(t));
      batch_.psum.push_back(p[t]);
    }
    tokens_.resize(segment.first, 0);  // one for each lane, so that places agree
    tokens_.insert(tokens_.end(), changed_.begin(), changed_.begin() + static_cast<std::ptrdiff_t>(changed));
  }
  if (model.needs_keys())
    for (std::size_t i = 0; i < segment.count; ++i) {
      const std::int64_t t = segment.all ? static_cast<std::int64_t>(i) : changed_[i];
      batch_.keys.push_back(
          faults::cycle_key(context_.block->tile(), context_.block->position(t), pe.row, column.plan->col));
    }
  before = {a[count], w[count], p[count - 1]};
  segments_.push_back(segment);
}

void TimedSweep::resolve(const Segment& segment) {
  Column& column = *segment.column;
  const TimedPe& pe = column.plan->pes[column.next];
  const std::uint32_t* from = batch_errors_.data() + segment.first;
  if (segment.all) {
    std::copy_n(from, segment.count, errors_.begin());
  } else {
    std::ranges::fill(errors_, 0u);
    for (std::size_t i = 0; i < segment.count; ++i)
      errors_[static_cast<std::size_t>(tokens_[segment.first + i])] = from[i];
  }
  for (const std::int32_t t : column.dropping) errors_[static_cast<std::size_t>(t)] = 0;

  std::int64_t late = 0;
  for (const std::uint32_t error : errors_) late += error != 0 ? 1 : 0;
  context_.job->late_words[static_cast<std::size_t>(pe.risk)] += late;

  std::vector<std::int32_t> dropping;  // by the row below
  if (context_.job->timing().mitigation == faults::Mitigation::te_drop && late > 0) {
    for (std::size_t t = 0; t < errors_.size(); ++t)
      if (errors_[t] != 0) dropping.push_back(static_cast<std::int32_t>(t));
    std::ranges::fill(errors_, 0u);
  }
  load_operands(column, pe.row);
  apply(column, pe, errors_.data());
  if (column.row < context_.plan->rows) column.dropping = std::move(dropping);
  column.waiting = false;
  advance(column);
}

}  // namespace kintsugi::array
