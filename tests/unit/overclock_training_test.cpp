// Training with computing errors: layers on the host, noise and dropout, errors counted and what is decided
// from them. The erring chip of these tests is a sound one whose results are spoilt afterwards.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "array/functional_accelerator.h"
#include "array/requantize.h"
#include "tests/support/input_error.h"
#include "tests/support/routing_scene.h"
#include "tests/support/small_networks.h"
#include "training/overclock/error_classes.h"
#include "training/overclock/offload.h"
#include "training/overclock/overclock_bench.h"
#include "training/overclock/twin_accelerator.h"
#include "training/trainer.h"
#include "workloads/inference.h"

namespace kintsugi::training::overclock {
namespace {

using namespace kintsugi::testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Adds to every seventh accumulator, or int8 output, what depends on its place.
class ErringChip final : public array::Accelerator {
 public:
  explicit ErringChip(const configs::ChipConfig& chip) : sound_(chip, nullptr, 1 << 24) {}

  void data_to_device(array::DeviceAddress a, std::span<const std::byte> d) override {
    sound_.data_to_device(a, d);
  }
  void data_from_device(array::DeviceAddress a, std::span<std::byte> d) override {
    sound_.data_from_device(a, d);
  }
  array::LaunchReport launch(const array::LayerLaunch& l) override {
    array::LaunchReport report = sound_.launch(l);
    report.timing.late_words = 3;
    if (l.requantization)
      spoil<std::int8_t>(l, [](std::int8_t v, std::size_t i) {
        return static_cast<std::int8_t>(std::min(127, v + static_cast<int>(i % 11)));
      });
    else
      spoil<std::int32_t>(l,
                          [](std::int32_t v, std::size_t i) { return v + 1000 * static_cast<int>(i % 5); });
    return report;
  }
  array::LaunchReport launch(const array::VectorLaunch& l) override { return sound_.launch(l); }
  void load_faults(const faults::ArrayFaults& f) override { sound_.load_faults(f); }
  const configs::ChipConfig& chip() const override { return sound_.chip(); }
  std::uint64_t memory_bytes() const override { return sound_.memory_bytes(); }
  void observe_timeline(array::TimelineSink) override {}

 private:
  template <class T, class Change>
  void spoil(const array::LayerLaunch& l, const Change& change) {
    std::vector<T> values(static_cast<std::size_t>(l.shape.outputs()));
    sound_.data_from_device(l.output, std::as_writable_bytes(std::span(values)));
    for (std::size_t i = 0; i < values.size(); i += 7) values[i] = change(values[i], i);
    sound_.data_to_device(l.output, std::as_bytes(std::span(values)));
  }
  array::FunctionalAccelerator sound_;
};

struct Scene {
  workloads::Network network = network_of(
      1, 8, 8,
      {conv("c1", 4, 3, 1, 1), relu(), max_pool(2, 2), flatten(), linear("f1", 12), relu(), linear("f2", 7)});
  workloads::Parameters start = random_parameters(network, 4);
  workloads::ImageSet images = random_images(60, network.input_shape(), 7, 8);
  workloads::ActivationScales scales = workloads::calibrate(network, start, images, {});
  configs::ChipConfig chip;
  TrainerOptions options;
  Scene() {
    chip.array.rows = 9, chip.array.cols = 5;
    options.sgd.batch = 10;
    options.sgd.learning_rate = 0.01;
  }

