// How a mini-batch is cut so that float sums never depend on the number of threads: into a fixed number of
// shards, each computed by one thread, their sums added in shard order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace kintsugi::training {

// A constant of the numbers, not of the machine: changing it changes the last bits of every trained weight.
inline constexpr std::int64_t kShards = 4;

struct Shard {
  std::int64_t begin = 0;  // first image
  std::int64_t count = 0;
};

// At most kShards shards of `batch` images, none empty, larger ones first.
inline std::vector<Shard> make_shards(std::int64_t batch) {
  const std::int64_t shards = std::min(kShards, batch);
  std::vector<Shard> result;
  std::int64_t begin = 0;
  for (std::int64_t s = 0; s < shards; ++s) {
    const std::int64_t count = batch / shards + (s < batch % shards ? 1 : 0);
    result.push_back({begin, count});
    begin += count;
  }
  return result;
}

}  // namespace kintsugi::training
