#include "sim/scales_file.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "common/diagnostics.h"
#include "workloads/safetensors.h"

namespace kintsugi::sim {

using common::InputError;

void write_scales(const std::filesystem::path& path, const workloads::ActivationScales& scales) {
  try {
    if (std::filesystem::exists(path) && read_scales(path) == scales) return;
  } catch (const InputError&) {
  }
  workloads::SafeTensors file;
  const auto tensor = [](const std::vector<float>& values) {
    return workloads::Tensor<float>({static_cast<std::int64_t>(values.size())}, values);
  };
  file.tensors["input"] = tensor(scales.input);
  file.tensors["before_average"] = tensor(scales.before_average);
  if (!scales.second_input.empty()) file.tensors["second_input"] = tensor(scales.second_input);
  workloads::write_safetensors(path, file);
}

workloads::ActivationScales read_scales(const std::filesystem::path& path) {
  const workloads::SafeTensors file = workloads::read_safetensors(path);
  const auto values = [&](const std::string& name) {
    const auto found = file.tensors.find(name);
    const auto* tensor =
        found == file.tensors.end() ? nullptr : std::get_if<workloads::Tensor<float>>(&found->second);
    if (tensor == nullptr)
      throw InputError({path.string()},
                       fmt::format("holds no scales '{}'; delete the file to have it made again", name));
    return tensor->data;
  };
  workloads::ActivationScales scales{values("input"), values("before_average")};
  if (file.tensors.contains("second_input")) scales.second_input = values("second_input");
  return scales;
}

}  // namespace kintsugi::sim
