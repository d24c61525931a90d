// Training networks that are no chains through the chip: the host's int8 sums and normalisations are those of
// the deployed network, gradients pass straight through them, and runs keep what chains promise.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "array/functional_accelerator.h"
#include "common/diagnostics.h"
#include "common/thread_pool.h"
#include "tests/support/integer_reference.h"
#include "tests/support/small_networks.h"
#include "training/batch_pass.h"
#include "training/checkpoint.h"
#include "training/trainer.h"
#include "workloads/deployed.h"
#include "workloads/inference.h"
#include "workloads/pruning_mask.h"

namespace kintsugi {
namespace {

using namespace kintsugi::testing;

configs::ChipConfig small_chip() {
  configs::ChipConfig chip;
  chip.array.rows = 16, chip.array.cols = 12;
  return chip;
}

LayerConfig forgetful(LayerConfig l) {
  l.momentum = 1;  // running statistics are those of the last batch
  return l;
}

// Normalisation that is pooled, a sum that is pooled and read twice, a shortcut of its own, a sum that is
// averaged.
workloads::Network residual_network(double drop = 0) {
  return network_of(
      2, 10, 9,
      {conv("c1", 6, 3, 1, 1, 1, false), forgetful(batch_norm("b1")), relu(), response_norm("n1", 3, 0.9),
       named(padded_pool(3, 2, 1, true), "p1"), conv("c2", 6, 3, 1, 1, 1, false), forgetful(batch_norm("b2")),
       add("a1", "b2", "p1"), relu(), max_pool(2, 1), named(dropout(drop), "r1"),
       conv("c3", 8, 3, 2, 1, 1, false), forgetful(batch_norm("b3")), reading(conv("short", 8, 1, 2), "r1"),
       add("a2", "b3", "short"), relu(), global_average(), flatten(), linear("fc", 4)});
}

// Batch `labels.size()` of `images` in the order of a convolution's input.
void fill_input(const workloads::Network& network, const workloads::ImageSet& images,
                std::span<float> input) {
  const workloads::FeatureShape shape = network.input_shape();
  const std::int64_t pixels = shape.height * shape.width;
  std::vector<float> values(input.size());
  workloads::normalize(images, 0, static_cast<std::int64_t>(input.size()) / shape.count(), network.input,
                       values);
  for (std::size_t i = 0; i < input.size(); i += static_cast<std::size_t>(shape.count()))
    for (std::int64_t c = 0; c < shape.channels; ++c)
      for (std::int64_t p = 0; p < pixels; ++p)
        input[i + p * shape.channels + c] = values[i + c * pixels + p];
}

// What image `i` shows stage s's readers, C, H, W.
std::vector<int> planes(const workloads::Stage& stage, std::span<const std::int8_t> results, std::int64_t i) {
  const std::int64_t pixels = stage.out.height * stage.out.width, channels = stage.out.channels;
  std::vector<int> map(static_cast<std::size_t>(stage.out.count()));
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t p = 0; p < pixels; ++p) {
      const std::int64_t at = stage.flatten ? c * pixels + p : p * channels + c;
      map[c * pixels + p] = results[i * stage.out.count() + at];
    }
  return map;
}

TEST(ChipGraph, TheForwardPassLeavesWhatTheDeployedNetworkLeaves) {
  const workloads::Network network = residual_network();
  workloads::Parameters parameters = random_parameters(network, 5);
  constexpr std::int64_t kBatch = 10;
  const workloads::ImageSet images = random_images(kBatch, network.input_shape(), 4, 6);
  common::ThreadPool pool(2);
  array::FunctionalAccelerator device(small_chip(), &pool, 1 << 24);
  const auto clean = faults::fault_free(16, 12);
  device.load_faults(clean);
  // Statistics of a batch are unbiased where they are kept, biased where they are used.
  const auto as_used = [&] {
    for (const auto& stage : network.stages) {
      if (!stage.batch_norm) continue;
      const auto n = static_cast<float>(kBatch * stage.gemm_out.height * stage.gemm_out.width);
      for (float& v : parameters.at(stage.batch_norm->name + ".running_var").data) v *= (n - 1) / n;
    }
  };
  training::BatchPass in_float(network, kBatch, pool, std::nullopt);
  fill_input(network, images, in_float.input());
  in_float.run(parameters, images.labels, {0, "t", 0});
  as_used();
  const workloads::ActivationScales scales = workloads::calibrate(network, parameters, images, {});
  training::BatchPass pass(network, kBatch, pool, training::ChipInTheLoop{&device, scales});
  fill_input(network, images, pass.input());
  pass.run(parameters, images.labels, {0, "t", 0});
  as_used();
  const workloads::DeployedNetwork deployed = workloads::deploy(network, parameters, scales);

  // Stage by stage, from the operands that the training pass itself saw.
  std::vector<float> image(static_cast<std::size_t>(network.input_shape().count()));
  for (std::size_t s = 0; s + 1 < network.stages.size(); ++s) {
    const workloads::Stage& stage = network.stages[s];
    std::int64_t values = 0, different = 0, nonzero = 0;
    for (std::int64_t i = 0; i < kBatch; ++i) {
      workloads::normalize(images, i, 1, network.input, image);
      const auto read = [&](int source) {
        return source == workloads::kImage
                   ? test::reference_codes(image, scales.input[0])
                   : planes(network.stages[source], pass.quantized_results(source), i);
      };
      const auto outputs = test::reference_outputs(stage, deployed.stages[s], read(stage.inputs.front()),
                                                   read(stage.inputs.back()));
      const std::vector<int> want = test::reference_result(stage, deployed.stages[s], outputs);
      const std::vector<int> found = planes(stage, pass.quantized_results(s), i);
      ASSERT_EQ(found.size(), want.size());
      for (std::size_t j = 0; j < want.size(); ++j) {
        // Float requantisation may round the other way where the chip's integers tie.
        ASSERT_LE(std::abs(found[j] - want[j]), 1) << stage.name << ", image " << i << ", value " << j;
        ++values, different += found[j] != want[j], nonzero += want[j] != 0;
      }
    }
    EXPECT_GT(nonzero, values / 4) << stage.name;
    const bool exact = !stage.on_chip() && !stage.global_avg_pool;
    EXPECT_LE(different, exact ? 0 : values / 100) << stage.name << ": of " << values;
  }
  // And the whole.
  const auto inference = workloads::infer(device, network, deployed, images, kBatch, clean);
  double largest = 0;
  for (const float v : inference.logits.data) largest = std::max(largest, static_cast<double>(std::abs(v)));
  for (std::size_t j = 0; j < inference.logits.data.size(); ++j)
    EXPECT_NEAR(pass.logits()[j], inference.logits.data[j], 0.02 * largest);
}

// Without dropout operands of a sum have their readers' scale; a dropped-out one is worth 1/(1 − p) more.
TEST(ChipGraph, ASumAddsWhatItsOperandsAreWorth) {
  const workloads::Network network = network_of(1, 4, 4,
                                                {conv("c", 3, 1), named(dropout(0.25), "r"), conv("d", 3, 1),
                                                 add("s", "d", "r"), flatten(), linear("fc", 2)});
  workloads::Parameters parameters = random_parameters(network, 3);
  common::ThreadPool pool(1);
  array::FunctionalAccelerator device(small_chip(), &pool, 1 << 20);
  device.load_faults(faults::fault_free(16, 12));
  const training::ChipInTheLoop chip{&device,
                                     {{0.02F, 0.011F, 0.017F, 0.02F}, {0, 0, 0, 0}, {0, 0, 0.011F, 0}}};
  training::BatchPass pass(network, 2, pool, chip);
  const workloads::ImageSet images = random_images(2, network.input_shape(), 2, 4);
  fill_input(network, images, pass.input());
  pass.run(parameters, images.labels, {1, "t", 0});
  int dropped = 0, kept = 0;
  for (std::int64_t i = 0; i < 2; ++i) {
    const auto c = planes(network.stages[0], pass.quantized_results(0), i);
    const auto d = planes(network.stages[1], pass.quantized_results(1), i);
    const auto s = planes(network.stages[2], pass.quantized_results(2), i);
    for (std::size_t j = 0; j < s.size(); ++j) {
      const double sum = d[j] * 0.017 + c[j] * 0.011 / 0.75;
      EXPECT_NEAR(s[j], std::clamp(sum / 0.02, -127.0, 127.0), 0.5 + 1e-4);
      ++(c[j] == 0 ? dropped : kept);
    }
  }
  EXPECT_GT(dropped, 5);
  EXPECT_GT(kept, 30);
}

// A sum that lies between two steps goes up, as the deployed network's does; float rounding would go to even.
TEST(ChipGraph, ASumRoundsAsTheDeployedNetworkRounds) {
  const workloads::Network network = network_of(
      1, 6, 6,
      {conv("c", 3, 1), conv("d", 3, 1), add("s", "d", "c"), max_pool(2, 1), flatten(), linear("fc", 2)});
  workloads::Parameters parameters = random_parameters(network, 3);
  common::ThreadPool pool(1);
  array::FunctionalAccelerator device(small_chip(), &pool, 1 << 20);
  device.load_faults(faults::fault_free(16, 12));
  // Powers of two: the quotient is exact.
  constexpr float kFine = 1.0F / 64, kCoarse = 1.0F / 32;
  const training::ChipInTheLoop chip{&device,
                                     {{kFine, kFine, kFine, kCoarse}, {0, 0, 0, 0}, {0, 0, kFine, 0}}};
  training::BatchPass pass(network, 3, pool, chip);
  const workloads::ImageSet images = random_images(3, network.input_shape(), 2, 4);
  fill_input(network, images, pass.input());
  pass.run(parameters, images.labels, {1, "t", 0});
  int up_from_even = 0;
  for (std::int64_t i = 0; i < 3; ++i) {
    const auto c = planes(network.stages[0], pass.quantized_results(0), i);
    const auto d = planes(network.stages[1], pass.quantized_results(1), i);
    const auto s = planes(network.stages[2], pass.quantized_results(2), i);
    for (int channel = 0; channel < 3; ++channel)
      for (int y = 0; y < 5; ++y)
        for (int x = 0; x < 5; ++x) {
          int largest = -256;
          for (const int corner : {0, 1, 6, 7}) {
            const int at = (channel * 6 + y) * 6 + x + corner;
            largest = std::max(largest, c[at] + d[at]);
          }
          const int half_up = static_cast<int>(std::floor((largest + 1) / 2.0));
          ASSERT_EQ(s[(channel * 5 + y) * 5 + x], std::clamp(half_up, -127, 127));
          up_from_even += largest % 2 != 0 && half_up % 2 != 0;
        }
  }
  EXPECT_GT(up_from_even, 10);
}

// Two pixels: c = x, d = w c, s = d + c, logits = fc s. By hand, with all scales 0.1.
TEST(ChipGraph, GradientsPassStraightThroughASumThatWasNotClamped) {
  const workloads::Network network =
      network_of(1, 2, 1,
                 {conv("c", 1, 1, 1, 0, 1, false), conv("d", 1, 1, 1, 0, 1, false), add("s", "d", "c"),
                  relu(), flatten(), linear("fc", 2, false)});
  // Weights of ±127 steps, so that they are what the chip sees.
  workloads::Parameters parameters{{"c.weight", {{1, 1, 1, 1}, {1}}},
                                   {"d.weight", {{1, 1, 1, 1}, {0.5F}}},
                                   {"fc.weight", {{2, 2}, {0.1F, 0.1F, -0.1F, -0.1F}}}};
  common::ThreadPool pool(1);
  array::FunctionalAccelerator device(small_chip(), &pool, 1 << 20);
  device.load_faults(faults::fault_free(16, 12));
  const training::ChipInTheLoop chip{&device, {{0.1F, 0.1F, 0.1F, 0.1F}, {0, 0, 0, 0}, {0, 0, 0.1F, 0}}};
  struct Wanted {
    float x;
    double s;     // the sum as the host sees it
    bool passes;  // a gradient
  };
  // 4.2 + 2.1; 10 + 5 is clamped at 12.7; −3 − 1.5 is cut off by ReLU; 12.7 + 6.4 (63.5 steps, even) too.
  for (const Wanted& w : {Wanted{4.2F, 6.3, true}, Wanted{10.0F, 12.7, false}, Wanted{-3.0F, 0, false},
                          Wanted{12.7F, 12.7, false}}) {
    training::BatchPass pass(network, 1, pool, chip);
    pass.input()[0] = w.x;
    pass.input()[1] = 2.0F;  // s = 3
    pass.run(parameters, std::vector<std::int32_t>{0}, {0, "t", 0});
    EXPECT_NEAR(pass.results(2)[0], w.s, 1e-5) << w.x;
    const double logit = 0.1 * (w.s + 3);
    const double d0 = -1 / (1 + std::exp(2 * logit));  // softmax − 1 of class 0; class 1 has −d0
    const double ds = 0.2 * d0;
    const auto& g = pass.gradients();
    EXPECT_NEAR(g.at("fc.weight").data[0], d0 * w.s, 1e-5) << w.x;
    // d sum / d c = 1 + w_d, through both operands.
    EXPECT_NEAR(g.at("c.weight").data[0], ds * 1.5 * ((w.passes ? w.x : 0) + 2.0), 1e-5) << w.x;
    EXPECT_NEAR(g.at("d.weight").data[0], ds * ((w.passes ? w.x : 0) + 2.0), 1e-5) << w.x;
  }
}

// A network with everything, on a small array so that layers have many tiles.
struct Scene {
  workloads::Network network = residual_network(0.1);
  workloads::Parameters start = workloads::initial_parameters(network, 4);
  workloads::ImageSet images = random_images(400, network.input_shape(), 4, 8);
  configs::ChipConfig chip = small_chip();
  training::TrainerOptions options;
  workloads::ActivationScales scales;

