#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string_view>

#include "common/diagnostics.h"
#include "common/files.h"
#include "common/text.h"
#include "faults/timed_netlist.h"

namespace kintsugi::faults {

namespace {

constexpr int kMostNets = 100000;
// A file with one early mistake can be wrong on each of its lines.
constexpr std::size_t kMostProblems = 50;

struct Word {
  std::string_view text;
  int column = 0;
};

std::vector<Word> split_words(std::string_view line) {
  std::vector<Word> words;
  line = line.substr(0, line.find('#'));
  constexpr std::string_view kBlanks = " \t\r";
  for (std::size_t begin = line.find_first_not_of(kBlanks); begin != std::string_view::npos;) {
    const std::size_t end = std::min(line.find_first_of(kBlanks, begin), line.size());
    words.push_back({line.substr(begin, end - begin), static_cast<int>(begin) + 1});
    begin = line.find_first_not_of(kBlanks, end);
  }
  return words;
}

const std::array<std::string, 12> kItems = {"name",          "process",      "provenance",       "voltage_v",
                                            "temperature_c", "operand_bits", "accumulator_bits", "nets",
                                            "launch",        "gate",         "capture",          "end"};
const std::array<std::string, 3> kOperands = {"activation", "weight", "psum"};

class Reader {
 public:
  Reader(const std::filesystem::path& path)
      : file_(path.string()), text_(common::read_file_maybe_gzip(path)) {
    diagnostics_.add_source(file_, text_);
  }

  TimedNetlist read() {
    for (std::size_t begin = 0; begin < text_.size() && !done_;) {
      const std::size_t end = std::min(text_.find('\n', begin), text_.size());
      ++line_;
      read_line(std::string_view(text_).substr(begin, end - begin));
      begin = end + 1;
      if (line_with_version_ == 0 && !diagnostics_.empty()) break;  // not such a file at all
      if (diagnostics_.size() >= kMostProblems) diagnostics_.throw_if_any();
    }
    diagnostics_.throw_if_any();
    if (line_with_version_ == 0)
      diagnostics_.error({file_, 1, 0}, "the file is empty; a timing file begins with 'pe_timing 1'");
    else if (!done_)
      diagnostics_.error({file_, line_, 0}, "the file stops without 'end'; is it cut off?");
    diagnostics_.throw_if_any();
    check_whole();
    diagnostics_.throw_if_any();
    for (const int bit : wrong_bits(netlist_))
      error(capture_lines_[static_cast<std::size_t>(bit)], 1,
            fmt::format(
                "bit {} of what is captured is not that of psum + activation * weight; are nets or truth "
                "tables swapped?",
                bit));
    diagnostics_.throw_if_any();
    return std::move(netlist_);
  }

 private:
  void error(int line, int column, std::string message) {
    diagnostics_.error({file_, line, column}, std::move(message));
  }
  void error(const Word& word, std::string message) { error(line_, word.column, std::move(message)); }

  void read_line(std::string_view line) {
    words_ = split_words(line);
    if (words_.empty()) return;
    const std::string item(words_[0].text);
    if (line_with_version_ == 0) return read_version(item);
    if (item == "launch" || item == "gate" || item == "capture") {
      if (!sizes_known()) return;
      if (item == "launch") return read_launch();
      if (item == "gate") return read_gate();
      return read_capture();
    }
    if (item == "end") {
      done_ = count(1, "end stands alone");
      return;
    }
    if (std::find(kItems.begin(), kItems.end(), item) == kItems.end()) {
      const auto near = common::nearest(item, kItems);
      return error(words_[0], fmt::format("'{}' is not an item of a timing file{}; allowed are {}", item,
                                          near ? fmt::format(", did you mean '{}'?", *near) : "",
                                          common::join_or(kItems)));
    }
    if (item == "provenance") {
      if (!netlist_.provenance.empty()) netlist_.provenance += '\n';
      netlist_.provenance += rest(line);
      return;
    }
    if (const auto [at, added] = once_.try_emplace(item, line_); !added)
      return error(words_[0], fmt::format("'{}' is there twice, first on line {}", item, at->second));
    if (item == "name" || item == "process") {
      (item == "name" ? netlist_.name : netlist_.process) = rest(line);
      if (words_.size() < 2) error(words_[0], fmt::format("'{}' is empty", item));
    } else if (item == "voltage_v") {
      read_header_real(netlist_.voltage_v, 0.01, 100);
    } else if (item == "temperature_c") {
      read_header_real(netlist_.temperature_c, -273.15, 1000);
    } else if (item == "operand_bits") {
      read_header_integer(netlist_.operand_bits, 2, 8);
    } else if (item == "accumulator_bits") {
      read_header_integer(netlist_.accumulator_bits, 2, 32);
    } else {
      read_header_integer(netlist_.nets, 2, kMostNets);
    }
  }

