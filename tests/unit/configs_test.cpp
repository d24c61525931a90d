// The YAML files that users write, as values; what is refused has its messages in tests/bad_input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "common/files.h"
#include "configs/campaign.h"
#include "configs/chip.h"
#include "configs/network.h"
#include "configs/suite.h"
#include "configs/workload.h"
#include "tests/support/input_error.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi::configs {
namespace {

namespace fs = std::filesystem;
using test::input_error;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class Configs : public testing::Test {
 protected:
  fs::path write(const std::string& text, const std::string& name = "file.yaml") {
    common::write_file_atomic(folder_ / name, text);
    return folder_ / name;
  }
  test::TemporaryFolder folder_;
};

TEST_F(Configs, TimingHasItsValuesAndDefaults) {
  const std::string pe = std::string(KINTSUGI_SOURCE_DIR) + "/configs/pes/pe_ripple.pe";
  const std::string head = "chip:\n  array: {rows: 3, cols: 5}\n  clock_mhz: 12.5\n  timing: ";
  const ChipConfig defaults = read_chip(write(head + "{model: netlist, netlist: pe_ripple}\n"));
  const TimingConfig& plain = *defaults.timing;
  EXPECT_TRUE(fs::equivalent(std::get<NetlistTiming>(plain.model).netlist, pe));
  EXPECT_EQ(std::get<NetlistTiming>(plain.model).step_ps, 50);
  EXPECT_TRUE(std::get<NetlistTiming>(plain.model).tmin_at_clock);
  EXPECT_EQ(std::get<NetlistTiming>(plain.model).guard_band, 0.1);
  EXPECT_EQ(std::get<NetlistTiming>(plain.model).fitted, FittedPe::slowest);
  EXPECT_EQ(plain.mitigation, TimingMitigation::none);
  EXPECT_FALSE(plain.scaling.nominal_v || plain.scaling.nominal_c || plain.scaling.threshold_v);
  EXPECT_EQ(plain.scaling.alpha, 1.3);
  EXPECT_TRUE(std::holds_alternative<std::monostate>(plain.variation));
  EXPECT_EQ(plain.ageing_factor, 1);
  EXPECT_EQ(plain.nominal_clock_mhz, 12.5);
  EXPECT_EQ(defaults.clock_mhz, 12.5);

  const ChipConfig given =
      read_chip(write(
          head + "{model: netlist, netlist: pes/a.pe, step_ps: 25, guard_band: 0.2, fit: typical_pe, "
                 "mitigation: te_drop, ageing_factor: 1.05,\n"
                 "    scaling: {nominal_v: 1, nominal_c: 60, threshold_v: 0.3, alpha: 1.5},\n"
                 "    variation: {seed: 7, vth_sigma: 0.05, systematic_share: 0.25, correlation_range: 0.1, "
                 "leff_sigma_ratio: 0.6},\n"
                 "    operating_point: {frequency_mhz: 20, voltage_v: 0.9, temperature_c: 85}}\n"));
  const TimingConfig& full = *given.timing;
  EXPECT_EQ(std::get<NetlistTiming>(full.model).netlist, folder_.path() / "pes/a.pe");
  EXPECT_EQ(std::get<NetlistTiming>(full.model).step_ps, 25);
  EXPECT_EQ(std::get<NetlistTiming>(full.model).guard_band, 0.2);
  EXPECT_EQ(std::get<NetlistTiming>(full.model).fitted, FittedPe::typical);
  EXPECT_EQ(full.mitigation, TimingMitigation::te_drop);
  EXPECT_EQ(full.ageing_factor, 1.05);
  EXPECT_EQ(full.scaling.nominal_v, 1);
  EXPECT_EQ(full.scaling.nominal_c, 60);
  EXPECT_EQ(full.scaling.threshold_v, 0.3);
  EXPECT_EQ(full.scaling.alpha, 1.5);
  const auto& variation = std::get<SampledVariation>(full.variation);
  EXPECT_EQ(variation.seed, 7);
  EXPECT_EQ(variation.vth_sigma, 0.05);
  EXPECT_EQ(variation.systematic_share, 0.25);
  EXPECT_EQ(variation.correlation_range, 0.1);
  EXPECT_EQ(variation.leff_sigma_ratio, 0.6);
  EXPECT_EQ(full.operating_point.voltage_v, 0.9);
  EXPECT_EQ(full.operating_point.temperature_c, 85);
  // The chip runs at the operating point's clock; the file's stays the nominal one.
  EXPECT_EQ(given.clock_mhz, 20);
  EXPECT_EQ(full.nominal_clock_mhz, 12.5);

  const ChipConfig faster = at_frequency(given, 30);
  EXPECT_EQ(faster.clock_mhz, 30);
  EXPECT_EQ(faster.timing->operating_point.frequency_mhz, 30);
  EXPECT_EQ(faster.timing->operating_point.voltage_v, 0.9);
  EXPECT_EQ(faster.timing->nominal_clock_mhz, 12.5);
  OperatingPointConfig hot;
  hot.temperature_c = 110;
  EXPECT_EQ(at_point(given, hot).timing->operating_point.temperature_c, 110);
  EXPECT_EQ(at_point(given, hot).clock_mhz, 20);
  EXPECT_EQ(at_frequency(ChipConfig(), 5).clock_mhz, 5);
  EXPECT_THROW(at_point(ChipConfig(), hot), std::invalid_argument);

  const ChipConfig table = read_chip(write(
      head + "{model: table, table: t.csv, seed: 3, guard_band: 0.3, variation: {delay_map: d.csv}}\n"));
  EXPECT_EQ(std::get<TableTiming>(table.timing->model).table, folder_.path() / "t.csv");
  EXPECT_EQ(std::get<TableTiming>(table.timing->model).guard_band, 0.3);
  EXPECT_EQ(std::get<MeasuredVariation>(table.timing->variation).delay_map, folder_.path() / "d.csv");
  EXPECT_EQ(table.timing->seed, 3);
}

TEST_F(Configs, ChipHasItsValuesAndDefaults) {
  const ChipConfig given =
      read_chip(write("chip:\n  name: x\n  array: {rows: 3, cols: 5, accumulator_bits: 24, "
                      "weight_double_buffer: false, bypass: none}\n"
                      "  clock_mhz: 12.5\n  mapping: {convolution: channel}\n  fault_map: maps/a.yaml\n"));
  EXPECT_EQ(given.name, "x");
  EXPECT_EQ(given.array.rows, 3);
  EXPECT_EQ(given.array.cols, 5);
  EXPECT_EQ(given.array.accumulator_bits, 24);
  EXPECT_FALSE(given.array.weight_double_buffer);
  EXPECT_EQ(given.array.bypass, Bypass::none);
  EXPECT_EQ(given.clock_mhz, 12.5);
  EXPECT_EQ(given.convolution, ConvolutionMapping::channel);
  EXPECT_EQ(given.fault_map, folder_ / "maps/a.yaml");
  EXPECT_EQ(given.bypass_map, std::nullopt);

  const ChipConfig least = read_chip(write("chip:\n  array: {rows: 3, cols: 5}\n", "least.yaml"));
  EXPECT_EQ(least.name, "least");
  EXPECT_EQ(least.array.accumulator_bits, 32);
  EXPECT_TRUE(least.array.weight_double_buffer);
  EXPECT_EQ(least.array.bypass, Bypass::fap);
  EXPECT_EQ(least.clock_mhz, 700);
  EXPECT_EQ(least.convolution, ConvolutionMapping::im2col);
}

TEST_F(Configs, AMemorySystemHasItsValuesAndDefaults) {
  const ChipConfig given = read_chip(
      write("chip:\n  array: {rows: 3, cols: 5}\n  memory:\n"
            "    dram: {bandwidth_gb_s: 1.5, latency_ns: 80, burst_bytes: 32, row_buffer: {banks: 4, "
            "row_bytes: 1024, miss_ns: 25}}\n"
            "    dma: {outstanding: 3, transfer_bytes: 256}\n"
            "    unified_buffer: {size_kib: 0.5, bytes_per_cycle: 7}\n    weight_fifo: {tiles: 2}\n"
            "    accumulators: {entries: 9, double_buffer: false}\n"
            "    activation_unit: {elements_per_cycle: 6}\n    layer_overlap: true\n"));
  ASSERT_TRUE(given.memory);
  const MemoryConfig& memory = *given.memory;
  EXPECT_EQ(memory.dram.bandwidth_gb_s, 1.5);
  EXPECT_EQ(memory.dram.latency_ns, 80);
  EXPECT_EQ(memory.dram.burst_bytes, 32);
  ASSERT_TRUE(memory.dram.row_buffer);
  EXPECT_EQ(memory.dram.row_buffer->banks, 4);
  EXPECT_EQ(memory.dram.row_buffer->row_bytes, 1024);
  EXPECT_EQ(memory.dram.row_buffer->miss_ns, 25);
  EXPECT_EQ(memory.dma.outstanding, 3);
  EXPECT_EQ(memory.dma.transfer_bytes, 256);
  EXPECT_EQ(memory.unified_buffer.bytes, 512);
  EXPECT_EQ(memory.unified_buffer.bytes_per_cycle, 7);
  EXPECT_EQ(memory.weight_fifo_tiles, 2);
  EXPECT_EQ(memory.accumulators.entries, 9);
  EXPECT_FALSE(memory.accumulators.double_buffer);
  EXPECT_EQ(memory.activation_unit_width, 6);
  EXPECT_TRUE(memory.layer_overlap);

  const ChipConfig least = read_chip(
      write("chip: {array: {rows: 3, cols: 5}, memory: {dram: {bandwidth_gb_s: 34}}}\n", "least.yaml"));
  ASSERT_TRUE(least.memory);
  EXPECT_EQ(least.memory->dram.latency_ns, 0);
  EXPECT_EQ(least.memory->dram.burst_bytes, 64);
  EXPECT_FALSE(least.memory->dram.row_buffer);
  EXPECT_EQ(least.memory->dma.outstanding, 8);
  EXPECT_EQ(least.memory->dma.transfer_bytes, 4096);
  EXPECT_EQ(least.memory->unified_buffer.bytes, 24 << 20);
  EXPECT_EQ(least.memory->unified_buffer.bytes_per_cycle, 256);
  EXPECT_EQ(least.memory->weight_fifo_tiles, 4);
  EXPECT_EQ(least.memory->accumulators.entries, 4096);
  EXPECT_TRUE(least.memory->accumulators.double_buffer);
  EXPECT_EQ(least.memory->activation_unit_width, 5);  // as wide as the array
  EXPECT_FALSE(least.memory->layer_overlap);
  EXPECT_FALSE(least.energy);

  EXPECT_FALSE(read_chip(write("chip: {array: {rows: 3, cols: 5}, memory: ideal}\n")).memory);
  EXPECT_FALSE(read_chip(folder_ / "least.yaml", {parse_override("chip.memory=ideal")}).memory);
  // Large bursts raise the default transfer; half the accumulators are enough for one position each.
  const fs::path wide = write(
      "chip:\n  array: {rows: 3, cols: 5}\n  memory: {dram: {bandwidth_gb_s: 1, burst_bytes: 65536}, "
      "accumulators: {entries: 2}}\n");
  EXPECT_EQ(read_chip(wide).memory->dma.transfer_bytes, 65536);
  EXPECT_EQ(read_chip(wide, {parse_override("chip.memory.accumulators={entries: 1, double_buffer: false}")})
                .memory->accumulators.entries,
            1);
}

TEST_F(Configs, EnergiesOfAMacAreGivenPlainlyOrByWidth) {
  const auto energy = [&](const std::string& mac) {
    return *read_chip(write("chip:\n  array: {rows: 3, cols: 5}\n  energy: {mac: " + mac +
                            ", register_byte: 0.5, accumulator_byte: 1.5, buffer_byte: 2.5, dram_byte: 0}\n"))
                .energy;
  };
  EXPECT_EQ(energy("0.25").mac, 0.25);
  EXPECT_EQ(energy("{16: 4, 8: 0.125}").mac, 0.125);
  EXPECT_EQ(energy("1").register_byte, 0.5);
  EXPECT_EQ(energy("1").accumulator_byte, 1.5);
  EXPECT_EQ(energy("1").buffer_byte, 2.5);
  EXPECT_EQ(energy("1").dram_byte, 0);
}

TEST_F(Configs, ShippedChipsAreRead) {
  int chips = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(KINTSUGI_SOURCE_DIR) / "configs/chips")) {
    EXPECT_EQ(read_chip(entry.path()).name, entry.path().stem());
    ++chips;
  }
  EXPECT_GE(chips, 5);
  const ChipConfig tpu = read_chip(fs::path(KINTSUGI_SOURCE_DIR) / "configs/chips/tpu256.yaml");
  EXPECT_EQ(tpu.array.rows, 256);
  EXPECT_EQ(tpu.array.cols, 256);
  EXPECT_EQ(tpu.clock_mhz, 700);
  ASSERT_TRUE(tpu.memory);
  EXPECT_EQ(tpu.memory->dram.bandwidth_gb_s, 34);
  EXPECT_EQ(tpu.memory->unified_buffer.bytes, 24 << 20);
  // The ideal variant differs in nothing else.
  const ChipConfig ideal = read_chip(fs::path(KINTSUGI_SOURCE_DIR) / "configs/chips/tpu256_ideal.yaml");
  EXPECT_FALSE(ideal.memory);
  ASSERT_TRUE(ideal.energy && tpu.energy);
  EXPECT_EQ(ideal.energy->mac, tpu.energy->mac);
  EXPECT_EQ(ideal.energy->dram_byte, tpu.energy->dram_byte);
  EXPECT_EQ(ideal.array.rows, tpu.array.rows);
  EXPECT_EQ(ideal.clock_mhz, tpu.clock_mhz);
}

