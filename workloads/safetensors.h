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

// Tensors in name order, 8-byte-aligned header: the same content gives the same bytes.
void write_safetensors(const std::filesystem::path& file, const SafeTensors& content);

// Float weights for `read` of a network. Non-float tensors other than num_batches_tracked are refused.
Parameters read_parameters(const std::filesystem::path& file);
void write_parameters(const std::filesystem::path& file, const Parameters& parameters,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace kintsugi::workloads
