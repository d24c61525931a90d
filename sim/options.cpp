#include "sim/options.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cctype>
#include <iostream>
#include <limits>
#include <thread>

#include "common/diagnostics.h"
#include "common/text.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;

// Collects words that are neither options nor named by positional().
constexpr const char* kStray = "stray words";

const std::vector<std::string> kLogLevels = {"trace", "debug", "info", "warn", "error", "off"};

// "kintsugi run" of "kintsugi run --chip C": the leading lower-case words.
std::string command_of(const std::string& usage) {
  std::string command;
  std::istringstream words(usage);
  for (std::string word; words >> word;) {
    if (!std::all_of(word.begin(), word.end(), [](unsigned char c) { return std::islower(c) || c == '-'; }) ||
        word[0] == '-')
      break;
    command += (command.empty() ? "" : " ") + word;
  }
  return command;
}

po::options_description common_description(const std::vector<std::string>& without) {
  po::options_description all;
  all.add_options()("out", po::value<std::string>()->value_name("DIR"),
                    "folder for the results; created if missing")(
      "seed", po::value<std::string>()->value_name("N"), "seed of all random numbers (default 1)")(
      "threads", po::value<std::string>()->value_name("N"),
      "threads to use (default: one per core); results do not depend on it")(
      "set", po::value<std::vector<std::string>>()->value_name("KEY=VALUE"),
      "override a key of a file, like chip.array.rows=128; may be repeated")(
      "data-dir", po::value<std::string>()->value_name("DIR"), "where data sets are looked for first")(
      "quiet", po::bool_switch(), "no progress")("log-level", po::value<std::string>()->value_name("LEVEL"),
                                                 "trace, debug, info, warn (default), error or off")(
      "help,h", "this text");
  po::options_description kept("Common options", 100);
  for (const auto& option : all.options())
    if (std::find(without.begin(), without.end(), option->long_name()) == without.end()) kept.add(option);
  return kept;
}

std::int64_t whole_number(const po::variables_map& values, const char* name, std::int64_t low,
                          std::int64_t high, std::int64_t fallback) {
  if (!values.count(name)) return fallback;
  const std::string text = values[name].as<std::string>();
  const auto value = common::parse_integer(text);
  if (!value || *value < low || *value > high)
    throw common::InputError(
        fmt::format("--{} must be an integer from {} to {}, but is '{}'", name, low, high, text));
  return *value;
}

}  // namespace

OptionParser::OptionParser(std::string usage, std::string about, std::string example)
    : usage_(std::move(usage)),
      about_(std::move(about)),
      example_(std::move(example)),
      own_("Options", 100) {}

void OptionParser::positional(const std::string& name, int most) {
  positional_.add(name.c_str(), most);
  positional_names_.push_back(name);
}

void OptionParser::without(const std::string& common_option) {
  without_.push_back(common_option);
}

