// The file formats behind load_dataset: where named sets are found, and how each is read and checked.
#pragma once

#include <filesystem>

#include "workloads/dataset.h"

namespace kintsugi::workloads {

// The folder of the named set `config.name`; throws common::InputError that lists the places looked at and
// says how to get the set.
std::filesystem::path find_dataset(const configs::DatasetConfig& config,
                                   const std::filesystem::path& data_dir);

// All throw common::InputError for missing, damaged, truncated or inconsistent files.
ImageSet load_fashion_mnist(const std::filesystem::path& folder, configs::Split split);  // IDX, gzip or plain
ImageSet load_cifar10(const std::filesystem::path& folder, configs::Split split);  // official binary batches
// uint8 N×C×H×W, or N×H×W for one channel; labels of any integer type. classes = largest label + 1.
ImageSet load_npy_pair(const std::filesystem::path& images, const std::filesystem::path& labels);

}  // namespace kintsugi::workloads
