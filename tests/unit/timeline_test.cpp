// The timeline's file, as a viewer reads it.
#include "sim/timeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/files.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi::sim {
namespace {

using array::Lane;
using ::testing::ElementsAre;

struct Slice {
  std::string name, category, lane;
  int thread = 0;
  double begin = 0, end = 0;  // µs
  nlohmann::json args;
};

class Timeline : public testing::Test {
 protected:
  // The slices of the file in its order, with their lanes' names.
  std::vector<Slice> written(const TimelineWriter& writer) {
    writer.finish(folder_ / "out.json", "chip \"a\"");
    const auto json = nlohmann::json::parse(common::read_file(folder_ / "out.json"));
    std::map<int, std::string> lanes;
    std::vector<Slice> slices;
    for (const auto& event : json.at("traceEvents")) {
      EXPECT_EQ(event.at("pid"), 1);
      const int thread = event.at("tid").get<int>();
      if (event.at("ph") == "M") {
        if (event.at("name") == "thread_name") {
          EXPECT_TRUE(lanes.emplace(thread, event.at("args").at("name").get<std::string>()).second);
        }
        if (event.at("name") == "process_name") {
          EXPECT_EQ(event.at("args").at("name"), "chip \"a\"");
        }
        continue;
      }
      EXPECT_EQ(event.at("ph"), "X");
      const double begin = event.at("ts").get<double>();
      EXPECT_TRUE(lanes.contains(thread));
      slices.push_back({event.at("name").get<std::string>(), event.at("cat").get<std::string>(),
                        lanes[thread], thread, begin, begin + event.at("dur").get<double>(),
                        event.at("args")});
    }
    return slices;
  }
  static std::vector<Slice> in_lane(const std::vector<Slice>& slices, const std::string& lane) {
    std::vector<Slice> found;
    for (const Slice& slice : slices)
      if (slice.lane == lane) found.push_back(slice);
    return found;
  }

  test::TemporaryFolder folder_;
};

TEST_F(Timeline, LaysLaunchesOneAfterTheOther) {
  TimelineWriter writer(50);  // 20 ns a cycle
  writer.begin_layer("one");
  writer({Lane::array_load, 3, 7, 0, 0});
  writer({Lane::array_stream, 7, 12, 0, 0});
  writer.end_layer(20);
  writer.begin_layer("host");  // nothing on the chip
  writer.end_layer(0);
  writer.begin_layer("two");
  writer({Lane::activation_unit, 4, 9, 5, 0});
  writer.end_layer(10);
  EXPECT_EQ(writer.cycles(), 30);
  const auto slices = written(writer);

  const auto layers = in_lane(slices, "layers");
  ASSERT_EQ(layers.size(), 2u);
  EXPECT_EQ(layers[0].name, "one");
  EXPECT_DOUBLE_EQ(layers[0].begin, 0);
  EXPECT_DOUBLE_EQ(layers[0].end, 0.4);
  EXPECT_EQ(layers[1].name, "two");
  EXPECT_DOUBLE_EQ(layers[1].begin, 0.4);
  EXPECT_DOUBLE_EQ(layers[1].end, 0.6);

  const auto loads = in_lane(slices, "weight load");
  ASSERT_EQ(loads.size(), 1u);
  EXPECT_EQ(loads[0].name, "load 0");
  EXPECT_EQ(loads[0].category, "one");
  EXPECT_DOUBLE_EQ(loads[0].begin, 0.06);
  EXPECT_DOUBLE_EQ(loads[0].end, 0.14);
  EXPECT_FALSE(loads[0].args.contains("bytes"));
  EXPECT_DOUBLE_EQ(in_lane(slices, "stream").at(0).end, 0.24);

  const auto drains = in_lane(slices, "activation unit");
  ASSERT_EQ(drains.size(), 1u);
  EXPECT_EQ(drains[0].category, "two");
  EXPECT_DOUBLE_EQ(drains[0].begin, 0.48);
  EXPECT_EQ(drains[0].args.at("begin_cycle"), 24);
  EXPECT_EQ(drains[0].args.at("cycles"), 5);
  EXPECT_EQ(drains[0].args.at("block"), 5);
  EXPECT_EQ(drains[0].args.at("layer"), "two");
}

TEST_F(Timeline, TransfersUnderWayTogetherDoNotOverlapInALane) {
  TimelineWriter writer(100);
  writer.begin_layer("one");
  // Told as they end; the third fits behind the first, the fourth beside both.
  writer({Lane::dma_weights, 0, 10, 0, 640});
  writer({Lane::dma_weights, 5, 15, 1, 64});
  writer({Lane::dma_weights, 10, 12, 2, 32});
  writer({Lane::dma_weights, 11, 20, 3, 16});
  writer({Lane::dma_activations, 2, 6, 1, 8});
  writer({Lane::dma_outputs, 12, 18, 2, 4});
  writer.end_layer(20);
  const auto slices = written(writer);
  std::map<int, double> end_of;
  for (const Slice& slice : slices) {
    EXPECT_GE(slice.begin, end_of[slice.thread] - 1e-12) << slice.name;
    end_of[slice.thread] = slice.end;
  }
  const auto names = [&](const std::string& lane) {
    std::vector<std::string> found;
    for (const Slice& slice : in_lane(slices, lane)) found.push_back(slice.name);
    return found;
  };
  EXPECT_THAT(names("DMA weights"), ElementsAre("weights 0", "weights 2"));
  EXPECT_THAT(names("DMA weights (2)"), ElementsAre("weights 1"));
  EXPECT_THAT(names("DMA weights (3)"), ElementsAre("weights 3"));
  EXPECT_THAT(names("DMA activations"), ElementsAre("activations 1"));
  EXPECT_THAT(names("DMA outputs"), ElementsAre("outputs 2"));
  EXPECT_EQ(in_lane(slices, "DMA weights")[0].args.at("bytes"), 640);
  EXPECT_EQ(in_lane(slices, "DMA weights")[0].args.at("tile"), 0);
  EXPECT_EQ(in_lane(slices, "DMA activations")[0].args.at("request"), 1);
  EXPECT_EQ(in_lane(slices, "DMA outputs")[0].args.at("block"), 2);
}

// Weights of the next layer are fetched while this one runs; the event comes with the next one.
TEST_F(Timeline, AnEventMayBeginBeforeItsLaunch) {
  TimelineWriter writer(100);
  writer.begin_layer("one");
  writer.end_layer(50);
  writer.begin_layer("two");
  writer({Lane::dma_weights, -20, 5, 0, 64});
  writer.end_layer(10);
  const auto weights = in_lane(written(writer), "DMA weights");
  ASSERT_EQ(weights.size(), 1u);
  EXPECT_DOUBLE_EQ(weights[0].begin, 0.3);
  EXPECT_DOUBLE_EQ(weights[0].end, 0.55);
  EXPECT_EQ(weights[0].category, "two");
}

TEST_F(Timeline, RefusesEventsOutsideOfLayers) {
  TimelineWriter writer(100);
  EXPECT_THROW(writer({Lane::array_load, 0, 1, 0, 0}), std::logic_error);
  EXPECT_THROW(writer.end_layer(1), std::logic_error);
  writer.begin_layer("one");
  EXPECT_THROW(writer.begin_layer("two"), std::logic_error);
}

}  // namespace
}  // namespace kintsugi::sim
