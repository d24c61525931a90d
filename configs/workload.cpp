#include "configs/workload.h"

#include <fmt/format.h>

#include <limits>

#include "common/text.h"

namespace kintsugi::configs {
namespace {

constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();

GemmWorkload read_gemm(Section gemm) {
  GemmWorkload config;
  config.activations = gemm.path("activations");
  config.weights = gemm.path("weights");
  return config;
}

// `weights: random(7)` or a file.
void read_weights(Section& workload, NetworkWorkload& config) {
  const YAML::Node node = workload.raw("weights");
  const std::string text = node.IsDefined() && node.IsScalar() ? node.Scalar() : "";
  if (!text.starts_with("random(")) {
    config.weights = workload.path("weights");
    return;
  }
  const auto seed =
      text.ends_with(")") ? common::parse_integer(text.substr(7, text.size() - 8)) : std::nullopt;
  if (!seed || *seed < 0)
    return workload.error(
        "weights",
        fmt::format("'{}' is not 'random(SEED)'; SEED is a whole number from 0, as in random(1)", text));
  config.random_weights = static_cast<std::uint64_t>(*seed);
}

NetworkWorkload read_network_workload(Section& workload) {
  NetworkWorkload config;
  config.network = workload.path("network");
  read_weights(workload, config);
  Section dataset = workload.section("dataset");
  config.dataset = read_dataset(dataset, false);
  config.batch = workload.integer("batch", 1, 1 << 20, config.batch);
  config.calibration_images = workload.integer("calibration_images", 1, kAny, config.calibration_images);
  return config;
}

}  // namespace

DatasetConfig read_dataset(Section& section, bool fixed_split) {
  DatasetConfig config;
  config.where = section.where();
  if (!fixed_split && section.has("random")) {
    Section random = section.section("random");
    config.random.emplace();
    config.random->images = random.integer("images", 1, 1 << 20, 1);
    config.random->seed = static_cast<std::uint64_t>(random.integer("seed", 0, kAny, 1));
    for (const char* other : {"name", "images", "labels", "split"})
      if (section.has(other))
        section.error(other, fmt::format("random images need no '{}'; remove it, or 'random'", other));
    return config;
  }
  const bool named = section.has("name");
  // `images` means a file without `name`, and a number of images with it.
  const bool files = section.has("labels") || (!named && section.has("images"));
  if (named && files) {
    section.error("labels",
                  "a data set is either a 'name' or two files 'images' and 'labels', not both; remove one");
    for (const std::string& key : section.keys()) section.has(key);
    return config;
  }
  if (files) {
    config.images = section.path("images");
    config.labels = section.path("labels");
    if (!fixed_split && section.has("split"))
      section.error("split",
                    "'split' chooses a part of a named data set; these files are taken whole, so remove it");
    return config;
  }
  if (!named) {
    section.error(
        "a data set needs a 'name' (fashion-mnist or cifar-10), or two .npy files 'images' and 'labels'");
    return config;
  }
  config.name = section.text("name");
  if (fixed_split) {
    if (section.has("images"))
      section.error("images",
                    "a campaign uses the whole data set; remove 'images' (it is the path of a file only "
                    "where there is no 'name')");
    return config;
  }
  config.split =
      section.choice<Split>("split", {{"train", Split::train}, {"test", Split::test}}, config.split);
  if (section.has("images")) config.images_limit = section.integer("images", 1, kAny, 1);
  return config;
}

WorkloadConfig read_workload(const std::filesystem::path& file, const Overrides& overrides) {
  YamlFile yaml(file, "workload", overrides);
  Section workload = yaml.root();
  WorkloadConfig config;
  config.file = file;
  const bool gemm = workload.has("gemm");
  const bool network = workload.has("network");
  const bool topology = workload.has("topology");
  if (gemm && network) {
    workload.error("network", "a workload is either a 'gemm' or a 'network', not both; remove one");
    for (const std::string& key : workload.keys()) workload.has(key);
  } else if (topology && (gemm || network)) {
    workload.error("topology",
                   fmt::format("a workload is either a 'topology' or a '{}', not both; remove one",
                               gemm ? "gemm" : "network"));
    for (const std::string& key : workload.keys()) workload.has(key);
  } else if (topology) {
    config.topology = TopologyWorkload{workload.path("topology")};
  } else if (gemm) {
    config.gemm = read_gemm(workload.section("gemm"));
  } else if (network) {
    config.network = read_network_workload(workload);
  } else {
    workload.error(
        "a workload needs 'gemm: {activations: a.npy, weights: w.npy}', 'topology: layers.csv', or "
        "'network', 'weights' and "
        "'dataset'");
  }
  yaml.finish();
  return config;
}

}  // namespace kintsugi::configs
