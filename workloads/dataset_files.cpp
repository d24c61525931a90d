#include "workloads/dataset_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include "common/diagnostics.h"
#include "common/files.h"
#include "workloads/decoded_cache.h"
#include "workloads/npy.h"

namespace kintsugi::workloads {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kClasses = 10;  // of both named sets

[[noreturn]] void fail(const fs::path& file, const std::string& message) {
  throw common::InputError({file.string()}, message);
}

// What a set's folder may be called, a file that shows it is there, and how to get it.
struct NamedSet {
  std::string_view name;
  std::array<std::string_view, 2> folders;
  std::array<std::string_view, 2> probes;
  std::string_view advice;
};

constexpr std::array kNamedSets = {
    NamedSet{
        "fashion-mnist",
        {"fashion-mnist", "FashionMNIST/raw"},
        {"t10k-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte"},
        "install it with 'apt-get install dataset-fashion-mnist', or put its four IDX files into a folder "
        "'fashion-mnist' and name the folder above it with --data-dir"},
    NamedSet{"cifar-10",
             {"cifar-10", "cifar-10-batches-bin"},
             {"test_batch.bin", "data_batch_1.bin"},
             "get it with 'scripts/get_cifar10.sh DIR' and pass --data-dir DIR, or name the folder that "
             "holds your "
             "'cifar-10-batches-bin' with --data-dir"},
};

std::uint32_t big_endian_32(const Pixels& bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | bytes[at + i];
  return value;
}

struct Idx {
  std::vector<std::uint32_t> shape;
  Pixels data;  // what follows the header
};

// An IDX file of unsigned bytes with the given rank, gzip-compressed or not.
Idx read_idx(const fs::path& folder, const std::string& name, std::size_t rank) {
  fs::path file = folder / (name + ".gz");
  std::error_code code;
  if (!fs::exists(file, code) && fs::exists(folder / name, code)) file = folder / name;
  if (!fs::exists(file, code))
    fail(file, "the file is missing; the data set needs all four of its IDX files");
  Idx idx;
  const Pixels bytes = decoded_file(file);
  const std::size_t header = 4 + 4 * rank;
  if (bytes.size() < 4) fail(file, "the file ends inside its header; get it again");
  const std::uint32_t magic = big_endian_32(bytes, 0), wanted = 0x800 | static_cast<std::uint32_t>(rank);
  if (magic != wanted)
    fail(file,
         fmt::format("this is not an IDX file of unsigned bytes with {} dimensions (it starts with 0x{:08x} "
                     "instead of 0x{:08x})",
                     rank, magic, wanted));
  if (bytes.size() < header) fail(file, "the file ends inside its header; get it again");
  std::uint64_t count = 1;
  for (std::size_t i = 0; i < rank; ++i) {
    idx.shape.push_back(big_endian_32(bytes, 4 + 4 * i));
    count = std::min<std::uint64_t>(count * idx.shape.back(), std::uint64_t{1} << 31);
  }
  const std::uint64_t have = bytes.size() - header;
  if (have != count)
    fail(file,
         fmt::format("the header announces {} bytes, but {} follow it; the file is damaged or truncated, get "
                     "it again",
                     count, have));
  idx.data = bytes.part(header, static_cast<std::size_t>(have));
  return idx;
}

void check_labels(const fs::path& file, const std::vector<std::int32_t>& labels) {
  for (std::size_t i = 0; i < labels.size(); ++i)
    if (labels[i] >= kClasses)
      fail(file, fmt::format("label {} of image {} is outside 0 … {}; the file is damaged, get it again",
                             labels[i], i, kClasses - 1));
}

}  // namespace

fs::path find_dataset(const configs::DatasetConfig& config, const fs::path& data_dir) {
  const auto set = std::find_if(kNamedSets.begin(), kNamedSets.end(),
                                [&](const NamedSet& s) { return s.name == config.name; });
  if (set == kNamedSets.end())
    throw common::InputError(config.where, fmt::format("unknown data set '{}'", config.name));
  std::vector<fs::path> roots;
  if (!data_dir.empty()) {
    std::error_code code;
    if (!fs::is_directory(data_dir, code))
      throw common::InputError({"--data-dir " + data_dir.string()},
                               "there is no such folder; name the folder that holds the data sets");
    roots.push_back(data_dir);
  }
  if (const char* variable = std::getenv("KINTSUGI_DATA"); variable != nullptr && *variable != '\0')
    roots.emplace_back(variable);
  roots.emplace_back("/usr/share/datasets");

  std::string looked;
  for (const fs::path& root : roots) {
    // The data folder itself may be the set's folder.
    std::vector<fs::path> folders = {root};
    for (const std::string_view folder : set->folders) folders.push_back(root / folder);
    for (const fs::path& folder : folders) {
      std::error_code code;
      for (const std::string_view probe : set->probes)
        if (fs::exists(folder / probe, code)) return folder;
    }
    looked += fmt::format("{}{}", looked.empty() ? "" : ", ", root.string());
  }
  throw common::InputError(config.where, fmt::format("the data set '{}' was not found under {}; {}",
                                                     config.name, looked, set->advice));
}

