// Whole networks on chips with a unified buffer, and with adds and normalisations on the chip: the bits must
// be those of arithmetic on paper wherever results live and whoever computes them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "array/functional_accelerator.h"
#include "array/layer_plan.h"
#include "common/diagnostics.h"
#include "common/thread_pool.h"
#include "tests/support/integer_reference.h"
#include "tests/support/small_networks.h"
#include "workloads/inference.h"
#include "workloads/memory_plan.h"

namespace kintsugi {
namespace {

using namespace kintsugi::testing;  // builders of small networks
using array::kBufferBase;
using workloads::Network;

// 0 bytes: ideal memory.
configs::ChipConfig chip_with(std::int64_t buffer_bytes) {
  configs::ChipConfig chip;
  chip.array.rows = 7;
  chip.array.cols = 5;
  if (buffer_bytes == 0) return chip;
  chip.memory.emplace();
  chip.memory->unified_buffer.bytes = buffer_bytes;
  chip.memory->accumulators.entries = 64;
  return chip;
}

std::vector<std::pair<std::string, Network>> networks(bool unit) {
  const auto where = [&](configs::LayerConfig layer) { return unit ? on_unit(layer) : layer; };
  return {
      {"residual blocks, padded pool", network_of(3, 11, 9,
                                                  {conv("c1", 5, 3, 1, 1, 1, false),
                                                   batch_norm("bn1"),
                                                   relu(),
                                                   named(padded_pool(3, 2, 1, false), "p"),
                                                   conv("a1", 5, 3, 1, 1),
                                                   batch_norm("abn"),
                                                   relu(),
                                                   conv("a2", 5, 3, 1, 1),
                                                   where(add("a", "a2", "p")),
                                                   named(relu(), "ar"),
                                                   conv("b1", 8, 3, 2, 1),
                                                   relu(),
                                                   conv("b2", 8, 3, 1, 1),
                                                   batch_norm("bbn"),
                                                   reading(conv("short", 8, 1, 2), "ar"),
                                                   where(add("b", "bbn", "short")),
                                                   relu(),
                                                   global_average(),
                                                   flatten(),
                                                   linear("f", 4)})},
      {"normalisation, pools rounded up, sums of sums",
       network_of(3, 10, 8,
                  {conv("c1", 7, 3), relu(), where(response_norm("n1", 5, 2.0)), padded_pool(3, 2, 0, true),
                   conv("c2", 6, 3, 1, 1, 1), where(response_norm("n2", 4, 0.5, 2.0)), conv("c3", 6, 1),
                   where(add("s", "n2", "c3")), padded_pool(2, 2, 1, true), conv("c4", 3, 2),
                   conv("c5", 3, 1), where(add("t", "c5", "c4")), global_average()})},
      {"pool on the chip, reordered by the host",
       network_of(2, 9, 8,
                  {conv("c1", 6, 3, 1, 1, 2), relu(), max_pool(2, 2), conv("c2", 4, 2), relu(),
                   max_pool(2, 1), flatten(), linear("f1", 7), relu(), linear("f2", 4)})},
      {"flat sum of a map with itself",
       network_of(1, 4, 4,
                  {flatten(), linear("a", 6), named(relu(), "r"), linear("b", 6), named(relu(), "q"),
                   where(add("s", "q", "q")), linear("c", 3)})}};
}

struct Prepared {
  workloads::ImageSet images;
  workloads::DeployedNetwork deployed;
};

Prepared prepare(const Network& network) {
  const auto parameters = random_parameters(network, 11);
  Prepared p;
  p.images = random_images(7, network.input_shape(), network.classes, 12);
  p.deployed =
      workloads::deploy(network, parameters, workloads::calibrate(network, parameters, p.images, {}));
  return p;
}

TEST(InferWithMemory, equals_arithmetic_on_paper_wherever_results_live) {
  common::ThreadPool pool(1);
  for (const bool unit : {false, true})
    for (const auto& [name, network] : networks(unit)) {
      const Prepared p = prepare(network);
      for (const std::int64_t bytes : {0, 768, 1024, 2048, 4096, 16384, 1 << 20})
        for (const std::int64_t batch : {1, 4}) {
          array::FunctionalAccelerator device(chip_with(bytes), &pool, 1 << 24);
          const auto result =
              workloads::infer(device, network, p.deployed, p.images, batch, faults::fault_free(7, 5));
          std::vector<float> image(static_cast<std::size_t>(network.input_shape().count()));
          for (std::int64_t i = 0; i < p.images.size(); ++i) {
            workloads::normalize(p.images, i, 1, network.input, image);
            const std::vector<float> got(result.logits.data.begin() + i * network.classes,
                                         result.logits.data.begin() + (i + 1) * network.classes);
            ASSERT_EQ(got, test::reference_logits(network, p.deployed, image))
                << name << (unit ? ", on the unit" : ", on the host") << ", image " << i << ", batch "
                << batch << ", buffer of " << bytes << " bytes";
          }
        }
    }
}

TEST(InferWithMemory, shows_the_same_raw_outputs_wherever_they_are_computed) {
  common::ThreadPool pool(1);
  const auto shown = [&](bool unit, std::size_t which, std::int64_t bytes) {
    const auto [name, network] = networks(unit)[which];
    const Prepared p = prepare(network);
    std::vector<std::vector<std::byte>> raw;
    array::FunctionalAccelerator device(chip_with(bytes), &pool, 1 << 24);
    workloads::infer(
        device, network, p.deployed, p.images, 3, faults::fault_free(7, 5),
        [&](std::size_t, std::span<const std::byte> map) { raw.emplace_back(map.begin(), map.end()); });
    return raw;
  };
  for (std::size_t which = 0; which < networks(false).size(); ++which) {
    const auto want = shown(false, which, 0);
    for (const bool unit : {false, true})
      for (const std::int64_t bytes : {0, 4096, 1 << 20}) ASSERT_EQ(shown(unit, which, bytes), want);
  }
}

// Passes everything on, and keeps what was launched.
class Recorder final : public array::Accelerator {
 public:
  explicit Recorder(const configs::ChipConfig& chip) : device_(chip, nullptr, 1 << 24) {}
  void data_to_device(array::DeviceAddress address, std::span<const std::byte> data) override {
    device_.data_to_device(address, data);
    host_bytes_in_buffer += address >= kBufferBase ? data.size() : 0;
  }
  void data_from_device(array::DeviceAddress address, std::span<std::byte> data) override {
    device_.data_from_device(address, data);
    host_bytes_in_buffer += address >= kBufferBase ? data.size() : 0;
  }
  array::LaunchReport launch(const array::LayerLaunch& launch) override {
    layers.push_back(launch);
    array::LaunchReport report = device_.launch(launch);
    report.breakdown = {.stall_weights = 3};
    return report;
  }
  array::LaunchReport launch(const array::VectorLaunch& launch) override {
    passes.push_back(launch);
    device_.launch(launch);
    array::LaunchReport report;  // whatever the device's is
    report.cycles = 100;
    report.breakdown.stall_output = 40;
    return report;
  }
  void load_faults(const faults::ArrayFaults& faults) override { device_.load_faults(faults); }
  const configs::ChipConfig& chip() const override { return device_.chip(); }
  std::uint64_t memory_bytes() const override { return device_.memory_bytes(); }
  void observe_timeline(array::TimelineSink sink) override { device_.observe_timeline(std::move(sink)); }

