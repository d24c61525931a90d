// `kintsugi regress`: a suite of (chip, fault map, workload) cases against what was recorded of them.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "common/files.h"
#include "common/progress.h"
#include "common/text.h"
#include "configs/suite.h"
#include "faults/fault_map_io.h"
#include "sim/options.h"
#include "sim/regress_record.h"
#include "sim/regress_runner.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;

// A case with the requests of its fidelities, first … first + count − 1.
struct Planned {
  const configs::SuiteCase* suite_case = nullptr;
  std::size_t first = 0;
  std::size_t count = 0;
};

struct Plan {
  std::vector<ExecutionRequest> requests;
  std::vector<Planned> cases;
};

// The problems of several files, each told once however many cases share the file.
class Problems {
 public:
  void add(const std::string& text) {
    if (std::find(texts_.begin(), texts_.end(), text) == texts_.end()) texts_.push_back(text);
  }
  void throw_if_any() const {
    if (texts_.empty()) return;
    std::string all;
    for (const std::string& text : texts_) all += (all.empty() ? "" : "\n") + text;
    throw common::InputError(all);
  }

 private:
  std::vector<std::string> texts_;
};

// Reads every file of every case before anything runs.
Plan make_plan(const configs::SuiteConfig& suite, const CommonOptions& options) {
  Plan plan;
  Problems problems;
  for (const configs::SuiteCase& one : suite.cases) {
    try {
      ExecutionRequest request;
      request.chip = configs::read_chip(one.chip, options.set);
      request.workload = configs::read_workload(one.workload, options.set);
      const configs::ArrayConfig& array = request.chip.array;
      const faults::ArrayGeometry geometry{array.rows, array.cols, array.accumulator_bits};
      if (one.fault_map) request.fault_map = faults::read_fault_map(*one.fault_map, geometry, options.set);
      if (one.bypass_map) request.bypass_map = faults::read_fault_map(*one.bypass_map, geometry, options.set);
      request.no_bypass = one.no_bypass;
      request.data_dir = options.data_dir;
      request.overrides = options.set;
      plan.cases.push_back({&one, plan.requests.size(), one.fidelities.size()});
      for (const configs::Fidelity fidelity : one.fidelities) {
        request.fidelity = fidelity;
        plan.requests.push_back(request);
      }
    } catch (const common::InputError& problem) {
      problems.add(problem.what());
    }
  }
  problems.throw_if_any();
  return plan;
}

// A suite must have a record for each of its cases, and no others.
void check_complete(const configs::SuiteConfig& suite, const std::map<std::string, RegressRecord>& records,
                    const std::filesystem::path& file) {
  Problems problems;
  for (const configs::SuiteCase& one : suite.cases)
    if (!records.contains(one.name))
      problems.add(
          common::InputError(one.where, fmt::format("nothing is recorded for case '{}' in {}; record it with "
                                                    "'kintsugi regress --suite {} --update'",
                                                    one.name, file.string(), suite.file.string()))
              .what());
  for (const auto& [name, record] : records)
    if (std::none_of(suite.cases.begin(), suite.cases.end(),
                     [&](const auto& one) { return one.name == name; }))
      problems.add(common::InputError({file.string()},
                                      fmt::format("case '{}' is recorded but not in the suite; put it "
                                                  "back, or record again with --update",
                                                  name))
                       .what());
  problems.throw_if_any();
}

// What one fidelity of one case came to.
struct Finding {
  std::string case_name;
  std::string fidelity;
  std::int64_t cycles = 0;
  std::optional<double> accuracy;
  std::vector<std::string> differences;
};

std::vector<Finding> judge(const Plan& plan, const std::vector<RegressOutcome>& outcomes,
                           const std::map<std::string, RegressRecord>* records) {
  std::vector<Finding> findings;
  for (const Planned& planned : plan.cases) {
    const RegressRecord* reference = nullptr;  // the first fidelity that gave a result
    std::string reference_name;
    for (std::size_t i = planned.first; i < planned.first + planned.count; ++i) {
      Finding finding{planned.suite_case->name, configs::to_string(plan.requests[i].fidelity), 0, {}, {}};
      if (!outcomes[i].record) {
        finding.differences = {outcomes[i].failure};
        findings.push_back(finding);
        continue;
      }
      const RegressRecord& record = *outcomes[i].record;
      finding.cycles = record.cycles;
      finding.accuracy = record.accuracy;
      if (records)
        finding.differences = differences(records->at(finding.case_name), record, "recorded", "now");
      if (reference) {
        const auto apart = differences(*reference, record, reference_name, finding.fidelity);
        for (const std::string& line : apart)
          finding.differences.push_back(
              fmt::format("{} and {} disagree: {}", reference_name, finding.fidelity, line));
      } else {
        reference = &record;
        reference_name = finding.fidelity;
      }
      findings.push_back(finding);
    }
  }
  return findings;
}