TEST_F(Configs, GzipIsReadToo) {
  EXPECT_EQ(read_chip(write(common::gzip("chip: {array: {rows: 9, cols: 5}}\n"), "c.yaml.gz")).array.rows, 9);
}

TEST_F(Configs, OverridesReachValuesListsAndAbsentKeys) {
  const fs::path chip = write("chip:\n  array: {rows: 3, cols: 5}\n  fault_map: a.yaml\n", "chip.yaml");
  const ChipConfig config = read_chip(
      chip, {parse_override("chip.array.rows=128"), parse_override("chip.mapping.convolution=channel"),
             parse_override("chip.fault_map=b.yaml"), parse_override("network.name=other"),
             parse_override("chip.array.cols=6"), parse_override("chip.array.cols=7")});
  EXPECT_EQ(config.array.rows, 128);
  EXPECT_EQ(config.array.cols, 7);  // the last one wins
  EXPECT_EQ(config.convolution, ConvolutionMapping::channel);
  EXPECT_EQ(config.fault_map, "b.yaml");  // from where the user stands

  const fs::path network = write(
      "network:\n  input: {channels: 2, height: 4, width: 4}\n  layers:\n    - {type: flatten}\n"
      "    - {type: linear, name: a, out_features: 3}\n",
      "network.yaml");
  const NetworkConfig changed = read_network(network, {parse_override("network.layers.1.out_features=7"),
                                                       parse_override("network.input.mean=[0.25, 0.5]")});
  EXPECT_EQ(changed.layers[1].out, 7);
  EXPECT_THAT(changed.input.mean, ElementsAre(0.25, 0.5));
}

