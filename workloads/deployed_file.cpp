// deployed.safetensors, out and in.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <set>
#include <span>
#include <variant>

#include "common/diagnostics.h"
#include "workloads/deployed.h"
#include "workloads/safetensors.h"

namespace kintsugi::workloads {

namespace {

constexpr const char* kFormat = "kintsugi-deployed-1";
constexpr const char* kSlots = "slot_of";  // of a stage on the chip, by channel as the network is written

template <class T>
constexpr const char* kDtype = "";
template <>
constexpr const char* kDtype<float> = "F32";
template <>
constexpr const char* kDtype<std::int8_t> = "I8";
template <>
constexpr const char* kDtype<std::uint8_t> = "U8";
template <>
constexpr const char* kDtype<std::int32_t> = "I32";
template <>
constexpr const char* kDtype<std::int64_t> = "I64";

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

std::vector<std::int64_t> weight_shape(const Stage& stage) {
  if (!stage.convolution) return {stage.gemm_out.channels, stage.in.channels};
  return {stage.gemm_out.channels, stage.in.channels / stage.groups, stage.kernel, stage.kernel};
}

template <class T>
Tensor<T> vector_tensor(std::vector<T> values) {
  const auto size = static_cast<std::int64_t>(values.size());
  return Tensor<T>({size}, std::move(values));
}

void put_table(SafeTensors& content, const std::string& prefix,
               std::span<const array::Requantization> table) {
  std::vector<std::int32_t> multiplier, shift;
  std::vector<std::int64_t> offset;
  for (const array::Requantization& r : table) {
    multiplier.push_back(r.multiplier);
    shift.push_back(r.shift);
    offset.push_back(r.offset);
  }
  content.tensors[prefix + "multiplier"] = vector_tensor(std::move(multiplier));
  content.tensors[prefix + "shift"] = vector_tensor(std::move(shift));
  content.tensors[prefix + "offset"] = vector_tensor(std::move(offset));
}

// Takes the tensors a network needs out of a file, and reports everything that is not as it must be.
class Taker {
 public:
  Taker(SafeTensors& content, std::string file) : content_(content), file_(std::move(file)) {}

  // Empty on a problem.
  template <class T>
  Tensor<T> take(const std::string& name, const std::vector<std::int64_t>& shape) {
    taken_.insert(name);
    const auto found = content_.tensors.find(name);
    if (found == content_.tensors.end()) {
      error(
          fmt::format("tensor '{}' is missing; expected {} of shape {}", name, kDtype<T>, shape_text(shape)));
      return {};
    }
    Tensor<T>* tensor = std::get_if<Tensor<T>>(&found->second);
    // A single number may be stored with or without a dimension.
    const bool scalar = shape == std::vector<std::int64_t>{1};
    const bool fits = tensor != nullptr && (tensor->shape == shape || (scalar && tensor->shape.empty()));
    if (!fits) {
      const std::string was = std::visit(
          [](const auto& t) {
            return fmt::format("{} of shape {}", kDtype<typename std::decay_t<decltype(t.data)>::value_type>,
                               shape_text(t.shape));
          },
          found->second);
      error(
          fmt::format("tensor '{}' is {}; expected {} of shape {}", name, was, kDtype<T>, shape_text(shape)));
      return {};
    }
    return std::move(*tensor);
  }

  float positive(const std::string& name) {
    const Tensor<float> tensor = take<float>(name, {1});
    if (tensor.data.empty()) return 1;
    if (!(tensor.data[0] > 0) || !std::isfinite(tensor.data[0]))
      error(fmt::format("tensor '{}' holds {}; a scale must be a positive finite number", name,
                        tensor.data[0]));
    return tensor.data[0];
  }

  std::vector<float> finite(const std::string& name, std::int64_t count) {
    Tensor<float> tensor = take<float>(name, {count});
    for (std::size_t i = 0; i < tensor.data.size(); ++i)
      if (!std::isfinite(tensor.data[i])) {
        error(fmt::format("tensor '{}' holds {} at element {}; expected a finite number", name,
                          tensor.data[i], i));
        break;
      }
    return std::move(tensor.data);
  }

