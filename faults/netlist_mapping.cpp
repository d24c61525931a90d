// From a graph of two-input nodes to operations of three inputs each, in an order that needs few slots.

#include <algorithm>
#include <array>
#include <limits>

#include "faults/netlist_program.h"

namespace kintsugi::faults {

namespace {

using Node = LogicGraph::Node;
using Kind = LogicGraph::Kind;

constexpr std::uint32_t kNoSlot = ~std::uint32_t{0};

// Up to three nodes from which another follows, ascending.
struct Cut {
  std::array<std::uint32_t, 3> leaves{};
  int size = 0;
  float flow = 0;  // operations for it, shared ones counted in part
};

class Mapper {
 public:
  Mapper(const LogicGraph& graph, const LogicOutputs& outputs)
      : nodes_(graph.nodes()), outputs_(outputs), references_(nodes_.size(), 0), best_(nodes_.size()) {}

  Program run() {
    count_references();
    choose_cuts();
    cover();
    order();
    for (std::uint32_t id : order_) truths_.push_back(truth_of(id));
    assign_slots();
    return std::move(program_);
  }

 private:
  static constexpr std::size_t kCuts = 4;

  void count_references() {
    for (const auto& [bit, literal] : outputs_.errors) ++references_[literal.node()];
    for (std::size_t id = nodes_.size(); id-- > 1;) {
      if (references_[id] == 0 || !inner(id)) continue;
      ++references_[nodes_[id].a.node()];
      ++references_[nodes_[id].b.node()];
    }
  }
  bool inner(std::size_t id) const {
    return nodes_[id].kind == Kind::conjunction || nodes_[id].kind == Kind::difference;
  }

  static bool merge(const Cut& x, const Cut& y, Cut& out) {
    int i = 0, j = 0;
    out.size = 0;
    while (i < x.size || j < y.size) {
      if (out.size == 3) return false;
      const std::uint32_t a = i < x.size ? x.leaves[static_cast<std::size_t>(i)] : kNoSlot;
      const std::uint32_t b = j < y.size ? y.leaves[static_cast<std::size_t>(j)] : kNoSlot;
      out.leaves[static_cast<std::size_t>(out.size++)] = std::min(a, b);
      i += a <= b;
      j += b <= a;
    }
    return true;
  }

  // Every node's cheapest cut, by area flow.
  void choose_cuts() {
    struct Candidates {
      std::array<Cut, kCuts + 1> cuts;  // the last is the node itself
      std::size_t count = 0;
    };
    std::vector<Candidates> all(nodes_.size());
    std::vector<float> flow(nodes_.size(), 0);
    for (std::uint32_t id = 1; id < nodes_.size(); ++id) {
      if (references_[id] == 0) continue;
      Candidates& own = all[id];
      if (inner(id)) {
        const Candidates &left = all[nodes_[id].a.node()], &right = all[nodes_[id].b.node()];
        for (std::size_t i = 0; i < left.count; ++i)
          for (std::size_t j = 0; j < right.count; ++j) {
            Cut cut;
            if (!merge(left.cuts[i], right.cuts[j], cut)) continue;
            cut.flow = 1;
            for (int leaf = 0; leaf < cut.size; ++leaf)
              cut.flow += flow[cut.leaves[static_cast<std::size_t>(leaf)]];
            insert(own.cuts, own.count, cut);
          }
        best_[id] = own.cuts[0];
        flow[id] = own.cuts[0].flow / static_cast<float>(references_[id]);
      }
      Cut& self = own.cuts[own.count++];
      self.leaves[0] = id;
      self.size = 1;
    }
  }
  static void insert(std::array<Cut, kCuts + 1>& cuts, std::size_t& count, const Cut& cut) {
    for (std::size_t i = 0; i < count; ++i)
      if (cuts[i].size == cut.size && cuts[i].leaves == cut.leaves) return;
    std::size_t at = count;
    while (at > 0 &&
           (cut.flow < cuts[at - 1].flow || (cut.flow == cuts[at - 1].flow && cut.size < cuts[at - 1].size)))
      --at;
    if (at >= kCuts) return;
    count = std::min(count + 1, kCuts);
    for (std::size_t i = count - 1; i > at; --i) cuts[i] = cuts[i - 1];
    cuts[at] = cut;
  }

  void cover() {
    used_.assign(nodes_.size(), 0);
    for (const auto& [bit, literal] : outputs_.errors) used_[literal.node()] = 1;
    for (std::size_t id = nodes_.size(); id-- > 1;) {
      if (used_[id] == 0 || !inner(id)) continue;
      for (int leaf = 0; leaf < best_[id].size; ++leaf)
        used_[best_[id].leaves[static_cast<std::size_t>(leaf)]] = 1;
    }
  }

