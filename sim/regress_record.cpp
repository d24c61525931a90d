#include "sim/regress_record.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <span>
#include <sstream>
#include <stdexcept>

#include "common/sha256.h"
#include "common/text.h"
#include "configs/yaml_reader.h"

namespace kintsugi::sim {
namespace {

constexpr std::int64_t kMostNumbers = 4096;
constexpr std::size_t kRowDigest = 16;  // hexadecimal digits

std::string number_text(std::int32_t value) {
  return fmt::format("{}", value);
}
// Shortest text that reads back as the same float, so equal text means equal bits.
std::string number_text(float value) {
  return fmt::format("{}", value);
}

template <class T>
void add_rows(const workloads::Tensor<T>& tensor, RegressRecord& record) {
  record.shape = tensor.shape;
  const std::int64_t rows = tensor.shape.empty() ? 0 : tensor.shape[0];
  const std::int64_t columns = rows == 0 ? 0 : tensor.count() / rows;
  record.row_digests = tensor.count() > kMostNumbers;
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::span<const T> row(tensor.data.data() + i * columns, static_cast<std::size_t>(columns));
    std::string text;
    if (record.row_digests) {
      text =
          common::sha256({reinterpret_cast<const char*>(row.data()), row.size_bytes()}).substr(0, kRowDigest);
    } else {
      for (const T value : row) {
        if (!text.empty()) text += ' ';
        text += number_text(value);
      }
    }
    record.rows.push_back(std::move(text));
  }
}

std::string faults_digest(const faults::ArrayFaults& faults) {
  std::string bytes = fmt::format("{}x{};", faults.rows, faults.cols);
  for (const std::uint8_t bit : faults.bypass) bytes += bit != 0 ? '1' : '0';
  for (const faults::FaultyPe& pe : faults.faulty) {
    bytes += fmt::format(";{},{}", pe.row, pe.col);
    for (const pe::Hook& hook : pe.hooks.at)
      bytes += fmt::format(",{:x}/{:x}/{:x}", hook.keep, hook.set, hook.flip);
  }
  return common::sha256(bytes);
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> out;
  for (std::string word; stream >> word;) out.push_back(word);
  return out;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t size : shape) text += fmt::format("{}{}", text.empty() ? "" : "x", size);
  return text.empty() ? "nothing" : text;
}

// The finding about the output, or "" if it is the same.
std::string output_difference(const RegressRecord& a, const RegressRecord& b, const std::string& a_name,
                              const std::string& b_name) {
  if (a.shape != b.shape || a.rows.size() != b.rows.size())
    return fmt::format("output: {} {}, {} {}", a_name, shape_text(a.shape), b_name, shape_text(b.shape));
  std::string first;
  std::int64_t count = 0;
  for (std::size_t i = 0; i < a.rows.size(); ++i) {
    if (a.rows[i] == b.rows[i]) continue;
    if (a.row_digests || b.row_digests) {
      if (count++ == 0)
        first = fmt::format("row {} of the output (rows of large outputs are compared as a whole)", i);
      continue;
    }
    const auto old_row = words(a.rows[i]);
    const auto new_row = words(b.rows[i]);
    for (std::size_t j = 0; j < std::min(old_row.size(), new_row.size()); ++j) {
      if (old_row[j] == new_row[j]) continue;
      if (count++ == 0)
        first = fmt::format("element [{}, {}] of the output: {} {}, {} {}", i, j, a_name, old_row[j], b_name,
                            new_row[j]);
    }
  }
  if (count == 0) return "";
  return fmt::format("first difference: {} ({} {} in all)", first, count,
                     a.row_digests ? "differing rows" : "differing elements");
}

}  // namespace

RegressRecord make_record(const ExecutionResult& result) {
  RegressRecord record;
  record.cycles = result.cycles;
  record.stall_cycles = result.stall_cycles;
  record.accuracy = result.accuracy;
  record.faults = faults_digest(result.faults);
  if (result.layer_digests.empty() && !result.layers.empty())
    throw common::InputError(
        "a topology has no data, so there are no outputs to record; put a gemm or a network into the suite");
  if (result.layer_digests.size() != result.layers.size())
    throw std::logic_error("an execution must give one digest per layer");
  for (std::size_t i = 0; i < result.layers.size(); ++i)
    record.layers.emplace_back(result.layers[i].layer, result.layer_digests[i]);
  if (result.output.data.empty())
    add_rows(result.logits, record);
  else
    add_rows(result.output, record);
  return record;
}

