// `kintsugi fault-map masks`: pruning masks for PyTorch.
#include <fmt/format.h>

#include <iostream>

#include "common/sha256.h"
#include "configs/chip.h"
#include "configs/network.h"
#include "faults/report.h"
#include "sim/fault_map_command.h"
#include "workloads/network.h"
#include "workloads/pruning_mask.h"
#include "workloads/safetensors.h"

namespace kintsugi::sim {

namespace po = boost::program_options;

int fault_map_masks(const std::vector<std::string>& arguments) {
  OptionParser parser(
      "kintsugi fault-map masks --chip FILE --network FILE --fault-map FILE --out FILE.safetensors",
      "Writes, for every weight of a network, a mask that is 0 where the weight's PE is bypassed and 1 "
      "elsewhere: uint8\n"
      "tensors under the parameters' PyTorch names and shapes. docs/fault-map.md shows the training loop "
      "that uses them.",
      "kintsugi fault-map masks --chip configs/chips/tpu256.yaml --network configs/networks/fap_mlp.yaml "
      "--fault-map lot7/chip-0001.yaml --out masks.safetensors");
  const auto word = [](const char* name) { return po::value<std::string>()->value_name(name); };
  parser.own().add_options()("chip", word("FILE")->required(),
                             "chip description: array size and mapping.convolution")(
      "network", word("FILE")->required(), "network description")(
      "fault-map", word("FILE"), "the chip's fault map (default: the one the chip description names)")(
      "bypass-map", word("FILE"), "the PEs that are bypassed, if they are not those of the fault map")(
      "out", word("FILE"), "the file to write, *.safetensors");
  for (const char* unused : {"out", "seed", "threads", "data-dir"}) parser.without(unused);
  parser.reads({"chip", "network", "fault_map"});
  if (!parser.parse(arguments)) return kExitDone;
  const auto& options = parser.common();
  if (options.out.empty()) option_error("missing --out FILE.safetensors: the file the masks go to");

  const configs::ChipConfig chip = configs::read_chip(parser.text("chip"), options.set);
  if (chip.array.bypass == configs::Bypass::none)
    option_error(
        fmt::format("{} has array.bypass: none; without a bypass no weight is pruned", parser.text("chip")));
  const faults::ArrayGeometry array{chip.array.rows, chip.array.cols, chip.array.accumulator_bits};
  const auto map_of =
      [&](const char* option,
          const std::optional<std::filesystem::path>& from_chip) -> std::optional<std::filesystem::path> {
    if (parser.has(option)) return parser.text(option);
    return from_chip;
  };
  const auto fault_path = map_of("fault-map", chip.fault_map);
  const auto bypass_path = map_of("bypass-map", chip.bypass_map);
  if (!fault_path) option_error("missing --fault-map FILE: the chip description names no fault map");
  const faults::FaultMap map = faults::read_fault_map(*fault_path, array, options.set);
  std::optional<faults::FaultMap> bypass;
  if (bypass_path) bypass = faults::read_fault_map(*bypass_path, array);

  // Masks follow from the bypass alone: a map whose unbypassed faults are of unknown nature has masks, too.
  faults::ArrayFaults faults = faults::fault_free(array.rows, array.cols);
  const auto source = bypass ? faults::BypassSource::bypass_map : faults::BypassSource::fault_map;
  faults.bypass = faults::bypass_bits(map, source, bypass ? &*bypass : nullptr);
  const workloads::Network network =
      workloads::build_network(configs::read_network(parser.text("network"), options.set));
  const workloads::Masks masks = workloads::pruning_masks(network, faults, chip);

  workloads::SafeTensors content;
  for (const auto& [name, mask] : masks) content.tensors.emplace(name, mask);
  content.metadata["chip"] = map.chip;
  content.metadata["fault_map_sha256"] = common::sha256_file(*fault_path);
  if (bypass_path) content.metadata["bypass_map_sha256"] = common::sha256_file(*bypass_path);
  content.metadata["network"] = network.name;
  content.metadata["convolution"] =
      chip.convolution == configs::ConvolutionMapping::im2col ? "im2col" : "channel";
  workloads::write_safetensors(options.out, content);

  const auto report = faults::make_report(map, faults.bypass);
  std::cout << fmt::format("{}: {} of {} PEs bypassed\n", options.out.string(), report.bypassed_pes,
                           static_cast<std::int64_t>(array.rows) * array.cols);
  for (const workloads::Stage& stage : network.stages)
    if (stage.on_chip())
      std::cout << fmt::format("  {:<20} {:>9} weights, {:.4f} of them pruned\n", stage.name + ".weight",
                               stage.weight_count(), workloads::mapped_fault_rate(stage, faults, chip));
  if (!report.live.empty())
    std::cout << fmt::format(
        "  {} faults are not hidden by the bypass: no mask stands for what they do ('kintsugi fault-map "
        "show' lists them)\n",
        report.live.size());
  std::cout << faults::assumptions_text(report.assumed_maskable, report.faulty_pes, report.escapes);
  return kExitDone;
}

}  // namespace kintsugi::sim
