// The small parts of training: schedules, the optimiser, the order of images and their augmentation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "common/diagnostics.h"
#include "common/thread_pool.h"
#include "tests/support/small_networks.h"
#include "training/activation.h"
#include "training/batch_source.h"
#include "training/learning_rate.h"
#include "training/sgd.h"

namespace kintsugi {
namespace {

using namespace kintsugi::testing;

TEST(LearningRate, FollowsItsSchedule) {
  configs::SgdConfig sgd;
  sgd.learning_rate = 0.2;
  EXPECT_DOUBLE_EQ(training::learning_rate(sgd, 0, 100), 0.2);
  EXPECT_DOUBLE_EQ(training::learning_rate(sgd, 1000, 100), 0.2);

  sgd.schedule.kind = configs::ScheduleKind::step;
  sgd.schedule.milestones = {0.5, 0.75};
  sgd.schedule.gamma = 0.1;
  EXPECT_DOUBLE_EQ(training::learning_rate(sgd, 49, 100), 0.2);
  EXPECT_DOUBLE_EQ(training::learning_rate(sgd, 50, 100), 0.02);
  EXPECT_DOUBLE_EQ(training::learning_rate(sgd, 74, 100), 0.02);
  EXPECT_NEAR(training::learning_rate(sgd, 75, 100), 0.002, 1e-15);

  sgd.schedule.kind = configs::ScheduleKind::cosine;
  EXPECT_DOUBLE_EQ(training::learning_rate(sgd, 0, 90), 0.2);
  EXPECT_NEAR(training::learning_rate(sgd, 30, 90), 0.15, 1e-12);  // cos 60° = 1/2
  EXPECT_NEAR(training::learning_rate(sgd, 45, 90), 0.1, 1e-12);
  EXPECT_NEAR(training::learning_rate(sgd, 90, 90), 0, 1e-12);
  EXPECT_NEAR(training::learning_rate(sgd, 900, 90), 0, 1e-12);

  sgd.schedule.kind = configs::ScheduleKind::linear;
  EXPECT_DOUBLE_EQ(training::learning_rate(sgd, 0, 50), 0.2);
  EXPECT_DOUBLE_EQ(training::learning_rate(sgd, 10, 50), 0.16);
  EXPECT_DOUBLE_EQ(training::learning_rate(sgd, 49, 50), 0.004);  // the last step still moves
  EXPECT_DOUBLE_EQ(training::learning_rate(sgd, 900, 50), 0);
}

// torch.optim.SGD(lr=0.1, momentum=0.9, weight_decay=0.01) on w = 2 with gradients 1, −3, 0.5:
// v: 1.02, −2.06302 (0.9·1.02 − 3 + 0.01·1.898), −1.33567498; w: 1.898, 2.104302, 2.237869498.
TEST(Sgd, UpdatesAsPyTorchDoes) {
  configs::SgdConfig config;
  config.momentum = 0.9;
  config.weight_decay = 0.01;
  workloads::Parameters w{{"w", {{2}, {2.0F, 2.0F}}}};
  const workloads::Masks masks{{"w", {{2}, {1, 0}}}};
  w["w"].data[1] = 0;
  training::Sgd sgd(config, w);
  common::ThreadPool pool(1);
  double expected = 2, v = 0;
  for (const double g : {1.0, -3.0, 0.5}) {
    sgd.step(w, {{"w", {{2}, {static_cast<float>(g), static_cast<float>(g)}}}}, masks, 0.1, pool);
    v = 0.9 * v + (g + 0.01 * expected);
    expected -= 0.1 * v;
    EXPECT_NEAR(w["w"].data[0], expected, 1e-6);
    EXPECT_EQ(w["w"].data[1], 0.0F);
    EXPECT_EQ(sgd.momentum().at("w").data[1], 0.0F);
  }
  EXPECT_NEAR(expected, 2.237869498, 1e-6);
}

// Of equal values in a window, the first in scan order is the maximum.
TEST(Pooling, TakesTheFirstOfEqualMaxima) {
  const training::Window window{1, 2, 4, 2, 2, 1, 2};
  const std::vector<float> z{1, 3, -1, -2, 3, 3, -2, -1};
  const float one = 1, zero = 0;
  std::vector<float> out(2), dz(8);
  std::vector<std::uint16_t> route(2);
  training::activate_and_pool(window, 1, z.data(), &one, &zero, false, out.data(), route.data());
  EXPECT_THAT(out, ::testing::ElementsAre(3, -1));
  EXPECT_THAT(route, ::testing::ElementsAre(1, 0));
  training::activate_and_pool(window, 1, z.data(), &one, &zero, true, out.data(), route.data());
  EXPECT_THAT(out, ::testing::ElementsAre(3, 0));
  EXPECT_THAT(route, ::testing::ElementsAre(1, training::kBlocked));
  const std::vector<float> dout{5, 7};
  training::route_gradient(window, 1, dout.data(), route.data(), dz.data());
  EXPECT_THAT(dz, ::testing::ElementsAre(0, 5, 0, 0, 0, 0, 0, 0));
}

// Image i carries i in its first pixel.
workloads::ImageSet numbered_images(std::int64_t count) {
  workloads::ImageSet set;
  set.shape = {1, 2, 2};
  set.classes = 2;
  std::vector<std::uint8_t> pixels;
  for (std::int64_t i = 0; i < count; ++i) {
    set.labels.push_back(static_cast<std::int32_t>(i % 2));
    for (int j = 0; j < 4; ++j) pixels.push_back(static_cast<std::uint8_t>(j == 0 ? i : 0));
  }
  set.pixels = std::move(pixels);
  return set;
}

TEST(BatchSource, ShowsEveryImageOnceAnEpochInANewOrder) {
  const workloads::Network network = network_of(1, 2, 2, {flatten(), linear("fc", 2)});
  const workloads::ImageSet images = numbered_images(40);
  common::ThreadPool pool(2);
  training::BatchSource source(network, images, 10, false, 7, "train");
  EXPECT_EQ(source.steps_per_epoch(), 4);
  std::vector<float> input(10 * 4);
  std::vector<std::int32_t> labels(10);
  std::vector<std::vector<int>> epochs(2);
  for (std::int64_t step = 0; step < 8; ++step) {
    source.load(step, input, labels, pool);
    for (int i = 0; i < 10; ++i) {
      const auto number = static_cast<int>(std::lround((input[i * 4] * 0.3 + 0.45) * 255));
      EXPECT_EQ(labels[i], number % 2);
      epochs[step / 4].push_back(number);
    }
  }
  EXPECT_NE(epochs[0], epochs[1]);
  for (auto& epoch : epochs) {
    EXPECT_FALSE(std::is_sorted(epoch.begin(), epoch.end()));
    std::sort(epoch.begin(), epoch.end());
    std::vector<int> all(40);
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(epoch, all);
  }
  // Steps may be asked for in any order: resuming sees the same batches.
  std::vector<float> again(40);
  source.load(7, input, labels, pool);
  source.load(2, again, labels, pool);
  training::BatchSource fresh(network, images, 10, false, 7, "train");
  fresh.load(7, again, labels, pool);
  EXPECT_EQ(input, again);
}

TEST(BatchSource, RefusesFewerImagesThanABatch) {
  const workloads::Network network = network_of(1, 2, 2, {flatten(), linear("fc", 2)});
  const workloads::ImageSet images = numbered_images(9);
  EXPECT_THROW(training::BatchSource(network, images, 10, false, 7, "train"), common::InputError);
}

TEST(BatchSource, AugmentsByCropAndFlip) {
  const workloads::Network network = network_of(2, 6, 5, {conv("c", 2, 3), flatten(), linear("fc", 2)});
  workloads::ImageSet images = random_images(1, network.input_shape(), 2, 3);
  common::ThreadPool pool(1);
  training::BatchSource source(network, images, 1, true, 7, "train");
  std::vector<float> input(2 * 6 * 5), normal(2 * 6 * 5);
  std::vector<std::int32_t> labels(1);
  workloads::normalize(images, 0, 1, network.input, normal);
  std::set<std::tuple<int, int, bool>> seen;
  for (std::int64_t step = 0; step < 300; ++step) {
    source.load(step, input, labels, pool);
    int matches = 0;
    for (int dy = -4; dy <= 4; ++dy)
      for (int dx = -4; dx <= 4; ++dx)
        for (const bool flip : {false, true}) {
          bool same = true;
          for (int c = 0; c < 2 && same; ++c)
            for (int y = 0; y < 6 && same; ++y)
              for (int x = 0; x < 5 && same; ++x) {
                const int sy = y + dy, sx = (flip ? 4 - x : x) + dx;
                const bool inside = sy >= 0 && sy < 6 && sx >= 0 && sx < 5;
                const float black = static_cast<float>((0.0 - 0.45) / 0.3);
                const float want = inside ? normal[(c * 6 + sy) * 5 + sx] : black;
                same = std::abs(input[(y * 5 + x) * 2 + c] - want) < 1e-5F;
              }
          if (same) seen.insert({dy, dx, flip}), ++matches;
        }
    EXPECT_GE(matches, 1) << "step " << step << " is no crop or flip of the image";
  }
  EXPECT_GT(seen.size(), 120u);  // of 162
}

}  // namespace
}  // namespace kintsugi
