#include "array/cycle_faults.h"

#include <algorithm>

namespace kintsugi::array {

namespace {

struct Mask {
  std::uint32_t keep = ~std::uint32_t{0}, flip = 0;
  // What this mask and then `next` do.
  Mask then(const Mask& next) const { return {keep & next.keep, (flip & next.keep) ^ next.flip}; }
};

// ((x & keep) | set) ^ flip. Set bits are cleared first and then inverted. Bits that the site does not have
// stay as they are: they are not its value.
Mask mask_of(const pe::Hook& hook, int bits) {
  const std::uint32_t site = bits == 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << bits) - 1;
  return {(hook.keep & ~hook.set) | ~site, (hook.set ^ hook.flip) & site};
}

}  // namespace

CycleFaults::CycleFaults(const faults::ArrayFaults& faults, int width)
    : rows_(static_cast<std::size_t>(faults.rows)), width_(width) {
  const int strips = (faults.cols + width - 1) / width;
  const std::size_t row_strips = rows_ * strips;
  kinds_.assign(row_strips, 0);
  hooks_.assign(row_strips, {});
  weight_keep_.assign(row_strips * width, -1);
  weight_flip_.assign(row_strips * width, 0);
  for (int r = 0; r < faults.rows; ++r)
    for (int c = 0; c < faults.cols; ++c)
      if (faults.bypassed(r, c)) weight_keep_[(c / width * rows_ + r) * width + c % width] = 0;
  const faults::FaultyPe* at = faults.faulty.data();
  const faults::FaultyPe* const end = at + faults.faulty.size();
  while (at != end) {
    const faults::FaultyPe* next = std::find_if(at, end, [&](const auto& pe) { return pe.row != at->row; });
    add_row(at, next, faults);
    at = next;
  }
}

void CycleFaults::add_row(const faults::FaultyPe* begin, const faults::FaultyPe* end,
                          const faults::ArrayFaults& faults) {
  using pe::Site;
  const std::size_t w = static_cast<std::size_t>(width_);
  const std::size_t row = static_cast<std::size_t>(begin->row);
  // A place in a table for this row of the strip, made when first asked for.
  const auto masks = [&](std::size_t strip, RowKind kind, std::uint32_t RowHooks::*index, auto& table,
                         std::size_t sets) {
    const std::size_t at = strip * rows_ + row;
    if ((kinds_[at] & kind) == 0) {
      kinds_[at] = static_cast<std::uint8_t>(kinds_[at] | kind);
      hooks_[at].*index = static_cast<std::uint32_t>(table.size() / (2 * w * sets));
      for (std::size_t set = 0; set < sets; ++set) {
        table.insert(table.end(), w, -1);
        table.insert(table.end(), w, 0);
      }
    }
    return table.data() + hooks_[at].*index * 2 * w * sets;
  };
  const CycleKernel order{.width = width_};

  std::vector<Mask> registers(static_cast<std::size_t>(faults.cols));  // activation registers by column
  for (const faults::FaultyPe* faulty = begin; faulty != end; ++faulty) {
    const bool bypass = faults.bypassed(faulty->row, faulty->col);
    const std::size_t strip = static_cast<std::size_t>(faulty->col) / w, c = faulty->col % w;
    const auto site = [&](Site which, int bits) { return mask_of(faulty->hooks[which], bits); };
    const auto acts = [&](Site which) { return !faulty->hooks[which].identity(); };
    if (acts(Site::weight_register) && !bypass) {
      const Mask mask = site(Site::weight_register, pe::kOperandBits);
      const std::size_t at = (strip * rows_ + row) * w + c;
      weight_keep_[at] = static_cast<std::int8_t>(mask.keep);
      weight_flip_[at] = static_cast<std::int8_t>(mask.flip);
    }
    if (acts(Site::multiplier) && !bypass) {
      const Mask mask = site(Site::multiplier, pe::kProductBits);
      std::int16_t* table = masks(strip, kProductHooks, &RowHooks::product, products_, 1);
      table[c] = static_cast<std::int16_t>(mask.keep);
      table[w + c] = static_cast<std::int16_t>(mask.flip);
    }
    if ((acts(Site::adder) && !bypass) || acts(Site::psum_register)) {
      // Bits above a narrower accumulator's do no harm: nothing carries down from them.
      const Mask sum = bypass ? Mask{} : site(Site::adder, 32);
      const Mask mask = sum.then(site(Site::psum_register, 32));
      std::int32_t* table = masks(strip, kSumHooks, &RowHooks::sum, sums_, 1);
      const int place = order.psum_place(static_cast<int>(c));
      table[place] = static_cast<std::int32_t>(mask.keep);
      table[w + place] = static_cast<std::int32_t>(mask.flip);
    }
    registers[faulty->col] = site(Site::activation_register, pe::kOperandBits);
  }

  // What `count` registers, up to and including that of column `last`, make of an activation.
  const auto passed = [&](int last, int count) {
    Mask mask;
    for (int c = std::max(last - count + 1, 0); c <= last; ++c) mask = mask.then(registers[c]);
    return mask;
  };
  for (int c = 0; c < faults.cols; ++c) {
    const auto put = [&](int which, const Mask& mask) {
      if ((mask.keep & 0xff) == 0xff && (mask.flip & 0xff) == 0) return;
      std::int8_t* table =
          masks(c / w, kActivationHooks, &RowHooks::activation, activations_, kActivationMasks) +
          which * 2 * w + c % w;
      table[0] = static_cast<std::int8_t>(mask.keep);
      table[w] = static_cast<std::int8_t>(mask.flip);
    };
    put(kOwn, passed(c, 1));
    for (int n = 1; n < kLookahead; ++n) put(kPassed1 + n - 1, passed(c - 1, n));
    put(kOwnAfterLookahead, passed(c, kLookahead));
  }
}

}  // namespace kintsugi::array
