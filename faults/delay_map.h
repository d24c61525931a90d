// Delay maps: how much slower than a typical PE each PE of a chip is, as measured, or as sampled for another
// simulator. A CSV with a header `row,col,factor` and one line for every PE, in any order.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kintsugi::faults {

// Row by row; factors from 0.05 to 20. Throws common::InputError listing every problem: what is no number or
// out of range, PEs that the array does not have, that come twice or not at all.
std::vector<double> read_delay_map(const std::filesystem::path& file, int rows, int cols);

// Read back it is the same, to the last bit.
std::string delay_map_csv(const std::vector<double>& factors, int rows, int cols);

// A picture of the factors for a terminal: at most `width` characters wide, each the mean of a block of PEs
// about as wide as high, the darker the slower; a legend below.
std::string delay_picture(const std::vector<double>& factors, int rows, int cols, int width = 64);

}  // namespace kintsugi::faults
