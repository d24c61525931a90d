// What the sub-commands of `kintsugi fault-map` share: where the array's size comes from, and numbers in
// options.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "faults/array_faults.h"
#include "faults/fault_map_io.h"
#include "sim/options.h"

namespace kintsugi::sim {

// Sub-commands: arguments after the sub-command's name; return an exit status.
int fault_map_sample(const std::vector<std::string>& arguments);
int fault_map_import(const std::vector<std::string>& arguments);
int fault_map_show(const std::vector<std::string>& arguments);
int fault_map_check(const std::vector<std::string>& arguments);
int fault_map_convert(const std::vector<std::string>& arguments);
int fault_map_diff(const std::vector<std::string>& arguments);
int fault_map_masks(const std::vector<std::string>& arguments);

// --chip FILE, or --rows and --cols (and --accumulator-bits).
void add_geometry_options(OptionParser& parser);
// Throws common::InputError for half a size, or for a chip file and sizes that disagree in kind (both given).
std::optional<faults::ArrayGeometry> geometry_of(const OptionParser& parser);
// As above, but a size must be given; `why` says what for.
faults::ArrayGeometry required_geometry(const OptionParser& parser, const std::string& why);

// --bypass-map FILE and --no-bypass.
void add_bypass_options(OptionParser& parser);
struct BypassChoice {
  faults::BypassSource source = faults::BypassSource::fault_map;
  std::optional<faults::FaultMap> map;
  const faults::FaultMap* map_or_null() const { return map ? &*map : nullptr; }
};
BypassChoice bypass_of(const OptionParser& parser);

// Strict numbers: throw common::InputError naming the option, what is allowed and what was found.
std::int64_t integer_option(const OptionParser& parser, const std::string& name, std::int64_t low,
                            std::int64_t high, std::int64_t fallback);
double real_option(const OptionParser& parser, const std::string& name, double low, double high,
                   double fallback);
double real_value(const std::string& option, const std::string& text, double low, double high);

// The error every mistake in an option ends as.
[[noreturn]] void option_error(const std::string& message);

// "a,b,c" -> {"a", "b", "c"}.
std::vector<std::string> split_commas(const std::string& text);

// Writes one YAML file per map (and chips.csv, their list) into `folder`. Refuses a folder with other maps in
// it: they would become part of the lot unnoticed.
void write_map_folder(const std::filesystem::path& folder, const std::vector<faults::FaultMap>& maps,
                      bool packed, const CommonOptions& options);

}  // namespace kintsugi::sim
