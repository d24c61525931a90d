#include "sim/campaign_folder.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string_view>
#include <system_error>
#include <utility>

#include "common/csv.h"
#include "common/files.h"
#include "common/sha256.h"
#include "common/text.h"
#include "sim/scales_file.h"
#include "sim/task_result.h"
#include "workloads/safetensors.h"

namespace kintsugi::sim {
namespace {

using common::InputError;
using Row = std::vector<std::optional<double>>;  // empty cells are absent

// A table of numbers with this header; nothing if it is not one.
std::optional<std::vector<Row>> parse_table(const std::string& text, const std::string& header) {
  common::Diagnostics diagnostics;
  const auto rows = common::parse_csv(text, "table", diagnostics);
  if (!diagnostics.empty() || rows.empty()) return std::nullopt;
  std::string first;
  for (const common::CsvCell& cell : rows[0].cells) first += (first.empty() ? "" : ",") + cell.text;
  if (first != header) return std::nullopt;
  std::vector<Row> table;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    if (rows[i].cells.size() != rows[0].cells.size()) return std::nullopt;
    Row row;
    for (const common::CsvCell& cell : rows[i].cells) {
      row.push_back(common::parse_real(cell.text));
      if (!row.back() && !cell.text.empty()) return std::nullopt;
    }
    table.push_back(std::move(row));
  }
  return table;
}

constexpr auto kCharacterizedHeader =
    "steps,correct,gained,lost,loss,mapped_fault_rate,pruned_saliency,shared_repair_steps,mapping_steps,"
    "compensation_steps,batch_norm_steps,steps_run";

constexpr auto kRetrainedHeader =
    "steps,decision_correct,decision_gained,decision_lost,test_correct,test_gained,test_lost,test_float_"
    "correct,"
    "test_fault_free_correct";

// A count in a cell: whole, and no more than `most`.
std::optional<std::int64_t> count_in(const std::optional<double>& value, double most = 9e15) {
  if (!value || !(*value >= 0) || *value > most || std::floor(*value) != *value) return std::nullopt;
  return static_cast<std::int64_t>(*value);
}

std::optional<reduce::Score> score_at(const Row& row, std::size_t column, std::int64_t images) {
  std::array<std::int64_t, 3> counts{};
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const auto value = count_in(row[column + i], static_cast<double>(images));
    if (!value) return std::nullopt;
    counts[i] = *value;
  }
  return reduce::Score{images, counts[0], counts[1], counts[2]};
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
  file.metadata["campaign"] = digest();
  file.metadata["scales_sha256"] = common::sha256_file(scales());
  file.metadata["deployed_sha256"] = common::sha256_file(deployed());
  workloads::write_safetensors(baseline(set), file);
}

std::optional<Baseline> CampaignFolder::read_baseline(const std::string& set, std::int64_t images) const {
  std::error_code code;
  if (!std::filesystem::exists(baseline(set), code)) return std::nullopt;
  try {
    workloads::SafeTensors file = workloads::read_safetensors(baseline(set));
    auto& int8 = std::get<workloads::Tensor<std::uint8_t>>(file.tensors.at("int8"));
    auto& floating = std::get<workloads::Tensor<std::uint8_t>>(file.tensors.at("float"));
    const auto& metadata = file.metadata;
    if (metadata.at("campaign") != digest()) {
      spdlog::warn("{}: this is a result of another campaign; it is made again", baseline(set).string());
      return std::nullopt;
    }
    for (const auto& [path, key] : {std::pair{scales(), "scales_sha256"}, {deployed(), "deployed_sha256"}})
      if (!std::filesystem::exists(path, code) || common::sha256_file(path) != metadata.at(key)) {
        spdlog::warn("{}: this file is missing, damaged or not this campaign's; it is made again",
                     path.string());
        return std::nullopt;
      }
    if (int8.count() != images || floating.count() != images) return std::nullopt;
    return Baseline{std::move(int8.data), std::move(floating.data), file.metadata.at("weights_sha256")};
  } catch (const InputError&) {
  } catch (const std::out_of_range&) {
  } catch (const std::bad_variant_access&) {
  }
  spdlog::warn("{}: this result is damaged; it is made again", baseline(set).string());
  return std::nullopt;
}

const std::string& CampaignFolder::digest() const {
  if (digest_.empty()) digest_ = common::sha256_file(manifest()).substr(0, 16);
  return digest_;
}

