#include "faults/verilog_netlist.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "common/text.h"
#include "faults/verilog_lexer.h"

namespace kintsugi::faults {
namespace {

using Token = VerilogToken;
using Kind = VerilogToken::Kind;

constexpr int kWidestVector = 4096;

// What a name stands for: one net, or a vector with the nets from the left bit to the right one.
struct Signal {
  bool vector = false;
  int left = 0, right = 0;
  std::vector<int> nets;
  int net_of(int bit) const {
    const int at = left >= right ? left - bit : bit - left;
    return at >= 0 && at < static_cast<int>(nets.size()) ? nets[static_cast<std::size_t>(at)] : -1;
  }
};

struct Range {
  bool given = false;
  int left = 0, right = 0;
};

class Parser {
 public:
  Parser(const std::string& file, std::string_view text, ImportProblems& problems)
      : lexer_(file, text, problems) {}

  void parse(VerilogFile& result) {
    while (lexer_.peek().kind != Kind::end) {
      if (!lexer_.accept("module") && !lexer_.accept("macromodule"))
        fail(lexer_.peek(), fmt::format("expected 'module', but found {}", quoted(lexer_.peek())));
      result.generator = generator();
      result.modules.emplace_back();
      module_ = &result.modules.back();
      signals_.clear();
      port_at_.clear();
      read_module();
    }
  }

 private:
  [[noreturn]] void fail(const Token& token, const std::string& message) {
    lexer_.cursor().fail(token.where, message);
  }
  void error(TextPlace where, const std::string& message) { lexer_.cursor().error(where, message); }

