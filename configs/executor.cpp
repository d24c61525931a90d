#include "configs/executor.h"

#include <fmt/format.h>

#include <algorithm>

namespace kintsugi::configs {
namespace {

constexpr const char* kSlurmKeys[] = {"partition",      "account",       "time_limit",
                                      "memory_gb",      "cpus_per_task", "tasks_per_job",
                                      "max_array_size", "extra",         "poll_seconds"};

// What decides which tasks run, and where their output goes, is the executor's.
constexpr const char* kOwnOptions[] = {
    "--array", "-a",     "--parsable", "--job-name", "-J", "--output",  "-o",           "--error",    "-e",
    "--wrap",  "--wait", "-W",         "--chdir",    "-D", "--requeue", "--no-requeue", "--open-mode"};

// minutes, m:s, h:m:s, d-h, d-h:m, d-h:m:s
bool is_time_limit(const std::string& text) {
  if (text.empty() || text.size() > 20 || text.find_first_not_of("0123456789:-") != std::string::npos)
    return false;
  const std::size_t dash = text.find('-');
  if (dash != text.rfind('-') || dash == 0) return false;
  if (std::count(text.begin(), text.end(), ':') > 2) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool mark = text[i] == ':' || text[i] == '-';
    const bool next_is_digit = i + 1 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '9';
    if (mark && (i == 0 || !next_is_digit)) return false;
  }
  return true;
}

std::vector<std::string> read_extra(Section& executor) {
  std::vector<std::string> words;
  if (!executor.has("extra")) return words;
  const YAML::Node list = executor.raw("extra");
  if (!list.IsSequence()) {
    executor.error("extra", "'extra' is a list of sbatch's options, like [\"--qos=short\", \"--exclusive\"]");
    return words;
  }
  for (const YAML::Node& entry : list) {
    const std::string word = entry.IsScalar() ? entry.Scalar() : std::string();
    if (word.size() < 2 || word[0] != '-') {
      executor.error("extra",
                     fmt::format("'{}' in 'extra' is no option of sbatch; write option and value as one "
                                 "word, like \"--qos=short\"",
                                 word));
      continue;
    }
    const std::string option = word.starts_with("--") ? word.substr(0, word.find('=')) : word.substr(0, 2);
    if (std::find(std::begin(kOwnOptions), std::end(kOwnOptions), option) != std::end(kOwnOptions))
      executor.error(
          "extra", fmt::format("'extra' may not set {}, which the executor sets itself; remove it", option));
    words.push_back(word);
  }
  return words;
}

SlurmConfig read_slurm(Section& executor) {
  SlurmConfig config;
  config.partition = executor.text("partition", config.partition);
  config.account = executor.text("account", config.account);
  config.time_limit = executor.text("time_limit", config.time_limit);
  if (!config.time_limit.empty() && !is_time_limit(config.time_limit))
    executor.error(
        "time_limit",
        fmt::format("'time_limit' is '{}'; write minutes, h:m:s or days-hours, like \"90\", \"1:30:00\" or "
                    "\"2-12\", in quotes",
                    config.time_limit));
  if (executor.has("memory_gb")) config.memory_gb = executor.real("memory_gb", 0.1, 100'000);
  config.cpus_per_task = static_cast<int>(executor.integer("cpus_per_task", 1, 4096, config.cpus_per_task));
  config.tasks_per_job =
      static_cast<int>(executor.integer("tasks_per_job", 1, 1'000'000, config.tasks_per_job));
  if (executor.has("max_array_size"))
    config.max_array_size = executor.integer("max_array_size", 1, 4'000'000);
  config.extra = read_extra(executor);
  config.poll_seconds = executor.real("poll_seconds", 0.1, 3600, config.poll_seconds);
  return config;
}

}  // namespace

ExecutorConfig read_executor(Section executor) {
  enum class Name { local, slurm };
  ExecutorConfig config;
  const Name name =
      executor.choice<Name>("name", {{"local", Name::local}, {"slurm", Name::slurm}}, Name::local);
  if (executor.has("workers")) config.workers = static_cast<int>(executor.integer("workers", 1, 1024, 1));
  if (name == Name::slurm) {
    config.slurm = read_slurm(executor);
    return config;
  }
  for (const char* key : kSlurmKeys)
    if (executor.has(key))
      executor.error(key, fmt::format("'{}' belongs to 'name: slurm' only; remove it or choose slurm", key));
  return config;
}

}  // namespace kintsugi::configs
