// Image sets: the real Fashion-MNIST where it is installed, made-up files for everything that can be wrong.
#include "workloads/dataset.h"

#include <gmock/gmock.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <fstream>

#include "common/files.h"
#include "tests/support/input_error.h"
#include "tests/support/temporary_folder.h"
#include "workloads/decoded_cache.h"
#include "workloads/npy.h"

namespace kintsugi::workloads {
namespace {

using configs::Split;
using test::input_error;
using testing::HasSubstr;

std::string big_endian(std::uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

std::string idx(const std::vector<std::uint32_t>& shape, const std::string& data) {
  std::string bytes = big_endian(0x800 + static_cast<std::uint32_t>(shape.size()));
  for (const std::uint32_t d : shape) bytes += big_endian(d);
  return bytes + data;
}

class Dataset : public testing::Test {
 protected:
  void SetUp() override {
    ::unsetenv("KINTSUGI_DATA");
    ::setenv("XDG_CACHE_HOME", (folder_ / "cache").c_str(), 1);
  }
  void TearDown() override { ::unsetenv("KINTSUGI_DATA"); }

  static configs::DatasetConfig named(const std::string& name) {
    configs::DatasetConfig config;
    config.name = name;
    config.where = {"workload.yaml", 3, 5};
    return config;
  }
  void write(const std::string& name, const std::string& bytes) {
    common::write_file_atomic(folder_ / name, bytes);
  }

  // Three images of 2×2 in the folder "fashion-mnist", as gzip.
  void write_tiny_fashion() {
    write("fashion-mnist/t10k-images-idx3-ubyte.gz", common::gzip(idx({3, 2, 2}, "abcdefghijkl")));
    write("fashion-mnist/t10k-labels-idx1-ubyte.gz", common::gzip(idx({3}, std::string("\x07\x00\x09", 3))));
  }
  ImageSet load_tiny() { return load_dataset(named("fashion-mnist"), Split::test, folder_.path()); }

  test::TemporaryFolder folder_;
};

TEST_F(Dataset, InstalledFashionMnist) {
  const ImageSet test = load_dataset(named("fashion-mnist"), Split::test, {});
  EXPECT_EQ(test.size(), 10'000);
  EXPECT_EQ(test.shape.count(), 28 * 28);
  EXPECT_EQ(test.classes, 10);
  for (int c = 0; c < 10; ++c) EXPECT_EQ(std::count(test.labels.begin(), test.labels.end(), c), 1000);
  // The first test image is an ankle boot (9), the second a pullover (2).
  EXPECT_EQ(test.labels[0], 9);
  EXPECT_EQ(test.labels[1], 2);
  const ImageSet train = load_dataset(named("fashion-mnist"), Split::train, {});
  EXPECT_EQ(train.size(), 60'000);
  // The well-known mean and deviation of the training pixels.
  double sum = 0, squares = 0;
  for (const std::uint8_t p : train.pixels) {
    sum += p;
    squares += static_cast<double>(p) * p;
  }
  const double n = static_cast<double>(train.pixels.size());
  EXPECT_NEAR(sum / n / 255, 0.2860, 5e-5);
  EXPECT_NEAR(std::sqrt(squares / n - sum / n * sum / n) / 255, 0.3530, 5e-5);
}

TEST_F(Dataset, ReadsIdxCompressedOrPlain) {
  write_tiny_fashion();
  const ImageSet images = load_tiny();
  EXPECT_EQ(images.labels, (std::vector<std::int32_t>{7, 0, 9}));
  EXPECT_EQ(std::string(images.pixels.begin(), images.pixels.end()), "abcdefghijkl");
  EXPECT_EQ(images.shape.height, 2);
  std::filesystem::remove(folder_ / "fashion-mnist/t10k-images-idx3-ubyte.gz");
  write("fashion-mnist/t10k-images-idx3-ubyte", idx({3, 2, 2}, "ABCDEFGHIJKL"));
  EXPECT_EQ(load_tiny().pixels[0], 'A');
}

// One image of 600×600, each pixel `value`; the only copy of it that is kept.
class DecodedCache : public Dataset {
 protected:
  static constexpr std::uint32_t kSide = 600;
  const std::string file_ = "fashion-mnist/t10k-images-idx3-ubyte.gz";

  void write_large(char value) {
    write(file_, common::gzip(idx({1, kSide, kSide}, std::string(kSide * kSide, value))));
    write("fashion-mnist/t10k-labels-idx1-ubyte.gz", common::gzip(idx({1}, std::string(1, '\3'))));
  }
  std::vector<std::filesystem::path> copies() const {
    std::vector<std::filesystem::path> found;
    std::error_code code;
    for (const auto& entry : std::filesystem::directory_iterator(cache_folder(), code))
      found.push_back(entry.path());
    return found;
  }
  // Every pixel, if they are all alike.
  char pixel() {
    const ImageSet images = load_tiny();
    EXPECT_EQ(images.size(), 1);
    EXPECT_EQ(images.pixels.size(), kSide * kSide);
    EXPECT_EQ(std::count(images.pixels.begin(), images.pixels.end(), images.pixels[0]), kSide * kSide);
    return static_cast<char>(images.pixels[0]);
  }
};

// Gzip's own check would refuse the source; only a copy can still give the pixels.
TEST_F(DecodedCache, ReadsTheCopyAndNotTheSource) {
  write_large('a');
  EXPECT_EQ(pixel(), 'a');
  ASSERT_EQ(copies().size(), 1u);
  const auto changed = std::filesystem::last_write_time(folder_ / file_);
  std::string bytes = common::read_file(folder_ / file_);
  bytes[bytes.size() - 8] = static_cast<char>(bytes[bytes.size() - 8] ^ 1);
  write(file_, bytes);
  std::filesystem::last_write_time(folder_ / file_, changed);
  EXPECT_EQ(pixel(), 'a');
  // Without it the damage shows.
  std::filesystem::remove(copies().front());
  EXPECT_THAT(input_error([&] { load_tiny(); }), HasSubstr("damaged or truncated"));
}

TEST_F(DecodedCache, NoticesAnotherSource) {
  write_large('a');
  EXPECT_EQ(pixel(), 'a');
  const auto changed = std::filesystem::last_write_time(folder_ / file_);
  write_large('b');  // as long as the one before
  std::filesystem::last_write_time(folder_ / file_, changed + std::chrono::nanoseconds(1000));
  EXPECT_EQ(pixel(), 'b');
  EXPECT_EQ(pixel(), 'b');
  EXPECT_EQ(copies().size(), 1u);
}

TEST_F(DecodedCache, DoesNotTrustADamagedCopy) {
  write_large('a');
  EXPECT_EQ(pixel(), 'a');
  const std::filesystem::path copy = copies().front();
  const std::string whole = common::read_file(copy);
  for (const std::size_t at : {std::size_t{0}, std::size_t{40}, std::size_t{5000}, whole.size() - 1}) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 4);
    common::write_file_atomic(copy, bytes);
    EXPECT_EQ(pixel(), 'a') << "byte " << at;
    EXPECT_EQ(common::read_file(copy), whole) << "the copy is mended";
  }
  for (const std::size_t size : {std::size_t{0}, std::size_t{100}, std::size_t{4096}, whole.size() - 1}) {
    common::write_file_atomic(copy, whole.substr(0, size));
    EXPECT_EQ(pixel(), 'a') << size << " bytes left";
  }
}

TEST_F(DecodedCache, IsNotNeeded) {
  write_large('a');
  write("a-file", "");
  ::setenv("XDG_CACHE_HOME", (folder_ / "a-file").c_str(), 1);  // no folder can be made there
  EXPECT_EQ(pixel(), 'a');
  ::setenv("XDG_CACHE_HOME", "not/absolute", 1);
  ::setenv("HOME", folder_.path().c_str(), 1);
  EXPECT_EQ(pixel(), 'a');
  EXPECT_EQ(cache_folder(), folder_ / ".cache/kintsugi");
  EXPECT_EQ(copies().size(), 1u);
  ::unsetenv("HOME");
  EXPECT_EQ(cache_folder(), "");
  EXPECT_EQ(pixel(), 'a');
}

TEST_F(Dataset, LooksInTheFolderThenTheEnvironmentThenTheSystem) {
  write_tiny_fashion();
  EXPECT_EQ(load_tiny().size(), 3);
  ::setenv("KINTSUGI_DATA", folder_.path().c_str(), 1);
  EXPECT_EQ(load_dataset(named("fashion-mnist"), Split::test, {}).size(), 3);
  test::TemporaryFolder empty;
  EXPECT_EQ(load_dataset(named("fashion-mnist"), Split::test, empty.path()).size(), 3);
  // The folder of the set itself will do, too.
  EXPECT_EQ(load_dataset(named("fashion-mnist"), Split::test, folder_ / "fashion-mnist").size(), 3);
}

TEST_F(Dataset, MissingSetsSayHowToGetThem) {
  const auto missing = [&](const std::string& name) {
    return input_error([&] { load_dataset(named(name), Split::test, folder_.path()); });
  };
  EXPECT_THAT(missing("cifar-10"),
              HasSubstr("workload.yaml:3:5: error: the data set 'cifar-10' was not found under " +
                        folder_.path().string() +
                        ", /usr/share/datasets; get it with "
                        "'scripts/get_cifar10.sh DIR'"));
  EXPECT_THAT(missing("mnist"), HasSubstr("known are fashion-mnist and cifar-10"));
  write_tiny_fashion();
  std::filesystem::remove(folder_ / "fashion-mnist/t10k-labels-idx1-ubyte.gz");
  EXPECT_THAT(missing("fashion-mnist"), HasSubstr("t10k-labels-idx1-ubyte.gz: error: the file is missing"));
}

TEST_F(Dataset, RefusesDamagedIdx) {
  const auto refusal = [&](const std::string& images, const std::string& labels) {
    write("fashion-mnist/t10k-images-idx3-ubyte.gz", images);
    write("fashion-mnist/t10k-labels-idx1-ubyte.gz", labels);
    return input_error([&] { load_tiny(); });
  };
  const std::string images = idx({3, 2, 2}, "abcdefghijkl"),
                    labels = idx({3}, std::string("\x07\x00\x09", 3));
  EXPECT_THAT(refusal(idx({3, 2, 2}, "abcdefghijk"), labels), HasSubstr("announces 12 bytes, but 11 follow"));
  EXPECT_THAT(refusal(idx({3, 2, 2}, "abcdefghijklm"), labels),
              HasSubstr("announces 12 bytes, but 13 follow"));
  EXPECT_THAT(refusal(idx({0xffffffff, 0xffffffff, 0xffffffff}, ""), labels),
              HasSubstr("damaged or truncated"));
  EXPECT_THAT(refusal(images.substr(0, 9), labels), HasSubstr("ends inside its header"));
  EXPECT_THAT(refusal(labels, labels), HasSubstr("it starts with 0x00000801 instead of 0x00000803"));
  EXPECT_THAT(refusal(images, idx({2}, "\x01\x02")), HasSubstr("3 images but 2 labels"));
  EXPECT_THAT(refusal(images, idx({3}, "\x01\x02\x0a")), HasSubstr("label 10 of image 2"));
  const std::string packed = common::gzip(images);
  EXPECT_THAT(refusal(packed.substr(0, packed.size() - 9), labels),
              HasSubstr("gzip data is damaged or truncated"));
}

TEST_F(Dataset, CifarBatches) {
  constexpr std::size_t kRecord = 3073;
  std::string batch(10'000 * kRecord, '\0');
  for (int file = 1; file <= 5; ++file) {
    batch[0] = static_cast<char>(file);  // the first record's label
    batch[kRecord] = 9;
    batch[kRecord + 1] = '\xff';         // red of the second image's first pixel
    batch[kRecord + 1 + 2 * 1024] = 77;  // blue
    write("cifar-10-batches-bin/data_batch_" + std::to_string(file) + ".bin", batch);
  }
  const ImageSet train = load_dataset(named("cifar-10"), Split::train, folder_.path());
  EXPECT_EQ(train.size(), 50'000);
  EXPECT_EQ(train.shape.channels, 3);
  for (int file = 0; file < 5; ++file) EXPECT_EQ(train.labels[file * 10'000], file + 1);
  EXPECT_EQ(train.labels[1], 9);
  EXPECT_EQ(train.image(1)[0], 255);
  EXPECT_EQ(train.image(1)[2 * 1024], 77);

  const auto refusal = [&](Split split) {
    return input_error([&] { load_dataset(named("cifar-10"), split, folder_.path()); });
  };
  EXPECT_THAT(refusal(Split::test), HasSubstr("test_batch.bin: error: the file is missing"));
  write("cifar-10-batches-bin/test_batch.bin", batch.substr(0, 5 * kRecord));
  EXPECT_THAT(refusal(Split::test), HasSubstr("15365 bytes instead of 30730000"));
  batch[2 * kRecord] = 10;
  write("cifar-10-batches-bin/test_batch.bin", batch);
  EXPECT_THAT(refusal(Split::test), HasSubstr("record 2 has label 10"));
}

TEST_F(Dataset, NpyPairs) {
  Tensor<std::uint8_t> images({2, 3, 1, 2});
  for (std::size_t i = 0; i < images.data.size(); ++i) images.data[i] = static_cast<std::uint8_t>(i);
  write_npy(folder_ / "x.npy", images);
  write_npy(folder_ / "y.npy", Tensor<std::int64_t>({2}, {4, 1}));
  configs::DatasetConfig config;
  config.images = folder_ / "x.npy";
  config.labels = folder_ / "y.npy";
  ImageSet set = load_dataset(config, Split::test, {});
  EXPECT_EQ(set.shape.channels, 3);
  EXPECT_EQ(set.shape.width, 2);
  EXPECT_EQ(set.classes, 5);
  EXPECT_EQ(set.image(1)[0], 6);

  config.images_limit = 1;
  EXPECT_EQ(load_dataset(config, Split::test, {}).size(), 1);
  config.images_limit = 3;
  EXPECT_THAT(input_error([&] { load_dataset(config, Split::test, {}); }), HasSubstr("asks for 3 images"));
  config.images_limit.reset();

  write_npy(folder_ / "y.npy", Tensor<std::int64_t>({3}, {4, 1, 1}));
  EXPECT_THAT(input_error([&] { load_dataset(config, Split::test, {}); }), HasSubstr("3 labels, but"));
  write_npy(folder_ / "y.npy", Tensor<std::int64_t>({2}, {4, 1}));
  write_npy(folder_ / "x.npy", Tensor<std::uint8_t>({2, 4, 5}));
  set = load_dataset(config, Split::test, {});
  EXPECT_EQ(set.shape.channels, 1);
  EXPECT_EQ(set.shape.height, 4);
  write_npy(folder_ / "x.npy", Tensor<std::uint8_t>({2, 4}));
  EXPECT_THAT(input_error([&] { load_dataset(config, Split::test, {}); }), HasSubstr("rank 2"));
  write_npy(folder_ / "x.npy", Tensor<float>({2, 1, 2, 2}));
  EXPECT_THAT(input_error([&] { load_dataset(config, Split::test, {}); }), HasSubstr("uint8 is needed"));
  write_npy(folder_ / "x.npy", Tensor<std::uint8_t>({0, 1, 2, 2}));
  write_npy(folder_ / "y.npy", Tensor<std::int64_t>({0}, {}));
  EXPECT_THAT(input_error([&] { load_dataset(config, Split::test, {}); }), HasSubstr("no images"));
}

ImageSet numbered(std::int64_t n) {
  ImageSet set{"numbered", {1, 1, 2}, 10, {}, {}};
  std::vector<std::uint8_t> pixels;
  for (std::int64_t i = 0; i < n; ++i) {
    pixels.push_back(static_cast<std::uint8_t>(i));
    pixels.push_back(static_cast<std::uint8_t>(i + 100));
    set.labels.push_back(static_cast<std::int32_t>(i));
  }
  set.pixels = std::move(pixels);
  return set;
}

// Nothing is copied but what is chosen out of order.
TEST_F(Dataset, PartsShareTheirPixels) {
  const ImageSet all = numbered(10);
  EXPECT_EQ(all.first(4).pixels.data(), all.pixels.data());
  const std::vector<std::int64_t> run = {3, 4, 5}, holes = {3, 5};
  EXPECT_EQ(all.select(run).pixels.data(), all.pixels.data() + 6);
  EXPECT_EQ(all.select(run).size(), 3);
  EXPECT_NE(all.select(holes).pixels.data(), all.pixels.data() + 6);
  EXPECT_EQ(all.select(holes).pixels[2], 5);
  // Parts outlive the whole.
  Pixels part;
  {
    const ImageSet whole = numbered(10);
    part = whole.select(run).pixels;
  }
  EXPECT_EQ(part[1], 103);

  write_npy(folder_ / "x.npy", Tensor<std::uint8_t>({2, 3}, {1, 2, 3, 4, 5, 6}));
  const MappedNpy mapped = map_npy(folder_ / "x.npy");
  EXPECT_EQ(mapped.shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(std::vector<int>(mapped.bytes.begin(), mapped.bytes.end()), (std::vector{1, 2, 3, 4, 5, 6}));
  write_npy(folder_ / "i.npy", Tensor<std::int8_t>({2}, {1, 2}));
  EXPECT_THAT(input_error([&] { map_npy(folder_ / "i.npy"); }), HasSubstr("holds int8, uint8 is needed"));
}

TEST_F(Dataset, HoldOut) {
  const ImageSet all = numbered(20);
  const DecisionSplit last = hold_out(all, 5, std::nullopt);
  EXPECT_EQ(last.training.labels.back(), 14);
  EXPECT_EQ(last.decision.labels, (std::vector<std::int32_t>{15, 16, 17, 18, 19}));
  EXPECT_EQ(last.decision.image(4)[1], 119);

  const DecisionSplit random = hold_out(all, 5, 1);
  std::vector<std::int32_t> both = random.training.labels;
  EXPECT_EQ(both.size(), 15u);
  both.insert(both.end(), random.decision.labels.begin(), random.decision.labels.end());
  std::sort(both.begin(), both.end());
  EXPECT_EQ(both, all.labels);
  EXPECT_EQ(hold_out(all, 5, 1).decision.labels, random.decision.labels);
  EXPECT_NE(hold_out(all, 5, 2).decision.labels, random.decision.labels);
  for (std::int64_t i = 0; i < 5; ++i) EXPECT_EQ(random.decision.image(i)[0], random.decision.labels[i]);

  for (const std::int64_t n : {0, 20, 21, -1})
    EXPECT_THAT(input_error([&] { hold_out(all, n, 1); }), HasSubstr("'decision_images' is"));
}

TEST_F(Dataset, Normalize) {
  ImageSet set{"x", {2, 1, 2}, 2, std::vector<std::uint8_t>{0, 255, 10, 20, 1, 2, 3, 4}, {0, 1}};
  configs::InputConfig input;
  std::vector<float> out(4);
  normalize(set, 1, 1, input, out);  // without mean and std: pixel / 255
  EXPECT_FLOAT_EQ(out[0], 1.0f / 255);
  input.scale = 0.5;
  input.mean = {1, 2};
  input.std = {2, 0.25};
  out.resize(8);
  normalize(set, 0, 2, input, out);
  EXPECT_EQ(out, (std::vector<float>{-0.5f, 63.25f, 12, 32, -0.25f, 0, -2, 0}));
}

TEST_F(Dataset, CheckAgainstTheNetwork) {
  Network network;
  network.name = "net";
  network.input.channels = 1;
  network.input.height = 1;
  network.input.width = 2;
  network.classes = 10;
  const common::Location where{"workload.yaml", 4, 7};
  ImageSet set = numbered(10);
  EXPECT_NO_THROW(check_dataset(set, network, where));
  set.labels[3] = 10;
  network.input.width = 3;
  const std::string text = input_error([&] { check_dataset(set, network, where); });
  EXPECT_THAT(
      text,
      HasSubstr("workload.yaml:4:7: error: images of numbered are 1×1×2 (channels × height × width), but "
                "the network 'net' reads 1×1×3"));
  EXPECT_THAT(
      text,
      HasSubstr("image 3 of numbered has label 10, but the network 'net' has 10 outputs (labels 0 … 9)"));
}

}  // namespace
}  // namespace kintsugi::workloads
