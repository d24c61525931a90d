// A workload: one GEMM from two .npy files, a network with weights and a data set, or layer sizes only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "configs/yaml_reader.h"

namespace kintsugi::configs {

enum class Split { train, test };

// Images of random pixels, without meaning: for runs that count cycles and compare bits.
struct RandomImages {
  std::int64_t images = 1;
  std::uint64_t seed = 1;
};

// A named set ("fashion-mnist", "cifar-10"), a pair of .npy files (uint8 N×C×H×W; integer labels N), or, in a
// workload, random images.
struct DatasetConfig {
  std::string name;              // empty for files
  std::filesystem::path images;  // resolved
  std::filesystem::path labels;
  Split split = Split::test;
  std::optional<std::int64_t> images_limit;  // key `images` beside `name`: the first n images
  std::optional<RandomImages> random;
  common::Location where;
};

struct GemmWorkload {
  std::filesystem::path activations;  // int8 M×K
  std::filesystem::path weights;      // int8 K×N
};

struct NetworkWorkload {
  std::filesystem::path network;
  // Float .safetensors (PyTorch names) or a deployed.safetensors; or `random(SEED)`.
  std::filesystem::path weights;
  std::optional<std::uint64_t> random_weights;
  DatasetConfig dataset;
  std::int64_t batch = 1;                  // images per pass over the chip
  std::int64_t calibration_images = 1000;  // training images for activation scales of float weights
};

// Sizes without data: a SCALE-Sim topology file (workloads/topology.h).
struct TopologyWorkload {
  std::filesystem::path topology;
};

// Exactly one of the three is set.
struct WorkloadConfig {
  std::filesystem::path file;
  std::optional<GemmWorkload> gemm;
  std::optional<NetworkWorkload> network;
  std::optional<TopologyWorkload> topology;
};

WorkloadConfig read_workload(const std::filesystem::path& file, const Overrides& overrides = {});

// Reads a `dataset:` mapping; shared by workload and campaign files. `fixed_split`: the file does not choose
// (a campaign), so `split` and `images` are unknown keys there.
DatasetConfig read_dataset(Section& section, bool fixed_split);

}  // namespace kintsugi::configs
