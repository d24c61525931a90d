#include "sim/campaign_folder.h"

#include <fmt/format.h>

#include <map>
#include <system_error>

#include "common/csv.h"
#include "common/files.h"
#include "common/text.h"
#include "sim/scales_file.h"
#include "workloads/safetensors.h"

namespace kintsugi::sim {
namespace {

using common::InputError;
using Row = std::vector<std::optional<std::int64_t>>;  // empty cells are absent

// A table of integers with this header; nothing if it is not one.
std::optional<std::vector<Row>> read_table(const std::filesystem::path& file, const std::string& header) {
  std::error_code code;
  if (!std::filesystem::exists(file, code)) return std::nullopt;
  common::Diagnostics diagnostics;
  const auto rows = common::parse_csv(common::read_file(file), file.string(), diagnostics);
  if (!diagnostics.empty() || rows.empty()) return std::nullopt;
  std::string first;
  for (const common::CsvCell& cell : rows[0].cells) first += (first.empty() ? "" : ",") + cell.text;
  if (first != header) return std::nullopt;
  std::vector<Row> table;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    if (rows[i].cells.size() != rows[0].cells.size()) return std::nullopt;
    Row row;
    for (const common::CsvCell& cell : rows[i].cells) {
      row.push_back(common::parse_integer(cell.text));
      if (!row.back() && !cell.text.empty()) return std::nullopt;
    }
    table.push_back(std::move(row));
  }
  return table;
}

constexpr auto kCharacterizedHeader = "steps,correct,gained,lost";
constexpr auto kRetrainedHeader =
    "steps,decision_correct,decision_gained,decision_lost,test_correct,test_gained,test_lost,test_float_"
    "correct,"
    "test_fault_free_correct";

std::optional<reduce::Score> score_at(const Row& row, std::size_t column, std::int64_t images) {
  for (std::size_t i = column; i < column + 3; ++i)
    if (!row[i] || *row[i] < 0 || *row[i] > images) return std::nullopt;
  return reduce::Score{images, *row[column], *row[column + 1], *row[column + 2]};
}

std::string cell(const std::optional<std::int64_t>& value) {
  return value ? fmt::format("{}", *value) : "";
}

}  // namespace

std::filesystem::path CampaignFolder::characterize_task(double fault_rate, int repeat) const {
  return task("characterize",
              fmt::format("rate_{}_repeat_{}.csv", common::format_number(fault_rate), repeat));
}

void CampaignFolder::write_scales(const workloads::ActivationScales& scales) const {
  sim::write_scales(this->scales(), scales);
}

workloads::ActivationScales CampaignFolder::read_scales() const {
  return sim::read_scales(scales());
}

void CampaignFolder::write_baseline(const std::string& set, const Baseline& result) const {
  workloads::SafeTensors file;
  const auto tensor = [](const reduce::Correct& values) {
    return workloads::Tensor<std::uint8_t>({static_cast<std::int64_t>(values.size())}, values);
  };
  file.tensors["int8"] = tensor(result.int8);
  file.tensors["float"] = tensor(result.floating);
  file.metadata["weights_sha256"] = result.weights_sha256;
  workloads::write_safetensors(baseline(set), file);
}

std::optional<Baseline> CampaignFolder::read_baseline(const std::string& set, std::int64_t images) const {
  std::error_code code;
  if (!std::filesystem::exists(baseline(set), code)) return std::nullopt;
  try {
    workloads::SafeTensors file = workloads::read_safetensors(baseline(set));
    auto& int8 = std::get<workloads::Tensor<std::uint8_t>>(file.tensors.at("int8"));
    auto& floating = std::get<workloads::Tensor<std::uint8_t>>(file.tensors.at("float"));
    if (int8.count() != images || floating.count() != images) return std::nullopt;
    return Baseline{std::move(int8.data), std::move(floating.data), file.metadata.at("weights_sha256")};
  } catch (const InputError&) {
  } catch (const std::out_of_range&) {
  } catch (const std::bad_variant_access&) {
  }
  return std::nullopt;
}

void CampaignFolder::write_characterized(double fault_rate, int repeat,
                                         std::span<const CharacterizedPoint> points) const {
  std::string text = fmt::format("{}\n", kCharacterizedHeader);
  for (const CharacterizedPoint& p : points)
    text += fmt::format("{},{},{},{}\n", p.steps, p.decision.correct, p.decision.gained, p.decision.lost);
  common::write_file_atomic(characterize_task(fault_rate, repeat), text);
}

