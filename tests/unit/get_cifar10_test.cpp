// scripts/get_cifar10.sh: its converter on made-up PNGs (every row filter), and its refusal of files whose
// sums are not the official ones.
#include <gmock/gmock.h>
#include <zlib.h>

#include <cstdlib>

#include "common/files.h"
#include "common/random.h"
#include "tests/support/run_shell.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi {
namespace {

using testing::HasSubstr;

const std::string kScripts = std::string(KINTSUGI_SOURCE_DIR) + "/scripts/";
constexpr int kWidth = 1024, kRows = 7;

std::string big_endian(std::uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8),
          static_cast<char>(v)};
}

std::string chunk(const std::string& kind, const std::string& body) {
  const std::string checked = kind + body;
  const auto sum =
      ::crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size()));
  return big_endian(static_cast<std::uint32_t>(body.size())) + checked +
         big_endian(static_cast<std::uint32_t>(sum));
}

// PNG specification, section 9.2: the predictor of each filter.
int predict(int filter, int left, int up, int corner) {
  if (filter == 1) return left;
  if (filter == 2) return up;
  if (filter == 3) return (left + up) / 2;
  if (filter == 0) return 0;
  const int p = left + up - corner;
  const int pa = std::abs(p - left), pb = std::abs(p - up), pc = std::abs(p - corner);
  return pa <= pb && pa <= pc ? left : pb <= pc ? up : corner;
}

// Rows of RGB pixels as a PNG; row i uses filter (i + first_filter) mod 5, and the data comes in two chunks.
std::string png(const std::vector<std::string>& rows, int first_filter) {
  std::string filtered;
  std::string above(3 * kWidth, '\0');
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const int filter = (static_cast<int>(r) + first_filter) % 5;
    filtered += static_cast<char>(filter);
    for (std::size_t i = 0; i < rows[r].size(); ++i) {
      const auto byte = [](char c) { return static_cast<int>(static_cast<unsigned char>(c)); };
      const int left = i < 3 ? 0 : byte(rows[r][i - 3]), corner = i < 3 ? 0 : byte(above[i - 3]);
      filtered += static_cast<char>(byte(rows[r][i]) - predict(filter, left, byte(above[i]), corner));
    }
    above = rows[r];
  }
  uLongf size = ::compressBound(filtered.size());
  std::string packed(size, '\0');
  ::compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(filtered.data()),
             filtered.size());
  packed.resize(size);
  return "\x89PNG\r\n\x1a\n" +
         chunk("IHDR", big_endian(kWidth) + big_endian(static_cast<std::uint32_t>(rows.size())) +
                           std::string("\x08\x02\x00\x00\x00", 5)) +
         chunk("IDAT", packed.substr(0, size / 2)) + chunk("IDAT", packed.substr(size / 2)) +
         chunk("IEND", "");
}

class GetCifar10 : public testing::Test {
 protected:
  void SetUp() override {
    if (test::run_shell("python3 --version").status != 0)
      GTEST_SKIP() << "no python3, which the converter needs";
    common::RandomStream random(1, "test-png");
    std::string train = "[", test = "[";
    for (int file = 0; file < 6; ++file) {
      std::vector<std::string> rows;
      std::string expected;
      for (int r = 0; r < kRows; ++r) {
        std::string row(3 * kWidth, '\0');
        for (char& c : row) c = static_cast<char>(random.next());
        const int label = (file + r) % 10;
        std::string& labels = file < 5 ? train : test;
        if (labels.size() > 1) labels += ',';
        labels += std::to_string(label);
        expected += static_cast<char>(label);
        for (std::size_t channel = 0; channel < 3; ++channel)
          for (std::size_t p = 0; p < kWidth; ++p) expected += row[3 * p + channel];
        rows.push_back(row);
      }
      const std::string name = file < 5 ? "data_batch_" + std::to_string(file + 1) : "test_batch";
      common::write_file_atomic(package() / (name + ".png"), png(rows, file));
      expected_[name + ".bin"] = expected;
    }
    common::write_file_atomic(package() / "train_lables.json", train + "]");
    common::write_file_atomic(package() / "test_lables.json", test + "]");
    std::filesystem::create_directories(out());
  }

  std::filesystem::path package() const { return folder_ / "package"; }
  std::filesystem::path out() const { return folder_ / "out"; }
  test::Outcome convert() const {
    return test::run_shell("python3 " + kScripts + "cifar10_from_png.py " + package().string() + " " +
                           out().string());
  }

  test::TemporaryFolder folder_;
  std::map<std::string, std::string> expected_;
};

TEST_F(GetCifar10, ConvertsEveryRowFilter) {
  const test::Outcome outcome = convert();
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  for (const auto& [name, bytes] : expected_) EXPECT_TRUE(common::read_file(out() / name) == bytes) << name;
}

TEST_F(GetCifar10, RefusesDamagedImagesAndLabels) {
  const std::string whole = common::read_file(package() / "data_batch_2.png");
  common::write_file_atomic(package() / "data_batch_2.png", whole.substr(0, whole.size() / 2));
  test::Outcome outcome = convert();
  EXPECT_NE(outcome.status, 0);
  EXPECT_THAT(outcome.text, HasSubstr("data_batch_2.png: damaged or truncated"));
  common::write_file_atomic(package() / "data_batch_2.png", whole);
  common::write_file_atomic(package() / "test_lables.json", "[1, 2]");
  outcome = convert();
  EXPECT_NE(outcome.status, 0);
  EXPECT_THAT(outcome.text, HasSubstr("7 images need as many labels"));
}

TEST_F(GetCifar10, RefusesFilesWithOtherSums) {
  ASSERT_EQ(convert().status, 0);
  const std::string target = (folder_ / "data").string();
  test::Outcome outcome =
      test::run_shell(kScripts + "get_cifar10.sh " + target + " --from " + out().string());
  EXPECT_NE(outcome.status, 0);
  EXPECT_THAT(outcome.text, HasSubstr("data_batch_1.bin: FAILED"));
  EXPECT_FALSE(std::filesystem::exists(target + "/cifar-10"));
  common::write_file_atomic(folder_ / "x.tgz", "not the package");
  outcome =
      test::run_shell(kScripts + "get_cifar10.sh " + target + " --tarball " + (folder_ / "x.tgz").string());
  EXPECT_NE(outcome.status, 0);
  EXPECT_THAT(outcome.text, HasSubstr("it is damaged or another file"));
  EXPECT_TRUE(std::filesystem::is_empty(target));
  // Somebody's own folder of that name is left alone.
  common::write_file_atomic(target + "/cifar-10/mine", "1");
  outcome = test::run_shell(kScripts + "get_cifar10.sh " + target + " --from " + out().string());
  EXPECT_THAT(outcome.text, HasSubstr("move it away first"));
  EXPECT_TRUE(std::filesystem::exists(target + "/cifar-10/mine"));
}

}  // namespace
}  // namespace kintsugi
