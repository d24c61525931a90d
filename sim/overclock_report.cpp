#include "sim/overclock_report.h"

#include <fmt/format.h>

#include "common/csv.h"
#include "common/text.h"
#include "workloads/layer_report.h"

namespace kintsugi::sim {
namespace {

using common::format_number;
using overclock::ErrorCounts;

std::string optional_number(const std::optional<double>& value) {
  return value ? format_number(*value) : "";
}

std::string share(std::int64_t part, std::int64_t whole) {
  return format_number(whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0);
}

std::string layer_name(const OverclockReport& report, const std::optional<std::size_t>& stage) {
  return stage ? report.inputs->network.stages[*stage].name : "";
}

ErrorCounts total(const std::vector<ErrorCounts>& layers) {
  ErrorCounts sum;
  for (const ErrorCounts& layer : layers) sum += layer;
  return sum;
}

// "accuracy,low,high,change,low,high" of one score; empty cells where there is none.
std::string score_cells(const std::optional<reduce::Score>& score) {
  if (!score) return ",,,,,";
  const reduce::Interval accuracy = reduce::wilson(score->correct, score->images), change = score->change();
  return fmt::format("{},{},{},{},{},{}", format_number(accuracy.estimate), format_number(accuracy.low),
                     format_number(accuracy.high), format_number(change.estimate), format_number(change.low),
                     format_number(change.high));
}

constexpr auto kScoreColumns =
    "top1,top1_low,top1_high,top1_change,top1_change_low,top1_change_high,"
    "top5,top5_low,top5_high,top5_change,top5_change_low,top5_change_high";

std::string score_cells(const OverclockScore& score) {
  return score_cells(std::optional(score.top1)) + "," + score_cells(score.top5);
}

// A model's figures as one line of YAML, with its gain over the original.
std::string model_yaml(const std::string& indent, const std::string& key, const ModelAtPoint& model) {
  const auto figures = [](const reduce::Score& score) { return format_number(score.accuracy()); };
  std::string text = fmt::format("{}{}: {{top1: {}", indent, key, figures(model.test.top1));
  if (model.test.top5) text += ", top5: " + figures(*model.test.top5);
  if (model.name != "original") {
    const auto gain = [&](const char* name, const reduce::Score& score) {
      const reduce::Interval change = score.change();
      text += fmt::format(", {}: {}, {}_95: [{}, {}]", name, format_number(change.estimate), name,
                          format_number(change.low), format_number(change.high));
    };
    gain("top1_gain", model.test.top1);
    if (model.test.top5) gain("top5_gain", *model.test.top5);
  }
  return text + "}\n";
}

std::string place_yaml(const OverclockReport& report, const std::string& key,
                       const std::optional<std::size_t>& index) {
  if (!index) return fmt::format("  {}: none\n", key);
  const PointReport& point = report.points[*index];
  std::string text =
      fmt::format("  {}:\n    point: {}\n    critical_layer: {}\n", key,
                  common::yaml_scalar(report.inputs->points[*index].label),
                  common::yaml_scalar(point.critical ? layer_name(report, point.critical) : "none"));
  for (const ModelAtPoint& model : point.models) text += model_yaml("    ", model.name, model);
  return text;
}

}  // namespace

const ModelAtPoint* PointReport::model(const std::string& name) const {
  for (const ModelAtPoint& model : models)
    if (model.name == name) return &model;
  return nullptr;
}

std::string scope_of(const OverclockInputs& inputs) {
  if (inputs.config.sweep.kind == configs::SweepKind::bit_error_rate)
    return "Errors: independent random bit errors at the rates swept.";
  return fmt::format("Errors: {}. Only PEs err; memories, control and everything else are assumed safe.",
                     inputs.delays_from);
}

ImageCost image_cost(const std::vector<workloads::LayerReport>& layers, std::int64_t images,
                     const OverclockPoint& point, const OverclockInputs& inputs,
                     std::optional<std::size_t> without) {
  ImageCost cost;
  const auto count = static_cast<double>(images);
  const double ratio =
      point.voltage_v && inputs.nominal_voltage_v ? *point.voltage_v / *inputs.nominal_voltage_v : 1;
  double energy = 0;
  for (std::size_t s = 0; s < layers.size(); ++s) {
    if (without == s) continue;
    cost.cycles += static_cast<double>(layers[s].cycles) / count;
    if (!inputs.chip.energy) continue;
    const workloads::Energy layer =
        workloads::energy_of(layers[s].macs, layers[s].traffic, *inputs.chip.energy);
    // The DRAM has a supply of its own.
    energy += ((layer.total() - layer.dram) * ratio * ratio + layer.dram) / count;
  }
  cost.seconds = cost.cycles / (point.chip.clock_mhz * 1e6);
  if (inputs.chip.energy) cost.energy_uj = energy;
  return cost;
}

std::string points_csv(const OverclockReport& report) {
  const OverclockInputs& inputs = *report.inputs;
  std::string text =
      "point,clock_mhz,voltage_v,relative_period,slowest_relative_period,pes_at_risk,tipping,critical_layer,"
      "word_error_rate,wrong_share,large_share,flipped_bits,cycles_per_image,images_per_s,energy_uj_per_"
      "image,"
      "clp_cycles_per_image,clp_energy_uj_per_image,clp_link_bytes_per_image,clp_transfer_us_per_image,"
      "clp_host_us_per_image,clp_images_per_s\n";
  const auto batch = static_cast<double>(inputs.config.evaluation_batch);
  for (std::size_t p = 0; p < report.points.size(); ++p) {
    const OverclockPoint& at = inputs.points[p];
    const PointReport& point = report.points[p];
    const ErrorCounts errors = total(point.original);
    text += fmt::format(
        "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}", common::csv_cell(at.label),
        format_number(at.chip.clock_mhz), optional_number(at.voltage_v), optional_number(at.relative_period),
        optional_number(at.slowest_relative_period), at.pes_at_risk ? fmt::format("{}", *at.pes_at_risk) : "",
        report.tipping == p ? 1 : 0, common::csv_cell(layer_name(report, point.critical)),
        format_number(errors.word_error_rate()), format_number(errors.wrong_share()),
        format_number(errors.large_share()), errors.timing.flipped_bits, format_number(point.cost.cycles),
        format_number(1 / point.cost.seconds), optional_number(point.cost.energy_uj));
    if (point.critical)
      text += fmt::format(",{},{}", format_number(point.protected_cost.cycles),
                          optional_number(point.protected_cost.energy_uj));
    else
      text += ",,";
    if (point.offload)
      text +=
          fmt::format(",{},{},{},{}\n", format_number(static_cast<double>(point.offload->bytes) / batch),
                      format_number(1e6 * point.offload->transfer_s / batch),
                      format_number(1e6 * point.offload->host_s / batch),
                      format_number(1 / (point.protected_cost.seconds + point.offload->seconds() / batch)));
    else
      text += ",,,,\n";
  }
  return text;
}

std::string errors_csv(const OverclockReport& report) {
  const OverclockInputs& inputs = *report.inputs;
  std::string text =
      "point,weights,layer,outputs,right,wrong_by_1_to_5,wrong_by_more,right_share,wrong_by_1_to_5_share,"
      "wrong_by_more_share,pe_cycles,late_words,word_error_rate,dropped_products,flipped_bits,critical\n";
  for (std::size_t p = 0; p < report.points.size(); ++p) {
    const PointReport& point = report.points[p];
    const auto lines = [&](const char* weights, const std::vector<ErrorCounts>& layers) {
      for (std::size_t s = 0; s < layers.size(); ++s) {
        const ErrorCounts& e = layers[s];
        if (e.outputs() == 0) continue;
        text += fmt::format(
            "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", common::csv_cell(inputs.points[p].label),
            weights, common::csv_cell(inputs.network.stages[s].name), e.outputs(), e.right, e.small, e.large,
            share(e.right, e.outputs()), share(e.small, e.outputs()), share(e.large, e.outputs()),
            e.pe_cycles, e.timing.late_words, format_number(e.word_error_rate()), e.timing.dropped_products,
            e.timing.flipped_bits, point.critical == s ? 1 : 0);
      }
    };
    lines("original", point.original);
    lines("twa", point.twa);
  }
  return text;
}

std::string results_csv(const OverclockReport& report) {
  std::string text = fmt::format("point,weights,images,{},decision_images,decision_top1\n", kScoreColumns);
  for (std::size_t p = 0; p < report.points.size(); ++p)
    for (const ModelAtPoint& model : report.points[p].models)
      text += fmt::format("{},{},{},{},{},{}\n", common::csv_cell(report.inputs->points[p].label), model.name,
                          model.test.top1.images, score_cells(model.test),
                          model.decision ? fmt::format("{}", model.decision->top1.images) : "",
                          model.decision ? format_number(model.decision->top1.accuracy()) : "");
  return text;
}

std::string controls_csv(const OverclockReport& report) {
  const OverclockInputs& inputs = *report.inputs;
  std::string text = fmt::format("weights,trained_at,evaluated_at,chip_seed,images,{}\n", kScoreColumns);
  for (const ControlLine& line : report.controls)
    text += fmt::format("{},{},{},{},{},{}\n", line.model,
                        line.model == "twa" ? common::csv_cell(inputs.points[report.controlled].label) : "",
                        common::csv_cell(inputs.points[line.point].label),
                        line.other_chip ? fmt::format("{}", *line.other_chip) : "", line.test.top1.images,
                        score_cells(line.test));
  return text;
}

std::string summary_yaml(const OverclockReport& report) {
  const OverclockInputs& inputs = *report.inputs;
  const auto line = [](const char* set, const OverclockScore& score, std::int64_t floating) {
    return fmt::format("    {}: {{images: {}, float_top1: {}, int8_top1: {}{}}}\n", set, score.top1.images,
                       share(floating, score.top1.images), format_number(score.top1.accuracy()),
                       score.top5 ? ", int8_top5: " + format_number(score.top5->accuracy()) : "");
  };
  std::string text =
      fmt::format("summary:\n  chip: {}\n  network: {}\n  dataset: {}\n  scope: {}\n",
                  common::yaml_scalar(inputs.chip.name), common::yaml_scalar(inputs.network.name),
                  common::yaml_scalar(inputs.training.name), common::yaml_quoted(scope_of(inputs)));
  text += "  decided_on: decision\n  judged_on: test\n  accuracy_without_errors:\n" +
          line("decision", report.decision, report.decision_float) +
          line("test", report.test, report.test_float);
  text += fmt::format("  retraining_steps: {}\n  tipping_drop: {}\n  acceptable_drop: {}\n",
                      inputs.config.retrain_steps, format_number(inputs.config.tipping_drop),
                      format_number(inputs.config.acceptable_drop));
  text += place_yaml(report, "tipping_point", report.tipping);
  text += place_yaml(report, "last_acceptable_twa", report.acceptable_twa);
  text += place_yaml(report, "last_acceptable_twa_clp", report.acceptable_clp);
  return text;
}

}  // namespace kintsugi::sim
