// Files, digests, random streams and threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <set>
#include <stdexcept>

#include "common/diagnostics.h"
#include "common/files.h"
#include "common/random.h"
#include "common/sha256.h"
#include "common/thread_pool.h"
#include "tests/support/input_error.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi::common {
namespace {

using test::input_error;
using testing::HasSubstr;

TEST(Files, WriteMakesFoldersReplacesAndLeavesNothingBeside) {
  const test::TemporaryFolder folder;
  const auto path = folder / "a/b/file.txt";
  write_file_atomic(path, "old");
  write_file_atomic(path, std::string("new\0bytes", 9));
  EXPECT_EQ(read_file(path), std::string("new\0bytes", 9));
  int entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path.parent_path()))
    ++entries;
  EXPECT_EQ(entries, 1);
}

TEST(Files, AWriteThatFailsKeepsTheOldFile) {
  const test::TemporaryFolder folder;
  const auto path = folder / "file";
  std::filesystem::create_directory(path);  // a folder stands where the file should go
  std::ofstream(path / "inside") << "kept";
  EXPECT_THAT(input_error([&] { write_file_atomic(path, "x"); }), HasSubstr("cannot write"));
  EXPECT_EQ(read_file(path / "inside"), "kept");
  int entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++entries;
  EXPECT_EQ(entries, 1);
}

TEST(Files, WhatCannotBeReadIsNamed) {
  const test::TemporaryFolder folder;
  EXPECT_THAT(input_error([&] { read_file(folder / "nowhere"); }),
              HasSubstr("nowhere: error: cannot open: No such"));
  EXPECT_THAT(input_error([&] { read_file(folder.path()); }), HasSubstr("Is a directory"));
}

TEST(Gzip, IsReadByTheSystemsGzipAndReadsIt) {
  const test::TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 20000; ++i) text += std::to_string(i * 7919 % 1000) + "\n";
  write_file_atomic(folder / "ours.gz", gzip(text));
  write_file_atomic(folder / "plain", text);
  const std::string in = "cd '" + folder.path().string() + "' && ";
  ASSERT_EQ(std::system((in + "gzip -dc ours.gz | cmp - plain").c_str()), 0);
  ASSERT_EQ(std::system((in + "gzip -k plain").c_str()), 0);
  EXPECT_EQ(read_file_maybe_gzip(folder / "plain.gz"), text);
  EXPECT_EQ(read_file_maybe_gzip(folder / "plain"), text);
  EXPECT_EQ(gzip(text), gzip(text));
  // Several members one after another are one file.
  write_file_atomic(folder / "two.gz", gzip("ab") + gzip("cd"));
  EXPECT_EQ(read_file_maybe_gzip(folder / "two.gz"), "abcd");
}

TEST(Gzip, DamageIsRefused) {
  const test::TemporaryFolder folder;
  const std::string whole = gzip(std::string(5000, 'x') + "end");
  for (std::size_t keep : {whole.size() - 1, whole.size() / 2, std::size_t{3}}) {
    write_file_atomic(folder / "cut.gz", whole.substr(0, keep));
    EXPECT_THAT(input_error([&] { read_file_maybe_gzip(folder / "cut.gz"); }),
                HasSubstr("damaged or truncated"));
  }
  std::string flipped = whole;
  flipped[flipped.size() - 6] ^= 1;  // in the checksum
  write_file_atomic(folder / "flipped.gz", flipped);
  EXPECT_THAT(input_error([&] { read_file_maybe_gzip(folder / "flipped.gz"); }),
              HasSubstr("damaged or truncated"));
}

// FIPS 180-4's examples.
TEST(Sha256, GivesThePublishedDigests) {
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 pieces;
  for (const std::string_view piece : {"a", "", "bc"}) pieces.add(std::as_bytes(std::span(piece)));
  EXPECT_EQ(pieces.finish(), sha256("abc"));
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  const test::TemporaryFolder folder;
  write_file_atomic(folder / "f", std::string(1000000, 'a'));
  EXPECT_EQ(sha256_file(folder / "f"), sha256(std::string(1000000, 'a')));
}

