#include "faults/wafer.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "common/text.h"

namespace kintsugi::faults {

std::string wafer_of(const FaultMap& map) {
  if (map.meta.find("wafer") == std::string::npos) return {};  // reading YAML takes its time
  const YAML::Node meta = YAML::Load(map.meta);
  return meta.IsMap() && meta["wafer"] && meta["wafer"].IsScalar() ? meta["wafer"].Scalar() : std::string();
}

std::string wafer_meta(std::string_view wafer) {
  return wafer.empty() ? std::string() : fmt::format("wafer: {}\n", common::yaml_scalar(wafer));
}

}  // namespace kintsugi::faults
