#include "workloads/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <sstream>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "common/files.h"
#include "common/text.h"

namespace kintsugi::workloads {
namespace {

using common::CsvRow;

constexpr const char* kConvolutionHeader =
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,";
constexpr const char* kGemmHeader = "Layer, M, N, K,";
// Larger ones overflow 64-bit counters somewhere downstream.
constexpr std::int64_t kLargest = std::int64_t{1} << 24;
constexpr double kMostMacs = 1e15;

// "IFMAP Height" -> "ifmapheight".
std::string plain(const std::string& text) {
  std::string out;
  for (const unsigned char c : text)
    if (std::isalnum(c)) out += static_cast<char>(std::tolower(c));
  return out;
}

// Cells that count: what follows a trailing comma, or a remark, does not.
std::size_t used_cells(const CsvRow& row) {
  std::size_t used = row.cells.size();
  while (used > 0 && (row.cells[used - 1].text.empty() || row.cells[used - 1].text[0] == '#')) --used;
  return used;
}

enum class Kind { convolution, gemm };

class Reader {
 public:
  explicit Reader(const std::filesystem::path& file) : file_(file.string()) {}

  std::vector<TopologyLayer> read() {
    const std::string text = common::read_file_maybe_gzip(file_);
    problems_.add_source(file_, text);
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) lines_.push_back(line);
    const std::vector<CsvRow> rows = common::parse_csv(text, file_, problems_);
    problems_.throw_if_any();
    if (rows.empty())
      throw common::InputError({file_}, fmt::format("is empty; a topology begins with the line '{}' or '{}'",
                                                    kConvolutionHeader, kGemmHeader));
    const Kind kind = read_header(rows.front());
    std::vector<TopologyLayer> layers;
    for (std::size_t i = 1; i < rows.size(); ++i) {
      if (used_cells(rows[i]) == 0) continue;
      if (auto layer = read_layer(rows[i], kind)) layers.push_back(std::move(*layer));
    }
    if (layers.empty() && problems_.empty())
      problems_.error({file_, rows.front().line}, "no layer follows the header; add at least one line");
    problems_.throw_if_any();
    return layers;
  }

 private:
  Kind read_header(const CsvRow& row) {
    const std::string second = row.cells.size() > 1 ? plain(row.cells[1].text) : "";
    const Kind kind = second == "m" ? Kind::gemm : Kind::convolution;
    const auto known = [&](std::size_t i) -> std::vector<std::string> {
      static const std::vector<std::vector<std::string>> convolution = {
          {"ifmapheight", "ifmaph"},  {"ifmapwidth", "ifmapw"}, {"filterheight", "filterh"},
          {"filterwidth", "filterw"}, {"channels", "channel"},  {"numfilter", "numfilters"},
          {"strides", "stride"}};
      static const std::vector<std::vector<std::string>> gemm = {{"m"}, {"n"}, {"k"}};
      return kind == Kind::gemm ? gemm[i] : convolution[i];
    };
    const std::size_t wanted = columns(kind);
    const char* header = kind == Kind::gemm ? kGemmHeader : kConvolutionHeader;
    const std::size_t used = used_cells(row);
    for (std::size_t i = 1; i < used && i <= wanted; ++i) {
      const auto words = known(i - 1);
      if (std::find(words.begin(), words.end(), plain(row.cells[i].text)) != words.end()) continue;
      problems_.error({file_, row.line, column_of(row, row.cells[i])},
                      fmt::format("'{}' is no column of a topology here; the first line is '{}' or '{}'",
                                  row.cells[i].text, kConvolutionHeader, kGemmHeader));
      problems_.throw_if_any();
    }
    if (used < wanted + 1)
      problems_.error({file_, row.line},
                      fmt::format("the header has {} columns; '{}' has {}", used, header, wanted + 1));
    if (used > wanted + 1)
      problems_.error({file_, row.line, column_of(row, row.cells[wanted + 1])},
                      fmt::format("the column '{}' is not supported; '{}' is all that is read",
                                  row.cells[wanted + 1].text, header));
    problems_.throw_if_any();
    return kind;
  }

