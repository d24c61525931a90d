#include "training/checkpoint.h"

#include <fmt/format.h>

#include "common/diagnostics.h"
#include "common/sha256.h"
#include "common/text.h"
#include "workloads/safetensors.h"

namespace kintsugi::training {
namespace {

using workloads::Tensor;

const std::string kFormat = "kintsugi-training-checkpoint-1";

template <class T>
std::string digest(const std::map<std::string, Tensor<T>>& tensors) {
  std::string text;
  for (const auto& [name, tensor] : tensors) {
    const auto* const bytes = reinterpret_cast<const char*>(tensor.data.data());
    text += name + ' ' + common::sha256(std::string_view(bytes, tensor.data.size() * sizeof(T))) + '\n';
  }
  return common::sha256(text);
}

// Of values that lie one after the other.
template <class Values>
std::string digest_all(const Values& values) {
  return common::sha256(
      std::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(*values.data())));
}

std::string list(const std::vector<double>& values) {
  std::string text;
  for (const double value : values) text += common::format_number(value) + ' ';
  return text;
}

std::string describe(const workloads::Network& network) {
  std::string text = fmt::format("{} {}x{}x{} scale {} mean {} std {}\n", network.name,
                                 network.input.channels, network.input.height, network.input.width,
                                 network.input.scale, list(network.input.mean), list(network.input.std));
  for (std::size_t index = 0; index < network.stages.size(); ++index) {
    const workloads::Stage& s = network.stages[index];
    text +=
        fmt::format("{} conv {} bias {} k{} s{} p{} g{} in {}x{}x{} out {}x{}x{} relu {} avg {} dropout {}",
                    s.name, s.convolution, s.bias, s.kernel, s.stride, s.padding, s.groups, s.in.channels,
                    s.in.height, s.in.width, s.gemm_out.channels, s.gemm_out.height, s.gemm_out.width, s.relu,
                    s.global_avg_pool, s.dropout);
    if (s.batch_norm) {
      text += fmt::format(" bn {} {} {}", s.batch_norm->name, s.batch_norm->eps, s.batch_norm->momentum);
    }
    if (s.max_pool) {
      text += fmt::format(" pool {} {} padding {} to {}x{}", s.max_pool->kernel, s.max_pool->stride,
                          s.max_pool->padding, s.out.height, s.out.width);
    }
    if (s.kind == workloads::StageKind::add) text += " add";
    if (s.kind == workloads::StageKind::local_response_norm) {
      text += fmt::format(" lrn {} {} {} {}", s.lrn.size, s.lrn.alpha, s.lrn.beta, s.lrn.k);
    }
    if (s.inputs != std::vector{static_cast<int>(index) - 1}) {
      for (const int source : s.inputs) text += fmt::format(" of {}", source);
    }
    text += '\n';
  }
  return text;
}

}  // namespace

std::string parameters_digest(const workloads::Parameters& parameters) {
  return digest(parameters);
}

std::string run_identity(const workloads::Network& network, const std::string& start_digest,
                         const workloads::ImageSet& images, const TrainerOptions& options,
                         const workloads::Masks& masks, const std::optional<ChipInTheLoop>& chip) {
  const configs::SgdConfig& sgd = options.sgd;
  std::string text = describe(network);
  text += fmt::format("batch {} rate {} momentum {} decay {} schedule {} {} {} augment {}\n", sgd.batch,
                      sgd.learning_rate, sgd.momentum, sgd.weight_decay, static_cast<int>(sgd.schedule.kind),
                      list(sgd.schedule.milestones), sgd.schedule.gamma, sgd.augment);
  if (sgd.backward == configs::Backward::bf16) text += "backward bf16\n";
  if (options.freeze_batch_norm) text += "batch-norm frozen\n";
  if (options.output_noise > 0) text += fmt::format("noise {}\n", options.output_noise);
  // A constant rate does not depend on how long the run is meant to be, so such a run may be prolonged.
  const bool stretched = sgd.schedule.kind != configs::ScheduleKind::constant;
  text += fmt::format("total {} seed {} stream {} tag {}\n", stretched ? options.total_steps : 0,
                      options.seed, options.stream, options.tag);
  text += "start " + start_digest + "\nmasks " + digest(masks) + '\n';
  text +=
      fmt::format("images {} {} {}\n", images.size(), digest_all(images.pixels), digest_all(images.labels));
  if (chip) {
    const configs::ChipConfig& c = chip->accelerator->chip();
    text += fmt::format("chip {}x{} accumulator {} mapping {} scales {} {}\n", c.array.rows, c.array.cols,
                        c.array.accumulator_bits, static_cast<int>(c.convolution),
                        digest_all(chip->scales.input), digest_all(chip->scales.before_average));
    if (!chip->scales.second_input.empty()) text += "second " + digest_all(chip->scales.second_input) + '\n';
    if (!chip->on_host.empty()) text += "on host " + digest_all(chip->on_host) + '\n';
  }
  return common::sha256(text);
}

void write_checkpoint(const std::filesystem::path& file, const RunState& state, const std::string& identity,
                      const std::map<std::string, std::string>& notes) {
  workloads::SafeTensors content;
  for (const auto& [name, tensor] : state.parameters) content.tensors["parameter/" + name] = tensor;
  for (const auto& [name, tensor] : state.momentum) content.tensors["momentum/" + name] = tensor;
  content.metadata = {{"format", kFormat}, {"run", identity}, {"steps", std::to_string(state.steps)}};
  content.metadata.insert(notes.begin(), notes.end());
  workloads::write_safetensors(file, content);
}

RunState read_checkpoint(const std::filesystem::path& file, const std::string& identity,
                         const RunState& expected) {
  const workloads::SafeTensors content = workloads::read_safetensors(file);
  const auto text = [&](const std::string& key) {
    const auto found = content.metadata.find(key);
    return found == content.metadata.end() ? std::string() : found->second;
  };
  const common::Location where{file.string(), 0, 0};
  if (text("format") != kFormat) {
    throw common::InputError(where,
                             "not a training checkpoint; start the run without it, or give weights as such");
  }
  if (text("run") != identity) {
    throw common::InputError(where,
                             "a checkpoint of another run: network, start weights, images, options, seed and "
                             "masks must be the same to continue; remove it to start anew");
  }
  const auto steps = common::parse_integer(text("steps"));
  if (!steps || *steps < 0) throw common::InputError(where, "a damaged checkpoint: no number of steps");
  RunState state;
  state.steps = *steps;
  const auto take = [&](const std::string& prefix, const workloads::Parameters& wanted) {
    workloads::Parameters result;
    for (const auto& [name, tensor] : wanted) {
      const auto found = content.tensors.find(prefix + name);
      const auto* values =
          found == content.tensors.end() ? nullptr : std::get_if<Tensor<float>>(&found->second);
      if (!values || values->shape != tensor.shape) {
        throw common::InputError(
            where, fmt::format("a damaged checkpoint: {}{} is missing or of another shape", prefix, name));
      }
      result[name] = *values;
    }
    return result;
  };
  state.parameters = take("parameter/", expected.parameters);
  state.momentum = take("momentum/", expected.momentum);
  return state;
}

}  // namespace kintsugi::training
