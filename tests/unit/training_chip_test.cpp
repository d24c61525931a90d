// Training with the chip in the forward pass: what backward takes from the simulated values, and what masks,
// threads and checkpoints must not change.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <stdexcept>

#include "array/functional_accelerator.h"
#include "common/diagnostics.h"
#include "common/thread_pool.h"
#include "tests/support/routing_scene.h"
#include "tests/support/small_networks.h"
#include "training/batch_pass.h"
#include "training/trainer.h"
#include "workloads/deployed.h"
#include "workloads/pruning_mask.h"

namespace kintsugi {
namespace {

using namespace kintsugi::testing;

// A plain GEMM machine (1×1 shapes only) whose accumulators a test may spoil.
class SpoiltAccelerator final : public array::Accelerator {
 public:
  using Spoil = std::function<void(int launch, std::vector<std::int32_t>& accumulators)>;
  explicit SpoiltAccelerator(Spoil spoil) : memory_(1 << 16), spoil_(std::move(spoil)) {}

  void data_to_device(array::DeviceAddress a, std::span<const std::byte> d) override {
    std::memcpy(memory_.data() + a, d.data(), d.size());
  }
  void data_from_device(array::DeviceAddress a, std::span<std::byte> d) override {
    std::memcpy(d.data(), memory_.data() + a, d.size());
  }
  array::LaunchReport launch(const array::LayerLaunch& l) override {
    EXPECT_TRUE(l.shape.is_gemm());
    const auto* x = reinterpret_cast<const std::int8_t*>(memory_.data() + l.activations);
    const auto* w = reinterpret_cast<const std::int8_t*>(memory_.data() + l.weights);
    std::vector<std::int32_t> acc(l.shape.outputs());
    for (std::int64_t m = 0; m < l.shape.m(); ++m)
      for (std::int64_t n = 0; n < l.shape.n(); ++n)
        for (std::int64_t k = 0; k < l.shape.k(); ++k)
          acc[m * l.shape.n() + n] += x[m * l.shape.k() + k] * w[k * l.shape.n() + n];
    spoil_(launches_++, acc);
    std::memcpy(memory_.data() + l.output, acc.data(), acc.size() * 4);
    return {};
  }
  array::LaunchReport launch(const array::VectorLaunch&) override {
    throw std::logic_error("the trainer adds and normalises on the host");
  }
  void observe_timeline(array::TimelineSink) override {}
  void load_faults(const faults::ArrayFaults&) override {}
  const configs::ChipConfig& chip() const override { return chip_; }
  std::uint64_t memory_bytes() const override { return memory_.size(); }

