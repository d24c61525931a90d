// SCALE-Sim topology files: both kinds, what is rounded up, what is depthwise, and where problems are.
#include "workloads/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/diagnostics.h"
#include "common/files.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi {
namespace {

using ::testing::HasSubstr;

const std::string kHeader =
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n";

class Topology : public ::testing::Test {
 protected:
  std::vector<workloads::TopologyLayer> read(const std::string& text) {
    common::write_file_atomic(folder_ / "t.csv", text);
    return workloads::read_topology(folder_ / "t.csv");
  }
  std::string problem(const std::string& text) {
    try {
      read(text);
    } catch (const common::InputError& error) {
      return error.what();
    }
    return "";
  }

  test::TemporaryFolder folder_;
};

TEST_F(Topology, ReadsConvolutions) {
  const auto layers =
      read(kHeader +
           "Conv1     ,224         ,224        ,11           ,11          ,3       ,96        "
           ",4      ,\r\n\n\tDeep, 9, 7, 3, 1, 8, 16, 2\nConv2_dw, 112, 112, 3, 3, 1, 1, 1,#dw\n");
  ASSERT_EQ(layers.size(), 3u);
  // (224 − 11) / 4 + 1 = 54.25 is rounded up to 55.
  EXPECT_EQ(layers[0].name, "Conv1");
  EXPECT_EQ(layers[0].shape.m(), 3025);
  EXPECT_EQ(layers[0].shape.k(), 363);
  EXPECT_EQ(layers[0].shape.n(), 96);
  // Height (9 − 3) / 2 + 1 = 4, width (7 − 1) / 2 + 1 = 4: nothing to round.
  EXPECT_EQ(layers[1].name, "Deep");
  EXPECT_EQ(layers[1].shape.out_h(), 4);
  EXPECT_EQ(layers[1].shape.out_w(), 4);
  EXPECT_EQ(layers[1].shape.in_h, 9);
  EXPECT_EQ(layers[1].shape.k(), 24);
  EXPECT_EQ(layers[1].shape.macs(), 16 * 24 * 16);
  EXPECT_EQ(layers[2].shape.m(), 110 * 110);
}

TEST_F(Topology, ConvolvesEveryChannelByItselfWhereTheNameSaysDP) {
  const auto layers = read(kHeader + "Conv_DP1, 6, 6, 3, 3, 5, 2, 1,\n");
  ASSERT_EQ(layers.size(), 1u);
  EXPECT_EQ(layers[0].shape.groups, 5);
  EXPECT_EQ(layers[0].shape.k(), 9);
  EXPECT_EQ(layers[0].shape.n(), 2);
  EXPECT_EQ(layers[0].shape.macs(), 5 * 16 * 9 * 2);
}

TEST_F(Topology, ReadsProductsInTheOrderMNK) {
  for (const char* text : {"Layer, M, N, K,\nQKT, 1024, 96, 64,\n", "Layer,M,N,K\nQKT,1024,96,64\n"}) {
    const auto layers = read(text);
    ASSERT_EQ(layers.size(), 1u);
    EXPECT_EQ(layers[0].name, "QKT");
    EXPECT_EQ(layers[0].shape.m(), 1024);
    EXPECT_EQ(layers[0].shape.n(), 96);
    EXPECT_EQ(layers[0].shape.k(), 64);
  }
}

TEST_F(Topology, ListsEveryProblemWhereItIs) {
  const std::string found = problem(kHeader + "A, 0, 8, 3, 3, x, 4, 1,\nB, 2, 8, 3, 3, 4, 4, 1,\nC, 8, 8,\n");
  EXPECT_THAT(found, HasSubstr("t.csv:2:4: error: must be an integer from 1 to 16777216, but is '0'"));
  EXPECT_THAT(found, HasSubstr("t.csv:2:16: error: must be an integer from 1 to 16777216, but is 'x'"));
  EXPECT_THAT(found, HasSubstr("t.csv:3:10: error: the filter's height of 3 is larger than the input's of 2"));
  EXPECT_THAT(found, HasSubstr("t.csv:4: error: the line has 3 values, but there are 8 columns"));
  EXPECT_THAT(problem("Layer, M, K, N,\nA, 1, 1, 1,\n"), HasSubstr("t.csv:1:11: error: 'K' is no column"));
  EXPECT_THAT(problem(kHeader.substr(0, kHeader.size() - 1) + " Sparsity\nA, 8, 8, 3, 3, 4, 4, 1, 1:4\n"),
              HasSubstr("the column 'Sparsity' is not supported"));
  EXPECT_THAT(problem("A, 8, 8, 3, 3, 4, 4, 1,\n"), HasSubstr("'8' is no column of a topology"));
  EXPECT_THAT(problem(kHeader), HasSubstr("no layer follows the header"));
  EXPECT_THAT(problem(""), HasSubstr("is empty"));
  EXPECT_THAT(problem("Layer, M, N, K,\nA, 16777216, 16777216, 16777216,\n"), HasSubstr("divide it"));
}

}  // namespace
}  // namespace kintsugi
