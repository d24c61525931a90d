#include "faults/sdf_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "common/text.h"

namespace kintsugi::faults {
namespace {

// A word, or a list in parentheses.
struct Item {
  bool list = false;
  std::string text;  // of a word; a string without its quotes
  std::vector<Item> items;
  TextPlace where;

  // The word that says what the list is, in capitals; empty if it begins with something else.
  std::string keyword() const {
    if (!list || items.empty() || items[0].list) return {};
    std::string word = items[0].text;
    for (char& c : word) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return word;
  }
};

constexpr int kDeepest = 64;

class ItemReader {
 public:
  explicit ItemReader(TextCursor& cursor) : cursor_(cursor) {}

  void skip_unread() {
    for (;;) {
      cursor_.skip_blanks();
      if (cursor_.starts_with("//"))
        cursor_.skip_line();
      else if (cursor_.starts_with("/*"))
        cursor_.skip_comment("*/");
      else
        return;
    }
  }

  Item read(int depth = 0) {
    skip_unread();
    Item item;
    item.where = cursor_.place();
    if (cursor_.at_end()) cursor_.fail(item.where, "the file is cut short: something is missing here");
    if (cursor_.peek() == '"') {
      cursor_.next();
      item.text = cursor_.take_while([](char c) { return c != '"'; });
      if (cursor_.at_end()) cursor_.fail(item.where, "this string never ends");
      cursor_.next();
      return item;
    }
    if (cursor_.peek() != '(') {
      read_word(item);
      return item;
    }
    if (depth >= kDeepest) cursor_.fail(item.where, "parentheses are nested too deeply for an SDF file");
    cursor_.next();
    item.list = true;
    for (skip_unread(); cursor_.peek() != ')'; skip_unread()) {
      if (cursor_.at_end()) cursor_.fail(item.where, "this '(' is never closed: the file is cut short");
      item.items.push_back(read(depth + 1));
    }
    cursor_.next();
    return item;
  }

 private:
  // Names escape their special characters with backslashes: a\[0\]. The divider stays as it is, and one that
  // belongs to a name is dealt with in split_path.
  void read_word(Item& item) {
    if (cursor_.peek() == ')') cursor_.fail(item.where, "this ')' closes nothing");
    while (!cursor_.at_end()) {
      const char c = cursor_.peek();
      if (c == '\\' && cursor_.peek(1) != '\0') {
        item.text += cursor_.next();
        item.text += cursor_.next();
        continue;
      }
      if (std::isspace(static_cast<unsigned char>(c)) || c == '(' || c == ')' || c == '"') break;
      item.text += cursor_.next();
    }
  }

  TextCursor& cursor_;
};

std::string unescaped(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    plain += text[i];
  }
  return plain;
}

EdgeTimes slower(const EdgeTimes& a, const EdgeTimes& b) {
  return {std::max(a.rise, b.rise), std::max(a.fall, b.fall)};
}

class Parser {
 public:
  Parser(const std::string& file, std::string_view text, ImportProblems& problems, SdfFile& result)
      : cursor_(file, text, problems), result_(result) {}

  // Cell by cell: the tree of a whole file would be large.
  void parse() {
    ItemReader reader(cursor_);
    reader.skip_unread();
    const TextPlace begin = cursor_.place();
    std::string word;
    if (cursor_.peek() == '(') {
      cursor_.next();
      reader.skip_unread();
      word = reader.read().text;
    }
    if (word != "DELAYFILE") cursor_.fail(begin, "this is no SDF file: it does not begin with (DELAYFILE");
    for (reader.skip_unread(); cursor_.peek() != ')'; reader.skip_unread()) {
      if (cursor_.at_end()) cursor_.fail(begin, "this '(' is never closed: the file is cut short");
      read_entry(reader.read(1));
    }
  }

 private:
  void error(const Item& item, const std::string& message) { cursor_.error(item.where, message); }

