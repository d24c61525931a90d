#include "training/batch_source.h"

#include <fmt/format.h>

#include <numeric>

#include "common/diagnostics.h"
#include "common/random.h"
#include "common/thread_pool.h"

namespace kintsugi::training {
namespace {

constexpr int kPadding = 4;

}  // namespace

BatchSource::BatchSource(const workloads::Network& network, const workloads::ImageSet& images,
                         std::int64_t batch, bool augment, std::uint64_t seed, std::string stream)
    : images_(&images),
      batch_(batch),
      channels_last_(network.stages.front().convolution),
      augment_(augment),
      seed_(seed),
      stream_(std::move(stream)) {
  if (images.size() < batch) {
    throw common::InputError(fmt::format(
        "{} training images do not fill one mini-batch of {}; take a smaller batch", images.size(), batch));
  }
  // A picture of every pixel value in every channel, normalised by the one place that knows how.
  const std::int64_t channels = images.shape.channels;
  workloads::ImageSet ramp;
  ramp.shape = {channels, 16, 16};
  ramp.labels = {0};
  std::vector<std::uint8_t> values;
  for (std::int64_t c = 0; c < channels; ++c) {
    for (int v = 0; v < 256; ++v) values.push_back(static_cast<std::uint8_t>(v));
  }
  ramp.pixels = std::move(values);
  value_of_pixel_.resize(channels * 256);
  workloads::normalize(ramp, 0, 1, network.input, value_of_pixel_);
  changes_.resize(batch);
}

void BatchSource::load(std::int64_t step, std::span<float> input, std::span<std::int32_t> labels,
                       common::ThreadPool& pool) {
  const std::int64_t epoch = step / steps_per_epoch();
  if (epoch != epoch_) {
    order_.resize(images_->size());
    std::iota(order_.begin(), order_.end(), std::int64_t{0});
    common::RandomStream(seed_, stream_ + "/order", static_cast<std::uint64_t>(epoch))
        .shuffle(std::span<std::int64_t>(order_));
    epoch_ = epoch;
  }
  if (augment_) {
    common::RandomStream random(seed_, stream_ + "/augment", static_cast<std::uint64_t>(step));
    for (Change& change : changes_) {
      change.dx = static_cast<int>(random.below(2 * kPadding + 1)) - kPadding;
      change.dy = static_cast<int>(random.below(2 * kPadding + 1)) - kPadding;
      change.flip = random.below(2) == 1;
    }
  }
  const std::int64_t first = (step % steps_per_epoch()) * batch_;
  const std::int64_t height = images_->shape.height, width = images_->shape.width;
  const std::int64_t channels = images_->shape.channels;
  pool.parallel_for(batch_, [&](std::int64_t i) {
    const std::int64_t index = order_[first + i];
    labels[i] = images_->labels[index];
    const std::uint8_t* const pixels = images_->image(index).data();
    float* const out = input.data() + i * images_->shape.count();
    const Change change = changes_[i];
    for (std::int64_t c = 0; c < channels; ++c) {
      const float* const value = value_of_pixel_.data() + c * 256;
      for (std::int64_t y = 0; y < height; ++y) {
        const std::int64_t from_y = y + change.dy;
        for (std::int64_t x = 0; x < width; ++x) {
          const std::int64_t from_x = (change.flip ? width - 1 - x : x) + change.dx;
          const bool inside = from_y >= 0 && from_y < height && from_x >= 0 && from_x < width;
          const std::uint8_t pixel =
              inside ? pixels[(c * height + from_y) * width + from_x] : std::uint8_t{0};
          const std::int64_t at =
              channels_last_ ? (y * width + x) * channels + c : (c * height + y) * width + x;
          out[at] = value[pixel];
        }
      }
    }
  });
}

}  // namespace kintsugi::training