TEST_F(Configs, AnOverridesProblemIsLocatedAtTheOverride) {
  const fs::path chip = write("chip:\n  array: {rows: 3, cols: 5}\n");
  const auto problem = [&](const std::string& text) {
    return input_error([&] { read_chip(chip, {parse_override(text)}); });
  };
  EXPECT_THAT(problem("chip.array.row=4"), HasSubstr("--set chip.array.row=4: error: unknown key 'row'"));
  EXPECT_THAT(problem("chip.array.rows=[4]"),
              HasSubstr("--set chip.array.rows=[4]: error: 'rows' must be an integer"));
  EXPECT_THAT(problem("chip.wiring.x=4"), HasSubstr("--set chip.wiring.x=4: error: unknown key 'wiring'"));
  EXPECT_THAT(problem("chip.array={rows: 4}"),
              HasSubstr("--set chip.array={rows: 4}: error: 'chip.array' needs"));
  EXPECT_THAT(problem("chip.array.rows.x=4"), HasSubstr("has no keys"));
}

TEST_F(Configs, NetworkLayersHaveTheirValuesAndDefaults) {
  const NetworkConfig network = read_network(
      write("network:\n  name: n\n  input: {channels: 1, height: 8, width: 9, scale: 0.5}\n  layers:\n"
            "    - {type: conv2d, name: c, out_channels: 6, kernel: 3, stride: 2, padding: 1, groups: 3, "
            "bias: false}\n"
            "    - {type: batch_norm, name: b}\n    - {type: relu}\n    - {type: max_pool, kernel: 3}\n"
            "    - {type: max_pool, kernel: 2, stride: 1}\n    - {type: dropout, p: 0.25}\n    - {type: "
            "global_avg_pool}\n"
            "    - {type: flatten}\n    - {type: linear, name: f, out_features: 4}\n  loss: "
            "softmax_cross_entropy\n"));
  EXPECT_EQ(network.input.width, 9);
  EXPECT_EQ(network.input.scale, 0.5);
  EXPECT_THAT(network.input.mean, ElementsAre(0));
  EXPECT_THAT(network.input.std, ElementsAre(1));
  ASSERT_EQ(network.layers.size(), 9U);
  const LayerConfig& c = network.layers[0];
  EXPECT_EQ(c.kind, LayerKind::conv2d);
  EXPECT_EQ(std::make_tuple(c.name, c.out, c.kernel, c.stride, c.padding, c.groups, c.bias),
            std::make_tuple("c", 6, 3, 2, 1, 3, false));
  EXPECT_EQ(c.where.line, 5);
  EXPECT_EQ(network.layers[1].eps, 1e-5);
  EXPECT_EQ(network.layers[1].momentum, 0.1);
  EXPECT_EQ(network.layers[3].stride, 3);  // PyTorch's default: the kernel
  EXPECT_EQ(network.layers[4].stride, 1);
  EXPECT_EQ(network.layers[5].p, 0.25);
  EXPECT_TRUE(network.layers[8].bias);
}

