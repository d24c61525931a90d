// NumPy .npy files (format 1.0–3.0, little-endian, C order).
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "workloads/pixels.h"
#include "workloads/tensor.h"

namespace kintsugi::workloads {

// T is one of int8, uint8, int32, int64, float, double. The file's dtype must be T's exactly (a message says
// which is needed and the line of Python that converts). Throws common::InputError for anything else: wrong
// magic, Fortran order, big-endian, a header that does not match the file's length.
template <class T>
Tensor<T> read_npy(const std::filesystem::path& file);

// The same checks for a uint8 array that stays in its file.
struct MappedNpy {
  std::vector<std::int64_t> shape;
  Pixels bytes;
};
MappedNpy map_npy(const std::filesystem::path& file);

// Class labels: any integer dtype of rank 1, values 0 … 2^31−1.
Tensor<std::int32_t> read_npy_labels(const std::filesystem::path& file);

template <class T>
void write_npy(const std::filesystem::path& file, const Tensor<T>& tensor);

}  // namespace kintsugi::workloads
