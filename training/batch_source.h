// The mini-batches of a run: which images step n sees, in which order, and how they are augmented. All of it
// follows from (seed, stream, step), so a resumed run sees the same batches.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "workloads/dataset.h"
#include "workloads/network.h"

namespace kintsugi::common {
class ThreadPool;
}

namespace kintsugi::training {

class BatchSource {
 public:
  // `network` and `images` must outlive the source. Throws common::InputError if there are fewer images than
  // a batch. Streams: stream + "/order" by epoch, stream + "/augment" by step.
  BatchSource(const workloads::Network& network, const workloads::ImageSet& images, std::int64_t batch,
              bool augment, std::uint64_t seed, std::string stream);

  // floor(images / batch); what is left over of a permutation is not used in that epoch.
  std::int64_t steps_per_epoch() const { return images_->size() / batch_; }

  // Step n's batch: normalised pixels into `input` in the order BatchPass::input() wants, labels into
  // `labels`. Augmentation: a crop at a random place of the image padded by 4 black pixels on each side, and
  // a horizontal flip of every other image.
  void load(std::int64_t step, std::span<float> input, std::span<std::int32_t> labels,
            common::ThreadPool& pool);

 private:
  struct Change {
    int dx = 0, dy = 0;
    bool flip = false;
  };

  const workloads::ImageSet* images_;
  std::int64_t batch_;
  bool channels_last_;
  bool augment_;
  std::uint64_t seed_;
  std::string stream_;
  std::int64_t epoch_ = -1;
  std::vector<std::int64_t> order_;
  std::vector<float> value_of_pixel_;  // channels × 256
  std::vector<Change> changes_;
};

}  // namespace kintsugi::training