TEST_F(Configs, WorkloadIsAGemmOrANetwork) {
  const WorkloadConfig gemm =
      read_workload(write("workload: {gemm: {activations: a.npy, weights: /abs/w.npy}}\n"));
  ASSERT_TRUE(gemm.gemm);
  EXPECT_FALSE(gemm.network);
  EXPECT_EQ(gemm.gemm->activations, folder_ / "a.npy");
  EXPECT_EQ(gemm.gemm->weights, "/abs/w.npy");

  const WorkloadConfig network =
      read_workload(write("workload:\n  network: n.yaml\n  weights: w.safetensors\n"
                          "  dataset: {name: fashion-mnist, split: train, images: 100}\n  batch: 4\n"));
  ASSERT_TRUE(network.network);
  EXPECT_EQ(network.network->dataset.name, "fashion-mnist");
  EXPECT_EQ(network.network->dataset.split, Split::train);
  EXPECT_EQ(network.network->dataset.images_limit, 100);
  EXPECT_EQ(network.network->batch, 4);
  EXPECT_EQ(network.network->calibration_images, 1000);

  const WorkloadConfig files =
      read_workload(write("workload:\n  network: n.yaml\n  weights: w.safetensors\n"
                          "  dataset: {images: x.npy, labels: y.npy}\n"));
  EXPECT_EQ(files.network->dataset.images, folder_ / "x.npy");
  EXPECT_EQ(files.network->dataset.labels, folder_ / "y.npy");
  EXPECT_EQ(files.network->dataset.name, "");
}