  std::vector<array::Requantization> table(const std::string& prefix, std::int64_t count) {
    const auto multiplier = take<std::int32_t>(prefix + "multiplier", {count});
    const auto shift = take<std::int32_t>(prefix + "shift", {count});
    const auto offset = take<std::int64_t>(prefix + "offset", {count});
    std::vector<array::Requantization> result;
    if (multiplier.data.empty() || shift.data.empty() || offset.data.empty()) return result;
    for (std::size_t c = 0; c < static_cast<std::size_t>(count); ++c) {
      result.push_back({multiplier.data[c], shift.data[c], offset.data[c]});
      check(prefix, c, result.back());
    }
    return result;
  }

  array::ResidualAdd residual_add(const std::string& prefix) {
    const auto multiplier = take<std::int32_t>(prefix + "multiplier", {2});
    const auto shift = take<std::int32_t>(prefix + "shift", {1});
    const auto offset = take<std::int64_t>(prefix + "offset", {1});
    if (multiplier.data.empty() || shift.data.empty() || offset.data.empty()) return {};
    const array::ResidualAdd add{multiplier.data[0], multiplier.data[1], shift.data[0], offset.data[0]};
    check(prefix, 0, {add.multiplier_a, add.shift, 0});
    check(prefix, 1, {add.multiplier_b, 1, 0});
    constexpr std::int64_t kMost = std::int64_t{1} << 62;
    if (add.offset > kMost || add.offset < -kMost)
      error(fmt::format("tensor '{}offset' holds {}; its magnitude may be at most {}, or sums leave 64 bits",
                        prefix, add.offset, kMost));
    return add;
  }

  void skip(const std::string& name) { taken_.insert(name); }

  // Zero points exist in other people's formats; only 0 can be run.
  void refuse_zero_points(const std::string& name) {
    const auto found = content_.tensors.find(name);
    if (found == content_.tensors.end()) return;
    taken_.insert(name);
    std::visit(
        [&](const auto& t) {
          for (std::size_t i = 0; i < t.data.size(); ++i)
            if (t.data[i] != 0) {
              error(
                  fmt::format("tensor '{}' holds {} at element {}; only zero points of 0 (symmetric "
                              "quantisation) can be run. Quantise symmetrically and save again",
                              name, t.data[i], i));
              return;
            }
        },
        found->second);
  }

  void error(const std::string& message) { diagnostics_.error({file_, 0, 0}, message); }

  void throw_if_any() { diagnostics_.throw_if_any(); }
  void finish() {
    for (const auto& [name, tensor] : content_.tensors)
      if (taken_.count(name) == 0)
        error(fmt::format("tensor '{}' does not belong to this network's deployed form", name));
    throw_if_any();
  }

 private:
  void check(const std::string& prefix, std::size_t c, const array::Requantization& r) {
    if (r.shift < 1 || r.shift > 62)
      error(fmt::format("tensor '{}shift' holds {} at element {}; allowed is 1 … 62", prefix, r.shift, c));
    if (r.multiplier == std::numeric_limits<std::int32_t>::min())
      error(fmt::format("tensor '{}multiplier' holds {} at element {}; allowed is −(2^31 − 1) … 2^31 − 1",
                        prefix, r.multiplier, c));
    // |acc · multiplier| is largest at acc = −2^31.
    const std::int64_t product = std::int64_t{std::numeric_limits<std::int32_t>::min()} * r.multiplier;
    const std::int64_t magnitude = product < 0 ? -product : product;
    const std::int64_t room = std::numeric_limits<std::int64_t>::max() - magnitude;
    if (r.offset > room || r.offset < -room)
      error(fmt::format(
          "tensor '{}offset' holds {} at element {}; with this multiplier its magnitude may be at "
          "most {}, or sums leave 64 bits",
          prefix, r.offset, c, room));
  }