 private:
  configs::ChipConfig chip_;
  std::vector<std::byte> memory_;
  Spoil spoil_;
  int launches_ = 0;
};

TEST(ChipForward, BackwardFollowsTheSimulatedArgMaxAndReluMask) {
  RoutingScene f;
  // Faults: the first channel's largest value moves from pixel 0 to pixel 2; the second channel, all negative
  // and so blocked by ReLU in float, becomes positive at pixel 3.
  SpoiltAccelerator device([](int launch, std::vector<std::int32_t>& acc) {
    if (launch > 0) return;
    acc[2 * 2 + 0] = 20000;
    acc[3 * 2 + 1] = 9000;
  });
  const training::ChipInTheLoop chip{&device, {{0.1F, 0.2F}, {0, 0}}};

  const training::BatchPass in_float = f.run(std::nullopt);
  EXPECT_THAT(in_float.routes(0), ::testing::ElementsAre(0, training::kBlocked));
  EXPECT_EQ(in_float.gradients().at("c.weight").data[1], 0.0F);

  const training::BatchPass simulated = f.run(chip);
  EXPECT_THAT(simulated.routes(0), ::testing::ElementsAre(2, 3));

  // By hand: accumulators are worth 0.1/127 each. Pooled: 20000 → 15.748, 9000 → 7.0866; with scale 0.2
  // quantised 79 and 35, that is 15.8 and 7.0. Weights of the linear layer, quantised per row:
  // {0.02, −0.012} → 127, −76; {−0.03, 0.04} → −95, 127.
  const double w00 = 0.02, w01 = -76 * 0.02 / 127, w10 = -95 * 0.04 / 127, w11 = 0.04;
  const double logit0 = w00 * 15.8 + w01 * 7.0, logit1 = w10 * 15.8 + w11 * 7.0;
  EXPECT_NEAR(simulated.logits()[0], logit0, 1e-5);
  EXPECT_NEAR(simulated.logits()[1], logit1, 1e-5);
  const double p0 = 1 / (1 + std::exp(logit1 - logit0));
  const double d0 = p0, d1 = -p0;  // label 1
  const auto& g = simulated.gradients();
  EXPECT_NEAR(g.at("fc.weight").data[0], d0 * 15.8, 1e-5);
  EXPECT_NEAR(g.at("fc.weight").data[3], d1 * 7.0, 1e-5);
  EXPECT_NEAR(g.at("fc.bias").data[0], d0, 1e-6);
  // Routed to pixel 2 (51 · 0.1) and pixel 3 (102 · 0.1), through the weights the chip was given.
  EXPECT_NEAR(g.at("c.weight").data[0], (w00 * d0 + w10 * d1) * 5.1, 1e-5);
  EXPECT_NEAR(g.at("c.weight").data[1], (w01 * d0 + w11 * d1) * 10.2, 1e-5);
  EXPECT_NEAR(g.at("c.bias").data[1], w01 * d0 + w11 * d1, 1e-6);
}

TEST(ChipForward, AClampedValuePassesNoGradient) {
  RoutingScene f;
  SpoiltAccelerator device([](int launch, std::vector<std::int32_t>& acc) {
    if (launch == 0) acc[0] = 1 << 30;
  });
  const training::BatchPass pass = f.run(training::ChipInTheLoop{&device, {{0.1F, 0.2F}, {0, 0}}});
  EXPECT_THAT(pass.routes(0), ::testing::ElementsAre(0, training::kBlocked));
  EXPECT_EQ(pass.gradients().at("c.weight").data[0], 0.0F);
  EXPECT_NEAR(pass.gradients().at("fc.weight").data[0], pass.gradients().at("fc.bias").data[0] * 127 * 0.2,
              1e-4);
}

// Dropout and flatten between chip and chip. The chip's int8 inputs are worth scale / (1 − p), so that
// dropout enlarges without clamping; they stand in PyTorch's order C, H, W.
TEST(ChipForward, DropoutAndFlattenKeepWhatTheChipSaw) {
  const workloads::Network network =
      network_of(1, 2, 2, {conv("c", 2, 1), dropout(0.25), flatten(), linear("fc", 2)});
  workloads::Parameters parameters{{"c.weight", {{2, 1, 1, 1}, {1, -0.5F}}},
                                   {"c.bias", {{2}, {0.32F, -0.22F}}},
                                   {"fc.weight", workloads::Tensor<float>({2, 8})},
                                   {"fc.bias", {{2}, {0, 0}}}};
  // Rows whose largest magnitude is 0.0127: quantised with scale 0.0001, they are exact.
  for (int j = 0; j < 8; ++j) {
    parameters["fc.weight"].data[j] = 0.0127F - 0.003F * static_cast<float>(j);
    parameters["fc.weight"].data[8 + j] = -0.0127F + 0.0021F * static_cast<float>(j);
  }
  SpoiltAccelerator device([](int, std::vector<std::int32_t>&) {});
  constexpr float kScale = 0.1F;
  const training::ChipInTheLoop chip{&device, {{0.1F, kScale}, {0, 0}}};
  common::ThreadPool pool(1);
  training::BatchPass pass(network, 1, pool, chip);
  const double x[] = {12.7, 2.5, 5.1, 10.2};
  int dropped = 0, kept = 0;
  for (std::int64_t step = 0; step < 12; ++step) {
    for (int i = 0; i < 4; ++i) pass.input()[i] = static_cast<float>(x[i]);
    const std::vector<std::int32_t> labels{0};
    pass.run(parameters, labels, {4, "t", step});
    const auto& g = pass.gradients();
    const double d0 = g.at("fc.bias").data[0], d1 = g.at("fc.bias").data[1];
    common::RandomStream random(4, "t/dropout/c", static_cast<std::uint64_t>(step * training::kShards));
    double weight_gradient[2] = {0, 0};
    for (int p = 0; p < 4; ++p) {
      for (int c = 0; c < 2; ++c) {  // drawn in the order H, W, C
        const bool drop = random.uniform() < 0.25;
        const double weight = c == 0 ? 1 : -0.5;
        const double y = weight * x[p] + (c == 0 ? 0.32 : -0.22);
        const double q = std::clamp(std::nearbyint(y / kScale), -127.0, 127.0);
        const int at = c * 4 + p;
        EXPECT_NEAR(g.at("fc.weight").data[at] / d0, drop ? 0 : q * kScale / 0.75, 2e-4) << at;
        const double w0 = 0.0127 - 0.003 * at, w1 = -0.0127 + 0.0021 * at;
        const bool clamped = std::abs(y) > 127.5 * kScale;
        if (!drop && !clamped) weight_gradient[c] += (d0 * w0 + d1 * w1) / 0.75 * x[p];
        ++(drop ? dropped : kept);
      }
    }
    for (int c = 0; c < 2; ++c) EXPECT_NEAR(g.at("c.weight").data[c], weight_gradient[c], 1e-4);
  }
  EXPECT_GT(dropped, 5);
  EXPECT_GT(kept, 50);
}

// A network with everything, on a small array so that layers have many tiles.
struct Scene {
  workloads::Network network = network_of(
      1, 10, 10,
      {conv("c1", 8, 3, 1, 1, 1, false), batch_norm("b1"), relu(), max_pool(2, 2), conv("c2", 16, 3), relu(),
       dropout(0.1), flatten(), linear("f1", 24), relu(), linear("f2", 5)});
  workloads::Parameters start = workloads::initial_parameters(network, 4);
  workloads::ImageSet images = random_images(400, network.input_shape(), 5, 8);
  configs::ChipConfig chip;
  training::TrainerOptions options;
  workloads::ActivationScales scales;

