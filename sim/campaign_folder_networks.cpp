// The networks that a campaign's folder keeps between its phases: chips as repaired, and what groups share.
#include <fmt/format.h>

#include <map>
#include <string_view>
#include <system_error>
#include <variant>

#include "common/csv.h"
#include "common/sha256.h"
#include "common/text.h"
#include "sim/campaign_folder.h"
#include "sim/task_result.h"
#include "workloads/float_forward.h"
#include "workloads/safetensors.h"

namespace kintsugi::sim {
namespace {

using common::InputError;

constexpr std::string_view kSlots = ".slot_of";

void write_network(const std::filesystem::path& path, const workloads::Network& network,
                   const RepairedNetwork& repaired) {
  workloads::SafeTensors file;
  for (const auto& [name, tensor] : repaired.parameters) file.tensors[name] = tensor;
  for (std::size_t s = 0; repaired.placement && s < network.stages.size(); ++s) {
    const auto& slots = repaired.placement->stages[s].slot_of;
    if (network.stages[s].on_chip())
      file.tensors[network.stages[s].name + std::string(kSlots)] =
          workloads::Tensor<std::int32_t>({std::ssize(slots)}, slots);
  }
  workloads::write_safetensors(path, file);
}

// Nothing if it cannot be read as one.
std::optional<RepairedNetwork> read_network(const std::filesystem::path& path,
                                            const workloads::Network& network) {
  std::error_code code;
  if (!std::filesystem::exists(path, code)) return std::nullopt;
  try {
    RepairedNetwork repaired;
    repaired.placement = workloads::read_placement(path, network);
    for (auto& [name, tensor] : workloads::read_safetensors(path).tensors)
      if (!name.ends_with(kSlots)) repaired.parameters[name] = std::get<workloads::Tensor<float>>(tensor);
    workloads::check_parameters(
        repaired.placement ? workloads::placed(network, *repaired.placement) : network, repaired.parameters,
        path.string());
    return repaired;
  } catch (const InputError&) {
  } catch (const std::bad_variant_access&) {
  }
  return std::nullopt;
}

std::string network_line(const std::string& sha256) {
  return fmt::format("# network {}\n", sha256);
}

}  // namespace

void CampaignFolder::write_repaired(const std::string& id, const workloads::Network& network,
                                    const RepairedNetwork& repaired) const {
  write_network(repaired_task(id), network, repaired);
}

std::optional<RepairedNetwork> CampaignFolder::read_repaired(const std::string& id,
                                                             const workloads::Network& network) const {
  return read_network(repaired_task(id), network);
}

void CampaignFolder::remove_repaired(const std::string& id) const {
  std::error_code code;
  std::filesystem::remove(repaired_task(id), code);
}

void CampaignFolder::remove_all_repaired() const {
  std::error_code code;
  std::filesystem::remove_all(root_ / "tasks" / "repaired", code);
}

void CampaignFolder::write_group(const std::string& group, const std::string& job,
                                 const workloads::Network& network, const GroupNetwork& result) const {
  using common::format_number;
  write_network(group_network(group), network, result.network);
  std::string text =
      fmt::format("quantity,value\nmapping_steps,{}\ncompensation_steps,{}\nbatch_norm_steps,{}\nchecks,{}\n",
                  format_number(result.repair_steps.mapping), format_number(result.repair_steps.compensation),
                  format_number(result.repair_steps.batch_norm), result.checks);
  for (const std::int64_t steps : result.tried) text += fmt::format("tried,{}\n", steps);
  text += fmt::format("# job {}\n{}", common::sha256(job),
                      network_line(common::sha256_file(group_network(group))));
  write_result(group_task(group), text, digest());
}

std::optional<GroupNetwork> CampaignFolder::read_group(const std::string& group, const std::string& job,
                                                       const workloads::Network& network) const {
  const std::filesystem::path file = group_network(group);
  const auto text = read_result(group_task(group), digest(),
                                [](const std::string& content) { return std::optional(content); });
  std::error_code code;
  if (!text || !std::filesystem::exists(file, code)) return std::nullopt;
  // Another plan's group of this name: no damage, just not this one.
  if (text->find("# job " + common::sha256(job) + "\n") == std::string::npos) return std::nullopt;
  GroupNetwork result;
  result.sha256 = common::sha256_file(file);
  auto kept = read_network(file, network);
  if (!kept || !text->ends_with(network_line(result.sha256))) {
    spdlog::warn("{}: this network is damaged; it is made again", file.string());
    return std::nullopt;
  }
  result.network = std::move(*kept);
  common::Diagnostics diagnostics;
  std::map<std::string, double> values;
  for (const common::CsvRow& row : common::parse_csv(*text, "table", diagnostics)) {
    const auto value = row.cells.size() == 2 ? common::parse_real(row.cells[1].text) : std::nullopt;
    if (!value) continue;  // the header
    if (row.cells[0].text == "tried")
      result.tried.push_back(static_cast<std::int64_t>(*value));
    else
      values[row.cells[0].text] = *value;
  }
  if (result.tried.empty()) return std::nullopt;
  result.repair_steps = {values["mapping_steps"], values["compensation_steps"], values["batch_norm_steps"]};
  result.checks = static_cast<std::int64_t>(values["checks"]);
  return result;
}

void CampaignFolder::write_delivered(const std::string& id, const RetrainedPoint& point,
                                     const std::string& network_sha256) const {
  write_result(deliver_task(id),
               text_of(std::span(&point, 1)) + network_line(network_sha256) + deliveries(chip(id)), digest());
}

std::optional<RetrainedPoint> CampaignFolder::read_delivered(const std::string& id,
                                                             const std::string& network_sha256,
                                                             std::int64_t decision_images,
                                                             std::int64_t test_images) const {
  const auto points = read_result(deliver_task(id), digest(), [&](const std::string& text) {
    return parse_retrained(text, decision_images, test_images);
  });
  if (!points || points->size() != 1) return std::nullopt;
  // Of the network that the group had under another plan.
  if (common::read_file(deliver_task(id)).find(network_line(network_sha256)) == std::string::npos)
    return std::nullopt;
  if (!has_delivered(chip(id), deliver_task(id), network_line(network_sha256))) return std::nullopt;
  return points->front();
}

}  // namespace kintsugi::sim