std::string CampaignFolder::text_of(const CharacterizedMap& map) {
  using common::format_number;
  std::string text = fmt::format("{}\n", kCharacterizedHeader);
  for (std::size_t i = 0; i < map.points.size(); ++i) {
    const CharacterizedPoint& p = map.points[i];
    text += fmt::format("{},{},{},{},", p.steps, p.decision.correct, p.decision.gained, p.decision.lost);
    text += i > 0 ? std::string(",,,,,,,\n")
                  : fmt::format(
                        "{},{},{},{},{},{},{},{}\n", format_number(map.predictors.loss),
                        format_number(map.predictors.mapped_fault_rate),
                        format_number(map.predictors.pruned_saliency), format_number(map.shared_repair_steps),
                        format_number(map.repair_steps.mapping), format_number(map.repair_steps.compensation),
                        format_number(map.repair_steps.batch_norm), map.steps_run);
  }
  return text;
}

std::optional<CharacterizedMap> CampaignFolder::parse_characterized(const std::string& text,
                                                                    std::int64_t images) {
  const auto table = parse_table(text, kCharacterizedHeader);
  if (!table || table->empty()) return std::nullopt;
  CharacterizedMap map;
  for (const Row& row : *table) {
    const auto steps = count_in(row[0]);
    const auto decision = score_at(row, 1, images);
    if (!steps || !decision) return std::nullopt;
    map.points.push_back({*steps, *decision});
  }
  const Row& first = table->front();
  const auto run = count_in(first[11]);
  if (!run || std::any_of(first.begin(), first.end(), [](const auto& cell) { return !cell; }))
    return std::nullopt;
  map.predictors = {*first[5], *first[6], *first[4]};
  map.shared_repair_steps = *first[7];
  map.repair_steps = {*first[8], *first[9], *first[10]};
  map.steps_run = *run;
  return map;
}

void CampaignFolder::write_characterized(double fault_rate, int repeat, const CharacterizedMap& map) const {
  write_result(characterize_task(fault_rate, repeat), text_of(map), digest());
}

std::optional<CharacterizedMap> CampaignFolder::read_characterized(double fault_rate, int repeat,
                                                                   std::int64_t images) const {
  return read_result(characterize_task(fault_rate, repeat), digest(),
                     [&](const std::string& text) { return parse_characterized(text, images); });
}

void CampaignFolder::write_calibrated(const std::string& id, const CharacterizedMap& map) const {
  write_result(calibrate_task(id), text_of(map), digest());
}

std::optional<CharacterizedMap> CampaignFolder::read_calibrated(const std::string& id,
                                                                std::int64_t images) const {
  return read_result(calibrate_task(id), digest(),
                     [&](const std::string& text) { return parse_characterized(text, images); });
}

void CampaignFolder::write_before(const reduce::ChipFacts& facts) const {
  using common::format_number;
  std::string text = fmt::format(
      "quantity,value\nfaulty_pes,{}\nfault_rate,{}\nassumed_maskable,{}\nlive_faults,{}\n", facts.faulty_pes,
      common::format_number(facts.fault_rate), facts.assumed_maskable, facts.live_faults);
  if (facts.before)
    text += fmt::format("correct,{}\ngained,{}\nlost,{}\n", facts.before->correct, facts.before->gained,
                        facts.before->lost);
  if (facts.repaired)
    text += fmt::format(
        "repaired_correct,{}\nrepaired_gained,{}\nrepaired_lost,{}\nmapping_steps,{}\ncompensation_steps,{}\n"
        "batch_norm_steps,{}\n",
        facts.repaired->correct, facts.repaired->gained, facts.repaired->lost,
        format_number(facts.repair_steps.mapping), format_number(facts.repair_steps.compensation),
        format_number(facts.repair_steps.batch_norm));
  if (facts.predictors)
    text +=
        fmt::format("predicting_mapped_fault_rate,{}\npredicting_pruned_saliency,{}\npredicting_loss,{}\n",
                    format_number(facts.predictors->mapped_fault_rate),
                    format_number(facts.predictors->pruned_saliency), format_number(facts.predictors->loss));
  if (facts.dropped)
    text += fmt::format(
        "dropped_columns,{}\ndropped_rows,{}\ndropped_channels,{}\ncycle_factor,{}\ndrop_problem,{}\n",
        facts.dropped->columns, facts.dropped->rows, facts.dropped->channels,
        format_number(facts.dropped->cycle_factor), common::csv_cell(facts.dropped->problem));
  for (const auto& [layer, rate] : facts.mapped_fault_rate)
    text +=
        fmt::format("{},{}\n", common::csv_cell("mapped_fault_rate:" + layer), common::format_number(rate));
  write_result(before_task(facts.id), text, digest());
}

std::optional<reduce::ChipFacts> CampaignFolder::read_before(const std::string& id,
                                                             std::int64_t images) const {
  return read_result(before_task(id), digest(),
                     [&](const std::string& text) { return parse_before(id, text, images); });
}