// One block a case; fidelities that came to the same share their lines.
void print(const std::vector<Finding>& findings, bool quiet) {
  for (std::size_t i = 0; i < findings.size();) {
    const std::string& name = findings[i].case_name;
    std::vector<std::pair<std::vector<std::string>, std::string>> groups;  // differences, fidelities
    std::size_t end = i;
    for (; end < findings.size() && findings[end].case_name == name; ++end) {
      const Finding& one = findings[end];
      const auto same = std::find_if(groups.begin(), groups.end(),
                                     [&](const auto& group) { return group.first == one.differences; });
      if (same == groups.end())
        groups.emplace_back(one.differences, one.fidelity);
      else
        same->second += " " + one.fidelity;
    }
    for (const auto& [lines, fidelities] : groups) {
      if (!lines.empty()) std::cout << fmt::format("FAIL  {} [{}]\n", name, fidelities);
      for (const std::string& line : lines) std::cout << "        " << line << "\n";
      if (lines.empty() && !quiet)
        std::cout << fmt::format("ok    {} [{}] {} cycles\n", name, fidelities, findings[i].cycles);
    }
    i = end;
  }
}

std::string findings_csv(const std::vector<Finding>& findings) {
  std::string text = "case,fidelity,status,cycles,accuracy,difference\n";
  for (const Finding& one : findings)
    text += fmt::format("{},{},{},{},{},{}\n", common::csv_cell(one.case_name), one.fidelity,
                        one.differences.empty() ? "ok" : "differs", one.cycles,
                        one.accuracy ? common::format_number(*one.accuracy) : "",
                        one.differences.empty() ? "" : common::csv_cell(one.differences.front()));
  return text;
}

// Writes the records of the suite as it stands; says what that changed.
void update(const Plan& plan, const std::vector<RegressOutcome>& outcomes,
            const std::filesystem::path& file) {
  std::map<std::string, RegressRecord> before;
  if (std::filesystem::exists(file)) before = read_records(file);
  RegressRecords records;
  int fresh = 0, changed = 0;
  for (const Planned& planned : plan.cases) {
    const std::string& name = planned.suite_case->name;
    records.emplace_back(name, *outcomes[planned.first].record);
    const auto old = before.find(name);
    if (old == before.end())
      ++fresh;
    else if (!(old->second == records.back().second))
      ++changed;
  }
  common::write_file_atomic(file, records_yaml(records));
  std::cout << fmt::format("recorded {} cases in {}: {} new, {} changed\n", records.size(), file.string(),
                           fresh, changed);
}

}  // namespace

int regress_command(const std::vector<std::string>& arguments) {
  OptionParser parser(
      "kintsugi regress --suite SUITE.yaml [--update] [--out DIR]",
      "Runs every case of a suite at each of its fidelities and compares outputs, cycles and accuracy "
      "with the\nrecords beside it (SUITE.expected.yaml). Exit status 1 if anything differs; --threads "
      "cases run at once.",
      "kintsugi regress --suite configs/suites/shipped.yaml");
  parser.own().add_options()("suite", po::value<std::string>()->required()->value_name("FILE"),
                             "the suite to run")(
      "update", po::bool_switch(), "record the results instead of comparing; all fidelities must agree");
  parser.without("seed");
  parser.reads({"suite", "chip", "workload", "network", "fault_map"});
  if (!parser.parse(arguments)) return kExitDone;
  const CommonOptions& options = parser.common();

  const configs::SuiteConfig suite = configs::read_suite(parser.text("suite"), options.set);
  const std::filesystem::path file = expected_path(suite.file);
  const bool recording = parser.values()["update"].as<bool>();
  std::map<std::string, RegressRecord> records;
  if (!recording) {
    if (!std::filesystem::exists(file))
      throw common::InputError(
          {suite.file.string()},
          fmt::format("nothing is recorded for this suite: {} does not exist; record it with "
                      "'kintsugi regress --suite {} --update'",
                      file.string(), suite.file.string()));
    records = read_records(file);
    check_complete(suite, records, file);
  }

  const Plan plan = make_plan(suite, options);
  common::Progress progress("regress", static_cast<std::int64_t>(plan.requests.size()), options.quiet);
  const auto outcomes =
      run_in_children(plan.requests, options.threads, [&](std::int64_t done) { progress.set(done); });
  Problems problems;
  for (const RegressOutcome& outcome : outcomes)
    if (!outcome.bad_input.empty()) problems.add(outcome.bad_input);
  problems.throw_if_any();

  const std::vector<Finding> findings = judge(plan, outcomes, recording ? nullptr : &records);
  print(findings, options.quiet || recording);
  if (!options.out.empty()) common::write_file_atomic(options.out / "regress.csv", findings_csv(findings));
  std::vector<std::string> differing;
  for (const Finding& one : findings)
    if (!one.differences.empty() && (differing.empty() || differing.back() != one.case_name))
      differing.push_back(one.case_name);
  if (recording && differing.empty()) {
    update(plan, outcomes, file);
    return kExitDone;
  }
  std::cout << fmt::format("{}: {} of {} cases {}\n", suite.name,
                           differing.empty() ? suite.cases.size() : differing.size(), suite.cases.size(),
                           differing.empty() ? "as recorded" : "differ");
  if (recording) std::cout << "nothing was recorded: the fidelities of a case must agree first\n";
  return differing.empty() ? kExitDone : kExitNo;
}

}  // namespace kintsugi::sim
