// Boolean functions as a graph of ANDs and XORs in which equal functions of equal operands are one node.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kintsugi::faults {

// A node or its complement.
struct Literal {
  std::uint32_t code = 0;
  std::uint32_t node() const { return code >> 1; }
  bool complemented() const { return (code & 1) != 0; }
  Literal operator~() const { return {code ^ 1}; }
  friend bool operator==(Literal, Literal) = default;
};

class LogicGraph {
 public:
  enum class Kind : std::uint8_t { constant, input, conjunction, difference };  // difference: xor
  struct Node {
    Literal a, b;  // of conjunctions and differences, both of nodes made before this one
    Kind kind = Kind::constant;
  };
  static constexpr Literal kFalse{0}, kTrue{1};

  LogicGraph();

  Literal input();
  Literal both(Literal a, Literal b);  // a & b
  Literal either(Literal a, Literal b) { return ~both(~a, ~b); }
  Literal differ(Literal a, Literal b);  // a ^ b
  // The function of up to four inputs with this truth table (bit v: the value for inputs that spell v).
  Literal function(std::uint16_t truth, std::span<const Literal> inputs);

  const std::vector<Node>& nodes() const { return nodes_; }

 private:
  Literal make(Kind kind, Literal a, Literal b);
  void grow();
  // choose ? yes : no
  Literal choose(Literal choose, Literal yes, Literal no);

  std::vector<Node> nodes_;
  std::vector<std::uint32_t> table_;  // of nodes, by hash of their contents; 0: free
};

}  // namespace kintsugi::faults
