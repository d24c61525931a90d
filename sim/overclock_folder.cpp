#include "sim/overclock_folder.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <array>
#include <map>
#include <span>
#include <variant>
#include <vector>

#include "common/diagnostics.h"
#include "common/sha256.h"
#include "workloads/safetensors.h"

namespace kintsugi::sim {
namespace {

using overclock::ErrorCounts;
using overclock::Measured;
using workloads::LayerReport;
using workloads::SafeTensors;
using workloads::Tensor;

Tensor<std::uint8_t> flags(const std::vector<std::uint8_t>& values) {
  return {{static_cast<std::int64_t>(values.size())}, values};
}

// What of a layer is kept, in this order: errors, and what its cost is worked out from.
constexpr std::size_t kNumbers = 15;
std::array<std::int64_t, kNumbers> numbers_of(const ErrorCounts& e, const LayerReport& l) {
  return {e.right,
          e.small,
          e.large,
          e.pe_cycles,
          e.timing.late_words,
          e.timing.dropped_products,
          e.timing.flipped_bits,
          l.cycles,
          l.stall_cycles,
          l.macs,
          l.traffic.dram_bus_bytes,
          l.traffic.buffer_bytes,
          l.traffic.fifo_bytes,
          l.traffic.accumulator_bytes,
          l.traffic.register_bytes};
}
void set_numbers(std::span<const std::int64_t> n, ErrorCounts& e, LayerReport& l) {
  e = {n[0], n[1], n[2], n[3], {n[4], n[5], n[6]}};
  l.cycles = n[7];
  l.stall_cycles = n[8];
  l.macs = n[9];
  l.traffic.dram_bus_bytes = n[10];
  l.traffic.buffer_bytes = n[11];
  l.traffic.fifo_bytes = n[12];
  l.traffic.accumulator_bytes = n[13];
  l.traffic.register_bytes = n[14];
}

// Nothing if the file is not there, or, with a warning, if it is damaged, another campaign's, or holds
// something else than `read` asks for.
template <class Read>
auto read_or_nothing(const std::filesystem::path& file, const std::string& campaign, const Read& read)
    -> std::optional<decltype(read(std::declval<SafeTensors&>()))> {
  std::error_code code;
  if (!std::filesystem::exists(file, code)) return std::nullopt;
  try {
    SafeTensors content = workloads::read_safetensors(file);
    if (content.metadata.at("campaign") == campaign) return read(content);
    spdlog::warn("{}: this is a result of another campaign; it is made again", file.string());
    return std::nullopt;
  } catch (const common::InputError&) {
  } catch (const std::out_of_range&) {
  } catch (const std::bad_variant_access&) {
  }
  spdlog::warn("{}: this result is damaged; it is made again", file.string());
  return std::nullopt;
}

overclock::Hits hits_in(const SafeTensors& file, const std::string& prefix) {
  overclock::Hits hits;
  hits.top1 = std::get<Tensor<std::uint8_t>>(file.tensors.at(prefix + "top1")).data;
  if (const auto found = file.tensors.find(prefix + "top5"); found != file.tensors.end())
    hits.top5 = std::get<Tensor<std::uint8_t>>(found->second).data;
  return hits;
}

void add_hits(SafeTensors& file, const std::string& prefix, const overclock::Hits& hits) {
  file.tensors[prefix + "top1"] = flags(hits.top1);
  if (!hits.top5.empty()) file.tensors[prefix + "top5"] = flags(hits.top5);
}

}  // namespace

std::string Place::file_name() const {
  if (point.empty()) return "no_errors";
  return other_chip ? fmt::format("{}_chip_{}", point, *other_chip) : point;
}

const std::string& OverclockFolder::digest() const {
  if (digest_.empty()) digest_ = common::sha256_file(manifest()).substr(0, 16);
  return digest_;
}

std::filesystem::path OverclockFolder::evaluation(const std::string& model, const Place& place,
                                                  const std::string& set) const {
  return root_ / "tasks" / set / model / (place.file_name() + ".safetensors");
}

void OverclockFolder::write_reference(const std::string& set, const Reference& reference) const {
  SafeTensors file;
  add_hits(file, "int8_", reference.int8);
  add_hits(file, "float_", reference.floating);
  file.metadata["campaign"] = digest();
  file.metadata["weights_sha256"] = reference.weights_sha256;
  file.metadata["scales_sha256"] = common::sha256_file(scales());
  workloads::write_safetensors(this->reference(set), file);
}

std::optional<Reference> OverclockFolder::read_reference(const std::string& set, std::int64_t images) const {
  auto found =
      read_or_nothing(reference(set), digest(), [&](const SafeTensors& file) -> std::optional<Reference> {
        std::error_code code;
        const std::string& expected = file.metadata.at("scales_sha256");
        if (!std::filesystem::exists(scales(), code) || common::sha256_file(scales()) != expected) {
          spdlog::warn("{}: this file is missing, damaged or not this campaign's; it is made again",
                       scales().string());
          return std::nullopt;
        }
        return Reference{hits_in(file, "int8_"), hits_in(file, "float_"), file.metadata.at("weights_sha256")};
      });
  if (!found || !*found || static_cast<std::int64_t>((*found)->int8.top1.size()) != images)
    return std::nullopt;
  return std::move(**found);
}

void OverclockFolder::write_evaluation(const std::string& model, const Place& place, const std::string& set,
                                       const Measured& measured, const std::string& weights_sha256) const {
  SafeTensors file;
  add_hits(file, "", measured.hits);
  Tensor<std::int64_t> layers({static_cast<std::int64_t>(measured.layers.size()), kNumbers});
  for (std::size_t s = 0; s < measured.layers.size(); ++s) {
    const auto numbers = numbers_of(measured.errors[s], measured.layers[s]);
    std::copy(numbers.begin(), numbers.end(),
              layers.data.begin() + static_cast<std::ptrdiff_t>(s * kNumbers));
  }
  file.tensors["layers"] = std::move(layers);
  file.metadata["campaign"] = digest();
  file.metadata["weights_sha256"] = weights_sha256;
  workloads::write_safetensors(evaluation(model, place, set), file);
}

std::optional<Measured> OverclockFolder::read_evaluation(const std::string& model, const Place& place,
                                                         const std::string& set, std::int64_t images,
                                                         const workloads::Network& network,
                                                         const std::string& weights_sha256) const {
  const auto stages = static_cast<std::int64_t>(network.stages.size());
  auto found = read_or_nothing(
      evaluation(model, place, set), digest(), [&](const SafeTensors& file) -> std::optional<Measured> {
        const auto& layers = std::get<Tensor<std::int64_t>>(file.tensors.at("layers"));
        if (file.metadata.at("weights_sha256") != weights_sha256 ||
            layers.shape != std::vector<std::int64_t>{stages, kNumbers})
          return std::nullopt;
        Measured measured;
        measured.hits = hits_in(file, "");
        measured.errors.resize(network.stages.size());
        measured.layers.resize(network.stages.size());
        for (std::size_t s = 0; s < network.stages.size(); ++s) {
          set_numbers(std::span(layers.data).subspan(s * kNumbers, kNumbers), measured.errors[s],
                      measured.layers[s]);
          measured.layers[s].layer = network.stages[s].name;
        }
        return measured;
      });
  if (!found || !*found || static_cast<std::int64_t>((*found)->hits.top1.size()) != images)
    return std::nullopt;
  return std::move(**found);
}

}  // namespace kintsugi::sim