  workloads::Parameters train(array::Accelerator& device, array::Accelerator* host,
                              std::vector<std::uint8_t> on_host) const {
    Trainer trainer(network, start, images, options, {},
                    ChipInTheLoop{&device, scales, host, std::move(on_host)});
    for (int step = 0; step < 4; ++step) trainer.step();
    return trainer.parameters();
  }
};

bool same(const workloads::Parameters& a, const workloads::Parameters& b) {
  return std::all_of(a.begin(), a.end(),
                     [&](const auto& one) { return one.second.data == b.at(one.first).data; });
}

TEST(ProtectedLayers, AllOfThemTrainAsOnAChipWithoutErrors) {
  const Scene s;
  array::FunctionalAccelerator sound(s.chip, nullptr, 1 << 24), host(s.chip, nullptr, 1 << 24);
  ErringChip erring(s.chip);
  const auto without_errors = s.train(sound, nullptr, {});
  EXPECT_TRUE(same(s.train(erring, &host, {1, 1, 1}), without_errors));
  const auto unprotected = s.train(erring, nullptr, {});
  EXPECT_FALSE(same(unprotected, without_errors));
  const auto one = s.train(erring, &host, {0, 1, 0});
  EXPECT_FALSE(same(one, without_errors));
  EXPECT_FALSE(same(one, unprotected));
}

TEST(ProtectedLayers, OnlyTheNamedOneIsRight) {
  const Scene s;
  array::FunctionalAccelerator sound(s.chip, nullptr, 1 << 24), host(s.chip, nullptr, 1 << 24);
  ErringChip erring(s.chip);
  common::ThreadPool pool(1);
  const std::vector<std::int32_t> labels(4, 1);
  const auto run = [&](array::Accelerator& device, std::vector<std::uint8_t> on_host) {
    BatchPass pass(s.network, 4, pool, ChipInTheLoop{&device, s.scales, &host, std::move(on_host)});
    for (std::size_t i = 0; i < pass.input().size(); ++i)
      pass.input()[i] = static_cast<float>(i % 13) * 0.2F - 1;
    workloads::Parameters parameters = s.start;
    pass.run(parameters, labels, {1, "t", 0});
    return std::vector<std::int8_t>(pass.quantized_results(0).begin(), pass.quantized_results(0).end());
  };
  EXPECT_EQ(run(erring, {1, 0, 0}), run(sound, {}));
  EXPECT_NE(run(erring, {0, 1, 1}), run(sound, {}));
}

TEST(ProtectedLayers, WhatCannotBeProtectedIsRefused) {
  const Scene s;
  array::FunctionalAccelerator sound(s.chip, nullptr, 1 << 24);
  EXPECT_THAT(test::input_error([&] { s.train(sound, nullptr, {1, 0, 0}); }), HasSubstr("no host is given"));
  EXPECT_THAT(test::input_error([&] { s.train(sound, &sound, {1}); }), HasSubstr("given for 1 stages"));
}

TEST(TwinAccelerator, AProtectedNetworkAnswersAsWithoutErrors) {
  const Scene s;
  array::FunctionalAccelerator sound(s.chip, nullptr, 1 << 24), host(s.chip, nullptr, 1 << 24);
  ErringChip erring(s.chip);
  TwinAccelerator twin(erring, host);
  const auto deployed = workloads::deploy(s.network, s.start, s.scales);
  const auto none = faults::fault_free(s.chip.array.rows, s.chip.array.cols);
  const auto answer = [&](array::Accelerator& device) {
    return workloads::infer(device, s.network, deployed, s.images, 25, none);
  };
  const auto right = answer(sound);
  EXPECT_NE(answer(twin).logits.data, right.logits.data);
  twin.run_on(RunOn::host);
  const auto protected_answer = answer(twin);
  EXPECT_EQ(protected_answer.logits.data, right.logits.data);
  for (const auto& layer : protected_answer.layers) EXPECT_EQ(layer.cycles, 0) << layer.layer;
}

// The witness knows the operands of every layer from what the erring chip left in memory, and computes the
// right outputs with plain loops.
TEST(TwinAccelerator, CountsErrorsAgainstRightOutputsOfTheSameOperands) {
  Scene s;
  s.network = network_of(1, 4, 4, {flatten(), linear("f1", 12), relu(), linear("f2", 7)});
  s.start = random_parameters(s.network, 4);
  s.images = random_images(50, s.network.input_shape(), 7, 3);
  s.scales = workloads::calibrate(s.network, s.start, s.images, {});
  const auto deployed = workloads::deploy(s.network, s.start, s.scales);
  const auto none = faults::fault_free(s.chip.array.rows, s.chip.array.cols);
  array::FunctionalAccelerator host(s.chip, nullptr, 1 << 24);
  ErringChip erring(s.chip);
  TwinAccelerator twin(erring, host);
  const WordScale words{deployed.stages[1].output_scale, deployed.stages[1].output_bias, 0.01};
  ErrorCounts counts[2], expected[2];
  workloads::LayerHooks hooks;
  hooks.begin = [&](const std::string& layer) {
    twin.run_on(RunOn::compare, &counts[layer == "f1" ? 0 : 1], &words);
  };
  std::vector<std::int8_t> hidden;
  std::int64_t image = 0;
  const auto observe = [&](std::size_t stage, std::span<const std::byte> raw) {
    const int k = stage == 0 ? 16 : 12, n = stage == 0 ? 12 : 7;
    const auto rows = static_cast<std::int64_t>(raw.size()) / n / (stage == 0 ? 1 : 4);
    for (std::int64_t m = 0; m < rows; ++m)
      for (int c = 0; c < n; ++c) {
        std::int64_t sum = 0;
        for (int i = 0; i < k; ++i) {
          double x = 0;
          if (stage == 0) {
            const double pixel = s.images.pixels.data()[(image + m) * 16 + i] * s.network.input.scale;
            x = std::clamp(std::nearbyint((pixel - 0.45) / 0.3 / s.scales.input[0]), -127.0, 127.0);
          } else {
            x = hidden[static_cast<std::size_t>(m * k + i)];
          }
          sum += static_cast<std::int64_t>(x) * deployed.stages[stage].weight.data[c * k + i];
        }
        int right = 0, found = 0;
        if (stage == 0) {
          const auto& r = deployed.stages[0].requantization[c];
          right =
              static_cast<int>(std::clamp<std::int64_t>((sum * r.multiplier + r.offset) >> r.shift, 0, 127));
          found = static_cast<std::int8_t>(raw[static_cast<std::size_t>(m * n + c)]);
        } else {
          std::int32_t acc = 0;
          std::memcpy(&acc, raw.data() + (m * n + c) * 4, 4);
          const auto word = [&](std::int64_t v) {
            const double logit = static_cast<double>(v) * words.scale[c] + words.bias[c];
            return static_cast<int>(std::clamp(std::nearbyint(logit / 0.01), -127.0, 127.0));
          };
          right = word(sum), found = word(acc);
        }
        const int difference = std::abs(found - right);
        ErrorCounts& e = expected[stage];
        ++(difference == 0 ? e.right : difference <= 5 ? e.small : e.large);
      }
    if (stage == 0) {
      hidden.resize(raw.size());
      std::memcpy(hidden.data(), raw.data(), raw.size());
    } else {
      image += rows;
    }
  };
  const auto result = workloads::infer(twin, s.network, deployed, s.images, 20, none, observe, hooks);
  for (int stage = 0; stage < 2; ++stage) {
    EXPECT_EQ(counts[stage].right, expected[stage].right) << stage;
    EXPECT_EQ(counts[stage].small, expected[stage].small) << stage;
    EXPECT_EQ(counts[stage].large, expected[stage].large) << stage;
    EXPECT_EQ(counts[stage].timing.late_words, 9) << stage;  // three launches
    EXPECT_EQ(counts[stage].pe_cycles, result.layers[stage].cycles * 45) << stage;
  }
  EXPECT_GT(expected[0].small, 10);
  EXPECT_GT(expected[0].large, 10);
  EXPECT_GT(expected[1].large, 0);
}

ErrorCounts errors(std::int64_t right, std::int64_t small, std::int64_t large) {
  ErrorCounts e;
  e.right = right, e.small = small, e.large = large;
  return e;
}

TEST(ErrorClasses, AreCountedByMagnitude) {
  const std::vector<std::int8_t> erring{0, 1, 0, 5, -5, 6, 0, 127, -127, 40};
  const std::vector<std::int8_t> right{0, 0, 1, 0, 0, 0, 6, -127, 127, 40};
  ErrorCounts counts;
  count_classes(erring, right, counts);
  EXPECT_EQ(counts, errors(2, 4, 4));
  EXPECT_DOUBLE_EQ(counts.wrong_share(), 0.8);
  EXPECT_DOUBLE_EQ(counts.large_share(), 0.4);
  EXPECT_THROW(count_classes(erring, std::vector<std::int8_t>(3), counts), std::invalid_argument);
}

TEST(ErrorClasses, TheCriticalLayerHasTheLargestShareOfLargeErrors) {
  const auto critical = [](std::vector<ErrorCounts> layers) { return critical_layer(layers); };
  EXPECT_EQ(critical({errors(90, 0, 10), errors(5, 0, 5), errors(1, 900, 99)}), 1u);  // share, not number
  EXPECT_EQ(critical({errors(8, 0, 2), errors(40, 0, 10), errors(9, 0, 1)}), 1u);     // the later of equals
  EXPECT_EQ(critical({errors(8, 0, 2), errors(0, 0, 0)}), 0u);  // the host's are left out
  EXPECT_EQ(critical({errors(8, 2, 0), errors(9, 0, 0)}), 1u);  // small errors only
  EXPECT_EQ(critical({errors(8, 0, 0), errors(9, 0, 0)}), std::nullopt);
}

TEST(ErrorClasses, ThePointWhereAccuracyTips) {
  const std::vector<double> accuracy{0.90, 0.85, 0.84, 0.95, 0.10};
  EXPECT_EQ(tipping_point(accuracy, 0.90, 0.05), 2u);  // 0.85 loses 0.05 and not more
  EXPECT_EQ(tipping_point(accuracy, 0.90, 0.9), std::nullopt);
  EXPECT_EQ(last_acceptable(accuracy, 0.90, 0.05), 1u);  // what comes after the first loss does not count
  EXPECT_EQ(last_acceptable(accuracy, 0.90, 0.9), 4u);
  EXPECT_EQ(last_acceptable(accuracy, 1.00, 0.05), std::nullopt);
}

TEST(Hits, CountTheLabelAmongTheFiveLikeliest) {
  const workloads::Tensor<float> logits({3, 7}, {1, 2, 3, 4, 5, 6, 7,  //
                                                 1, 1, 1, 1, 1, 1, 1,  //
                                                 9, 0, 0, 0, 0, 0, -1});
  const Hits hits = hits_of(logits, {6, 4, 5});
  EXPECT_THAT(hits.top1, ElementsAre(1, 0, 0));
  EXPECT_THAT(hits.top5, ElementsAre(1, 1, 0));  // ties in the order of classes
  EXPECT_THAT(hits_of(logits, {2, 5, 0}).top5, ElementsAre(1, 0, 1));
  EXPECT_TRUE(hits_of(workloads::Tensor<float>({1, 5}), {0}).top5.empty());
}

TEST(Offload, CostsTransfersAndHostTime) {
  const Scene s;
  const configs::HostConfig host{2, 0.5, 10};
  // c1 reads the image: only 4×4×4 pooled values go back. 8·8·9·4 MACs.
  const Offload first = offload_cost(s.network, 0, 10, host);
  EXPECT_EQ(first.bytes, 640);
  EXPECT_EQ(first.transfers, 1);
  EXPECT_EQ(first.macs, 23040);
  EXPECT_DOUBLE_EQ(first.transfer_s, 10e-6 + 640 / 0.5e9);
  EXPECT_DOUBLE_EQ(first.host_s, 23040 / 2e9);
  const Offload middle = offload_cost(s.network, 1, 10, host);  // 64 in, 12 out
  EXPECT_EQ(middle.bytes, 760);
  EXPECT_EQ(middle.transfers, 2);
  EXPECT_DOUBLE_EQ(middle.transfer_s, 20e-6 + 760 / 0.5e9);
  EXPECT_EQ(offload_cost(s.network, 2, 10, host).bytes, 120);  // the last: results stay
}

TEST(TrainingNoise, IsNormalAndRelativeToTheLayersRootMeanSquare) {
  const workloads::Network network = network_of(1, 1, 4, {flatten(), linear("fc", 2000)});
  workloads::Parameters parameters = random_parameters(network, 3);
  common::ThreadPool pool(2);
  constexpr std::int64_t kBatch = 10;
  const std::vector<std::int32_t> labels(kBatch, 0);
  const auto logits = [&](double noise, std::int64_t step) {
    BatchPass pass(network, kBatch, pool, std::nullopt);
    for (std::size_t i = 0; i < pass.input().size(); ++i) pass.input()[i] = static_cast<float>(i % 7) - 2;
    pass.run(parameters, labels, {5, "t", step, noise});
    return std::vector<float>(pass.logits().begin(), pass.logits().end());
  };
  const auto clean = logits(0, 0), noisy = logits(0.25, 0);
  EXPECT_EQ(noisy, logits(0.25, 0));
  EXPECT_NE(noisy, logits(0.25, 1));
  double squares = 0, mean = 0, variance = 0, fourth = 0, beyond = 0;
  const auto n = static_cast<double>(clean.size());
  for (std::size_t i = 0; i < clean.size(); ++i) {
    const double z = clean[i] - parameters.at("fc.bias").data[i % 2000];  // noise is on products and sums
    squares += z * z / n;
    mean += (noisy[i] - clean[i]) / n;
  }
  const double sigma = 0.25 * std::sqrt(squares);
  for (std::size_t i = 0; i < clean.size(); ++i) {
    const double d = (noisy[i] - clean[i]) / sigma;
    variance += d * d / n;
    fourth += d * d * d * d / n;
    beyond += std::abs(d) > 1.96 ? 1 / n : 0;
  }
  // 20,000 draws: five standard errors.
  EXPECT_NEAR(mean, 0, 5 * sigma / std::sqrt(n));
  EXPECT_NEAR(variance, 1, 5 * std::sqrt(2 / n));
  EXPECT_NEAR(fourth, 3, 5 * std::sqrt(96 / n));
  EXPECT_NEAR(beyond, 0.05, 5 * std::sqrt(0.05 * 0.95 / n));
}

TEST(TrainingNoise, IsForFloatOnlyAndDoesNotDependOnThreads) {
  Scene s;
  s.options.output_noise = 0.1;
  const auto train = [&](int threads) {
    common::ThreadPool pool(threads);
    Trainer trainer(s.network, s.start, s.images, s.options, {}, std::nullopt, &pool);
    for (int step = 0; step < 4; ++step) trainer.step();
    return trainer.parameters();
  };
  const auto one = train(1);
  EXPECT_TRUE(same(one, train(3)));
  s.options.output_noise = 0.2;
  EXPECT_FALSE(same(one, train(1)));
  array::FunctionalAccelerator sound(s.chip, nullptr, 1 << 24);
  EXPECT_THAT(test::input_error([&] { s.train(sound, nullptr, {}); }),
              HasSubstr("belongs to a float forward pass"));
}

TEST(TrainingDropout, DropsBehindEveryStageButTheLast) {
  const Scene s;
  const workloads::Network network = with_dropout(s.network, 0.3);
  EXPECT_EQ(network.stages[0].dropout, 0.3);
  EXPECT_EQ(network.stages[1].dropout, 0.3);
  EXPECT_EQ(network.stages[2].dropout, 0.0);
  common::ThreadPool pool(1);
  BatchPass with(network, 100, pool, std::nullopt), without(s.network, 100, pool, std::nullopt);
  const std::vector<std::int32_t> labels(100, 1);
  workloads::Parameters parameters = s.start;
  for (BatchPass* pass : {&with, &without}) {
    for (std::size_t i = 0; i < pass->input().size(); ++i) pass->input()[i] = static_cast<float>(i % 5) - 1;
    pass->run(parameters, labels, {1, "t", 0});
  }
  // Of the values that were not zero before, 30 % are now; the others are enlarged.
  double there = 0, dropped = 0;
  for (std::size_t i = 0; i < without.results(0).size(); ++i) {
    const float before = without.results(0)[i], after = with.results(0)[i];
    if (before == 0) continue;
    ++there;
    dropped += after == 0 ? 1 : 0;
    if (after != 0) {
      EXPECT_FLOAT_EQ(after, before / 0.7F);
    }
  }
  ASSERT_GT(there, 2000);
  EXPECT_NEAR(dropped / there, 0.3, 5 * std::sqrt(0.21 / there));
}

// A timing model whose errors a test chooses, by what a PE computes with.
class ChosenErrors final : public faults::TimingModel {
 public:
  void evaluate(int, std::uint64_t, const faults::PeCycles& cycles, std::uint32_t* captured) const override {
    for (std::size_t i = 0; i < cycles.count; ++i) {
      captured[i] = 0;
      if (cycles.activation[i] == 51 && cycles.weight[i] == 127) captured[i] = 6477U ^ 20000U;
      if (cycles.activation[i] == 102 && cycles.weight[i] == -127)
        captured[i] = static_cast<std::uint32_t>(-12954) ^ 9000U;
    }
  }
  int accumulator_bits() const override { return 32; }
};

// Two late words: the first channel's largest value moves from pixel 0 to pixel 2; the second channel, all
// negative and so blocked by ReLU without errors, becomes positive at pixel 3.
TEST(TimingErrors, MoveThePoolsArgMaxAndReluAndTheGradientFollows) {
  RoutingScene scene;
  configs::ChipConfig chip;
  chip.array.rows = 1, chip.array.cols = 2;
  array::FunctionalAccelerator device(chip, nullptr, 1 << 20);
  const ChipInTheLoop loop{&device, {{0.1F, 0.2F}, {0, 0}}};

  const BatchPass sound = scene.run(loop);
  EXPECT_THAT(sound.routes(0), ElementsAre(0, kBlocked));
  EXPECT_EQ(sound.gradients().at("c.weight").data[1], 0.0F);

  auto timing = std::make_shared<faults::ChipTiming>();
  timing->rows = 1, timing->cols = 2;
  timing->at_risk = {{0, 0, 0}, {0, 1, 0}};
  timing->model = std::make_shared<ChosenErrors>();
  device.load_timing(timing);
  const BatchPass late = scene.run(loop);
  EXPECT_THAT(device.late_words_by_pe(), ElementsAre(1, 1));
  EXPECT_THAT(late.routes(0), ElementsAre(2, 3));

  // By hand, as accumulators are worth 0.1/127 each: 20000 → 15.748 and 9000 → 7.0866 pooled, with scale 0.2
  // quantised 79 and 35. Weights of the linear layer, quantised by row: {127, −76} · 0.02/127, {−95, 127} ·
  // 0.04/127.
  const double w00 = 0.02, w01 = -76 * 0.02 / 127, w10 = -95 * 0.04 / 127, w11 = 0.04;
  const double logit0 = w00 * 15.8 + w01 * 7.0, logit1 = w10 * 15.8 + w11 * 7.0;
  const double d0 = 1 / (1 + std::exp(logit1 - logit0)), d1 = -d0;  // label 1
  const auto& g = late.gradients();
  EXPECT_NEAR(g.at("fc.weight").data[0], d0 * 15.8, 1e-5);
  EXPECT_NEAR(g.at("fc.weight").data[3], d1 * 7.0, 1e-5);
  // To pixel 2 (51 · 0.1) and pixel 3 (102 · 0.1), through the weights the chip was given.
  EXPECT_NEAR(g.at("c.weight").data[0], (w00 * d0 + w10 * d1) * 5.1, 1e-5);
  EXPECT_NEAR(g.at("c.weight").data[1], (w01 * d0 + w11 * d1) * 10.2, 1e-5);
}

// Frozen batch-norm is an affine map, so the network without it and with folded weights has the same loss,
// and its gradients follow from that one's by the chain rule.
TEST(FrozenBatchNorm, HasTheGradientsOfTheFoldedNetwork) {
  const workloads::Network network = network_of(
      1, 6, 6, {conv("c", 3, 3), batch_norm("b"), relu(), max_pool(2, 2), flatten(), linear("f", 4)});
  const workloads::Network folded_network =
      network_of(1, 6, 6, {conv("c", 3, 3), relu(), max_pool(2, 2), flatten(), linear("f", 4)});
  workloads::Parameters parameters = random_parameters(network, 6);
  for (int c = 0; c < 3; ++c) {
    parameters["b.running_mean"].data[c] = 0.1F * static_cast<float>(c) - 0.05F;
    parameters["b.running_var"].data[c] = 0.4F + 0.3F * static_cast<float>(c);
  }
  workloads::Parameters folded{{"c.weight", parameters.at("c.weight")},
                               {"c.bias", parameters.at("c.bias")},
                               {"f.weight", parameters.at("f.weight")},
                               {"f.bias", parameters.at("f.bias")}};
  double alpha[3], inverse[3], mean[3];
  for (int c = 0; c < 3; ++c) {
    inverse[c] = 1 / std::sqrt(parameters.at("b.running_var").data[c] + 1e-5);
    mean[c] = parameters.at("b.running_mean").data[c];
    alpha[c] = parameters.at("b.weight").data[c] * inverse[c];
    for (int i = 0; i < 9; ++i) folded["c.weight"].data[c * 9 + i] *= static_cast<float>(alpha[c]);
    folded["c.bias"].data[c] = static_cast<float>((parameters.at("c.bias").data[c] - mean[c]) * alpha[c] +
                                                  parameters.at("b.bias").data[c]);
  }
  common::ThreadPool pool(1);
  BatchPass frozen(network, 5, pool, std::nullopt, configs::Backward::f32, true);
  BatchPass plain(folded_network, 5, pool, std::nullopt);
  const std::vector<std::int32_t> labels{0, 1, 2, 3, 1};
  double loss[2];
  const workloads::Parameters before = parameters;
  for (BatchPass* pass : {&frozen, &plain}) {
    for (std::size_t i = 0; i < pass->input().size(); ++i)
      pass->input()[i] = static_cast<float>(i * 7 % 19) * 0.1F - 0.9F;
    loss[pass == &plain] = pass->run(pass == &plain ? folded : parameters, labels, {1, "t", 0});
  }
  EXPECT_NEAR(loss[0], loss[1], 1e-5);
  EXPECT_TRUE(same(before, parameters));  // running statistics too
  const auto& g = frozen.gradients();
  const auto& h = plain.gradients();
  double moved = 0;
  for (int c = 0; c < 3; ++c) {
    const double dbias = h.at("c.bias").data[c];
    double dgamma = dbias * (parameters.at("c.bias").data[c] - mean[c]) * inverse[c];
    for (int i = 0; i < 9; ++i) {
      const double dw = h.at("c.weight").data[c * 9 + i];
      EXPECT_NEAR(g.at("c.weight").data[c * 9 + i], dw * alpha[c], 1e-5);
      dgamma += dw * parameters.at("c.weight").data[c * 9 + i] * inverse[c];
    }
    EXPECT_NEAR(g.at("b.weight").data[c], dgamma, 1e-5);
    moved += std::abs(dgamma);
    EXPECT_NEAR(g.at("b.bias").data[c], dbias, 1e-5);
    EXPECT_NEAR(g.at("c.bias").data[c], dbias * alpha[c], 1e-5);
  }
  EXPECT_GT(moved, 1e-3);  // some channel is alive
}

}  // namespace
}  // namespace kintsugi::training::overclock