constexpr const char* kCampaign =
    "campaign:\n  chip: c.yaml\n  network: n.yaml\n  dataset: {name: fashion-mnist, decision_images: 4000}\n"
    "  constraint: {accuracy_drop: 0.005}\n  characterize: {fault_rates: [0.001, 0.1]}\n"
    "  chips: {sample: {count: 10, fault_rate: {log_uniform: [0.001, 0.3]}}}\n";

TEST_F(Configs, CampaignHasItsDefaults) {
  const CampaignConfig c = read_campaign(write(kCampaign));
  EXPECT_EQ(c.chip, folder_ / "c.yaml");
  EXPECT_EQ(c.decision_images, 4000);
  EXPECT_EQ(c.split_seed, std::nullopt);
  EXPECT_EQ(c.constraint.accuracy_drop, 0.005);
  EXPECT_EQ(c.constraint.accuracy, std::nullopt);
  EXPECT_THAT(c.characterize.fault_rates, ElementsAre(0.001, 0.1));
  EXPECT_EQ(c.characterize.repeats, 5);
  EXPECT_EQ(c.characterize.max_steps, 800);
  EXPECT_EQ(c.characterize.evaluate_every_steps, 25);
  EXPECT_EQ(c.characterize.amount, Amount::sustained);
  const auto& sample = std::get<SampleChips>(c.chips);
  EXPECT_EQ(sample.count, 10);
  EXPECT_EQ(std::get<LogUniform>(sample.fault_rate).low, 0.001);
  EXPECT_EQ(std::get<LogUniform>(sample.fault_rate).high, 0.3);
  EXPECT_EQ(c.policy.name, PolicyName::max);
  EXPECT_EQ(c.forward, Forward::chip);
  EXPECT_EQ(c.pretrain.epochs, 5);
  EXPECT_EQ(c.retrain.schedule.kind, ScheduleKind::constant);
  EXPECT_EQ(c.quantization.method, ScaleMethod::minmax);
  EXPECT_FALSE(c.leak_as_published);
  EXPECT_EQ(c.executor.workers, std::nullopt);
}

