#include "workloads/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <string_view>

#include "common/diagnostics.h"
#include "common/random.h"
#include "workloads/dataset_files.h"

namespace kintsugi::workloads {
namespace {

std::string text(const FeatureShape& shape) {
  return fmt::format("{}×{}×{}", shape.channels, shape.height, shape.width);
}

void apply_limit(ImageSet& images, const configs::DatasetConfig& config) {
  if (!config.images_limit) return;
  if (*config.images_limit > images.size())
    throw common::InputError(config.where, fmt::format("'images' asks for {} images, but {} holds {}",
                                                       *config.images_limit, images.name, images.size()));
  if (*config.images_limit < images.size()) images = images.first(*config.images_limit);
}

}  // namespace

ImageSet ImageSet::first(std::int64_t n) const {
  const std::int64_t count = std::min(n, size());
  return {name,
          shape,
          classes,
          pixels.part(0, static_cast<std::size_t>(count * shape.count())),
          {labels.begin(), labels.begin() + count}};
}

ImageSet ImageSet::select(std::span<const std::int64_t> indices) const {
  ImageSet out{name, shape, classes, {}, {}};
  out.labels.reserve(indices.size());
  for (const std::int64_t i : indices) out.labels.push_back(labels[i]);
  const auto bytes = static_cast<std::size_t>(shape.count());
  const auto breaks = std::adjacent_find(indices.begin(), indices.end(),
                                         [](std::int64_t a, std::int64_t b) { return b != a + 1; });
  if (breaks == indices.end()) {
    if (!indices.empty())
      out.pixels = pixels.part(static_cast<std::size_t>(indices.front()) * bytes, indices.size() * bytes);
    return out;
  }
  std::vector<std::uint8_t> chosen;
  chosen.reserve(indices.size() * bytes);
  for (const std::int64_t i : indices) {
    const auto pixels_of = image(i);
    chosen.insert(chosen.end(), pixels_of.begin(), pixels_of.end());
  }
  out.pixels = std::move(chosen);
  return out;
}

ImageSet load_dataset(const configs::DatasetConfig& config, configs::Split split,
                      const std::filesystem::path& data_dir) {
  ImageSet images;
  if (config.name.empty())
    images = load_npy_pair(config.images, config.labels);
  else if (config.name == "fashion-mnist")
    images = load_fashion_mnist(find_dataset(config, data_dir), split);
  else if (config.name == "cifar-10")
    images = load_cifar10(find_dataset(config, data_dir), split);
  else
    throw common::InputError(
        config.where, fmt::format("the data set '{}' is not known; known are fashion-mnist and cifar-10, and "
                                  "files of your own as {{images: x.npy, labels: y.npy}}",
                                  config.name));
  apply_limit(images, config);
  return images;
}

ImageSet random_image_set(const configs::RandomImages& config, const Network& network) {
  ImageSet set;
  set.name = "random images";
  set.shape = network.input_shape();
  set.classes = network.classes;
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(config.images * set.shape.count()));
  common::RandomStream random(config.seed, "random-images");
  for (std::uint8_t& pixel : pixels) pixel = static_cast<std::uint8_t>(random.next() >> 56);
  set.pixels = std::move(pixels);
  set.labels.assign(static_cast<std::size_t>(config.images), 0);
  return set;
}

void check_dataset(const ImageSet& images, const Network& network, const common::Location& where) {
  common::Diagnostics problems;
  const FeatureShape wanted = network.input_shape();
  if (images.shape.channels != wanted.channels || images.shape.height != wanted.height ||
      images.shape.width != wanted.width)
    problems.error(where,
                   fmt::format("images of {} are {} (channels × height × width), but the network '{}' reads "
                               "{}; change its 'input' or choose another data set",
                               images.name, text(images.shape), network.name, text(wanted)));
  if (images.size() == 0) problems.error(where, fmt::format("{} holds no images", images.name));
  const auto bad = std::find_if(images.labels.begin(), images.labels.end(),
                                [&](std::int32_t label) { return label < 0 || label >= network.classes; });
  if (bad != images.labels.end())
    problems.error(where,
                   fmt::format("image {} of {} has label {}, but the network '{}' has {} outputs (labels 0 … "
                               "{})",
                               bad - images.labels.begin(), images.name, *bad, network.name, network.classes,
                               network.classes - 1));
  problems.throw_if_any();
}

DecisionSplit hold_out(const ImageSet& all, std::int64_t decision_images, std::optional<std::uint64_t> seed) {
  if (decision_images < 1 || decision_images >= all.size())
    throw common::InputError(
        fmt::format("'decision_images' is {}, but {} has {} training images; at least one must "
                    "be held out and at least one must remain",
                    decision_images, all.name, all.size()));
  std::vector<std::int64_t> order(static_cast<std::size_t>(all.size()));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  if (seed) common::RandomStream(*seed, "decision-split").shuffle(std::span(order));
  const std::span<std::int64_t> training(order.data(),
                                         order.size() - static_cast<std::size_t>(decision_images));
  const std::span<std::int64_t> decision(order.data() + training.size(),
                                         static_cast<std::size_t>(decision_images));
  // Sorted, so that which images are chosen is all that the seed decides.
  std::sort(training.begin(), training.end());
  std::sort(decision.begin(), decision.end());
  return {all.select(training), all.select(decision)};
}

void normalize(const ImageSet& images, std::int64_t begin, std::int64_t count,
               const configs::InputConfig& input, std::span<float> out) {
  const std::int64_t plane = images.shape.height * images.shape.width;
  // One table per channel: a pixel has only 256 values.
  std::vector<std::array<float, 256>> tables(static_cast<std::size_t>(images.shape.channels));
  for (std::size_t c = 0; c < tables.size(); ++c) {
    const double mean = input.mean.empty() ? 0.0 : input.mean[c];
    const double deviation = input.std.empty() ? 1.0 : input.std[c];
    for (std::size_t pixel = 0; pixel < 256; ++pixel)
      tables[c][pixel] = static_cast<float>((static_cast<double>(pixel) * input.scale - mean) / deviation);
  }
  const std::uint8_t* source = images.pixels.data() + begin * images.shape.count();
  float* target = out.data();
  for (std::int64_t i = 0; i < count; ++i)
    for (const auto& table : tables)
      for (std::int64_t p = 0; p < plane; ++p) *target++ = table[*source++];
}

}  // namespace kintsugi::workloads