  // Depth first, so that what belongs together is made together.
  void order() {
    std::vector<char> done(nodes_.size(), 0);
    std::vector<std::pair<std::uint32_t, int>> stack;
    for (const auto& [bit, literal] : outputs_.errors) {
      stack.push_back({literal.node(), 0});
      while (!stack.empty()) {
        const auto [id, leaf] = stack.back();
        if (done[id] != 0 || !inner(id)) {
          stack.pop_back();
        } else if (leaf < best_[id].size) {
          ++stack.back().second;
          stack.push_back({best_[id].leaves[static_cast<std::size_t>(leaf)], 0});
        } else {
          done[id] = 1;
          order_.push_back(id);
          stack.pop_back();
        }
      }
    }
  }

  // Its value for all values of its cut's leaves: leaf 0 is input a of the operation, and so on.
  std::uint8_t truth_of(std::uint32_t id) const {
    const Cut& cut = best_[id];
    constexpr std::array<std::uint8_t, 3> kLeaf = {0xf0, 0xcc, 0xaa};
    const auto value = [&](const auto& self, std::uint32_t node) -> std::uint8_t {
      for (int leaf = 0; leaf < cut.size; ++leaf)
        if (cut.leaves[static_cast<std::size_t>(leaf)] == node) return kLeaf[static_cast<std::size_t>(leaf)];
      const auto of = [&](Literal literal) {
        return static_cast<std::uint8_t>(self(self, literal.node()) ^ (literal.complemented() ? 0xff : 0));
      };
      const std::uint8_t a = of(nodes_[node].a), b = of(nodes_[node].b);
      return nodes_[node].kind == Kind::difference ? a ^ b : a & b;
    };
    return value(value, id);
  }

  void assign_slots() {
    std::vector<std::uint32_t> last_use(nodes_.size(), 0), slot(nodes_.size(), kNoSlot), free;
    const auto positions = static_cast<std::uint32_t>(order_.size());
    for (std::uint32_t at = 0; at < positions; ++at)
      for (int leaf = 0; leaf < best_[order_[at]].size; ++leaf)
        last_use[best_[order_[at]].leaves[static_cast<std::size_t>(leaf)]] = at;
    for (const auto& [bit, literal] : outputs_.errors) last_use[literal.node()] = positions;
    const auto take = [&] {
      if (free.empty()) return program_.slots++;
      const std::uint32_t taken = free.back();
      free.pop_back();
      return taken;
    };
    for (const auto& [input, literal] : outputs_.inputs) {
      if (used_[literal.node()] == 0) continue;
      slot[literal.node()] = take();
      program_.inputs.push_back(input);
      program_.inputs.back().slot = slot[literal.node()];
    }
    for (std::uint32_t at = 0; at < positions; ++at) {
      const std::uint32_t id = order_[at];
      const Cut& cut = best_[id];
      PlaneOperation operation;
      operation.a = slot[cut.leaves[0]];
      operation.b = cut.size > 1 ? slot[cut.leaves[1]] : operation.a;
      operation.c = cut.size > 2 ? slot[cut.leaves[2]] : operation.a;
      for (int leaf = 0; leaf < cut.size; ++leaf) {
        const std::uint32_t node = cut.leaves[static_cast<std::size_t>(leaf)];
        if (last_use[node] == at) free.push_back(slot[node]);
      }
      operation.out = slot[id] = take();
      emit(truths_[at], operation);
    }
    for (const auto& [bit, literal] : outputs_.errors) {
      std::uint32_t at = slot[literal.node()];
      if (literal.complemented()) {
        const std::uint32_t inverse = take();
        emit(0x0f, {inverse, at, at, at});
        at = inverse;
      }
      program_.errors.push_back({bit, at});
    }
  }

  void emit(std::uint8_t truth, const PlaneOperation& operation) {
    const auto at = static_cast<std::uint32_t>(program_.operations.size());
    if (program_.runs.empty() || program_.runs.back().truth != truth)
      program_.runs.push_back({truth, at, at});
    program_.runs.back().end = at + 1;
    program_.operations.push_back(operation);
  }

  const std::vector<Node>& nodes_;
  const LogicOutputs& outputs_;
  std::vector<std::uint32_t> references_;
  std::vector<Cut> best_;
  std::vector<char> used_;
  std::vector<std::uint32_t> order_;
  std::vector<std::uint8_t> truths_;
  Program program_;
};

}  // namespace

Program map_to_operations(const LogicGraph& graph, const LogicOutputs& outputs) {
  return Mapper(graph, outputs).run();
}

}  // namespace kintsugi::faults