bool OptionParser::parse(const std::vector<std::string>& arguments) {
  const po::options_description common = common_description(without_);
  const std::string command = command_of(usage_);

  for (const std::string& argument : arguments) {
    if (argument == "--") break;
    if (argument != "--help" && argument != "-h") continue;
    std::cout << "Usage: " << usage_ << "\n\n" << about_ << "\n\n";
    if (!own_.options().empty()) std::cout << own_ << "\n";
    std::cout << common << "\nExample:\n  " << example_ << "\n";
    return false;
  }

  po::options_description all;
  all.add(own_).add(common);
  const auto described = [&](const std::string& option) -> std::string {
    const auto* found = all.find_nothrow(option, false);
    return found ? found->description() : std::string("see the help");
  };
  const auto fail = [&](const std::string& message) {
    throw common::InputError(
        fmt::format("{}: error: {}\n'{} --help' lists all options", command, message, command));
  };

  po::options_description with_stray;
  with_stray.add(all).add_options()(kStray, po::value<std::vector<std::string>>());
  po::positional_options_description words = positional_;
  if (words.max_total_count() != std::numeric_limits<unsigned>::max()) words.add(kStray, -1);
  const auto name_of = [](const po::error_with_option_name& problem) {
    std::string name = problem.get_option_name();
    while (!name.empty() && name[0] == '-') name.erase(0, 1);
    return name.substr(0, name.find('='));
  };
  try {
    // Abbreviations are refused: a script that uses one breaks when an option is added.
    constexpr int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
    po::store(po::command_line_parser(arguments).options(with_stray).positional(words).style(style).run(),
              values_);
    if (values_.count(kStray))
      fail(fmt::format("unexpected word '{}'; options start with --",
                       values_[kStray].as<std::vector<std::string>>().front()));
    po::notify(values_);
  } catch (const po::unknown_option& problem) {
    const std::string name = name_of(problem);
    std::vector<std::string> known;
    for (const auto& option : all.options()) known.push_back(option->long_name());
    const auto near = common::nearest(name, known);
    fail(fmt::format("unknown option '{}'{}", problem.get_option_name(),
                     near ? fmt::format("; did you mean '--{}'?", *near) : ""));
  } catch (const po::required_option& problem) {
    // A word that is usually given without its option is called what the usage line calls it.
    std::string word = name_of(problem);
    if (std::find(positional_names_.begin(), positional_names_.end(), word) != positional_names_.end()) {
      const std::string about = described(word);
      std::transform(word.begin(), word.end(), word.begin(),
                     [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
      fail(fmt::format("{} is missing: {}", word, about));
    }
    fail(fmt::format("the option --{} is missing ({}); add it", name_of(problem),
                     described(name_of(problem))));
  } catch (const po::multiple_occurrences& problem) {
    fail(fmt::format("--{} was given more than once; give it once", name_of(problem)));
  } catch (const po::invalid_command_line_syntax& problem) {
    using Kind = po::invalid_command_line_syntax::kind_t;
    switch (problem.kind()) {
      case Kind::missing_parameter:
      case Kind::empty_adjacent_parameter:
        fail(fmt::format("--{} needs a value: {}", name_of(problem), described(name_of(problem))));
        break;
      case Kind::extra_parameter:
        fail(fmt::format("--{} takes no value; write it alone", name_of(problem)));
        break;
      default:
        fail(problem.what());
    }
  } catch (const po::validation_error& problem) {
    fail(fmt::format("{}; it is: {}", problem.what(), described(name_of(problem))));
  } catch (const po::error& problem) {
    fail(problem.what());
  }

  try {
    if (values_.count("out")) common_.out = values_["out"].as<std::string>();
    common_.seed = static_cast<std::uint64_t>(
        whole_number(values_, "seed", 0, std::numeric_limits<std::int64_t>::max(), 1));
    const std::int64_t cores = std::max(1U, std::thread::hardware_concurrency());
    common_.threads = static_cast<int>(whole_number(values_, "threads", 1, 1024, cores));
    common_.quiet = values_.count("quiet") && values_["quiet"].as<bool>();
    if (values_.count("data-dir")) common_.data_dir = values_["data-dir"].as<std::string>();
    if (values_.count("log-level")) {
      common_.log_level = values_["log-level"].as<std::string>();
      if (std::find(kLogLevels.begin(), kLogLevels.end(), common_.log_level) == kLogLevels.end())
        throw common::InputError(fmt::format("--log-level must be {}, but is '{}'",
                                             common::join_or(kLogLevels), common_.log_level));
    }
  } catch (const common::InputError& problem) {
    fail(problem.what());
  }
  const bool own_set = std::find(without_.begin(), without_.end(), "set") != without_.end();
  if (values_.count("set") && !own_set)
    for (const std::string& text : values_["set"].as<std::vector<std::string>>()) {
      common_.set.push_back(configs::parse_override(text));
      const std::string& key = common_.set.back().key;
      const std::string kind = key.substr(0, key.find('.'));
      if (!kinds_.empty() && std::find(kinds_.begin(), kinds_.end(), kind) == kinds_.end())
        fail(fmt::format(
            "--set {} would change nothing: this command reads no {} file; the key starts with {}", text,
            kind, common::join_or(kinds_)));
    }
  spdlog::set_level(spdlog::level::from_str(common_.log_level));
  return true;
}

void add_json_progress(OptionParser& parser) {
  parser.own().add_options()("json-progress", po::bool_switch(),
                             "progress as one JSON object a line on standard error, for programs");
}

common::ProgressOutput progress_output(bool quiet, bool json_progress) {
  if (json_progress) return common::ProgressOutput::json;
  return quiet ? common::ProgressOutput::none : common::ProgressOutput::people;
}

}  // namespace kintsugi::sim
