#include "array/cycle_faults.h"

#include <algorithm>
#include <cstring>

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

CycleFaults::CycleFaults(const faults::ArrayFaults& faults, const CycleKernel& kernel)
    : rows_(static_cast<std::size_t>(faults.rows)), kernel_(kernel) {
  const int width = kernel.width;
  const int strips = (faults.cols + width - 1) / width;
  const std::size_t row_strips = rows_ * strips;
  activation_pitch_ = static_cast<std::size_t>(kMaxWidth) + strips * width;
  kinds_.assign(row_strips, 0);
  hooks_.assign(row_strips, {});
  // The first row of activations' hooks is the identity.
  activations_.assign(activation_pitch_, -1);
  activations_.resize(2 * activation_pitch_, 0);
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
  if (kernel.packed) pack();
}

void CycleFaults::add_row(const faults::FaultyPe* begin, const faults::FaultyPe* end,
                          const faults::ArrayFaults& faults) {
  using pe::Site;
  const std::size_t w = static_cast<std::size_t>(kernel_.width);
  const std::size_t row = static_cast<std::size_t>(begin->row);
  // A place in a table for this row of the strip, made when first asked for.
  const auto masks = [&](std::size_t strip, RowKind kind, std::uint32_t RowHooks::*index, auto& table) {
    const std::size_t at = strip * rows_ + row;
    if ((kinds_[at] & kind) == 0) {
      kinds_[at] = static_cast<std::uint8_t>(kinds_[at] | kind);
      hooks_[at].*index = static_cast<std::uint32_t>(table.size() / (2 * w));
      table.insert(table.end(), w, -1);
      table.insert(table.end(), w, 0);
    }
    return table.data() + hooks_[at].*index * 2 * w;
  };

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
      std::int16_t* table = masks(strip, kProductHooks, &RowHooks::product, products_);
      table[c] = static_cast<std::int16_t>(mask.keep);
      table[w + c] = static_cast<std::int16_t>(mask.flip);
    }
    if ((acts(Site::adder) && !bypass) || acts(Site::psum_register)) {
      // Bits above a narrower accumulator's do no harm: nothing carries down from them.
      const Mask sum = bypass ? Mask{} : site(Site::adder, 32);
      const Mask mask = sum.then(site(Site::psum_register, 32));
      std::int32_t* table = masks(strip, kSumHooks, &RowHooks::sum, sums_);
      const int place = kernel_.psum_place(static_cast<int>(c));
      table[place] = static_cast<std::int32_t>(mask.keep);
      table[w + place] = static_cast<std::int32_t>(mask.flip);
    }
    registers[faulty->col] = site(Site::activation_register, pe::kOperandBits);
  }

  // A PE's register matters to its own strip, and to those of the columns to the right that see what it
  // altered in the cycles of one pass.
  bool any = false;
  for (int c = 0; c < faults.cols; ++c) {
    if (registers[c].keep == ~std::uint32_t{0} && registers[c].flip == 0) continue;
    if (!any) {
      activations_.insert(activations_.end(), activation_pitch_, -1);
      activations_.insert(activations_.end(), activation_pitch_, 0);
      any = true;
    }
    std::int8_t* keeps = activations_.data() + activations_.size() - 2 * activation_pitch_ + kMaxWidth;
    keeps[c] = static_cast<std::int8_t>(registers[c].keep);
    keeps[activation_pitch_ + c] = static_cast<std::int8_t>(registers[c].flip);
    for (std::size_t strip = c / w; strip <= (c + kernel_.lookahead - 1) / w && strip * rows_ < kinds_.size();
         ++strip) {
      kinds_[strip * rows_ + row] |= kActivationHooks;
      hooks_[strip * rows_ + row].activation =
          static_cast<std::uint32_t>(activations_.size() / (2 * activation_pitch_) - 1);
    }
  }
}

// From the plain tables, which are then dropped.
void CycleFaults::pack() {
  const std::size_t w = static_cast<std::size_t>(kernel_.width);
  // `count` words of keeps and of flips; nothing where the row has no such hooks.
  struct Group {
    const void* keep = nullptr;
    const void* flip = nullptr;
    std::size_t count = 0;
  };
  // Where most rows have hooks of one kind or another, telling them apart costs more (the processor
  // mispredicts every other row) than taking each for a row with all kinds; what it does not have is the
  // identity.
  const auto sound = std::ranges::count(kinds_, std::uint8_t{0});
  const bool merge = sound < std::ssize(kinds_) / 2;
  for (std::size_t row = 0; row < kinds_.size(); ++row) {
    if (kinds_[row] == 0) continue;
    Group groups[kPackedGroups];
    if ((kinds_[row] & kSumHooks) != 0) {
      const std::int32_t* at = sums_.data() + hooks_[row].sum * 2 * w;
      groups[0] = {at, at + w, w / 2};
      groups[1] = {at + w / 2, at + w + w / 2, w / 2};
    }
    if ((kinds_[row] & kProductHooks) != 0) {
      const std::int16_t* at = products_.data() + hooks_[row].product * 2 * w;
      groups[2] = {at, at + w, w / 2};
    }
    PackedHooks head{};
    std::vector<std::uint32_t> words(sizeof head / sizeof(std::uint32_t));
    for (std::size_t g = 0; g < kPackedGroups; ++g) {
      const Group& group = groups[g];
      head.place[g] = static_cast<std::uint16_t>(words.size());
      std::vector<std::uint32_t> keeps, flips;
      for (std::size_t i = 0; i < group.count; ++i) {
        std::uint32_t keep, flip;
        std::memcpy(&keep, static_cast<const char*>(group.keep) + i * sizeof keep, sizeof keep);
        std::memcpy(&flip, static_cast<const char*>(group.flip) + i * sizeof flip, sizeof flip);
        if (keep == ~std::uint32_t{0} && flip == 0) continue;
        head.words[g] = static_cast<std::uint16_t>(head.words[g] | 1u << i);
        keeps.push_back(keep);
        flips.push_back(flip);
      }
      words.insert(words.end(), keeps.begin(), keeps.end());
      words.insert(words.end(), flips.begin(), flips.end());
    }
    if (merge) kinds_[row] = kAllHooks;
    std::memcpy(words.data(), &head, sizeof head);
    hooks_[row].packed = static_cast<std::uint32_t>(packed_.size());
    packed_.insert(packed_.end(), words.begin(), words.end());
  }
  packed_.insert(packed_.end(), kPackedMargin, 0);
  sums_ = {};
  products_ = {};
}

}  // namespace kintsugi::array
