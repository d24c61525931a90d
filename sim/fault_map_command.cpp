// `kintsugi fault-map`: finds the sub-command; what all of them share.
#include "sim/fault_map_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "common/csv.h"
#include "common/files.h"
#include "common/progress.h"
#include "common/text.h"
#include "common/thread_pool.h"
#include "configs/chip.h"
#include "sim/sub_commands.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;

// Names that a campaign's glob over the folder would take for maps.
bool is_map_name(const std::string& name) {
  return name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".yaml.gz") ||
         name.ends_with(".yml.gz");
}

std::string file_name_of(const std::string& chip) {
  std::string name = chip;
  for (char& c : name)
    if (c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20) c = '_';
  return name.empty() || name[0] == '.' ? "_" + name : name;
}

}  // namespace

int fault_map_command(const std::vector<std::string>& arguments) {
  static constexpr SubCommand kSubCommands[] = {
      {"sample", "draw random fault maps for one chip or a lot", fault_map_sample},
      {"import", "read a tester's CSV of a whole lot", fault_map_import},
      {"show", "what a chip's faults are, what a bypass cannot hide, and a picture", fault_map_show},
      {"check", "validate fault maps, also against a chip", fault_map_check},
      {"convert", "between YAML, compressed YAML and a 0/1 CSV grid", fault_map_convert},
      {"diff", "compare two fault maps", fault_map_diff},
      {"masks", "the pruning mask of every parameter of a network, for PyTorch", fault_map_masks},
  };
  return run_sub_command({"fault-map", "A fault map says which PEs of one chip are broken, and how.",
                          "  kintsugi fault-map sample --rows 256 --cols 256 --rate 0.01 --out maps\n"
                          "  kintsugi fault-map show maps/chip-0001.yaml\n",
                          kSubCommands},
                         arguments);
}

void option_error(const std::string& message) {
  throw common::InputError("kintsugi fault-map: error: " + message);
}

void add_geometry_options(OptionParser& parser) {
  parser.own().add_options()("chip", po::value<std::string>()->value_name("FILE"),
                             "chip description that gives the array's size")(
      "rows", po::value<std::string>()->value_name("N"), "rows of the array, instead of --chip")(
      "cols", po::value<std::string>()->value_name("N"), "columns of the array, instead of --chip")(
      "accumulator-bits", po::value<std::string>()->value_name("N"),
      "bits of adder and psum register, beside --rows and --cols (default 32)");
}

std::optional<faults::ArrayGeometry> geometry_of(const OptionParser& parser) {
  const bool rows = parser.has("rows"), cols = parser.has("cols"), bits = parser.has("accumulator-bits");
  if (parser.has("chip")) {
    if (rows || cols || bits)
      option_error("--chip already says the array's size; leave out --rows, --cols and --accumulator-bits");
    const configs::ChipConfig chip = configs::read_chip(parser.text("chip"), parser.common().set);
    return faults::ArrayGeometry{chip.array.rows, chip.array.cols, chip.array.accumulator_bits};
  }
  if (!rows && !cols && !bits) return std::nullopt;
  if (!rows || !cols) option_error("--rows and --cols are given together");
  return faults::ArrayGeometry{
      static_cast<int>(integer_option(parser, "rows", 1, faults::kMaxArrayDimension, 1)),
      static_cast<int>(integer_option(parser, "cols", 1, faults::kMaxArrayDimension, 1)),
      static_cast<int>(integer_option(parser, "accumulator-bits", 16, 32, 32))};
}

faults::ArrayGeometry required_geometry(const OptionParser& parser, const std::string& why) {
  const auto geometry = geometry_of(parser);
  if (!geometry) option_error(fmt::format("{}; give --chip FILE, or --rows N --cols N", why));
  return *geometry;
}

void add_bypass_options(OptionParser& parser) {
  parser.own().add_options()("bypass-map", po::value<std::string>()->value_name("FILE"),
                             "the PEs that are bypassed, if they are not those of the fault map")(
      "no-bypass", po::bool_switch(), "nothing is bypassed");
}

BypassChoice bypass_of(const OptionParser& parser) {
  BypassChoice choice;
  const bool none = parser.values()["no-bypass"].as<bool>();
  if (none && parser.has("bypass-map"))
    option_error("--no-bypass and --bypass-map exclude each other; give one");
  if (none) choice.source = faults::BypassSource::none;
  if (parser.has("bypass-map")) {
    choice.source = faults::BypassSource::bypass_map;
    choice.map = faults::read_fault_map(parser.text("bypass-map"));
  }
  return choice;
}

std::int64_t integer_option(const OptionParser& parser, const std::string& name, std::int64_t low,
                            std::int64_t high, std::int64_t fallback) {
  if (!parser.has(name)) return fallback;
  const auto value = common::parse_integer(parser.text(name));
  if (!value || *value < low || *value > high)
    option_error(fmt::format("--{} must be an integer from {} to {}, but is '{}'", name, low, high,
                             parser.text(name)));
  return *value;
}

double real_value(const std::string& option, const std::string& text, double low, double high) {
  const auto value = common::parse_real(text);
  if (!value || *value < low || *value > high)
    option_error(fmt::format("--{} must be a number from {} to {}, but is '{}'", option,
                             common::format_number(low), common::format_number(high), text));
  return *value;
}

double real_option(const OptionParser& parser, const std::string& name, double low, double high,
                   double fallback) {
  return parser.has(name) ? real_value(name, parser.text(name), low, high) : fallback;
}

std::vector<std::string> split_commas(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == ',')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

void write_map_folder(const std::filesystem::path& folder, const std::vector<faults::FaultMap>& maps,
                      bool packed, const CommonOptions& options) {
  std::vector<std::string> names;
  std::set<std::string> ours;
  for (const faults::FaultMap& map : maps) {
    names.push_back(file_name_of(map.chip) + (packed ? ".yaml.gz" : ".yaml"));
    if (!ours.insert(names.back()).second)
      throw common::InputError(
          fmt::format("two chips would be written to {}; chip ids must differ in more than "
                      "slashes",
                      (folder / names.back()).string()));
  }
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (is_map_name(name) && !ours.contains(name))
      throw common::InputError(
          {folder.string()},
          fmt::format("the folder already holds {}, which these maps do not replace; write to an "
                      "empty folder, so that the two lots do not mix",
                      name));
  }
  common::ThreadPool pool(options.threads);
  constexpr std::int64_t kBatch = 64;  // between two lines of progress
  common::Progress progress("writing", static_cast<std::int64_t>(maps.size()),
                            options.quiet || maps.size() <= kBatch);
  for (std::int64_t begin = 0; begin < static_cast<std::int64_t>(maps.size()); begin += kBatch) {
    const std::int64_t count = std::min(kBatch, static_cast<std::int64_t>(maps.size()) - begin);
    pool.parallel_for(
        count, [&](std::int64_t i) { faults::write_fault_map(folder / names[begin + i], maps[begin + i]); });
    progress.advance(count);
  }
  std::string table = "chip,fault_map,faulty_pes,fault_rate\n";
  for (std::size_t i = 0; i < maps.size(); ++i)
    table += fmt::format("{},{},{},{}\n", common::csv_cell(maps[i].chip), common::csv_cell(names[i]),
                         maps[i].faulty_pes(), common::format_number(maps[i].fault_rate()));
  common::write_file_atomic(folder / "chips.csv", table);
}

}  // namespace kintsugi::sim