  void read_version(const std::string& item) {
    if (item != "pe_timing" || words_.size() != 2)
      return error(words_[0], "this is not a timing file: it must begin with 'pe_timing 1'");
    if (words_[1].text != "1")
      return error(
          words_[1],
          fmt::format("version {} of the format is not known; this program reads version 1", words_[1].text));
    line_with_version_ = line_;
  }

  std::string rest(std::string_view line) const {
    if (words_.size() < 2) return {};
    const Word& last = words_.back();
    const auto begin = static_cast<std::size_t>(words_[1].column) - 1;
    return std::string(
        line.substr(begin, static_cast<std::size_t>(last.column) - 1 + last.text.size() - begin));
  }

  bool count(std::size_t wanted, std::string_view form) {
    if (words_.size() == wanted) return true;
    error(
        words_[std::min(wanted, words_.size() - 1)],
        fmt::format("{} words are too {}: {}", words_.size(), words_.size() < wanted ? "few" : "many", form));
    return false;
  }

  bool sizes_known() {
    if (sizes_checked_) return sizes_good_;
    sizes_checked_ = true;
    for (const std::string& item : kItems) {
      if (item == "provenance") continue;
      if (item == "launch") break;
      if (once_.contains(item)) continue;
      sizes_good_ = false;
      error(words_[0],
            fmt::format("'{}' is missing; it must stand before the first {}", item, words_[0].text));
    }
    if (sizes_good_ && netlist_.accumulator_bits < 2 * netlist_.operand_bits) {
      sizes_good_ = false;
      error(once_["accumulator_bits"], 1,
            fmt::format("accumulator_bits is {}; products have {}", netlist_.accumulator_bits,
                        2 * netlist_.operand_bits));
    }
    if (sizes_good_) {
      driver_lines_.assign(static_cast<std::size_t>(netlist_.nets), 0);
      capture_lines_.assign(static_cast<std::size_t>(netlist_.accumulator_bits), 0);
    }
    return sizes_good_;
  }

  std::optional<int> integer(const Word& word, std::string_view what, int low, int high) {
    const auto value = common::parse_integer(word.text);
    if (value && *value >= low && *value <= high) return static_cast<int>(*value);
    error(word, fmt::format("{} must be a number from {} to {}, but is '{}'", what, low, high, word.text));
    return std::nullopt;
  }

  void read_header_integer(int& value, int low, int high) {
    if (!count(2, fmt::format("{} NUMBER", words_[0].text))) return;
    if (const auto found = integer(words_[1], words_[0].text, low, high)) value = *found;
  }
  void read_header_real(double& value, double low, double high) {
    if (!count(2, fmt::format("{} NUMBER", words_[0].text))) return;
    const auto found = common::parse_real(words_[1].text);
    if (found && *found >= low && *found <= high)
      value = *found;
    else
      error(words_[1], fmt::format("{} must be a number from {} to {}, but is '{}'", words_[0].text, low,
                                   high, words_[1].text));
  }

  std::optional<EdgeTimes> times(std::size_t at) {
    std::array<double, 2> value{};
    for (std::size_t edge = 0; edge < 2; ++edge) {
      const Word& word = words_[at + edge];
      const auto found = common::parse_real(word.text);
      if (!found || *found < 0 || *found > 1e6) {
        error(word, fmt::format("a time must be a number of ps from 0 to 1000000, but is '{}'", word.text));
        return std::nullopt;
      }
      value[edge] = *found;
    }
    return EdgeTimes{value[0], value[1]};
  }

  // A net that something of this line drives.
  std::optional<int> driven(const Word& word) {
    const auto net = integer(word, "a driven net", 2, netlist_.nets - 1);
    if (!net) return std::nullopt;
    int& line = driver_lines_[static_cast<std::size_t>(*net)];
    if (line != 0) {
      error(word, fmt::format("net {} is driven twice, first on line {}", *net, line));
      return std::nullopt;
    }
    line = line_;
    return net;
  }
  std::optional<int> used(const Word& word) {
    const auto net = integer(word, "a net", 0, netlist_.nets - 1);
    if (net && *net >= 2 && driver_lines_[static_cast<std::size_t>(*net)] == 0) {
      uses_.push_back({*net, line_, word.column});
      return net;
    }
    return net;
  }

  void read_launch() {
    if (!count(6, "launch OPERAND BIT NET RISE FALL")) return;
    const auto operand = std::find(kOperands.begin(), kOperands.end(), words_[1].text);
    if (operand == kOperands.end())
      return error(words_[1], fmt::format("'{}' is not an operand of a PE; allowed are {}", words_[1].text,
                                          common::join_or(kOperands)));
    LaunchBit launch;
    launch.operand = static_cast<Operand>(operand - kOperands.begin());
    const int bits = launch.operand == Operand::psum ? netlist_.accumulator_bits : netlist_.operand_bits;
    const auto bit = integer(words_[2], "the bit", 0, bits - 1);
    const auto net = driven(words_[3]);
    const auto edges = times(4);
    if (!bit || !net || !edges) return;
    const int first = launch_lines_.try_emplace({launch.operand, *bit}, line_).first->second;
    if (first != line_)
      return error(words_[2],
                   fmt::format("{} bit {} is launched twice, first on line {}", *operand, *bit, first));
    launch.bit = *bit, launch.net = *net, launch.clock_to_net = *edges;
    netlist_.launches.push_back(launch);
  }