TEST_F(Configs, CampaignTakesEveryKey) {
  const CampaignConfig c = read_campaign(
      write("campaign:\n  chip: c.yaml\n  network: n.yaml\n  dataset: {images: x.npy, labels: y.npy, "
            "split_seed: 7}\n"
            "  leak_as_published: true\n"
            "  pretrain: {epochs: 2.5, batch: 64, learning_rate: 0.1, schedule: {name: cosine}}\n"
            "  retrain: {batch: 32, learning_rate: 0.01, momentum: 0.5, weight_decay: 0, augment: true, "
            "backward: bf16, "
            "forward: masked_float,\n"
            "            schedule: {name: step, milestones: [0.5, 0.75], gamma: 0.2}}\n"
            "  quantization: {method: percentile, percentile: 99.9, images: 200}\n"
            "  constraint: {accuracy: 0.91}\n"
            "  characterize: {fault_rates: [0.1], repeats: 2, amounts: [20, 60], "
            "amount: first_crossing}\n"
            "  chips: {fault_maps: \"lot7/*.yaml\"}\n  policy: {name: fixed, steps: 40}\n  compare: "
            "{fixed_steps: [0, 20, 40]}\n"
            "  executor: {name: local, workers: 3}\n"));
  EXPECT_EQ(c.dataset.images, folder_ / "x.npy");
  EXPECT_EQ(c.split_seed, 7U);
  EXPECT_TRUE(c.leak_as_published);
  EXPECT_EQ(c.pretrain.epochs, 2.5);
  EXPECT_EQ(c.pretrain.sgd.batch, 64);
  EXPECT_EQ(c.pretrain.sgd.schedule.kind, ScheduleKind::cosine);
  EXPECT_EQ(c.retrain.batch, 32);
  EXPECT_EQ(c.retrain.momentum, 0.5);
  EXPECT_EQ(c.retrain.weight_decay, 0);
  EXPECT_TRUE(c.retrain.augment);
  EXPECT_EQ(c.retrain.backward, Backward::bf16);
  EXPECT_EQ(c.pretrain.sgd.backward, Backward::f32);
  EXPECT_EQ(c.forward, Forward::masked_float);
  EXPECT_THAT(c.retrain.schedule.milestones, ElementsAre(0.5, 0.75));
  EXPECT_EQ(c.retrain.schedule.gamma, 0.2);
  EXPECT_EQ(c.quantization.percentile, 99.9);
  EXPECT_EQ(c.quantization.images, 200);
  EXPECT_EQ(c.constraint.accuracy, 0.91);
  EXPECT_EQ(c.characterize.amount, Amount::first_crossing);
  EXPECT_EQ(std::get<FaultMapFiles>(c.chips).pattern, (folder_ / "lot7/*.yaml").string());
  EXPECT_EQ(c.policy.steps, 40);
  ASSERT_TRUE(c.compare_fixed_steps);
  EXPECT_THAT(*c.compare_fixed_steps, ElementsAre(0, 20, 40));
  EXPECT_EQ(c.executor.workers, 3);
}

