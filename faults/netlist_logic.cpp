#include "faults/netlist_logic.h"

#include <array>
#include <utility>

namespace kintsugi::faults {

namespace {

std::size_t hash(LogicGraph::Kind kind, Literal a, Literal b) {
  const std::uint64_t key = (std::uint64_t{a.code} << 32 | b.code) + (kind == LogicGraph::Kind::difference);
  return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15U) >> 24);
}

// The truth table with input `pin` held at `value`, over the other inputs.
std::uint16_t cofactor(std::uint16_t truth, std::size_t inputs, std::size_t pin, std::size_t value) {
  std::uint16_t out = 0;
  for (std::size_t v = 0; v < std::size_t{1} << (inputs - 1); ++v) {
    const std::size_t low = v & ((std::size_t{1} << pin) - 1);
    const std::size_t full = (v - low) << 1 | value << pin | low;
    out = static_cast<std::uint16_t>(out | ((truth >> full & 1) << v));
  }
  return out;
}

}  // namespace

LogicGraph::LogicGraph() : nodes_(1), table_(1 << 12, 0) {}

Literal LogicGraph::input() {
  nodes_.push_back({{}, {}, Kind::input});
  return {static_cast<std::uint32_t>(nodes_.size() - 1) << 1};
}

void LogicGraph::grow() {
  table_.assign(table_.size() * 2, 0);
  for (std::uint32_t id = 1; id < nodes_.size(); ++id) {
    const Node& node = nodes_[id];
    if (node.kind == Kind::input) continue;
    std::size_t at = hash(node.kind, node.a, node.b) & (table_.size() - 1);
    while (table_[at] != 0) at = (at + 1) & (table_.size() - 1);
    table_[at] = id;
  }
}

Literal LogicGraph::make(Kind kind, Literal a, Literal b) {
  if (2 * nodes_.size() > table_.size()) grow();
  std::size_t at = hash(kind, a, b) & (table_.size() - 1);
  for (; table_[at] != 0; at = (at + 1) & (table_.size() - 1)) {
    const Node& node = nodes_[table_[at]];
    if (node.kind == kind && node.a == a && node.b == b) return {table_[at] << 1};
  }
  table_[at] = static_cast<std::uint32_t>(nodes_.size());
  nodes_.push_back({a, b, kind});
  return {table_[at] << 1};
}

Literal LogicGraph::both(Literal a, Literal b) {
  if (b.code < a.code) std::swap(a, b);
  if (a == b) return a;
  if (a == ~b || a == kFalse) return kFalse;
  if (a == kTrue) return b;
  // What one of the two already says: a & (a & x), a & ~(a & x), a & ~(~a & x), and so for b.
  for (int turn = 0; turn < 2; ++turn) {
    const Node& node = nodes_[b.node()];
    if (node.kind == Kind::conjunction) {
      if (!b.complemented()) {
        if (node.a == a || node.b == a) return b;
        if (node.a == ~a || node.b == ~a) return kFalse;
      } else {
        if (node.a == ~a || node.b == ~a) return a;
        if (node.a == a) return both(a, ~node.b);
        if (node.b == a) return both(a, ~node.a);
      }
    }
    std::swap(a, b);
  }
  // The complements of two conjunctions that share a literal: ~(x & p) & ~(~x & p) = ~p.
  const Node &left = nodes_[a.node()], &right = nodes_[b.node()];
  if (left.kind == Kind::conjunction && right.kind == Kind::conjunction && a.complemented() &&
      b.complemented()) {
    if (left.a == ~right.a && left.b == right.b) return ~left.b;
    if (left.b == ~right.b && left.a == right.a) return ~left.a;
  }
  return make(Kind::conjunction, a, b);
}

Literal LogicGraph::differ(Literal a, Literal b) {
  const bool complement = a.complemented() != b.complemented();
  Literal x{a.code & ~1U}, y{b.code & ~1U};
  if (y.code < x.code) std::swap(x, y);
  Literal out;
  if (x == y)
    out = kFalse;
  else if (x == kFalse)
    out = y;
  else
    out = make(Kind::difference, x, y);
  return complement ? ~out : out;
}

Literal LogicGraph::choose(Literal choose, Literal yes, Literal no) {
  if (yes == no) return yes;
  if (yes == ~no) return differ(choose, no);
  if (yes == kTrue) return either(choose, no);
  if (yes == kFalse) return both(~choose, no);
  if (no == kTrue) return either(~choose, yes);
  if (no == kFalse) return both(choose, yes);
  return either(both(choose, yes), both(~choose, no));
}

Literal LogicGraph::function(std::uint16_t truth, std::span<const Literal> inputs) {
  const std::size_t n = inputs.size();
  const auto all = static_cast<std::uint16_t>((std::uint32_t{1} << (1U << n)) - 1);
  if ((truth & all) == 0) return kFalse;
  if ((truth & all) == all) return kTrue;
  if (n == 1) return (truth & 1) != 0 ? ~inputs[0] : inputs[0];

  // Two inputs on which the rest depends only through one function of them become one.
  for (std::size_t high = 1; high < n && n > 2; ++high)
    for (std::size_t low = 0; low < high; ++low) {
      std::array<std::uint16_t, 4> rest{};  // by low + 2 · high
      for (std::size_t v = 0; v < 4; ++v)
        rest[v] = cofactor(cofactor(truth, n, high, v >> 1), n - 1, low, v & 1);
      std::uint16_t pair = 0, changed = rest[0];
      bool two = true;
      for (std::size_t v = 1; v < 4; ++v) {
        if (rest[v] == rest[0]) continue;
        two &= changed == rest[0] || changed == rest[v];
        changed = rest[v];
        pair = static_cast<std::uint16_t>(pair | 1U << v);
      }
      if (!two) continue;
      const std::array<Literal, 2> two_inputs = {inputs[low], inputs[high]};
      std::vector<Literal> fewer;
      for (std::size_t pin = 0; pin < n; ++pin)
        if (pin != low && pin != high) fewer.push_back(inputs[pin]);
      fewer.push_back(function(pair, two_inputs));
      return function(static_cast<std::uint16_t>(rest[0] | changed << (1U << (n - 2))), fewer);
    }

  const std::uint16_t no = cofactor(truth, n, n - 1, 0), yes = cofactor(truth, n, n - 1, 1);
  const std::span<const Literal> fewer = inputs.first(n - 1);
  // Monotone in the last input: one conjunction less than choosing.
  const Literal last = inputs[n - 1], when_no = function(no, fewer), when_yes = function(yes, fewer);
  if (when_yes == ~when_no) return differ(last, when_no);
  if ((no & ~yes) == 0) return either(when_no, both(last, when_yes));
  if ((yes & ~no) == 0) return either(when_yes, both(~last, when_no));
  return choose(last, when_yes, when_no);
}

}  // namespace kintsugi::faults
