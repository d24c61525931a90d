// Clean runs of the functional engine's timed columns: sums of products for all tokens of a block.
#pragma once

#include <cstdint>
#include <span>

#include "array/isa.h"
#include "array/token_block.h"

namespace kintsugi::array {

// psums[token] += Σ over row pairs first_pair …, of which each word of `weights` holds two 16-bit weights,
// modulo 2^32. psums: for whole groups of tokens; those beyond the stream stay as they are.
void add_to_psums(Isa isa, const TokenBlock& block, std::int64_t first_pair,
                  std::span<const std::int32_t> weights, std::int32_t* psums);

}  // namespace kintsugi::array