  Scene() {
    chip.array.rows = 16, chip.array.cols = 12;
    options.sgd.batch = 22;  // uneven shards
    options.sgd.learning_rate = 0.05;
    options.total_steps = 40;
    options.sgd.schedule.kind = configs::ScheduleKind::cosine;
    options.sgd.augment = true;
    options.seed = 9;
    scales = workloads::calibrate(network, start, images, {});
  }
  // Every seventh PE is broken and bypassed.
  faults::ArrayFaults bypassed() const {
    faults::ArrayFaults faults = faults::fault_free(chip.array.rows, chip.array.cols);
    for (std::size_t i = 0; i < faults.bypass.size(); i += 7) faults.bypass[i] = 1;
    return faults;
  }
};

bool same_bytes(const workloads::Parameters& a, const workloads::Parameters& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [name, t] : a) {
    const auto& u = b.at(name);
    if (t.shape != u.shape || std::memcmp(t.data.data(), u.data.data(), t.data.size() * sizeof(float)) != 0)
      return false;
  }
  return true;
}

// Trains `steps` steps through a chip with bypassed PEs; `between` is called with the trainer and the step.
workloads::Parameters train_on_chip(
    const Scene& scene, int threads, std::int64_t steps,
    const std::function<void(training::Trainer&, std::int64_t)>& between = {}) {
  common::ThreadPool pool(threads);
  array::FunctionalAccelerator device(scene.chip, &pool, 1 << 24);
  const faults::ArrayFaults faults = scene.bypassed();
  device.load_faults(faults);
  training::Trainer trainer(scene.network, scene.start, scene.images, scene.options,
                            workloads::pruning_masks(scene.network, faults, scene.chip),
                            training::ChipInTheLoop{&device, scene.scales}, &pool);
  while (trainer.steps_done() < steps) {
    if (between) between(trainer, trainer.steps_done());
    trainer.step();
  }
  return trainer.parameters();
}

TEST(Trainer, MaskedWeightsStayExactlyZero) {
  const Scene scene;
  const workloads::Masks masks = workloads::pruning_masks(scene.network, scene.bypassed(), scene.chip);
  const workloads::Parameters after = train_on_chip(scene, 1, 12);
  std::int64_t masked = 0, moved = 0;
  for (const auto& [name, mask] : masks) {
    for (std::size_t i = 0; i < mask.data.size(); ++i) {
      if (mask.data[i] == 0) {
        EXPECT_EQ(after.at(name).data[i], 0.0F) << name << "[" << i << "]";
        ++masked;
      } else if (after.at(name).data[i] != scene.start.at(name).data[i]) {
        ++moved;
      }
    }
  }
  EXPECT_GT(masked, 500);
  EXPECT_GT(moved, 4 * masked);
}

TEST(Trainer, BytesDoNotDependOnThreads) {
  const Scene scene;
  const workloads::Parameters one = train_on_chip(scene, 1, 10);
  EXPECT_TRUE(same_bytes(one, train_on_chip(scene, 2, 10)));
  EXPECT_TRUE(same_bytes(one, train_on_chip(scene, 5, 10)));
  EXPECT_FALSE(same_bytes(one, train_on_chip(scene, 1, 11)));
}

TEST(Trainer, FloatBytesDoNotDependOnThreads) {
  const Scene scene;
  const auto run = [&](int threads) {
    common::ThreadPool pool(threads);
    training::Trainer trainer(scene.network, scene.start, scene.images, scene.options, {}, std::nullopt,
                              &pool);
    for (int i = 0; i < 10; ++i) trainer.step();
    return trainer.parameters();
  };
  const auto one = run(1);
  EXPECT_TRUE(same_bytes(one, run(2)));
  EXPECT_TRUE(same_bytes(one, run(3)));
}

TEST(Trainer, ACheckpointContinuesWithTheSameBytes) {
  const Scene scene;
  const auto file = std::filesystem::temp_directory_path() / "kintsugi-trainer-test.safetensors";
  const auto straight = train_on_chip(scene, 1, 24, [&](training::Trainer& t, std::int64_t step) {
    if (step == 15) t.save(file);
  });
  bool loaded = false;
  const auto resumed = train_on_chip(scene, 2, 24, [&](training::Trainer& t, std::int64_t) {
    if (loaded) return;
    t.load(file);
    loaded = true;
    EXPECT_EQ(t.steps_done(), 15);
  });
  EXPECT_TRUE(same_bytes(straight, resumed));

  // Another seed, rate, start or image makes another run.
  const auto refused = [&](const std::function<void(Scene&)>& change) {
    Scene other;
    change(other);
    try {
      train_on_chip(other, 1, 1, [&](training::Trainer& t, std::int64_t) { t.load(file); });
    } catch (const common::InputError& e) {
      return std::string(e.what()).find("another run") != std::string::npos;
    }
    return false;
  };
  EXPECT_TRUE(refused([](Scene& s) { s.options.seed = 10; }));
  EXPECT_TRUE(refused([](Scene& s) { s.options.sgd.learning_rate = 0.06; }));
  EXPECT_TRUE(refused([](Scene& s) { s.options.total_steps = 41; }));
  EXPECT_TRUE(refused([](Scene& s) { s.start.at("f2.bias").data[0] += 1e-3F; }));
  EXPECT_TRUE(refused([](Scene& s) {
    std::vector<std::uint8_t> changed(s.images.pixels.begin(), s.images.pixels.end());
    changed[17] ^= 1;
    s.images.pixels = std::move(changed);
  }));
  EXPECT_TRUE(refused([](Scene& s) { s.options.tag = "another fault map"; }));
  EXPECT_TRUE(refused([](Scene& s) { s.scales.input[1] *= 1.5F; }));
  EXPECT_FALSE(refused([](Scene&) {}));
  std::filesystem::remove(file);
}

TEST(Trainer, AHealthyChipTrainsAsFloatDoes) {
  Scene scene;
  scene.options.sgd.augment = false;
  scene.options.sgd.schedule.kind = configs::ScheduleKind::constant;
  common::ThreadPool pool(1);
  const auto train = [&](training::Trainer& trainer, int steps) {
    double mean = 0;
    for (int i = 0; i < steps; ++i) mean += trainer.step() / steps;
    return mean;
  };
  // Activation scales belong to trained weights.
  training::Trainer first(scene.network, scene.start, scene.images, scene.options, {}, std::nullopt, &pool);
  const double loss_at_first = train(first, 10);
  train(first, 30);
  scene.start = first.parameters();
  scene.scales = workloads::calibrate(scene.network, scene.start, scene.images, {});

  array::FunctionalAccelerator device(scene.chip, &pool, 1 << 24);
  device.load_faults(faults::fault_free(scene.chip.array.rows, scene.chip.array.cols));
  training::Trainer in_float(scene.network, scene.start, scene.images, scene.options, {}, std::nullopt,
                             &pool);
  training::Trainer on_chip(scene.network, scene.start, scene.images, scene.options, {},
                            training::ChipInTheLoop{&device, scene.scales}, &pool);
  EXPECT_NEAR(in_float.step(), on_chip.step(), 0.02);
  // The same gradients but for rounding: parameters moved the same way.
  double dot = 0, a = 0, b = 0;
  for (const auto& [name, t] : in_float.parameters()) {
    for (std::size_t j = 0; j < t.data.size(); ++j) {
      const double u = t.data[j] - scene.start.at(name).data[j];
      const double v = on_chip.parameters().at(name).data[j] - scene.start.at(name).data[j];
      dot += u * v, a += u * u, b += v * v;
    }
  }
  EXPECT_GT(dot / std::sqrt(a * b), 0.98);
  const double float_loss = train(in_float, 40), chip_loss = train(on_chip, 40);
  EXPECT_LT(float_loss, 0.5 * loss_at_first);
  EXPECT_LT(chip_loss, float_loss + 0.01);
}

TEST(Trainer, DivergenceIsReported) {
  Scene scene;
  scene.options.sgd.learning_rate = 1e30;
  training::Trainer trainer(scene.network, scene.start, scene.images, scene.options);
  EXPECT_THROW(
      {
        for (int i = 0; i < 10; ++i) trainer.step();
      },
      common::InputError);
}

}  // namespace
}  // namespace kintsugi
