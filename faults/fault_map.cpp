#include "faults/fault_map.h"

#include <algorithm>
#include <array>
#include <tuple>

namespace kintsugi::faults {
namespace {

constexpr std::array<const char*, pe::kSites> kSiteNames = {"weight_register", "multiplier", "adder",
                                                            "psum_register", "activation_register"};

// A fault without a known nature sorts before the stuck-ats of its PE.
auto sort_key(const Fault& fault) {
  const int site = fault.stuck ? static_cast<int>(fault.stuck->site) : -1;
  return std::tuple(fault.row, fault.col, site, fault.stuck ? fault.stuck->bit : -1,
                    fault.stuck ? fault.stuck->value : -1, fault.escape);
}

}  // namespace

std::int64_t FaultMap::faulty_pes() const {
  std::vector<std::int64_t> positions;
  positions.reserve(faults.size());
  for (const Fault& fault : faults)
    positions.push_back(static_cast<std::int64_t>(fault.row) * cols + fault.col);
  std::sort(positions.begin(), positions.end());
  return std::unique(positions.begin(), positions.end()) - positions.begin();
}

double FaultMap::fault_rate() const {
  const std::int64_t pes = static_cast<std::int64_t>(rows) * cols;
  return pes == 0 ? 0.0 : static_cast<double>(faulty_pes()) / static_cast<double>(pes);
}

void FaultMap::sort() {
  std::stable_sort(faults.begin(), faults.end(),
                   [](const Fault& a, const Fault& b) { return sort_key(a) < sort_key(b); });
}

bool FaultMap::sorted() const {
  return std::is_sorted(faults.begin(), faults.end(),
                        [](const Fault& a, const Fault& b) { return sort_key(a) < sort_key(b); });
}

std::string to_string(pe::Site site) {
  return kSiteNames[static_cast<std::size_t>(site)];
}

std::optional<pe::Site> site_from(std::string_view word) {
  for (std::size_t i = 0; i < kSiteNames.size(); ++i)
    if (word == kSiteNames[i]) return static_cast<pe::Site>(i);
  return std::nullopt;
}

}  // namespace kintsugi::faults