  std::string generator() const {
    std::string text = lexer_.first_comment();
    while (!text.empty() && text.front() == ' ') text.erase(0, 1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\r')) text.pop_back();
    return text;
  }

  void read_module() {
    module_->net_names = {"1'b0", "1'b1"};
    const Token name = lexer_.expect_name("the module's name");
    module_->name = name.text;
    module_->where = name.where;
    if (lexer_.peek().is("#"))
      fail(lexer_.peek(),
           fmt::format("module '{}' has parameters; a gate-level netlist has none, so write it "
                       "after synthesis",
                       name.text));
    if (lexer_.accept("(")) read_ports();
    lexer_.expect(";", "after the module's ports");
    while (!lexer_.accept("endmodule")) read_item();
    for (const VerilogPort& port : module_->ports)
      if (port.direction == PortDirection::none)
        error(port.where, fmt::format("port '{}' is never declared as input or output", port.name));
  }

  static std::optional<PortDirection> direction_of(const Token& token) {
    if (token.is("input")) return PortDirection::input;
    if (token.is("output")) return PortDirection::output;
    if (token.is("inout")) return PortDirection::inout;
    return std::nullopt;
  }

  void read_ports() {
    PortDirection direction = PortDirection::none;
    Range range;
    while (!lexer_.accept(")")) {
      if (const auto given = direction_of(lexer_.peek())) {
        lexer_.next();
        direction = *given;
        range = read_kind_and_range();
      }
      if (lexer_.peek().is("."))
        fail(lexer_.peek(), "ports that are renamed in the module's header cannot be read; list plain names");
      const Token port = lexer_.expect_name("a port's name");
      port_at_[port.text] = module_->ports.size();
      module_->ports.emplace_back();
      module_->ports.back().name = port.text;
      module_->ports.back().where = port.where;
      if (direction != PortDirection::none) declare_port(port, direction, range);
      if (!lexer_.accept(",") && !lexer_.peek().is(")"))
        fail(lexer_.peek(), fmt::format("expected ',' or ')' after port '{}', but found {}", port.text,
                                        quoted(lexer_.peek())));
    }
  }

  // [wire] [signed] [7:0]
  Range read_kind_and_range() {
    while (lexer_.accept("wire") || lexer_.accept("tri") || lexer_.accept("signed")) {
    }
    Range range;
    if (!lexer_.peek().is("[")) return range;
    const Token bracket = lexer_.next();
    range.given = true;
    range.left = read_integer("the left bit");
    lexer_.expect(":", "between the two bits of a range");
    range.right = read_integer("the right bit");
    lexer_.expect("]", "after a range");
    if (std::abs(range.left - range.right) >= kWidestVector)
      fail(bracket, fmt::format("a vector may have at most {} bits", kWidestVector));
    return range;
  }

  int read_integer(std::string_view what) {
    const bool minus = lexer_.accept("-");
    const Token token = lexer_.next();
    const auto value = token.kind == Kind::number ? common::parse_integer(token.text) : std::nullopt;
    if (!value || *value > 1'000'000)
      fail(token, fmt::format("expected {} (a number), but found {}", what, quoted(token)));
    return static_cast<int>(minus ? -*value : *value);
  }

  Signal& declare(const Token& name, const Range& range) {
    const auto [at, added] = signals_.try_emplace(name.text);
    Signal& signal = at->second;
    if (!added) {
      // 'output [7:0] q; wire [7:0] q;' says the same twice.
      if (range.given && (!signal.vector || signal.left != range.left || signal.right != range.right))
        error(name.where, fmt::format("'{}' is declared again with another range", name.text));
      return signal;
    }
    signal.vector = range.given;
    signal.left = range.left;
    signal.right = range.right;
    const int step = range.left >= range.right ? -1 : 1;
    for (int bit = range.left;; bit += step) {
      signal.nets.push_back(static_cast<int>(module_->net_names.size()));
      module_->net_names.push_back(range.given ? fmt::format("{}[{}]", name.text, bit) : name.text);
      if (bit == range.right) break;
    }
    return signal;
  }

  void declare_port(const Token& name, PortDirection direction, const Range& range) {
    const Signal& signal = declare(name, range);
    const auto at = port_at_.find(name.text);
    if (at == port_at_.end()) {
      error(name.where,
            fmt::format("'{}' is declared as a port, but the module's header does not list it", name.text));
      return;
    }
    VerilogPort& port = module_->ports[at->second];
    port.direction = direction;
    port.vector = signal.vector;
    port.nets = signal.nets;
    port.bits.clear();
    const int step = signal.left >= signal.right ? -1 : 1;
    for (std::size_t i = 0; i < signal.nets.size(); ++i)
      port.bits.push_back(signal.left + step * static_cast<int>(i));
  }

  void read_item() {
    const Token& token = lexer_.peek();
    if (token.kind == Kind::end)
      fail(token, fmt::format("module '{}' has no 'endmodule': the file is cut short", module_->name));
    if (lexer_.accept(";")) return;
    if (const auto direction = direction_of(token)) {
      lexer_.next();
      const Range range = read_kind_and_range();
      do {
        declare_port(lexer_.expect_name("a port's name"), *direction, range);
      } while (lexer_.accept(","));
      lexer_.expect(";", "after a declaration");
      return;
    }
    if (token.is("wire") || token.is("tri") || token.is("supply0") || token.is("supply1")) {
      read_nets();
      return;
    }
    if (lexer_.accept("assign")) {
      do {
        const TextPlace where = lexer_.peek().where;
        const std::vector<int> left = read_expression();
        lexer_.expect("=", "in an assignment");
        add_assigns(left, read_expression(), where);
      } while (lexer_.accept(","));
      lexer_.expect(";", "after an assignment");
      return;
    }
    static const std::vector<std::string_view> kBehaviour = {
        "always", "always_ff", "always_comb", "initial", "reg", "logic", "function", "task",     "generate",
        "genvar", "parameter", "localparam",  "integer", "if",  "case",  "for",      "primitive"};
    static const std::vector<std::string_view> kNotRead = {"specify", "defparam", "and",    "or",    "not",
                                                           "nand",    "nor",      "xor",    "xnor",  "buf",
                                                           "bufif0",  "bufif1",   "notif0", "notif1"};
    for (const std::string_view word : kBehaviour)
      if (token.is(word))
        fail(token, fmt::format("'{}' is not part of a gate-level netlist; synthesise the design first "
                                "(scripts/characterize_pe.sh does it all)",
                                word));
    for (const std::string_view word : kNotRead)
      if (token.is(word))
        fail(token, fmt::format("'{}' cannot be read; a netlist consists of cells of the library", word));
    read_cells();
  }

  void read_nets() {
    const Token kind = lexer_.next();
    const Range range = read_kind_and_range();
    do {
      const Token name = lexer_.expect_name("a net's name");
      const std::vector<int> left = declare(name, range).nets;
      if (kind.is("supply0") || kind.is("supply1"))
        add_assigns(left, std::vector<int>(left.size(), kind.is("supply1") ? kNetOne : kNetZero), name.where);
      if (lexer_.accept("=")) add_assigns(left, read_expression(), name.where);
    } while (lexer_.accept(","));
    lexer_.expect(";", "after a declaration");
  }

  // A narrower right side is filled with zeros, a wider one cut, as in Verilog.
  void add_assigns(const std::vector<int>& left, std::vector<int> right, TextPlace where) {
    while (right.size() < left.size()) right.insert(right.begin(), kNetZero);
    right.erase(right.begin(), right.end() - static_cast<std::ptrdiff_t>(left.size()));
    for (std::size_t i = 0; i < left.size(); ++i) {
      if (left[i] <= kNetOne)
        error(where, "a constant cannot be assigned to");
      else
        module_->assigns.push_back({left[i], right[i], where});
    }
  }

  // CELL name (.pin(net), ...), name (...);
  void read_cells() {
    const Token type = lexer_.expect_name("a declaration, an assignment or a cell");
    if (lexer_.peek().is("#"))
      fail(lexer_.peek(), fmt::format("cell '{}' has parameters; cells of a library have none", type.text));
    do {
      VerilogCell cell;
      cell.type = type.text;
      cell.where = type.where;
      cell.name = lexer_.expect_name(fmt::format("the name of this '{}'", type.text)).text;
      if (lexer_.peek().is("["))
        fail(lexer_.peek(), fmt::format("arrays of cells cannot be read; write '{}' out", cell.name));
      lexer_.expect("(", fmt::format("after the cell's name '{}'", cell.name));
      while (!lexer_.accept(")")) {
        if (!lexer_.peek().is("."))
          fail(lexer_.peek(),
               fmt::format("the pins of cell '{}' must be named, as in .A(net), but {} was found", cell.name,
                           quoted(lexer_.peek())));
        lexer_.next();
        read_connection(cell);
        if (!lexer_.accept(",") && !lexer_.peek().is(")"))
          fail(lexer_.peek(), fmt::format("expected ',' or ')' after a pin of cell '{}', but found {}",
                                          cell.name, quoted(lexer_.peek())));
      }
      module_->cells.push_back(std::move(cell));
    } while (lexer_.accept(","));
    lexer_.expect(";", "after a cell");
  }

  void read_connection(VerilogCell& cell) {
    const Token pin = lexer_.expect_name("a pin's name");
    lexer_.expect("(", fmt::format("after pin '{}'", pin.text));
    VerilogConnection connection{pin.text, std::nullopt, pin.where};
    if (!lexer_.peek().is(")")) {
      const std::vector<int> nets = read_expression();
      if (nets.size() != 1)
        error(pin.where, fmt::format("pin '{}' of cell '{}' takes one net, but {} are connected", pin.text,
                                     cell.name, nets.size()));
      if (!nets.empty()) connection.net = nets.back();
    }
    lexer_.expect(")", fmt::format("after the net of pin '{}'", pin.text));
    cell.connections.push_back(std::move(connection));
  }

  // Nets from the leftmost bit to the rightmost.
  std::vector<int> read_expression() {
    if (lexer_.accept("{")) {
      std::vector<int> all;
      do {
        const std::vector<int> part = read_expression();
        all.insert(all.end(), part.begin(), part.end());
      } while (lexer_.accept(","));
      lexer_.expect("}", "after a concatenation");
      return all;
    }
    if (lexer_.peek().kind == Kind::number) return read_constant(lexer_.next());
    const Token name = lexer_.expect_name("a net or a constant");
    const auto known = signals_.find(name.text);
    if (known == signals_.end() && !lexer_.peek().is("[")) return declare(name, {}).nets;  // as in Verilog
    if (known == signals_.end())
      fail(name, fmt::format("'{}' is not declared, so it has no bits to choose from", name.text));
    const Signal& signal = known->second;
    if (!lexer_.accept("[")) return signal.nets;
    const int first = read_integer("a bit's number");
    const int last = lexer_.accept(":") ? read_integer("a bit's number") : first;
    lexer_.expect("]", "after a bit's number");
    std::vector<int> nets;
    const int step = first >= last ? -1 : 1;
    for (int bit = first;; bit += step) {
      const int net = signal.vector ? signal.net_of(bit) : -1;
      if (net < 0)
        fail(name, signal.vector ? fmt::format("'{}' has bits {} to {}, but bit {} is asked for", name.text,
                                               signal.left, signal.right, bit)
                                 : fmt::format("'{}' is one net and has no bit {}", name.text, bit));
      nets.push_back(net);
      if (bit == last) return nets;
    }
  }

  // 1'b0, 8'h3f, 'd5, 0
  std::vector<int> read_constant(const Token& token) {
    std::string text = token.text;
    std::erase(text, '_');
    const std::size_t tick = text.find('\'');
    std::int64_t width = 32;
    char base = 'd';
    std::string digits = text;
    if (tick != std::string::npos) {
      if (tick > 0) width = common::parse_integer(text.substr(0, tick)).value_or(0);
      digits = text.substr(tick + 1);
      if (!digits.empty() && (digits[0] == 's' || digits[0] == 'S')) digits.erase(0, 1);
      base = digits.empty() ? '?' : static_cast<char>(digits[0] | 0x20);
      digits.erase(0, 1);
    }
    const unsigned radix = base == 'b' ? 2 : base == 'o' ? 8 : base == 'd' ? 10 : base == 'h' ? 16 : 0;
    bool good = radix != 0 && !digits.empty() && digits.size() <= 64 && width >= 1 && width <= 64;
    std::uint64_t value = 0;
    for (const char c : digits) {
      const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                             : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a' + 10)
                             : c >= 'A' && c <= 'F' ? static_cast<unsigned>(c - 'A' + 10)
                                                    : 99;
      good = good && digit < radix;
      value = value * radix + digit;
    }
    if (!good)
      fail(token,
           fmt::format("'{}' is no constant of zeros and ones; unknown and floating values (x, z) must be "
                       "0 or 1 before delays mean anything",
                       token.text));
    std::vector<int> nets;
    for (std::int64_t bit = width - 1; bit >= 0; --bit)
      nets.push_back(value >> bit & 1U ? kNetOne : kNetZero);
    return nets;
  }

  VerilogLexer lexer_;
  VerilogModule* module_ = nullptr;
  std::map<std::string, Signal> signals_;
  std::map<std::string, std::size_t> port_at_;
};

}  // namespace

VerilogFile parse_verilog(const std::string& file, std::string_view text, ImportProblems& problems) {
  VerilogFile result;
  try {
    Parser(file, text, problems).parse(result);
    if (result.modules.empty()) problems.error(file, {}, "the file holds no module");
  } catch (const UnreadableText&) {
    // On the list.
  }
  return result;
}

}  // namespace kintsugi::faults