std::optional<reduce::ChipFacts> CampaignFolder::parse_before(const std::string& id, const std::string& text,
                                                              std::int64_t images) {
  static constexpr std::string_view kMapped = "mapped_fault_rate:";
  common::Diagnostics diagnostics;
  const auto rows = common::parse_csv(text, "table", diagnostics);
  reduce::ChipFacts facts;
  facts.id = id;
  std::map<std::string, double> values;
  std::optional<std::string> problem;
  for (const common::CsvRow& row : rows) {
    if (row.cells.size() != 2) return std::nullopt;
    const auto value = common::parse_real(row.cells[1].text);
    const std::string& name = row.cells[0].text;
    if (name == "drop_problem") problem = row.cells[1].text;
    if (!value) continue;  // the header
    if (name.starts_with(kMapped))
      facts.mapped_fault_rate.emplace_back(name.substr(kMapped.size()), *value);
    else
      values[name] = *value;
  }
  for (const char* name : {"faulty_pes", "fault_rate", "assumed_maskable", "live_faults"})
    if (!values.contains(name)) return std::nullopt;
  const auto whole = [&](const char* name) { return static_cast<std::int64_t>(values[name]); };
  facts.faulty_pes = whole("faulty_pes");
  facts.fault_rate = values["fault_rate"];
  facts.assumed_maskable = whole("assumed_maskable");
  facts.live_faults = whole("live_faults");
  const auto all = [&](std::initializer_list<const char*> names) {
    return std::all_of(names.begin(), names.end(), [&](const char* name) { return values.contains(name); });
  };
  if (all({"correct", "gained", "lost"}))
    facts.before = reduce::Score{images, whole("correct"), whole("gained"), whole("lost")};
  if (all({"repaired_correct", "repaired_gained", "repaired_lost", "mapping_steps", "compensation_steps",
           "batch_norm_steps"})) {
    facts.repair_steps = {values["mapping_steps"], values["compensation_steps"], values["batch_norm_steps"]};
    facts.repaired = {images, whole("repaired_correct"), whole("repaired_gained"), whole("repaired_lost")};
  }
  if (!facts.before && !facts.repaired) return std::nullopt;
  if (problem && all({"dropped_columns", "dropped_rows", "dropped_channels", "cycle_factor"}))
    facts.dropped = training::repair::Dropped{whole("dropped_columns"), whole("dropped_rows"),
                                              whole("dropped_channels"), values["cycle_factor"], *problem};
  if (!all({"predicting_mapped_fault_rate", "predicting_pruned_saliency", "predicting_loss"}))
    return std::nullopt;
  facts.predictors = reduce::Predictors{values["predicting_mapped_fault_rate"],
                                        values["predicting_pruned_saliency"], values["predicting_loss"]};
  return facts;
}

std::string CampaignFolder::text_of(std::span<const RetrainedPoint> points) {
  std::string text = fmt::format("{}\n", kRetrainedHeader);
  for (const RetrainedPoint& p : points)
    text += fmt::format("{},{},{},{},{},{},{},{},{}\n", p.steps, p.decision.correct, p.decision.gained,
                        p.decision.lost, p.test.correct, p.test.gained, p.test.lost,
                        cell(p.test_float_correct), cell(p.test_fault_free_correct));
  return text;
}

std::optional<std::vector<RetrainedPoint>> CampaignFolder::parse_retrained(const std::string& text,
                                                                           std::int64_t decision_images,
                                                                           std::int64_t test_images) {
  const auto table = parse_table(text, kRetrainedHeader);
  if (!table) return std::nullopt;
  std::vector<RetrainedPoint> points;
  for (const Row& row : *table) {
    const auto steps = count_in(row[0]);
    const auto decision = score_at(row, 1, decision_images);
    const auto test = score_at(row, 4, test_images);
    if (!steps || !decision || !test) return std::nullopt;
    points.push_back({*steps, *decision, *test, count_in(row[7]), count_in(row[8])});
  }
  return points;
}

void CampaignFolder::write_retrained(const std::string& id, std::span<const RetrainedPoint> points,
                                     bool delivered) const {
  write_result(retrain_task(id), text_of(points) + (delivered ? deliveries(chip(id)) : std::string()),
               digest());
}

std::optional<std::vector<RetrainedPoint>> CampaignFolder::read_retrained(const std::string& id,
                                                                          std::int64_t decision_images,
                                                                          std::int64_t test_images) const {
  return read_result(retrain_task(id), digest(), [&](const std::string& text) {
    return parse_retrained(text, decision_images, test_images);
  });
}

bool CampaignFolder::delivered(const std::string& id) const {
  return has_delivered(chip(id), retrain_task(id));
}

}  // namespace kintsugi::sim