  Scene() {
    options.sgd.batch = 22;  // uneven shards
    options.sgd.learning_rate = 0.05;
    options.seed = 9;
    scales = workloads::calibrate(network, start, images, {});
  }
  faults::ArrayFaults bypassed() const {
    faults::ArrayFaults faults = faults::fault_free(chip.array.rows, chip.array.cols);
    for (std::size_t i = 0; i < faults.bypass.size(); i += 7) faults.bypass[i] = 1;
    return faults;
  }
};

bool same_bytes(const workloads::Parameters& a, const workloads::Parameters& b) {
  return a.size() == b.size() && std::all_of(a.begin(), a.end(), [&](const auto& named_tensor) {
           const auto& other = b.at(named_tensor.first).data;
           const auto& data = named_tensor.second.data;
           return data.size() == other.size() &&
                  std::memcmp(data.data(), other.data(), data.size() * sizeof(float)) == 0;
         });
}

struct Trained {
  workloads::Parameters parameters;
  double first = 0, last = 0;  // mean losses of ten steps
};

Trained train(const Scene& scene, bool on_chip, int threads, int steps) {
  common::ThreadPool pool(threads);
  array::FunctionalAccelerator device(scene.chip, &pool, 1 << 24);
  const faults::ArrayFaults faults = scene.bypassed();
  device.load_faults(faults);
  std::optional<training::ChipInTheLoop> chip;
  if (on_chip) chip = training::ChipInTheLoop{&device, scene.scales};
  training::Trainer trainer(scene.network, scene.start, scene.images, scene.options,
                            workloads::pruning_masks(scene.network, faults, scene.chip), chip, &pool);
  Trained run;
  for (int i = 0; i < steps; ++i) {
    const double loss = trainer.step();
    if (i < 10) run.first += loss / 10;
    if (i >= steps - 10) run.last += loss / 10;
  }
  run.parameters = trainer.parameters();
  return run;
}

TEST(TrainerGraph, BytesDoNotDependOnThreads) {
  const Scene scene;
  for (const bool on_chip : {false, true}) {
    const Trained one = train(scene, on_chip, 1, 8);
    EXPECT_TRUE(same_bytes(one.parameters, train(scene, on_chip, 2, 8).parameters));
    EXPECT_TRUE(same_bytes(one.parameters, train(scene, on_chip, 5, 8).parameters));
    EXPECT_FALSE(same_bytes(one.parameters, train(scene, on_chip, 1, 9).parameters));
  }
}

TEST(TrainerGraph, LearnsInFloatAndThroughTheChip) {
  Scene scene;
  const Trained in_float = train(scene, false, 1, 80);
  EXPECT_LT(in_float.last, 0.5 * in_float.first);
  // On through the chip from there: no worse than in float.
  scene.start = in_float.parameters;
  scene.scales = workloads::calibrate(scene.network, scene.start, scene.images, {});
  const Trained on_chip = train(scene, true, 1, 40), further = train(scene, false, 1, 40);
  EXPECT_LT(on_chip.last, in_float.last);
  EXPECT_LT(on_chip.last, further.last + 0.05);
  const workloads::Masks masks = workloads::pruning_masks(scene.network, scene.bypassed(), scene.chip);
  for (const auto& [name, mask] : masks)
    for (std::size_t i = 0; i < mask.data.size(); ++i)
      if (mask.data[i] == 0) {
        ASSERT_EQ(on_chip.parameters.at(name).data[i], 0.0F) << name;
      }
}

TEST(TrainerGraph, ScalesWithoutSecondInputsAreRefused) {
  Scene scene;
  scene.scales.second_input.clear();
  EXPECT_THROW(train(scene, true, 1, 1), common::InputError);
}

// What a sum reads, how a layer normalises and a second input's scale all make another run.
TEST(TrainerGraph, ACheckpointKnowsTheGraph) {
  const workloads::ImageSet images = random_images(30, {2, 4, 4}, 3, 1);
  const auto identity = [&](const std::string& shortcut, double alpha, float second = 0.5F) {
    const workloads::Network network =
        network_of(2, 4, 4,
                   {conv("c", 3, 1), conv("d", 3, 1), conv("e", 3, 1), add("s", "e", shortcut),
                    add("t", "s", shortcut == "c" ? "d" : "c"), response_norm("n", 3, alpha), flatten(),
                    linear("fc", 3)});
    array::FunctionalAccelerator device(small_chip(), nullptr, 1 << 10);
    const std::vector<float> some(network.stages.size(), 0.5F);
    workloads::ActivationScales scales{some, some, some};
    scales.second_input[3] = second;
    return training::run_identity(network,
                                  training::parameters_digest(workloads::initial_parameters(network, 1)),
                                  images, {}, {}, training::ChipInTheLoop{&device, scales});
  };
  const std::string one = identity("c", 0.1);
  EXPECT_EQ(one, identity("c", 0.1));
  EXPECT_NE(one, identity("d", 0.1));
  EXPECT_NE(one, identity("c", 0.2));
  EXPECT_NE(one, identity("c", 0.1, 0.6F));
}

}  // namespace
}  // namespace kintsugi