  std::vector<array::LayerLaunch> layers;
  std::vector<array::VectorLaunch> passes;
  std::size_t host_bytes_in_buffer = 0;

 private:
  array::FunctionalAccelerator device_;
};

TEST(InferWithMemory, launches_with_results_at_home_in_the_buffer) {
  common::ThreadPool pool(1);
  const auto [name, network] = networks(true).front();
  const Prepared p = prepare(network);
  Recorder device(chip_with(1 << 20));
  const auto result = workloads::infer(device, network, p.deployed, p.images, 4, faults::fault_free(7, 5));
  // c1 a1 a2 b1 b2 short f, in two batches of 4 and 3 images.
  ASSERT_EQ(device.layers.size(), 14u);
  ASSERT_EQ(device.passes.size(), 4u);
  EXPECT_EQ(device.host_bytes_in_buffer, 0u) << "what the host touches is in DRAM";
  for (std::size_t i = 0; i < 14; ++i) {
    const array::LayerLaunch& l = device.layers[i];
    EXPECT_EQ(l.shape.batch, i < 7 ? 4 : 3);
    EXPECT_EQ(l.pool.has_value(), i % 7 == 0);
    EXPECT_EQ(l.activations >= kBufferBase, i % 7 != 0 && i % 7 != 6) << "images and averages are in DRAM";
    EXPECT_EQ((l.pool ? l.pool->result : l.output) >= kBufferBase, i % 7 != 6);
    EXPECT_EQ(l.buffer_offset % 64, 0u);
    EXPECT_GE(l.buffer_bytes, (1u << 20) / 4);
    EXPECT_EQ(l.next.has_value(), i % 7 != 6);
    if (l.next) {
      EXPECT_EQ(l.next->weights, device.layers[i + 1].weights);
      EXPECT_EQ(l.next->shape.k(), device.layers[i + 1].shape.k());
      EXPECT_EQ(l.next->shape.batch, l.shape.batch);
    }
    EXPECT_EQ(l.weights, device.layers[i % 7].weights);
    EXPECT_EQ(l.output, device.layers[i % 7].output) << "planned for the full batch";
  }
  const array::VectorLaunch& a = device.passes[0];
  EXPECT_EQ(a.rows, 4 * 6 * 5);
  EXPECT_EQ(a.channels, 5);
  EXPECT_EQ(a.a, device.layers[2].output);
  EXPECT_EQ(a.b, device.layers[0].pool->result);
  EXPECT_EQ(a.output, device.layers[3].activations);
  EXPECT_TRUE(a.relu);
  EXPECT_LT(device.passes[1].output, kBufferBase) << "averaged by the host";

  // What passes cost is their stages' cost, summed over batches.
  for (const auto& layer : result.layers) {
    if (layer.layer != "a" && layer.layer != "b") {
      EXPECT_EQ(layer.stall_cycles, 2 * 3);
      continue;
    }
    EXPECT_EQ(layer.cycles, 200);
    EXPECT_EQ(layer.stall_cycles, 80);
    EXPECT_EQ(layer.macs, 0);
  }
}

// A layer that could run with everything in DRAM and the whole buffer to itself can run as planned.
TEST(InferWithMemory, never_keeps_a_result_that_a_layer_has_no_room_for) {
  const auto fits = [](const array::LayerLaunch& launch, const configs::ChipConfig& chip) {
    try {
      const array::LayerPlan plan(launch, chip);
      return true;
    } catch (const common::InputError&) {
      return false;
    }
  };
  int tight = 0, kept = 0;
  for (const auto& [name, network] : networks(true))
    for (std::int64_t bytes = 64; bytes <= 4096; bytes += 64)
      for (const std::int64_t batch : {1, 4}) {
        const configs::ChipConfig chip = chip_with(bytes);
        const auto plan = workloads::plan_memory(network, batch, chip);
        for (std::size_t s = 0; s < network.stages.size(); ++s) {
          const workloads::Stage& stage = network.stages[s];
          kept += plan.homes[s].has_value();
          if (!stage.on_chip()) continue;
          array::LayerLaunch launch;
          launch.shape = stage.layer_shape(batch);
          launch.requantization = 0;
          if (s + 1 == network.stages.size()) launch.requantization.reset();
          if (stage.max_pool) launch.pool = array::PoolLaunch{stage.pool_window(), 0};
          if (!fits(launch, chip)) {
            ++tight;
            continue;
          }
          const int source = stage.inputs.front();
          if (source != workloads::kImage && plan.homes[static_cast<std::size_t>(source)])
            launch.activations = kBufferBase;
          if (plan.homes[s]) (stage.max_pool ? launch.pool->result : launch.output) = kBufferBase;
          launch.buffer_offset = plan.work[s].offset;
          launch.buffer_bytes = plan.work[s].bytes;
          EXPECT_TRUE(fits(launch, chip)) << name << ", " << stage.name << ", " << bytes << " bytes";
        }
      }
  EXPECT_GT(tight, 20);  // sizes at which it matters were among them
  EXPECT_GT(kept, 200);
}

// 11·9·5 = 495 bytes an image are normalised; the working space takes a part of the batch at a time.
TEST(InferWithMemory, cuts_passes_that_the_working_space_cannot_hold) {
  const auto network = network_of(1, 11, 9,
                                  {conv("c", 5, 1), relu(), on_unit(response_norm("n", 3, 1.0)),
                                   global_average(), flatten(), linear("f", 3)});
  const Prepared p = prepare(network);
  for (const std::int64_t bytes : {512, 1024, 1 << 20}) {
    Recorder device(chip_with(bytes));
    workloads::infer(device, network, p.deployed, p.images, 7, faults::fault_free(7, 5));
    std::int64_t rows = 0;
    for (const array::VectorLaunch& pass : device.passes) {
      EXPECT_EQ(pass.a, device.passes[0].a + static_cast<std::uint64_t>(rows * 5));
      EXPECT_EQ(pass.output, device.passes[0].output + static_cast<std::uint64_t>(rows * 5));
      EXPECT_LE(pass.rows * 5, static_cast<std::int64_t>(pass.buffer_bytes));
      rows += pass.rows;
    }
    EXPECT_EQ(rows, 7 * 11 * 9);
    EXPECT_EQ(device.passes.size(), bytes == 512 ? 7u : bytes == 1024 ? 4u : 1u);
  }
}

TEST(InferWithMemory, leaves_to_the_host_what_the_network_leaves_to_it) {
  common::ThreadPool pool(1);
  const auto [name, network] = networks(false).front();
  const Prepared p = prepare(network);
  Recorder device(chip_with(1 << 20));
  workloads::infer(device, network, p.deployed, p.images, 7, faults::fault_free(7, 5));
  EXPECT_EQ(device.layers.size(), 7u);
  EXPECT_TRUE(device.passes.empty());
  EXPECT_EQ(device.host_bytes_in_buffer, 0u);
}

}  // namespace
}  // namespace kintsugi