std::optional<std::vector<CharacterizedPoint>> CampaignFolder::read_characterized(double fault_rate,
                                                                                  int repeat,
                                                                                  std::int64_t images) const {
  const auto table = read_table(characterize_task(fault_rate, repeat), kCharacterizedHeader);
  if (!table) return std::nullopt;
  std::vector<CharacterizedPoint> points;
  for (const Row& row : *table) {
    const auto decision = score_at(row, 1, images);
    if (!row[0] || !decision) return std::nullopt;
    points.push_back({*row[0], *decision});
  }
  return points;
}

void CampaignFolder::write_before(const reduce::ChipFacts& facts) const {
  std::string text = fmt::format(
      "quantity,value\nfaulty_pes,{}\nfault_rate,{}\nassumed_maskable,{}\nlive_faults,{}\ncorrect,{}\ngained,"
      "{}\n"
      "lost,{}\n",
      facts.faulty_pes, common::format_number(facts.fault_rate), facts.assumed_maskable, facts.live_faults,
      facts.before.correct, facts.before.gained, facts.before.lost);
  if (facts.repaired)
    text += fmt::format("repaired_correct,{}\nrepaired_gained,{}\nrepaired_lost,{}\nrepair_steps,{}\n",
                        facts.repaired->correct, facts.repaired->gained, facts.repaired->lost,
                        common::format_number(facts.repair_steps));
  for (const auto& [layer, rate] : facts.mapped_fault_rate)
    text +=
        fmt::format("{},{}\n", common::csv_cell("mapped_fault_rate:" + layer), common::format_number(rate));
  common::write_file_atomic(before_task(facts.id), text);
}

std::optional<reduce::ChipFacts> CampaignFolder::read_before(const std::string& id,
                                                             std::int64_t images) const {
  static constexpr std::string_view kMapped = "mapped_fault_rate:";
  std::error_code code;
  if (!std::filesystem::exists(before_task(id), code)) return std::nullopt;
  common::Diagnostics diagnostics;
  const auto rows =
      common::parse_csv(common::read_file(before_task(id)), before_task(id).string(), diagnostics);
  reduce::ChipFacts facts;
  facts.id = id;
  std::map<std::string, double> values;
  for (const common::CsvRow& row : rows) {
    if (row.cells.size() != 2) return std::nullopt;
    const auto value = common::parse_real(row.cells[1].text);
    const std::string& name = row.cells[0].text;
    if (!value) continue;  // the header
    if (name.starts_with(kMapped))
      facts.mapped_fault_rate.emplace_back(name.substr(kMapped.size()), *value);
    else
      values[name] = *value;
  }
  for (const char* name :
       {"faulty_pes", "fault_rate", "assumed_maskable", "live_faults", "correct", "gained", "lost"})
    if (!values.contains(name)) return std::nullopt;
  const auto whole = [&](const char* name) { return static_cast<std::int64_t>(values[name]); };
  facts.faulty_pes = whole("faulty_pes");
  facts.fault_rate = values["fault_rate"];
  facts.assumed_maskable = whole("assumed_maskable");
  facts.live_faults = whole("live_faults");
  facts.before = {images, whole("correct"), whole("gained"), whole("lost")};
  if (values.contains("repaired_correct") && values.contains("repaired_gained") &&
      values.contains("repaired_lost") && values.contains("repair_steps")) {
    facts.repair_steps = values["repair_steps"];
    facts.repaired = {images, whole("repaired_correct"), whole("repaired_gained"), whole("repaired_lost")};
  }
  return facts;
}

void CampaignFolder::write_retrained(const std::string& id, std::span<const RetrainedPoint> points) const {
  std::string text = fmt::format("{}\n", kRetrainedHeader);
  for (const RetrainedPoint& p : points)
    text += fmt::format("{},{},{},{},{},{},{},{},{}\n", p.steps, p.decision.correct, p.decision.gained,
                        p.decision.lost, p.test.correct, p.test.gained, p.test.lost,
                        cell(p.test_float_correct), cell(p.test_fault_free_correct));
  common::write_file_atomic(retrain_task(id), text);
}

std::optional<std::vector<RetrainedPoint>> CampaignFolder::read_retrained(const std::string& id,
                                                                          std::int64_t decision_images,
                                                                          std::int64_t test_images) const {
  const auto table = read_table(retrain_task(id), kRetrainedHeader);
  if (!table) return std::nullopt;
  std::vector<RetrainedPoint> points;
  for (const Row& row : *table) {
    const auto decision = score_at(row, 1, decision_images);
    const auto test = score_at(row, 4, test_images);
    if (!row[0] || !decision || !test) return std::nullopt;
    points.push_back({*row[0], *decision, *test, row[7], row[8]});
  }
  return points;
}

}  // namespace kintsugi::sim
