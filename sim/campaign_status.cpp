// kintsugi campaign status
#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "sim/campaign_command.h"
#include "sim/campaign_record.h"
#include "sim/folder_lock.h"
#include "sim/options.h"
#include "sim/phase_status.h"
#include "sim/text_table.h"

namespace kintsugi::sim {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;
using Json = nlohmann::ordered_json;

std::string duration(const std::optional<double>& seconds) {
  if (!seconds) return "";
  const auto whole = static_cast<std::int64_t>(std::llround(*seconds));
  if (whole < 120) return fmt::format("{} s", whole);
  if (whole < 7200) return fmt::format("{} min", whole / 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

Json number(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json json_of(const std::string& name, const std::optional<PhaseStatus>& status) {
  Json json{{"phase", name}, {"begun", status.has_value()}};
  if (!status) return json;
  json["tasks"] = status->tasks;
  json["done"] = status->done;
  json["missing"] = status->tasks - status->done;
  json["working"] = status->working;
  json["unit"] = status->unit;
  json["work"] = status->work;
  json["work_done"] = status->work_done;
  json["seconds_since_result"] = number(status->seconds_since_result);
  json["seconds_left"] = number(status->seconds_left);
  return json;
}

}  // namespace

int campaign_status(const std::vector<std::string>& arguments) {
  OptionParser parser("kintsugi campaign status D",
                      "Shows how far a campaign is: for each of its phases the tasks that are done, missing "
                      "and being worked on, the\n"
                      "age of the last result, and the time left of the phase. Reads files only: it works "
                      "while the campaign runs, and\n"
                      "from any machine that sees the folder.",
                      "kintsugi campaign status quickstart");
  parser.own().add_options()("folder", po::value<std::string>()->required()->value_name("D"),
                             "the campaign's folder: --out of the command that began it")(
      "json", po::bool_switch(), "as one JSON object, for programs");
  parser.positional("folder", 1);
  for (const char* option : {"out", "seed", "threads", "set", "data-dir", "quiet"}) parser.without(option);
  if (!parser.parse(arguments)) return kExitDone;
  const fs::path folder = parser.text("folder");
  const CampaignRecord record = read_record(folder);
  const auto holder = lock_holder(folder);

  Json json{{"folder", fs::absolute(folder).string()},
            {"command", record.command()},
            {"campaign", record.campaign.string()},
            {"running", holder.has_value()},
            {"process", holder ? Json{{"pid", holder->pid}, {"host", holder->host}} : Json(nullptr)},
            {"phases", Json::array()}};
  TextTable table;
  table.column("phase", Align::left);
  for (const char* header : {"done", "missing", "working", "last result", "time left"}) table.column(header);
  for (const std::string& name : record.phases()) {
    const auto status = read_status(folder, name);
    // Few campaigns have these.
    if (!status && (name == "calibrate" || name == "group" || name == "deliver")) continue;
    json["phases"].push_back(json_of(name, status));
    if (!status) {
      table.row({{name}, {"not begun"}, {}, {}, {}, {}});
      continue;
    }
    const std::string since = duration(status->seconds_since_result);
    table.row({{name},
               {fmt::format("{} of {}", status->done, status->tasks)},
               {fmt::format("{}", status->tasks - status->done)},
               {fmt::format("{}", status->working)},
               {since.empty() ? since : since + " ago"},
               {duration(status->seconds_left)}});
  }
  if (parser.values()["json"].as<bool>()) {
    fmt::print("{}\n", json.dump(2));
    return kExitDone;
  }
  fmt::print("kintsugi {} --campaign {}\n{}\n\n{}", record.command(), record.campaign.string(),
             holder ? fmt::format("process {} on {} is at work on it", holder->pid, holder->host)
                    : std::string("no process is at work on it"),
             table.render(::isatty(STDOUT_FILENO) == 1));
  return kExitDone;
}

}  // namespace kintsugi::sim
