// Batch-norm recalibration: after pruning, the statistics that batch-norm divides by are measured anew on the
// chip, everything else staying as it is.
#pragma once

#include <cstdint>

#include "training/trainer.h"
#include "workloads/dataset.h"
#include "workloads/network.h"
#include "workloads/tensor.h"

namespace kintsugi::training::repair {

// True if the network has anything to recalibrate.
bool has_batch_norm(const workloads::Network& network);

// Running means and variances become the plain average over floor(images / batch) mini-batches of what the
// chip computes with these parameters, pruned by `masks`. `augment` as in training: its black borders are
// part of the statistics that the weights were trained with. Streams (seed, "recalibrate/…"). Labels are not
// used. Throws common::InputError if the images do not fill one batch.
workloads::Parameters recalibrate_batch_norm(const workloads::Network& network,
                                             workloads::Parameters parameters, const workloads::Masks& masks,
                                             const ChipInTheLoop& chip, const workloads::ImageSet& images,
                                             std::int64_t batch, bool augment, std::uint64_t seed,
                                             common::ThreadPool& pool);

}  // namespace kintsugi::training::repair
