// .safetensors files: named tensors with string metadata, the format PyTorch users load with one line.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <variant>

#include "workloads/tensor.h"

namespace kintsugi::workloads {

using AnyTensor = std::variant<Tensor<float>, Tensor<std::int8_t>, Tensor<std::uint8_t>, Tensor<std::int32_t>,
                               Tensor<std::int64_t>, Tensor<double>>;

struct SafeTensors {
  std::map<std::string, AnyTensor> tensors;
  std::map<std::string, std::string> metadata;
};

// Throws common::InputError for a damaged file, overlapping or missing data, an unsupported dtype (F16 and
// BF16 are converted to float), and for a PyTorch .pt archive, with the line of Python that saves it right.
SafeTensors read_safetensors(const std::filesystem::path& file);

// Header padded to 8 bytes; tensors with wide elements first, then in name order, so that every tensor is
// aligned (PyTorch's reader relies on it): the same content gives the same bytes.
void write_safetensors(const std::filesystem::path& file, const SafeTensors& content);

// A network's float weights. num_batches_tracked is left out; other integer tensors and numbers that are not
// finite are refused, all of them listed.
Parameters read_parameters(const std::filesystem::path& file);
void write_parameters(const std::filesystem::path& file, const Parameters& parameters,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace kintsugi::workloads
