#include "training/repair/assignment.h"

#include <lemon/network_simplex.h>
#include <lemon/smart_graph.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

namespace kintsugi::training::repair {

std::vector<std::int32_t> assign(const AssignmentCost& cost) {
  using Graph = lemon::SmartDigraph;
  const Eigen::Index channels = cost.rows(), slots = cost.cols();
  const double top = cost.maxCoeff();
  if (top < 1e-200) {  // wherever they are, nothing is lost
    std::vector<std::int32_t> same(static_cast<std::size_t>(channels));
    std::iota(same.begin(), same.end(), 0);
    return same;
  }
  Graph graph;
  graph.reserveNode(static_cast<int>(channels + slots) + 1);
  graph.reserveArc(static_cast<int>(channels * slots + slots));
  std::vector<Graph::Node> left, right;
  for (Eigen::Index n = 0; n < channels; ++n) left.push_back(graph.addNode());
  for (Eigen::Index s = 0; s < slots; ++s) right.push_back(graph.addNode());
  const Graph::Node unused = graph.addNode();
  // Whole numbers: the solver compares exactly. Sums over a thousand channels stay far from overflow.
  const double unit = std::ldexp(1, 44) / top;
  Graph::ArcMap<std::int64_t> price(graph, 0);
  Graph::NodeMap<std::int64_t> supply(graph, 0);
  for (Eigen::Index n = 0; n < channels; ++n) {
    supply[left[n]] = 1;
    for (Eigen::Index s = 0; s < slots; ++s)
      price[graph.addArc(left[n], right[s])] = std::llround(cost(n, s) * unit);
  }
  supply[unused] = slots - channels;
  for (Eigen::Index s = 0; s < slots; ++s) {
    supply[right[s]] = -1;
    graph.addArc(unused, right[s]);
  }
  lemon::NetworkSimplex<Graph, std::int64_t, std::int64_t> solver(graph);
  solver.costMap(price).supplyMap(supply);
  if (solver.run() != lemon::NetworkSimplex<Graph, std::int64_t, std::int64_t>::OPTIMAL)
    throw std::logic_error("an assignment of channels to columns has no solution");
  std::vector<std::int32_t> slot_of(static_cast<std::size_t>(channels));
  for (Eigen::Index n = 0; n < channels; ++n)
    for (Graph::OutArcIt arc(graph, left[n]); arc != lemon::INVALID; ++arc)
      if (solver.flow(arc) > 0)
        slot_of[n] = static_cast<std::int32_t>(graph.id(graph.target(arc)) - channels);
  return slot_of;
}

}  // namespace kintsugi::training::repair
