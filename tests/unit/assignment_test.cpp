// Assignments cost what a least-cost flow costs (LEMON's network simplex, another algorithm by others).
#include "training/repair/assignment.h"

#include <gtest/gtest.h>
#include <lemon/network_simplex.h>
#include <lemon/smart_graph.h>

#include <cmath>
#include <set>
#include <stdexcept>

#include "common/random.h"

namespace kintsugi {
namespace {

using training::repair::assign;
using training::repair::AssignmentCost;

// The least sum of whole-numbered costs.
std::int64_t least_cost(const AssignmentCost& cost) {
  using Graph = lemon::SmartDigraph;
  Graph graph;
  std::vector<Graph::Node> channels, slots;
  for (Eigen::Index n = 0; n < cost.rows(); ++n) channels.push_back(graph.addNode());
  for (Eigen::Index s = 0; s < cost.cols(); ++s) slots.push_back(graph.addNode());
  const Graph::Node unused = graph.addNode();
  Graph::ArcMap<std::int64_t> price(graph, 0);
  Graph::NodeMap<std::int64_t> supply(graph, 0);
  for (Eigen::Index n = 0; n < cost.rows(); ++n) {
    supply[channels[n]] = 1;
    for (Eigen::Index s = 0; s < cost.cols(); ++s)
      price[graph.addArc(channels[n], slots[s])] = std::llround(cost(n, s));
  }
  supply[unused] = cost.cols() - cost.rows();
  for (const Graph::Node slot : slots) {
    supply[slot] = -1;
    graph.addArc(unused, slot);
  }
  lemon::NetworkSimplex<Graph, std::int64_t, std::int64_t> solver(graph);
  solver.costMap(price).supplyMap(supply);
  EXPECT_EQ(solver.run(), (lemon::NetworkSimplex<Graph, std::int64_t, std::int64_t>::OPTIMAL));
  return solver.totalCost();
}

double sum(const AssignmentCost& cost, const std::vector<std::int32_t>& slot_of) {
  EXPECT_EQ(std::ssize(slot_of), cost.rows());
  std::set<std::int32_t> taken;
  double total = 0;
  for (std::size_t n = 0; n < slot_of.size(); ++n) {
    EXPECT_TRUE(taken.insert(slot_of[n]).second) << "slot " << slot_of[n] << " is taken twice";
    total += cost(static_cast<Eigen::Index>(n), slot_of[n]);
  }
  return total;
}

// `top` sets how many costs are equal; channels differ in weight, as saliencies do.
AssignmentCost random_cost(Eigen::Index channels, Eigen::Index slots, double top, std::uint64_t seed) {
  common::RandomStream random(seed, "test-assignment");
  AssignmentCost cost(channels, slots);
  for (Eigen::Index n = 0; n < channels; ++n) {
    const double weight = std::pow(random.uniform(0, 1), 3);
    for (Eigen::Index s = 0; s < slots; ++s) cost(n, s) = std::floor(weight * random.uniform(0, top));
  }
  return cost;
}

TEST(Assignment, CostsWhatALeastCostFlowDoes) {
  const std::pair<Eigen::Index, Eigen::Index> sizes[] = {{1, 1},   {1, 9},   {7, 7},
                                                         {40, 40}, {30, 70}, {69, 70}};
  for (const auto& [channels, slots] : sizes)
    for (const double top : {1.5, 4., 1e3, 1e9})
      for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        SCOPED_TRACE(testing::Message() << channels << " x " << slots << ", to " << top << ", seed " << seed);
        const AssignmentCost cost = random_cost(channels, slots, top, seed);
        EXPECT_EQ(sum(cost, assign(cost)), static_cast<double>(least_cost(cost)));
      }
}

// As tables of mapping are: what faults at the rows of a column take of every channel.
TEST(Assignment, IsExactOnTablesOfFaultyColumns) {
  common::RandomStream random(3, "test-assignment");
  constexpr Eigen::Index kSize = 128;
  Eigen::MatrixXd saliency(kSize, kSize), faulty(kSize, kSize);
  for (double& x : saliency.reshaped()) x = std::floor(std::pow(random.uniform(0, 1), 4) * 1e6);
  for (double& x : faulty.reshaped()) x = random.uniform(0, 1) < 0.2 ? 1 : 0;
  const AssignmentCost cost = saliency * faulty;
  EXPECT_EQ(sum(cost, assign(cost)), static_cast<double>(least_cost(cost)));
}

TEST(Assignment, OfNothingAndOfTooMany) {
  EXPECT_TRUE(assign(AssignmentCost(0, 4)).empty());
  EXPECT_THROW(assign(AssignmentCost::Zero(3, 2)), std::logic_error);
}

}  // namespace
}  // namespace kintsugi