  SafeTensors& content_;
  std::string file_;
  std::set<std::string> taken_;
  common::Diagnostics diagnostics_;
};

void take_average(Taker& taker, const std::string& prefix, bool last, DeployedStage& result) {
  if (last) {
    result.output_scale = {taker.positive(prefix + "output_scale")};
    return;
  }
  const auto average = taker.table(prefix + "average_", 1);
  if (!average.empty()) result.average = average.front();
}

// The numbers of an add or a local response normalisation.
void put_host_stage(SafeTensors& content, const std::string& prefix, const DeployedStage& stage) {
  if (stage.add) {
    const array::ResidualAdd& add = *stage.add;
    content.tensors[prefix + "multiplier"] =
        vector_tensor(std::vector<std::int32_t>{add.multiplier_a, add.multiplier_b});
    content.tensors[prefix + "shift"] = vector_tensor(std::vector<std::int32_t>{add.shift});
    content.tensors[prefix + "offset"] = vector_tensor(std::vector<std::int64_t>{add.offset});
  }
  if (stage.result_scale) {
    content.tensors[prefix + "input_scale"] = vector_tensor(std::vector<float>{stage.input_scale});
    content.tensors[prefix + "result_scale"] = vector_tensor(std::vector<float>{*stage.result_scale});
  }
}

DeployedStage take_host_stage(Taker& taker, const Stage& stage, bool last) {
  DeployedStage result;
  const std::string prefix = stage.name + ".";
  if (stage.kind == StageKind::add) {
    result.add = taker.residual_add(prefix);
  } else {
    result.input_scale = taker.positive(prefix + "input_scale");
    result.result_scale = taker.positive(prefix + "result_scale");
  }
  if (stage.global_avg_pool) take_average(taker, prefix, last, result);
  return result;
}

DeployedStage take_stage(Taker& taker, const Stage& stage, bool last) {
  if (!stage.on_chip()) return take_host_stage(taker, stage, last);
  DeployedStage result;
  const std::string prefix = stage.name + ".";
  const std::int64_t channels = stage.gemm_out.channels;
  result.weight = taker.take<std::int8_t>(prefix + "weight", weight_shape(stage));
  for (std::size_t i = 0; i < result.weight.data.size(); ++i)
    if (result.weight.data[i] == -128) {
      taker.error(fmt::format("tensor '{}weight' holds -128 at element {}; allowed is -127 … 127 (symmetric)",
                              prefix, i));
      break;
    }
  result.input_scale = taker.positive(prefix + "input_scale");
  if (last && !stage.global_avg_pool) {
    result.output_scale = taker.finite(prefix + "output_scale", channels);
    result.output_bias = taker.finite(prefix + "output_bias", channels);
  } else {
    result.requantization = taker.table(prefix, channels);
    if (stage.global_avg_pool) take_average(taker, prefix, last, result);
  }
  taker.skip(prefix + kSlots);  // read_placement()
  for (const char* name : {"zero_point", "input_zero_point", "weight_zero_point", "output_zero_point"})
    taker.refuse_zero_points(prefix + name);
  return result;
}

}  // namespace

void write_deployed(const std::filesystem::path& file, const Network& network,
                    const DeployedNetwork& deployed, const Placement* placement) {
  SafeTensors content;
  content.metadata["format"] = kFormat;
  content.metadata["network"] = network.name;
  for (std::size_t s = 0; s < deployed.stages.size(); ++s) {
    const DeployedStage& stage = deployed.stages[s];
    const std::string prefix = network.stages.at(s).name + ".";
    if (network.stages[s].on_chip()) {
      content.tensors[prefix + "weight"] = stage.weight;
      content.tensors[prefix + "input_scale"] = vector_tensor(std::vector<float>{stage.input_scale});
      if (placement != nullptr)
        content.tensors[prefix + kSlots] = vector_tensor(placement->stages.at(s).slot_of);
    } else {
      put_host_stage(content, prefix, stage);
    }
    if (!stage.requantization.empty()) put_table(content, prefix, stage.requantization);
    if (stage.average) put_table(content, prefix + "average_", std::span(&*stage.average, 1));
    if (!stage.output_scale.empty())
      content.tensors[prefix + "output_scale"] = vector_tensor(stage.output_scale);
    if (!stage.output_bias.empty())
      content.tensors[prefix + "output_bias"] = vector_tensor(stage.output_bias);
  }
  if (!deployed.bypass.empty())
    content.tensors["bypass"] = Tensor<std::uint8_t>({deployed.rows, deployed.cols}, deployed.bypass);
  write_safetensors(file, content);
}

DeployedNetwork read_deployed(const std::filesystem::path& file, const Network& network) {
  SafeTensors content = read_safetensors(file);
  const auto format = content.metadata.find("format");
  if (format == content.metadata.end() || format->second != kFormat)
    throw common::InputError(
        {file.string(), 0, 0},
        fmt::format("this is not a deployed network: its metadata must hold \"format\": "
                    "\"{}\"{}",
                    kFormat,
                    format == content.metadata.end() ? std::string(" and holds no format")
                                                     : fmt::format(", found \"{}\"", format->second)));
  Taker taker(content, file.string());
  DeployedNetwork deployed;
  for (std::size_t s = 0; s < network.stages.size(); ++s)
    deployed.stages.push_back(take_stage(taker, network.stages[s], s + 1 == network.stages.size()));
  if (const auto bypass = content.tensors.find("bypass"); bypass != content.tensors.end()) {
    std::vector<std::int64_t> shape;
    std::visit([&](const auto& t) { shape = t.shape; }, bypass->second);
    if (shape.size() != 2) {
      taker.error(fmt::format("tensor 'bypass' has shape {}; expected one byte per PE, [rows, columns]",
                              shape_text(shape)));
      shape = {0, 0};
    }
    Tensor<std::uint8_t> bits = taker.take<std::uint8_t>("bypass", shape);
    for (std::size_t i = 0; i < bits.data.size(); ++i)
      if (bits.data[i] > 1) {
        taker.error(
            fmt::format("tensor 'bypass' holds {} at element {}; allowed is 0 or 1", bits.data[i], i));
        break;
      }
    deployed.bypass = std::move(bits.data);
    deployed.rows = static_cast<int>(shape[0]);
    deployed.cols = static_cast<int>(shape[1]);
  }
  taker.finish();
  return deployed;
}

std::optional<Placement> read_placement(const std::filesystem::path& file, const Network& network) {
  SafeTensors content = read_safetensors(file);
  Taker taker(content, file.string());
  Placement placement = identity_placement(network);
  bool found = false;
  for (const ChannelGroup& group : channel_groups(network)) {
    std::optional<ChannelPlacement> channels;
    for (const std::size_t s : group.stages) {
      const Stage& stage = network.stages[s];
      if (!stage.on_chip() || !content.tensors.contains(stage.name + "." + kSlots)) continue;
      const auto slots = taker.take<std::int32_t>(stage.name + "." + kSlots, {stage.gemm_out.channels});
      // As many slots as the stage's weight has outputs.
      std::int64_t count = 0;
      if (const auto weight = content.tensors.find(stage.name + ".weight"); weight != content.tensors.end())
        std::visit([&](const auto& t) { count = t.shape.empty() ? 0 : t.shape[0]; }, weight->second);
      if (slots.data.empty()) continue;
      channels = ChannelPlacement{count, slots.data};
      found = true;
      placement.stages[s] = *channels;
    }
    // An add or a normalisation goes with those whose results it reads.
    for (const std::size_t s : group.stages)
      if (channels && !network.stages[s].on_chip()) placement.stages[s] = *channels;
  }
  taker.throw_if_any();
  if (!found) return std::nullopt;
  try {
    check_placement(network, placement);
  } catch (const common::InputError& error) {
    throw common::InputError({file.string(), 0, 0}, error.what());
  }
  return placement;
}

bool is_deployed(const std::filesystem::path& file) {
  const SafeTensors content = read_safetensors(file);
  const auto format = content.metadata.find("format");
  return format != content.metadata.end() && format->second.starts_with("kintsugi-deployed");
}

}  // namespace kintsugi::workloads
