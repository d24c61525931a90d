// What every command's options share, and the form of a command.
#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "common/progress.h"
#include "configs/yaml_reader.h"

namespace kintsugi::sim {

inline constexpr int kExitDone = 0;
inline constexpr int kExitNo = 1;  // the answer is "no": a regression differs, a constraint is missed
inline constexpr int kExitBadInput = 2;
inline constexpr int kExitInternal = 3;

struct CommonOptions {
  std::filesystem::path out;       // --out
  std::uint64_t seed = 1;          // --seed
  int threads = 1;                 // --threads
  bool quiet = false;              // --quiet
  std::string log_level = "warn";  // --log-level
  std::filesystem::path data_dir;  // --data-dir
  configs::Overrides set;          // --set key=value, repeatable
};

// A command's own options plus the common ones; parses, handles --help, and turns every mistake (unknown
// option with the nearest known one, missing or malformed value, missing required option, stray words) into
// common::InputError.
class OptionParser {
 public:
  // `usage`: "kintsugi run --chip C --workload W --out D"; `about`: one or two sentences; `example`: a
  // command line that works.
  OptionParser(std::string usage, std::string about, std::string example);

  // Add options here: parser.own().add_options()("chip", value<std::string>()->required(), "…").
  boost::program_options::options_description& own() { return own_; }
  // Names a positional option; `most` −1 means any number.
  void positional(const std::string& name, int most);
  // The command does not use one of the common options: it is then refused like any unknown one.
  void without(const std::string& common_option);

  // Kinds of files that the command reads ("chip", "workload"): --set of another kind would change nothing
  // and is refused.
  void reads(std::vector<std::string> kinds) { kinds_ = std::move(kinds); }

  // Returns false if --help was asked for (already printed).
  bool parse(const std::vector<std::string>& arguments);

  const boost::program_options::variables_map& values() const { return values_; }
  const CommonOptions& common() const { return common_; }
  bool has(const std::string& name) const { return values_.count(name) > 0; }
  std::string text(const std::string& name) const { return values_[name].as<std::string>(); }

 private:
  std::string usage_, about_, example_;
  boost::program_options::options_description own_;
  boost::program_options::positional_options_description positional_;
  std::vector<std::string> positional_names_;
  std::vector<std::string> without_;
  std::vector<std::string> kinds_;
  boost::program_options::variables_map values_;
  CommonOptions common_;
};

// Adds --json-progress, of commands that take long; what it and --quiet ask for together.
void add_json_progress(OptionParser& parser);
common::ProgressOutput progress_output(bool quiet, bool json_progress);

// Commands: arguments after the command's name; return an exit status; throw InputError for bad input.
int network_command(const std::vector<std::string>& arguments);
int run_command(const std::vector<std::string>& arguments);
int fault_map_command(const std::vector<std::string>& arguments);
int train_command(const std::vector<std::string>& arguments);
int campaign_command(const std::vector<std::string>& arguments);
int reduce_command(const std::vector<std::string>& arguments);
int regress_command(const std::vector<std::string>& arguments);
int overclock_command(const std::vector<std::string>& arguments);
int sweep_command(const std::vector<std::string>& arguments);
int timing_command(const std::vector<std::string>& arguments);

}  // namespace kintsugi::sim