std::vector<std::string> differences(const RegressRecord& a, const RegressRecord& b,
                                     const std::string& a_name, const std::string& b_name) {
  std::vector<std::string> found;
  if (a.faults != b.faults)
    found.push_back(
        "the faults and bypass bits loaded into the array differ: a fault map, a bypass map or the "
        "chip's array changed");
  for (std::size_t i = 0; i < std::max(a.layers.size(), b.layers.size()); ++i) {
    if (i >= a.layers.size() || i >= b.layers.size() || a.layers[i].first != b.layers[i].first) {
      const auto name = [&](const RegressRecord& record) {
        return i < record.layers.size() ? fmt::format("'{}'", record.layers[i].first) : std::string("none");
      };
      found.push_back(fmt::format("layer {}: {} {}, {} {}", i + 1, a_name, name(a), b_name, name(b)));
      break;
    }
    if (a.layers[i].second == b.layers[i].second) continue;
    found.push_back(fmt::format("layer '{}' is the first whose output differs", a.layers[i].first));
    break;
  }
  if (std::string difference = output_difference(a, b, a_name, b_name); !difference.empty())
    found.push_back(std::move(difference));
  if (a.cycles != b.cycles)
    found.push_back(fmt::format("cycles: {} {}, {} {}", a_name, a.cycles, b_name, b.cycles));
  if (a.stall_cycles != b.stall_cycles)
    found.push_back(
        fmt::format("stall cycles: {} {}, {} {}", a_name, a.stall_cycles, b_name, b.stall_cycles));
  if (a.accuracy != b.accuracy) {
    const auto text = [](const std::optional<double>& value) {
      return value ? common::format_number(*value) : std::string("none");
    };
    found.push_back(
        fmt::format("accuracy: {} {}, {} {}", a_name, text(a.accuracy), b_name, text(b.accuracy)));
  }
  return found;
}

std::string to_json(const RegressRecord& record) {
  nlohmann::json json{{"cycles", record.cycles}, {"stall_cycles", record.stall_cycles},
                      {"faults", record.faults}, {"layers", record.layers},
                      {"shape", record.shape},   {"row_digests", record.row_digests},
                      {"rows", record.rows}};
  if (record.accuracy) json["accuracy"] = *record.accuracy;
  return json.dump();
}

RegressRecord record_from_json(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text);
  RegressRecord record;
  json.at("cycles").get_to(record.cycles);
  json.at("stall_cycles").get_to(record.stall_cycles);
  json.at("faults").get_to(record.faults);
  json.at("layers").get_to(record.layers);
  json.at("shape").get_to(record.shape);
  json.at("row_digests").get_to(record.row_digests);
  json.at("rows").get_to(record.rows);
  if (json.contains("accuracy")) record.accuracy = json["accuracy"].get<double>();
  return record;
}

std::filesystem::path expected_path(const std::filesystem::path& suite) {
  return suite.parent_path() / (suite.stem().string() + ".expected.yaml");
}

std::string records_yaml(const RegressRecords& records) {
  std::string text =
      "# Results recorded by 'kintsugi regress --update'; every fidelity of a case must reproduce them.\n"
      "expected:\n  version: 1\n  cases:\n";
  if (records.empty()) text += "    []\n";
  for (const auto& [name, record] : records) {
    text += fmt::format("    - name: {}\n      cycles: {}\n      stall_cycles: {}\n",
                        common::yaml_quoted(name), record.cycles, record.stall_cycles);
    if (record.accuracy) text += fmt::format("      accuracy: {}\n", common::format_number(*record.accuracy));
    text += fmt::format("      faults: {}\n      layers:\n", common::yaml_quoted(record.faults));
    if (record.layers.empty()) text += "        []\n";
    for (const auto& [layer, digest] : record.layers)
      text += fmt::format("        - {{name: {}, digest: {}}}\n", common::yaml_quoted(layer),
                          common::yaml_quoted(digest));
    text += "      shape: [";
    for (std::size_t i = 0; i < record.shape.size(); ++i)
      text += fmt::format("{}{}", i > 0 ? ", " : "", record.shape[i]);
    text += fmt::format("]\n      {}:\n", record.row_digests ? "row_digests" : "rows");
    if (record.rows.empty()) text += "        []\n";
    for (const std::string& row : record.rows)
      text += fmt::format("        - {}\n", common::yaml_quoted(row));
  }
  return text;
}

std::map<std::string, RegressRecord> read_records(const std::filesystem::path& file) {
  configs::YamlFile yaml(file, "expected");
  configs::Section root = yaml.root();
  root.integer("version", 1, 1);
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  std::map<std::string, RegressRecord> records;
  for (configs::Section& section : root.sections("cases")) {
    RegressRecord record;
    const std::string name = section.text("name");
    record.cycles = section.integer("cycles", 0, kMost);
    record.stall_cycles = section.integer("stall_cycles", 0, kMost);
    if (section.has("accuracy")) record.accuracy = section.real("accuracy", 0, 1);
    record.faults = section.text("faults");
    for (configs::Section& layer : section.sections("layers"))
      record.layers.emplace_back(layer.text("name"), layer.text("digest"));
    record.shape = section.integers("shape", 0, kMost);
    record.row_digests = section.has("row_digests");
    const char* key = record.row_digests ? "row_digests" : "rows";
    const YAML::Node rows = section.raw(key);
    if (!rows.IsDefined() || !rows.IsSequence())
      section.error(key, fmt::format("'{}' must be a list; record the suite again with --update", key));
    else
      for (const YAML::Node& row : rows) record.rows.push_back(row.IsScalar() ? row.Scalar() : "");
    if (!records.emplace(name, std::move(record)).second)
      section.error("name",
                    fmt::format("case '{}' is recorded twice; record the suite again with --update", name));
  }
  yaml.finish();
  return records;
}

}  // namespace kintsugi::sim