  void read_entry(const Item& entry) {
    const std::string word = entry.keyword();
    const auto text = [&] { return entry.items.size() > 1 ? entry.items[1].text : std::string(); };
    if (word == "PROGRAM") result_.program = text() + (result_.program.empty() ? "" : " " + result_.program);
    if (word == "VERSION") result_.program += (result_.program.empty() ? "" : " ") + text();
    if (word == "DIVIDER" && text().size() == 1) divider_ = text()[0];
    if (word == "VOLTAGE") result_.voltage_v = corner(text());
    if (word == "TEMPERATURE") result_.temperature_c = corner(text());
    if (word == "TIMESCALE") read_timescale(entry);
    if (word == "CELL") read_cell(entry);
  }

  // "100ps", "1 ns"
  void read_timescale(const Item& entry) {
    std::string text;
    for (std::size_t i = 1; i < entry.items.size(); ++i) text += entry.items[i].text;
    const std::size_t unit = text.find_first_not_of("0123456789.");
    const auto number = common::parse_real(text.substr(0, unit));
    const std::string name = unit == std::string::npos ? "" : text.substr(unit);
    const double ps = name == "ps" ? 1 : name == "ns" ? 1e3 : name == "us" ? 1e6 : name == "fs" ? 1e-3 : 0;
    if (!number || *number <= 0 || ps == 0)
      error(entry,
            fmt::format("'{}' is no time scale; it is a number with a unit, as in (TIMESCALE 1ns)", text));
    else
      scale_ps_ = *number * ps;
  }

  // The last part of min:typ:max that is there.
  static std::optional<double> corner(const std::string& triple) {
    std::size_t end = triple.size();
    for (;;) {
      const std::size_t colon = end == 0 ? std::string::npos : triple.rfind(':', end - 1);
      const std::size_t begin = colon == std::string::npos ? 0 : colon + 1;
      std::string part = triple.substr(begin, end - begin);
      if (part.starts_with("+")) part.erase(0, 1);
      if (!part.empty()) return common::parse_real(part);
      if (colon == std::string::npos) return std::nullopt;
      end = colon;
    }
  }

  // A list (min:typ:max) in ps; nothing for ().
  std::optional<double> time_of(const Item& item) {
    std::string text = item.list ? "" : item.text;
    if (item.list)
      for (const Item& part : item.items) text += part.text;
    if (text.empty()) return std::nullopt;
    const auto value = corner(text);
    if (!value) {
      error(item, fmt::format("'{}' is no time; times are numbers, as in (0.12) or (0.10:0.11:0.12)", text));
      return std::nullopt;
    }
    return *value * scale_ps_;
  }

  // One value is for both edges; of more, the first two are rise and fall.
  std::optional<EdgeTimes> edge_times(const Item& item, std::size_t first) {
    if (item.items.size() <= first) {
      error(item, fmt::format("{} has no times", item.keyword()));
      return std::nullopt;
    }
    const auto rise = time_of(item.items[first]);
    const auto fall = item.items.size() > first + 1 ? time_of(item.items[first + 1]) : rise;
    if (!rise && !fall) return std::nullopt;
    return EdgeTimes{rise.value_or(fall.value_or(0)), fall.value_or(rise.value_or(0))};
  }

  // "u1/A" -> u1, A. A divider after a backslash is part of a name.
  std::pair<std::string, std::string> split_path(const std::string& path) const {
    for (std::size_t at = path.size(); at-- > 0;)
      if (path[at] == divider_ && (at == 0 || path[at - 1] != '\\'))
        return {unescaped(path.substr(0, at)), unescaped(path.substr(at + 1))};
    return {"", unescaped(path)};
  }

  // A pin, or (posedge pin): the pin and its edge.
  static std::pair<std::string, std::string> pin_of(const Item& item) {
    if (!item.list) return {unescaped(item.text), ""};
    return {item.items.size() > 1 ? unescaped(item.items.back().text) : "", item.keyword()};
  }

  void read_cell(const Item& entry) {
    std::string type, instance;
    bool everywhere = false;
    for (const Item& item : entry.items) {
      if (item.keyword() == "CELLTYPE" && item.items.size() > 1) type = item.items[1].text;
      if (item.keyword() == "INSTANCE" && item.items.size() > 1) {
        everywhere = item.items[1].text == "*";
        instance = unescaped(item.items[1].text);
      }
    }
    if (everywhere) {
      error(entry,
            "delays of a cell type, (INSTANCE *), cannot be read; write the SDF file with one cell for "
            "each instance");
      return;
    }
    // The module itself, (INSTANCE), lists the wires.
    SdfCell& cell = result_.cells[instance];
    cell.type = type;
    cell.where = entry.where;  // rather than that of a wire to it
    for (const Item& item : entry.items) {
      if (item.keyword() == "DELAY")
        for (const Item& kind : item.items) read_delays(kind, cell);
      if (item.keyword() == "TIMINGCHECK")
        for (const Item& check : item.items)
          if (check.keyword() == "SETUP" || check.keyword() == "SETUPHOLD") read_setup(check, cell);
    }
  }