TEST(RandomStreams, DependOnSeedPurposeAndIndexOnly) {
  RandomStream a(1, "maps", 3), again(1, "maps", 3);
  RandomStream other(1, "order", 3);
  other.next();
  std::set<std::uint64_t> firsts;
  for (int i = 0; i < 100; ++i) ASSERT_EQ(a.next(), again.next());
  for (const std::uint64_t seed : {0, 1, 2})
    for (const char* purpose : {"maps", "map", "order"})
      for (const std::uint64_t index : {0, 1, 2}) firsts.insert(RandomStream(seed, purpose, index).next());
  EXPECT_EQ(firsts.size(), 27U);
}

TEST(RandomStreams, SavedStateContinues) {
  RandomStream a(5, "x");
  for (int i = 0; i < 10; ++i) a.next();
  const std::string state = a.save();
  std::array<double, 20> expected{};
  for (double& value : expected) value = a.normal();
  RandomStream b(9, "other");
  b.restore(state);
  for (const double value : expected) EXPECT_EQ(b.normal(), value);
}

// Sample means and variances within six standard errors of the distributions' own.
TEST(RandomStreams, HaveTheMomentsOfTheirDistributions) {
  constexpr int kDraws = 200000;
  const auto check = [](const char* name, double mean, double variance, double fourth_over_variance2,
                        auto draw) {
    double sum = 0, squares = 0;
    for (int i = 0; i < kDraws; ++i) {
      const double x = draw();
      sum += x - mean;
      squares += (x - mean) * (x - mean);
    }
    EXPECT_NEAR(sum / kDraws, 0, 6 * std::sqrt(variance / kDraws)) << name;
    EXPECT_NEAR(squares / kDraws, variance, 6 * variance * std::sqrt((fourth_over_variance2 - 1) / kDraws))
        << name;
  };
  RandomStream r(11, "moments");
  check("uniform", 0.5, 1.0 / 12, 1.8, [&] { return r.uniform(); });
  check("normal", 0, 1, 3, [&] { return r.normal(); });
  check("gamma 0.5", 0.5, 0.5, 3 + 6 / 0.5, [&] { return r.gamma(0.5); });
  check("gamma 4", 4, 4, 3 + 6.0 / 4, [&] { return r.gamma(4); });
  check("below 10", 4.5, 99.0 / 12, 1.8, [&] { return static_cast<double>(r.below(10)); });
}

TEST(RandomStreams, BelowReachesEveryValueAndShuffleKeepsThemAll) {
  RandomStream r(3, "below");
  std::array<int, 7> hits{};
  for (int i = 0; i < 7000; ++i) ++hits.at(r.below(7));
  for (const int n : hits) EXPECT_NEAR(n, 1000, 200);
  EXPECT_EQ(r.below(1), 0U);
  std::vector<int> values(100);
  std::iota(values.begin(), values.end(), 0);
  std::vector<int> shuffled = values;
  r.shuffle(std::span<int>(shuffled));
  EXPECT_NE(shuffled, values);
  EXPECT_THAT(shuffled, testing::UnorderedElementsAreArray(values));
}

TEST(ThreadPoolLoop, RunsEachIndexOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (const std::int64_t n : {0, 1, 3, 1000}) {
      std::vector<std::atomic<int>> hits(static_cast<std::size_t>(n));
      pool.parallel_for(n, [&](std::int64_t i) { ++hits[static_cast<std::size_t>(i)]; });
      for (const auto& hit : hits) EXPECT_EQ(hit, 1);
    }
  }
}

TEST(ThreadPoolLoop, HandsOnAnExceptionAndGoesOnWorking) {
  ThreadPool pool(3);
  EXPECT_THROW(pool.parallel_for(50,
                                 [](std::int64_t i) {
                                   if (i == 17) throw std::runtime_error("seventeen");
                                 }),
               std::runtime_error);
  std::atomic<int> sum{0};
  pool.parallel_for(10, [&](std::int64_t i) { sum += static_cast<int>(i); });
  EXPECT_EQ(sum, 45);
}

}  // namespace
}  // namespace kintsugi::common