  static std::size_t columns(Kind kind) { return kind == Kind::gemm ? 3 : 7; }

  std::optional<TopologyLayer> read_layer(const CsvRow& row, Kind kind) {
    const std::size_t wanted = columns(kind), used = used_cells(row);
    if (used != wanted + 1) {
      problems_.error({file_, row.line},
                      fmt::format("the line has {} values, but there are {} columns: {}", used, wanted + 1,
                                  kind == Kind::gemm ? kGemmHeader : kConvolutionHeader));
      return std::nullopt;
    }
    bool good = true;
    if (row.cells[0].text.empty()) {
      problems_.error({file_, row.line, 1}, "the layer has no name; write one before the first comma");
      good = false;
    }
    std::array<std::int64_t, 7> values{};
    for (std::size_t i = 0; i < wanted; ++i) {
      const auto& cell = row.cells[i + 1];
      const auto value = common::parse_integer(cell.text);
      if (value && *value >= 1 && *value <= kLargest) {
        values[i] = *value;
        continue;
      }
      problems_.error({file_, row.line, column_of(row, cell)},
                      fmt::format("must be an integer from 1 to {}, but is '{}'", kLargest, cell.text));
      good = false;
    }
    if (!good) return std::nullopt;
    TopologyLayer layer{row.cells[0].text, {}};
    if (kind == Kind::gemm) {
      layer.shape = array::gemm_shape(values[0], values[2], values[1]);
    } else if (!convolution(row, values, layer)) {
      return std::nullopt;
    }
    const array::LayerShape& s = layer.shape;
    const double macs = static_cast<double>(s.m()) * static_cast<double>(s.k()) * static_cast<double>(s.n()) *
                        static_cast<double>(s.groups);
    if (macs > kMostMacs) {
      problems_.error({file_, row.line}, fmt::format("the layer has {:.3g} multiplications; at most {:.0e} "
                                                     "can be simulated, so divide it",
                                                     macs, kMostMacs));
      return std::nullopt;
    }
    return layer;
  }

  bool convolution(const CsvRow& row, const std::array<std::int64_t, 7>& v, TopologyLayer& layer) {
    const auto [in_h, in_w, kernel_h, kernel_w, channels, filters, stride] = v;
    bool good = true;
    const auto fits = [&](std::size_t cell, const char* what, std::int64_t kernel, std::int64_t in) {
      if (kernel <= in) return;
      problems_.error({file_, row.line, column_of(row, row.cells[cell])},
                      fmt::format("the filter's {0} of {1} is larger than the input's of {2}; the file's "
                                  "inputs include their padding",
                                  what, kernel, in));
      good = false;
    };
    fits(3, "height", kernel_h, in_h);
    fits(4, "width", kernel_w, in_w);
    if (!good) return false;
    const bool depthwise = layer.name.find("DP") != std::string::npos;
    array::LayerShape& shape = layer.shape;
    const auto extended = [&](std::int64_t in, std::int64_t kernel) {
      const std::int64_t out = (in - kernel + stride + stride - 1) / stride;
      return (out - 1) * stride + kernel;
    };
    shape.in_h = extended(in_h, kernel_h);
    shape.in_w = extended(in_w, kernel_w);
    shape.in_c = channels;
    shape.kernel_h = kernel_h;
    shape.kernel_w = kernel_w;
    shape.stride = stride;
    shape.groups = depthwise ? channels : 1;
    shape.out_c = depthwise ? channels * filters : filters;
    return true;
  }

  // Where a cell's text begins, behind the blanks that follow the comma.
  int column_of(const CsvRow& row, const common::CsvCell& cell) const {
    const std::string& line = lines_[static_cast<std::size_t>(row.line) - 1];
    const std::size_t text = line.find_first_not_of(" \t", static_cast<std::size_t>(cell.column) - 1);
    return text == std::string::npos ? cell.column : static_cast<int>(text) + 1;
  }

  std::string file_;
  std::vector<std::string> lines_;
  common::Diagnostics problems_;
};

}  // namespace

std::vector<TopologyLayer> read_topology(const std::filesystem::path& file) {
  return Reader(file).read();
}

}  // namespace kintsugi::workloads
