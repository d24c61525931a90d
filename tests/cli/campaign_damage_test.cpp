// A campaign whose folder goes wrong: no room left, not writable, results that are damaged or another
// campaign's. Each time a clear word, nothing lost, and the same bytes once the cause is gone.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <map>

#include "tests/cli/tiny_reduce.h"

namespace kintsugi {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using testing::HasSubstr;

const std::string kHow = " --workers 2 --threads 1 --quiet ";

class CampaignDamage : public test::TinyReduce {
 protected:
  // A shell script that may mount file systems: they are gone when it ends.
  Outcome with_mounts(const std::string& script) const {
    write("script.sh", script);
    return test::run_shell("cd '" + folder_.path().string() + "' && unshare -m sh -e script.sh");
  }
  bool may_mount() const {
    return with_mounts("mkdir -p try\nmount -t tmpfs -o size=64k none try\n").status == 0;
  }
  // One file of every kind, of a chip that is delivered in all of these folders.
  std::vector<std::string> kinds(const std::vector<std::string>& folders) const {
    std::string chip;
    for (int i = 6; i > 0; --i) {
      const std::string name = fmt::format("chip-{:04}", i);
      if (std::all_of(folders.begin(), folders.end(), [&](const std::string& folder) {
            return fs::exists(folder_ / (folder + "/chips/" + name + "/weights.safetensors"));
          }))
        chip = name;
    }
    EXPECT_NE(chip, "");
    return {"weights.safetensors",
            "deployed.safetensors",
            "tasks/baseline/scales.safetensors",
            "tasks/baseline/decision.safetensors",
            "tasks/baseline/test.safetensors",
            "tasks/characterize/rate_0.2_repeat_1.csv",
            "tasks/before/" + chip + ".csv",
            "tasks/retrain/" + chip + ".csv",
            "chips/" + chip + "/weights.safetensors",
            "chips/" + chip + "/deployed.safetensors"};
  }
  static std::string binary() { return std::string("'") + KINTSUGI_BINARY + "' "; }
};

constexpr const char* kNoMounts = "file systems cannot be mounted here (it takes root and 'unshare -m')";

TEST_F(CampaignDamage, AFullDiskLosesNothing) {
  if (!may_mount()) GTEST_SKIP() << kNoMounts;
  ASSERT_EQ(reduce_all("a").status, 0);
  const std::string begin = binary() + "reduce all --campaign campaign.yaml --out b" + kHow;
  for (const int kib : {24, 80, 140}) {
    const Outcome outcome = with_mounts(
        fmt::format("mkdir -p b\nmount -t tmpfs -o size={}k none b\nset +e\n{}\necho status $?\nset -e\n"
                    "mount -o remount,size=16m b\n{} campaign resume b {}\nrm -rf c\ncp -r b c\n",
                    kib, begin, binary(), kHow));
    EXPECT_EQ(outcome.status, 0) << outcome.text;
    EXPECT_THAT(outcome.text, HasSubstr("No space left on device; make room and give the command again"))
        << kib;
    EXPECT_THAT(outcome.text, HasSubstr("status 2\n")) << kib;
    test::expect_same_campaigns(folder_ / "a", folder_ / "c");
  }
}

TEST_F(CampaignDamage, AReadOnlyFolderIsRefusedAndLeftAsItWas) {
  if (!may_mount()) GTEST_SKIP() << kNoMounts;
  ASSERT_EQ(reduce_all("a").status, 0);
  const Outcome outcome = with_mounts(fmt::format(
      "mkdir -p b\nmount -t tmpfs none b\n{0} reduce characterize --campaign campaign.yaml --out b {1}\n"
      "mount -o remount,ro b\nset +e\n{0} reduce all --campaign campaign.yaml --out b {1}\necho status $?\n"
      "{0} campaign status b\nset -e\nmount -o remount,rw b\n"
      "{0} reduce all --campaign campaign.yaml --out b {1}\ncp -r b c\n",
      binary(), kHow));
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_THAT(outcome.text,
              HasSubstr("b/.lock: error: cannot write in the campaign's folder: Read-only file system"));
  EXPECT_THAT(outcome.text, HasSubstr("status 2\n"));
  EXPECT_THAT(outcome.text, HasSubstr("6 of 6"));  // status reads only
  test::expect_same_campaigns(folder_ / "a", folder_ / "c");
}

TEST_F(CampaignDamage, ATruncatedResultIsNoticedAndMadeAgain) {
  ASSERT_EQ(reduce_all("a").status, 0);
  const auto whole = test::campaign_bytes(folder_ / "a");
  const std::map<std::string, double> cuts{{"nothing", 0}, {"half", 0.5}, {"all but the end", 0.999}};
  for (const std::string& kind : kinds({"a"}))
    for (const auto& [name, share] : cuts) {
      const fs::path file = folder_ / "a" / kind;
      fs::resize_file(file,
                      static_cast<std::uintmax_t>(share * static_cast<double>(fs::file_size(file) - 1)));
      const Outcome outcome = run("campaign resume a" + kHow);
      EXPECT_EQ(outcome.status, 0) << kind << ", " << name << " left\n" << outcome.text;
      EXPECT_THAT(outcome.text, HasSubstr("made again")) << kind << ", " << name << " left";
      const bool chip = kind.starts_with("chips/");
      EXPECT_THAT(outcome.text, HasSubstr("a/" + (chip ? fs::path(kind).parent_path().string() : kind)))
          << name;
      EXPECT_TRUE(test::campaign_bytes(folder_ / "a") == whole) << kind << ", " << name << " left";
    }
}

TEST_F(CampaignDamage, AResultOfAnotherCampaignIsNotTaken) {
  ASSERT_EQ(reduce_all("a").status, 0);
  ASSERT_EQ(reduce_all("other", "--seed 2").status, 0);
  const auto whole = test::campaign_bytes(folder_ / "a");
  for (const std::string& kind : kinds({"a", "other"})) {
    if (kind == "weights.safetensors") continue;  // below
    fs::copy_file(folder_ / "other" / kind, folder_ / "a" / kind, fs::copy_options::overwrite_existing);
    const Outcome outcome = run("campaign resume a" + kHow);
    EXPECT_EQ(outcome.status, 0) << kind << "\n" << outcome.text;
    EXPECT_THAT(outcome.text,
                testing::ContainsRegex("(another campaign|not this campaign's|not those of this)"));
    EXPECT_TRUE(test::campaign_bytes(folder_ / "a") == whole) << kind;
  }
  // Weights that can be read but are not these may be someone's: they are not overwritten.
  fs::copy_file(folder_ / "other/weights.safetensors", folder_ / "a/weights.safetensors",
                fs::copy_options::overwrite_existing);
  const Outcome refused = run("campaign resume a" + kHow);
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.text, HasSubstr("these are not the weights that this folder's tasks were run with"));
  EXPECT_EQ(text("a/weights.safetensors"), text("other/weights.safetensors"));
}

TEST_F(CampaignDamage, AnotherVersionAndAStaleLock) {
  ASSERT_EQ(reduce_all("a").status, 0);
  const auto whole = test::campaign_bytes(folder_ / "a");
  std::string manifest = text("a/manifest.yaml");
  const std::size_t at = manifest.find("  kintsugi: ") + 12;
  write("a/manifest.yaml", manifest.substr(0, at) + "0.0.7" + manifest.substr(manifest.find('\n', at)));
  const Outcome refused = run("campaign resume a" + kHow);
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.text, HasSubstr("kintsugi: 0.0.7 in the folder, "));
  write("a/manifest.yaml", manifest);
  // Its process is gone, or is something else by now.
  write("a/.lock", fmt::format("{} here\n", ::getpid()));
  EXPECT_EQ(run("campaign resume a" + kHow).status, 0);
  EXPECT_TRUE(test::campaign_bytes(folder_ / "a") == whole);
}

}  // namespace
}  // namespace kintsugi
