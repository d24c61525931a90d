// A data set for campaigns that run the whole program in seconds.
#pragma once

#include <cstdint>
#include <filesystem>

#include "common/random.h"
#include "workloads/npy.h"

namespace kintsugi::test {

// x.npy and y.npy: 4×4 images of three classes: a bright quadrant, and noise enough to make mistakes.
inline void write_tiny_images(const std::filesystem::path& folder) {
  constexpr std::int64_t kImages = 1500;
  workloads::Tensor<std::uint8_t> images({kImages, 1, 4, 4});
  workloads::Tensor<std::int32_t> labels({kImages});
  common::RandomStream random(11, "images");
  for (std::int64_t i = 0; i < kImages; ++i) {
    const auto label = static_cast<std::int32_t>(random.below(3));
    labels.data[i] = label;
    for (std::int64_t p = 0; p < 16; ++p) {
      const std::int64_t quadrant = p / 8 * 2 + p % 4 / 2;
      const double value = (quadrant == label ? 130 : 85) + 45 * random.normal();
      images.data[i * 16 + p] = static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
    }
  }
  workloads::write_npy(folder / "x.npy", images);
  workloads::write_npy(folder / "y.npy", labels);
}

}  // namespace kintsugi::test
