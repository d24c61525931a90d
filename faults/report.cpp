#include "faults/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

namespace kintsugi::faults {
namespace {

constexpr std::size_t kWorstLines = 5;

std::vector<std::pair<int, std::int64_t>> worst(const std::vector<std::int64_t>& hits) {
  std::vector<std::pair<int, std::int64_t>> out;
  for (std::size_t i = 0; i < hits.size(); ++i)
    if (hits[i] > 0) out.emplace_back(static_cast<int>(i), hits[i]);
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  if (out.size() > kWorstLines) out.resize(kWorstLines);
  return out;
}

// "column 3", "columns 3, 5 and 7" or "columns 4-255".
std::string columns_text(const std::vector<int>& columns) {
  if (columns.empty()) return "nothing: no PE to its right computes";
  if (columns.size() == 1) return fmt::format("column {}", columns[0]);
  const bool run = columns.back() - columns.front() + 1 == static_cast<int>(columns.size());
  if (run) return fmt::format("columns {}-{}", columns.front(), columns.back());
  if (columns.size() <= 4) {
    std::string out = "columns";
    for (const int column : columns) out += fmt::format("{}{}", out.size() > 7 ? ", " : " ", column);
    return out;
  }
  return fmt::format("{} columns from {} to {}", columns.size(), columns.front(), columns.back());
}

std::string reach_text(const LiveFault& live) {
  const Fault& fault = live.fault;
  switch (fault.stuck->site) {
    case pe::Site::psum_register:
      return fmt::format("all outputs of column {}", fault.col);
    case pe::Site::activation_register:
      return live.columns.empty() ? "nothing: no PE to its right computes"
                                  : fmt::format("the outputs of {}", columns_text(live.columns));
    default:
      return fmt::format("the outputs of column {} (not bypassed)", fault.col);
  }
}

std::string hits_text(const std::vector<std::pair<int, std::int64_t>>& hits) {
  std::string out;
  for (const auto& [line, count] : hits)
    out += fmt::format("{}{} ({})", out.empty() ? "" : ", ", line, count);
  return out.empty() ? "none" : out;
}

}  // namespace

FaultReport make_report(const FaultMap& map, std::span<const std::uint8_t> bypass) {
  const auto bypassed = [&](int row, int col) {
    return bypass[static_cast<std::size_t>(row) * map.cols + col] != 0;
  };
  FaultReport report;
  report.chip = map.chip;
  report.rows = map.rows;
  report.cols = map.cols;
  report.faults = static_cast<std::int64_t>(map.faults.size());
  report.faulty_pes = map.faulty_pes();
  report.fault_rate = map.fault_rate();

  enum : std::uint8_t { kNamed = 1, kFound = 2, kUnknown = 4 };
  std::vector<std::uint8_t> pes(bypass.size(), 0);
  std::set<int> reached;
  for (const Fault& fault : map.faults) {
    std::uint8_t& pe = pes[static_cast<std::size_t>(fault.row) * map.cols + fault.col];
    pe |= kNamed;
    if (!fault.escape) pe |= kFound;
    if (!fault.stuck) {
      ++report.unknown;
      pe |= kUnknown;
      continue;
    }
    ++report.by_site[static_cast<std::size_t>(fault.stuck->site)];
    LiveFault live{fault, bypassed(fault.row, fault.col), {}};
    if (fault.stuck->site == pe::Site::activation_register) {
      // Bypassed PEs pass psum_in on, whatever their row carries.
      for (int c = fault.col + 1; c < map.cols; ++c)
        if (!bypassed(fault.row, c)) live.columns.push_back(c);
    } else if (fault.stuck->site == pe::Site::psum_register || !live.bypassed) {
      live.columns.push_back(fault.col);
    } else {
      continue;
    }
    reached.insert(live.columns.begin(), live.columns.end());
    report.live.push_back(std::move(live));
  }

  std::vector<std::int64_t> row_hits(static_cast<std::size_t>(map.rows), 0);
  std::vector<std::int64_t> col_hits(static_cast<std::size_t>(map.cols), 0);
  for (std::size_t i = 0; i < pes.size(); ++i) {
    const bool hidden = bypass[i] != 0;
    report.bypassed_pes += hidden;
    report.false_alarms += hidden && pes[i] == 0;
    if (pes[i] == 0) continue;
    report.escapes += (pes[i] & kFound) == 0;
    report.assumed_maskable += hidden && (pes[i] & kUnknown) != 0;
    report.uncomputable += !hidden && (pes[i] & kUnknown) != 0;
    ++row_hits[i / static_cast<std::size_t>(map.cols)];
    ++col_hits[i % static_cast<std::size_t>(map.cols)];
  }
  report.columns_reached = static_cast<std::int64_t>(reached.size());
  report.worst_rows = worst(row_hits);
  report.worst_cols = worst(col_hits);
  return report;
}

std::string assumptions_text(std::int64_t assumed_maskable, std::int64_t faulty_pes, std::int64_t escapes) {
  const std::string coverage =
      escapes > 0 ? fmt::format("test escapes: {} live faulty PE{}", escapes, escapes == 1 ? "" : "s")
                  : std::string("test coverage assumed: 100 %");
  return fmt::format("assumed maskable: {} of {} faults\n{}\n", assumed_maskable, faulty_pes, coverage);
}

std::string to_text(const FaultReport& report, int most_live) {
  std::string out;
  const auto line = [&]<class... Args>(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
    out += '\n';
  };
  line("chip {}: {} of {} PEs faulty, fault rate {:.6g}", report.chip, report.faulty_pes,
       static_cast<std::int64_t>(report.rows) * report.cols, report.fault_rate);
  line("  array             {} rows x {} columns", report.rows, report.cols);
  line("  faults by site{}", report.faults == 0 ? "    none" : "");
  for (int i = 0; i < pe::kSites; ++i)
    if (report.by_site[i] > 0)
      line("    {:<19} {:>7}", to_string(static_cast<pe::Site>(i)), report.by_site[i]);
  if (report.unknown > 0) line("    {:<19} {:>7}", "unknown nature", report.unknown);
  line("  rows most hit     {}", hits_text(report.worst_rows));
  line("  columns most hit  {}", hits_text(report.worst_cols));
  line("  bypassed PEs      {}{}", report.bypassed_pes,
       report.false_alarms > 0
           ? fmt::format(", {} of them without a fault (false alarms)", report.false_alarms)
           : "");
  if (report.uncomputable > 0)
    line("  cannot be run     {} a fault of unknown nature and no bypass: bypass {} or reject the chip",
         report.uncomputable == 1 ? std::string("1 PE has") : fmt::format("{} PEs have", report.uncomputable),
         report.uncomputable == 1 ? "it" : "them");
  if (report.live.empty()) {
    line("  not hidden        no known fault");
  } else {
    const bool one = report.live.size() == 1;
    line("  not hidden        {} fault{}, which reach{} {} of {} columns:", report.live.size(),
         one ? "" : "s", one ? "es" : "", report.columns_reached, report.cols);
    const std::size_t shown = std::min(report.live.size(), static_cast<std::size_t>(std::max(most_live, 0)));
    for (std::size_t i = 0; i < shown; ++i) {
      const LiveFault& live = report.live[i];
      line("    row {}, col {}, {} bit {} stuck at {}{}: reaches {}", live.fault.row, live.fault.col,
           to_string(live.fault.stuck->site), live.fault.stuck->bit, live.fault.stuck->value,
           live.fault.escape ? " (escape)" : "", reach_text(live));
    }
    if (shown < report.live.size()) line("    ... and {} more", report.live.size() - shown);
  }
  const std::string assumptions =
      assumptions_text(report.assumed_maskable, report.faulty_pes, report.escapes);
  for (std::size_t begin = 0; begin < assumptions.size();) {
    const std::size_t end = assumptions.find('\n', begin);
    out += "  " + assumptions.substr(begin, end - begin) + '\n';
    begin = end + 1;
  }
  return out;
}

}  // namespace kintsugi::faults
