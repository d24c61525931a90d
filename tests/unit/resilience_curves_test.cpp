// Resilience curves: means and ranges over the maps of each rate, by hand, and what is refused.
#include "sim/resilience_curves.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/files.h"
#include "tests/support/input_error.h"
#include "tests/support/temporary_folder.h"
#include "workloads/safetensors.h"

namespace kintsugi {
namespace {

using test::TemporaryFolder;
using ::testing::HasSubstr;

constexpr const char* kTable =
    "fault_rate,repeat,steps,epochs,accuracy\n"
    "0.2,0,0,0,0.5\n0.2,0,50,0.1,0.75\n"
    "0.05,0,0,0,0.75\n0.05,0,50,0.1,0.875\n"
    "0.2,1,0,0,0.25\n0.2,1,50,0.1,0.625\n";

TEST(ResilienceCurves, AverageTheMapsOfEachRate) {
  const TemporaryFolder folder;
  common::write_file_atomic(folder.path() / "characterization.csv", kTable);
  workloads::SafeTensors baseline;
  baseline.tensors["int8"] = workloads::Tensor<std::uint8_t>({4}, {1, 1, 0, 1});
  workloads::write_safetensors(folder.path() / "tasks/baseline/decision.safetensors", baseline);

  const auto curve = sim::read_curve(sim::parse_curve("FAP+T=" + folder.path().string() + "@50"));
  EXPECT_EQ(curve.choice.name, "FAP+T");
  EXPECT_EQ(curve.without_faults, 0.75);
  EXPECT_EQ(curve.decided_on, "");
  ASSERT_EQ(curve.points.size(), 2u);
  EXPECT_EQ(curve.points[0].fault_rate, 0.05);
  EXPECT_EQ(curve.points[0].maps, 1);
  EXPECT_EQ(curve.points[1].maps, 2);
  EXPECT_EQ(curve.points[1].mean, 0.6875);
  EXPECT_EQ(curve.points[1].lowest, 0.625);
  EXPECT_EQ(curve.points[1].highest, 0.75);

  const auto unretrained = sim::read_curve(sim::parse_curve("FAP=" + folder.path().string()));
  EXPECT_EQ(sim::curves_csv({unretrained, curve}),
            "curve,steps,fault_rate,maps,mean_accuracy,lowest_accuracy,highest_accuracy\n"
            "FAP,0,0.05,1,0.75,0.75,0.75\nFAP,0,0.2,2,0.375,0.25,0.5\n"
            "FAP+T,50,0.05,1,0.875,0.875,0.875\nFAP+T,50,0.2,2,0.6875,0.625,0.75\n");
  EXPECT_THAT(sim::curves_table({unretrained, curve}), HasSubstr("68.75 [62.5, 75.0]"));
  const std::string picture = sim::curves_svg({unretrained, curve}, "a title");
  EXPECT_THAT(picture, HasSubstr("a title"));
  EXPECT_THAT(picture, HasSubstr("without faults"));
  EXPECT_THAT(picture, HasSubstr("decision set"));
}

TEST(ResilienceCurves, SayWhoseTheDecisionsWere) {
  const TemporaryFolder folder;
  common::write_file_atomic(folder.path() / "characterization.csv",
                            "fault_rate,repeat,steps,epochs,accuracy,decided_on\n0.1,0,0,0,0.5,test\n");
  const auto curve = sim::read_curve({"FAP", folder.path(), 0});
  EXPECT_EQ(curve.decided_on, "test");
  EXPECT_FALSE(curve.without_faults);
  EXPECT_THAT(sim::curves_svg({curve}, "t"), HasSubstr("test set"));
}

TEST(ResilienceCurves, RefuseWhatTheyCannotRead) {
  using test::input_error;
  for (const char* text : {"FAP", "=folder", "FAP=", "FAP=folder@", "FAP=folder@x", "FAP=folder@-1"})
    EXPECT_THAT(input_error([&] { sim::parse_curve(text); }), HasSubstr(text));
  // An @ in the name or the folder's own is no number of steps.
  EXPECT_EQ(sim::parse_curve("a@b=folder").folder, "folder");
  const TemporaryFolder folder;
  EXPECT_THAT(input_error([&] {
                sim::read_curve({"FAP", folder.path(), 0});
              }),
              HasSubstr("no characterization.csv"));
  const auto file = folder.path() / "characterization.csv";
  common::write_file_atomic(file, "rate,steps\n");
  EXPECT_THAT(input_error([&] { sim::read_curve({"FAP", folder.path(), 0}); }), HasSubstr("csv:1"));
  common::write_file_atomic(file, kTable);
  EXPECT_THAT(input_error([&] { sim::read_curve({"FAP", folder.path(), 7}); }), HasSubstr("there are 0, 50"));
  common::write_file_atomic(file, std::string(kTable) + "0.2,1,0,0,good\n");
  EXPECT_THAT(input_error([&] { sim::read_curve({"FAP", folder.path(), 0}); }), HasSubstr("csv:8:11"));
}

}  // namespace
}  // namespace kintsugi