ImageSet load_fashion_mnist(const fs::path& folder, configs::Split split) {
  const std::string prefix = split == configs::Split::train ? "train" : "t10k";
  const Idx images = read_idx(folder, prefix + "-images-idx3-ubyte", 3);
  const Idx labels = read_idx(folder, prefix + "-labels-idx1-ubyte", 1);
  if (images.shape[0] != labels.shape[0])
    fail(folder, fmt::format("{} images but {} labels in the '{}' files; get the data set again",
                             images.shape[0], labels.shape[0], prefix));
  ImageSet set;
  set.name = "fashion-mnist";
  set.shape = {1, images.shape[1], images.shape[2]};
  set.classes = kClasses;
  set.pixels = images.data;
  set.labels.assign(labels.data.begin(), labels.data.end());
  check_labels(folder / (prefix + "-labels-idx1-ubyte"), set.labels);
  return set;
}

ImageSet load_cifar10(const fs::path& folder, configs::Split split) {
  constexpr std::size_t kPixels = 3 * 32 * 32, kRecord = 1 + kPixels, kRecords = 10'000;
  std::vector<std::string> files = {"test_batch.bin"};
  if (split == configs::Split::train) {
    files.clear();
    for (int i = 1; i <= 5; ++i) files.push_back(fmt::format("data_batch_{}.bin", i));
  }
  ImageSet set;
  set.name = "cifar-10";
  set.shape = {3, 32, 32};
  set.classes = kClasses;
  std::vector<std::uint8_t> all;
  all.reserve(files.size() * kRecords * kPixels);
  for (const std::string& name : files) {
    const fs::path file = folder / name;
    std::error_code code;
    if (!fs::exists(file, code))
      fail(file,
           "the file is missing; the data set needs data_batch_1.bin … data_batch_5.bin and test_batch.bin "
           "(see "
           "scripts/get_cifar10.sh)");
    const auto size = fs::file_size(file, code);
    if (code) fail(file, fmt::format("the file cannot be read: {}", code.message()));
    const Pixels bytes = Pixels::map(file, 0, static_cast<std::size_t>(size));
    if (bytes.size() != kRecords * kRecord)
      fail(file, fmt::format(
                     "the file has {} bytes instead of {} ({} records of a label and the red, green and blue "
                     "planes); it is damaged or truncated, get it again",
                     bytes.size(), kRecords * kRecord, kRecords));
    for (std::size_t at = 0; at < bytes.size(); at += kRecord) {
      set.labels.push_back(bytes[at]);
      const auto pixels = bytes.begin() + static_cast<std::ptrdiff_t>(at) + 1;
      all.insert(all.end(), pixels, pixels + kPixels);
      if (set.labels.back() >= kClasses)
        fail(file, fmt::format("record {} has label {}, outside 0 … {}; the file is damaged, get it again",
                               at / kRecord, set.labels.back(), kClasses - 1));
    }
  }
  set.pixels = std::move(all);
  return set;
}

ImageSet load_npy_pair(const fs::path& image_file, const fs::path& label_file) {
  const MappedNpy images = map_npy(image_file);
  Tensor<std::int32_t> labels = read_npy_labels(label_file);
  const std::size_t rank = images.shape.size();
  if (rank != 3 && rank != 4)
    fail(image_file,
         fmt::format("the array has rank {}; images must be N×C×H×W, or N×H×W for one channel", rank));
  if (images.shape[0] != labels.shape[0])
    fail(label_file, fmt::format("{} labels, but {} holds {} images", labels.shape[0], image_file.string(),
                                 images.shape[0]));
  if (images.shape[0] == 0 || images.bytes.size() == 0) fail(image_file, "the array holds no images");
  ImageSet set;
  set.name = image_file.string();
  if (rank == 3)
    set.shape = {1, images.shape[1], images.shape[2]};
  else
    set.shape = {images.shape[1], images.shape[2], images.shape[3]};
  set.classes = std::int64_t{*std::max_element(labels.data.begin(), labels.data.end())} + 1;
  set.pixels = images.bytes;
  set.labels = std::move(labels.data);
  return set;
}

}  // namespace kintsugi::workloads
