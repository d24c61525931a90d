// Which pooled positions each block of a layer writes: every one once, in order, and none before its window
// is there.
#include <gtest/gtest.h>

#include <algorithm>

#include "array/launch_check.h"
#include "array/layer_plan.h"
#include "common/random.h"

namespace kintsugi {
namespace {

TEST(LayerPlan, writes_pooled_positions_in_order_once_their_windows_are_complete) {
  common::RandomStream random(1, "pooled-order");
  const auto up_to = [&](std::uint64_t most) { return 1 + static_cast<std::int64_t>(random.below(most)); };
  int several_rows_at_the_foot = 0;
  for (int round = 0; round < 5000; ++round) {
    array::LayerLaunch launch;
    launch.shape = {.batch = up_to(2), .in_h = up_to(7), .in_w = up_to(7)};
    launch.requantization = 0;
    array::MaxPool w;
    w.kernel = up_to(4);
    w.stride = up_to(3);
    w.padding = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(w.kernel)));
    const std::int64_t height = launch.shape.out_h(), width = launch.shape.out_w();
    w.out_h = up_to(static_cast<std::uint64_t>((height - 1 + w.padding) / w.stride + 1));
    w.out_w = up_to(static_cast<std::uint64_t>((width - 1 + w.padding) / w.stride + 1));
    ASSERT_TRUE(array::makes_pool(w, launch.shape));
    launch.pool = array::PoolLaunch{w, 0};
    configs::ChipConfig chip;
    chip.array.rows = chip.array.cols = 4;
    chip.memory.emplace();
    chip.memory->accumulators = {.entries = up_to(10), .double_buffer = false};
    several_rows_at_the_foot += (w.out_h - 2) * w.stride - w.padding + w.kernel >= height;

    const array::LayerPlan plan(launch, chip);
    std::int64_t next = 0;
    for (std::int64_t block = 0; block < plan.blocks(); ++block) {
      const array::Range written = plan.positions(block), m = plan.m_of(block);
      ASSERT_EQ(written.begin, next);
      ASSERT_GE(written.count, 0);
      next += written.count;
      for (std::int64_t p = written.begin; p < next; ++p) {
        const std::int64_t image = p / (w.out_h * w.out_w), y = p / w.out_w % w.out_h, x = p % w.out_w;
        const std::int64_t last_y = std::min(y * w.stride - w.padding + w.kernel, height) - 1,
                           last_x = std::min(x * w.stride - w.padding + w.kernel, width) - 1;
        ASSERT_LT((image * height + last_y) * width + last_x, m.begin + m.count) << "round " << round;
      }
    }
    ASSERT_EQ(next, launch.shape.batch * w.out_h * w.out_w);
  }
  EXPECT_GT(several_rows_at_the_foot, 100);
}

}  // namespace
}  // namespace kintsugi
