// What `regress` remembers of a case: enough to say that a result changed, and where it changed first.
//
// One record serves every fidelity of a case, because they must all give the same bits and cycles. Small
// outputs are kept as numbers, so that a change shows in the file's history; of large ones a digest per row.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/execution.h"

namespace kintsugi::sim {

struct RegressRecord {
  std::int64_t cycles = 0;
  std::int64_t stall_cycles = 0;
  std::optional<double> accuracy;
  std::string faults;                                       // digest of the hooks and bypass bits loaded
  std::vector<std::pair<std::string, std::string>> layers;  // name, digest of its output
  std::vector<std::int64_t> shape;                          // of the output or logits: rows, columns
  bool row_digests = false;                                 // `rows` holds digests instead of numbers
  std::vector<std::string> rows;
  friend bool operator==(const RegressRecord&, const RegressRecord&) = default;
};

RegressRecord make_record(const ExecutionResult& result);

// What differs, one finding an entry, layer and first differing element named; empty if nothing does.
// `old_name` and `new_name` head the two values ("recorded", "now").
std::vector<std::string> differences(const RegressRecord& old_record, const RegressRecord& new_record,
                                     const std::string& old_name, const std::string& new_name);

// Between a child process and its parent.
std::string to_json(const RegressRecord& record);
RegressRecord record_from_json(const std::string& text);

// The file of a suite's records: suites/a.yaml -> suites/a.expected.yaml.
std::filesystem::path expected_path(const std::filesystem::path& suite);

using RegressRecords = std::vector<std::pair<std::string, RegressRecord>>;  // by case, in the suite's order

std::string records_yaml(const RegressRecords& records);
// Throws common::InputError with every problem of the file.
std::map<std::string, RegressRecord> read_records(const std::filesystem::path& file);

}  // namespace kintsugi::sim
