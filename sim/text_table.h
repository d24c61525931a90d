// Tables for people, on a terminal: columns as wide as they need be, a rule under the header.
#pragma once

#include <string>
#include <vector>

namespace kintsugi::sim {

enum class Align { left, right };
enum class Tone { plain, good, doubtful, bad, dim };

struct TableCell {
  std::string text;
  Tone tone = Tone::plain;  // colour, if the table is printed with colours
};

class TextTable {
 public:
  // A header may have several lines (separated by \n).
  void column(std::string header, Align align = Align::right);
  void row(std::vector<TableCell> cells);
  // Lines end with \n; UTF-8 characters count as one column each.
  std::string render(bool colours) const;

 private:
  struct Column {
    std::vector<std::string> header;
    Align align;
  };
  std::vector<Column> columns_;
  std::vector<std::vector<TableCell>> rows_;
};

}  // namespace kintsugi::sim