TEST_F(Configs, SuiteCasesHaveTheirFidelities) {
  const SuiteConfig suite =
      read_suite(write("suite:\n  cases:\n    - {name: a, chip: c.yaml, workload: w.yaml}\n"
                       "    - {name: b, chip: c.yaml, workload: w.yaml, fault_map: f.yaml, no_bypass: true, "
                       "fidelities: [pe, cycle]}\n",
                       "s.yaml"));
  EXPECT_EQ(suite.name, "s");
  ASSERT_EQ(suite.cases.size(), 2U);
  EXPECT_THAT(suite.cases[0].fidelities, ElementsAre(Fidelity::functional));
  EXPECT_THAT(suite.cases[1].fidelities, ElementsAre(Fidelity::pe, Fidelity::cycle));
  EXPECT_TRUE(suite.cases[1].no_bypass);
  EXPECT_EQ(suite.cases[1].fault_map, folder_ / "f.yaml");
}

TEST_F(Configs, AllProblemsOfAFileAreListedOnce) {
  const std::string problems = input_error([&] {
    read_chip(write(
        "chip:\n  array:\n    rows: 010\n    cols: 1e3\n    colls: 3\n    rows: 4\n  clock_mhz: .inf\n"));
  });
  EXPECT_THAT(problems,
              HasSubstr("file.yaml:3:11: error: 'rows' must be an integer from 1 to 1024, but is '010'"));
  EXPECT_THAT(problems, HasSubstr("file.yaml:4:11: error: 'cols' must be"));
  EXPECT_THAT(problems,
              HasSubstr("file.yaml:5:5: error: unknown key 'colls' in 'chip.array'; did you mean 'cols'?"));
  EXPECT_THAT(problems, HasSubstr("file.yaml:6:5: error: duplicate key 'rows'"));
  EXPECT_THAT(problems, HasSubstr("file.yaml:7:14: error: 'clock_mhz' must be a number"));
  EXPECT_EQ(std::count(problems.begin(), problems.end(), '^'), 5);
}

// What hides inside sections that could not be read is not guessed at.
// yaml-cpp finds documents without end in these; reading them must end, and with a message.
TEST_F(Configs, MalformedDocumentsAreRefusedAndReadingEnds) {
  for (const char* text : {"!0,1,9\n.|,0,0\n", "--- a\n--- b\n--- c\n"}) {
    const fs::path file = write(text);
    EXPECT_THAT(input_error([&] { read_chip(file); }), HasSubstr("file.yaml"));
  }
}

TEST_F(Configs, AMissingSectionIsReportedWithoutItsKeys) {
  const std::string problems = input_error([&] { read_chip(write("chip:\n  name: x\n")); });
  EXPECT_THAT(problems, HasSubstr("'chip' needs the key 'array'"));
  EXPECT_THAT(problems, Not(HasSubstr("rows")));
}

}  // namespace
}  // namespace kintsugi::configs
