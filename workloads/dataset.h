// Labelled images: Fashion-MNIST (IDX), CIFAR-10 (binary batches), or .npy pairs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "configs/workload.h"
#include "workloads/network.h"
#include "workloads/pixels.h"

namespace kintsugi::workloads {

struct ImageSet {
  std::string name;
  FeatureShape shape;
  std::int64_t classes = 0;
  Pixels pixels;                     // N×C×H×W
  std::vector<std::int32_t> labels;  // N

  std::int64_t size() const { return static_cast<std::int64_t>(labels.size()); }
  std::span<const std::uint8_t> image(std::int64_t i) const {
    return {pixels.data() + i * shape.count(), static_cast<std::size_t>(shape.count())};
  }
  // Both share the pixels where the images chosen follow each other, and copy them otherwise.
  ImageSet first(std::int64_t n) const;
  ImageSet select(std::span<const std::int64_t> indices) const;
};

// Named sets are looked for in `data_dir` (from --data-dir; may be empty), then $KINTSUGI_DATA, then the
// system's folders (/usr/share/datasets/<name>). A missing set is an InputError that says how to get it;
// damaged or truncated files are refused. The config's images_limit is applied.
ImageSet load_dataset(const configs::DatasetConfig& config, configs::Split split,
                      const std::filesystem::path& data_dir);

// Uniform random pixels in the shape of the network's input, from stream (seed, "random-images"); every label
// is 0.
ImageSet random_image_set(const configs::RandomImages& config, const Network& network);

// Throws InputError unless the set fits the network's input and classes.
void check_dataset(const ImageSet& images, const Network& network, const common::Location& where);

// Training images cut in two: `decision` is never trained on. Without a seed the last `decision_images`
// are held out, otherwise a random choice from stream (seed, "decision-split").
struct DecisionSplit {
  ImageSet training;
  ImageSet decision;
};
DecisionSplit hold_out(const ImageSet& all, std::int64_t decision_images, std::optional<std::uint64_t> seed);

// Pixels as the network's numbers: (pixel · scale − mean[c]) / std[c], N×C×H×W.
void normalize(const ImageSet& images, std::int64_t begin, std::int64_t count,
               const configs::InputConfig& input, std::span<float> out);

}  // namespace kintsugi::workloads