  void read_gate() {
    constexpr std::string_view kForm = "gate OUTPUT TRUTH, then NET RISE FALL for each input";
    if (words_.size() < 6) {
      count(6, kForm);
      return;
    }
    if (words_.size() % 3 != 0)
      return error(words_.back(), fmt::format("a delay is missing or one too many: {}", kForm));
    TimedGate gate;
    const std::size_t inputs = words_.size() / 3 - 1;
    if (inputs > 4) return error(words_[15], fmt::format("a gate has at most 4 inputs, this one {}", inputs));
    for (std::size_t pin = 0; pin < inputs; ++pin) {
      const auto net = used(words_[3 + 3 * pin]);
      const auto edges = times(4 + 3 * pin);
      if (!net || !edges) return;
      gate.inputs.push_back(*net);
      gate.delays.push_back(*edges);
    }
    const auto truth = hexadecimal(words_[2], (1U << (1U << inputs)) - 1);
    const auto output = driven(words_[1]);
    if (!truth || !output) return;
    gate.truth = *truth, gate.output = *output;
    netlist_.gates.push_back(std::move(gate));
  }

  std::optional<std::uint16_t> hexadecimal(const Word& word, std::uint32_t most) {
    std::uint32_t value = 0;
    bool good = word.text.size() > 2 && word.text.size() <= 6 && word.text.substr(0, 2) == "0x";
    for (std::size_t i = 2; good && i < word.text.size(); ++i) {
      const std::size_t digit = std::string_view("0123456789abcdef").find(word.text[i]);
      good = digit != std::string_view::npos;
      value = value * 16 + static_cast<std::uint32_t>(digit);
    }
    if (good && value <= most) return static_cast<std::uint16_t>(value);
    error(word, fmt::format("a truth table of these inputs is 0x0 to {:#x} in hexadecimal, but this is '{}'",
                            most, word.text));
    return std::nullopt;
  }

  void read_capture() {
    if (!count(5, "capture BIT NET RISE FALL")) return;
    const auto bit = integer(words_[1], "the bit", 0, netlist_.accumulator_bits - 1);
    const auto net = used(words_[2]);
    const auto edges = times(3);
    if (!bit || !net || !edges) return;
    int& line = capture_lines_[static_cast<std::size_t>(*bit)];
    if (line != 0)
      return error(words_[1], fmt::format("bit {} is captured twice, first on line {}", *bit, line));
    line = line_;
    netlist_.captures.push_back({*bit, *net, *edges});
  }

  // What only the whole file shows.
  void check_whole() {
    for (const Use& use : uses_) {
      const int driver = driver_lines_[static_cast<std::size_t>(use.net)];
      error(use.line, use.column,
            driver == 0 ? fmt::format("net {} is driven by nothing", use.net)
                        : fmt::format("net {} is used before line {}, which drives it; drivers come first",
                                      use.net, driver));
    }
    for (std::size_t kind = 0; kind < kOperands.size(); ++kind) {
      const auto operand = static_cast<Operand>(kind);
      const int bits = operand == Operand::psum ? netlist_.accumulator_bits : netlist_.operand_bits;
      for (int bit = 0; bit < bits; ++bit)
        if (!launch_lines_.contains({operand, bit}))
          error(line_, 1, fmt::format("bit {} of {} is launched by nothing", bit, kOperands[kind]));
    }
    for (std::size_t bit = 0; bit < capture_lines_.size(); ++bit)
      if (capture_lines_[bit] == 0) error(line_, 1, fmt::format("bit {} of the psum is not captured", bit));
    if (!sizes_checked_) error(line_, 1, "there are no gates");
    std::sort(netlist_.captures.begin(), netlist_.captures.end(),
              [](const CaptureBit& a, const CaptureBit& b) { return a.bit < b.bit; });
  }

  struct Use {
    int net, line, column;
  };

  std::string file_, text_;
  common::Diagnostics diagnostics_;
  TimedNetlist netlist_;
  std::vector<Word> words_;
  int line_ = 0, line_with_version_ = 0;
  bool done_ = false, sizes_checked_ = false, sizes_good_ = true;
  std::map<std::string, int> once_;  // item of the head -> its line
  std::vector<int> driver_lines_;    // of each net, 0: not driven yet
  std::vector<int> capture_lines_;   // of each bit
  std::map<std::pair<Operand, int>, int> launch_lines_;
  std::vector<Use> uses_;  // of nets not driven before
};

}  // namespace

TimedNetlist read_timed_netlist(const std::filesystem::path& file) {
  return Reader(file).read();
}

}  // namespace kintsugi::faults