  void read_delays(const Item& kind, SdfCell& cell) {
    if (kind.keyword() == "INCREMENT")
      error(kind, "delays that are added to others (INCREMENT) cannot be read; write absolute ones");
    if (kind.keyword() != "ABSOLUTE") return;
    for (const Item& item : kind.items) {
      const std::string word = item.keyword();
      if (word == "IOPATH") {
        read_path(item, cell);
      } else if (word == "COND" || word == "CONDELSE") {
        for (const Item& inner : item.items)
          if (inner.keyword() == "IOPATH") {
            ++result_.merged_conditions;
            read_path(inner, cell);
          }
      } else if (word == "INTERCONNECT" || word == "PORT" || word == "NETDELAY") {
        read_wire(item, cell);
      } else if (word == "DEVICE") {
        error(item, "delays of a whole device (DEVICE) cannot be read; write them from pin to pin (IOPATH)");
      }
    }
  }

  // The slowest of several paths between the same pins counts: those of other conditions or input edges.
  void read_path(const Item& item, SdfCell& cell) {
    if (item.items.size() < 4) {
      error(item, "IOPATH takes a pin, another pin, and times");
      return;
    }
    std::size_t first = 3;  // behind the pins; RETAIN may stand there
    while (first < item.items.size() && item.items[first].keyword() == "RETAIN") ++first;
    const auto times = edge_times(item, first);
    if (!times) return;
    const auto [at, added] =
        cell.paths.try_emplace({pin_of(item.items[1]).first, pin_of(item.items[2]).first}, *times);
    if (!added) at->second = slower(at->second, *times);
  }

  void read_wire(const Item& item, SdfCell& cell) {
    const std::string word = item.keyword();
    const std::size_t target = word == "INTERCONNECT" ? 2 : 1;
    if (item.items.size() <= target || word == "NETDELAY") {
      error(item, fmt::format("{} cannot be read; write wires as INTERCONNECT", word));
      return;
    }
    const auto times = edge_times(item, target + 1);
    if (!times) return;
    const auto [instance, pin] = split_path(item.items[target].text);
    SdfCell& sink = instance.empty() ? cell : result_.cells[instance];
    if (sink.where.line == 0) sink.where = item.where;
    const auto [at, added] = sink.wires.try_emplace(pin, *times);
    if (!added) at->second = slower(at->second, *times);
  }

  // (SETUP (posedge D) (posedge CLK) (0.1)); SETUPHOLD has the hold time behind it.
  void read_setup(const Item& item, SdfCell& cell) {
    if (item.items.size() < 4) {
      error(item, "SETUP takes a data pin, a clock pin and a time");
      return;
    }
    const Item* data = &item.items[1];
    if (data->keyword() == "COND") data = &data->items.back();
    const auto [pin, edge] = pin_of(*data);
    const auto time = time_of(item.items[3]);
    if (!time) return;
    // Far below any setup time, so that the other edge's check decides.
    constexpr double kNone = -1e9;
    const EdgeTimes times = {edge == "NEGEDGE" ? kNone : *time, edge == "POSEDGE" ? kNone : *time};
    const auto [at, added] = cell.setups.try_emplace(pin, times);
    if (!added) at->second = slower(at->second, times);
  }

  TextCursor cursor_;
  SdfFile& result_;
  double scale_ps_ = 1000;  // of a file that does not say: 1 ns
  char divider_ = '.';
};

}  // namespace

SdfFile parse_sdf(const std::string& file, std::string_view text, ImportProblems& problems) {
  SdfFile result;
  try {
    Parser(file, text, problems, result).parse();
  } catch (const UnreadableText&) {
    // On the list.
  }
  return result;
}

}  // namespace kintsugi::faults
