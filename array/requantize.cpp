#include "array/requantize.h"

#include <cstddef>
#include <stdexcept>
#include <vector>

#include "array/isa.h"

namespace kintsugi::array {

namespace {

// The table as columns, which vector instructions can load.
struct Columns {
  std::vector<std::int64_t> multiplier, shift, offset;

  explicit Columns(std::span<const Requantization> table) {
    for (const Requantization& r : table) {
      multiplier.push_back(r.multiplier);
      shift.push_back(r.shift);
      offset.push_back(r.offset);
    }
  }
};

[[gnu::always_inline]] inline void requantize_row(const std::int32_t* accumulators,
                                                  const std::int64_t* multiplier, const std::int64_t* shift,
                                                  const std::int64_t* offset, std::size_t channels,
                                                  std::int64_t low, std::int8_t* out) {
  for (std::size_t c = 0; c < channels; ++c) {
    const std::int64_t q = (std::int64_t{accumulators[c]} * multiplier[c] + offset[c]) >> shift[c];
    out[c] = static_cast<std::int8_t>(q < low ? low : q > 127 ? 127 : q);
  }
}

// 64-bit products and variable arithmetic shifts exist as vector instructions from AVX-512 on.
[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")]] void requantize_row_avx512(
    const std::int32_t* accumulators, const std::int64_t* multiplier, const std::int64_t* shift,
    const std::int64_t* offset, std::size_t channels, std::int64_t low, std::int8_t* out) {
  requantize_row(accumulators, multiplier, shift, offset, channels, low, out);
}

void requantize_row_portable(const std::int32_t* accumulators, const std::int64_t* multiplier,
                             const std::int64_t* shift, const std::int64_t* offset, std::size_t channels,
                             std::int64_t low, std::int8_t* out) {
  requantize_row(accumulators, multiplier, shift, offset, channels, low, out);
}

}  // namespace

void requantize(std::span<const std::int32_t> accumulators, std::span<const Requantization> table, bool relu,
                std::span<std::int8_t> out) {
  const std::size_t channels = table.size();
  if (out.size() != accumulators.size() ||
      (channels == 0 ? !accumulators.empty() : accumulators.size() % channels != 0))
    throw std::invalid_argument("requantize: sizes of accumulators, table and result do not fit");
  const auto row_function = choose_isa() == Isa::avx512 ? requantize_row_avx512 : requantize_row_portable;
  const Columns columns(table);
  for (std::size_t i = 0; i < accumulators.size(); i += channels)
    row_function(accumulators.data() + i, columns.multiplier.data(), columns.shift.data(),
                 columns.offset.data(), channels, relu ? 0 : -127, out.data() + i);
}

}  // namespace kintsugi::array
