#include "training/repair/mapping.h"

#include <fmt/format.h>

#include <Eigen/Dense>
#include <algorithm>
#include <utility>

#include "array/layer_shape.h"
#include "array/schedule.h"
#include "training/repair/assignment.h"
#include "workloads/pruning_mask.h"

namespace kintsugi::training::repair {
namespace {

using workloads::ChannelGroup;
using workloads::Network;
using workloads::Placement;
using workloads::Stage;
using Matrix = AssignmentCost;

class Mapper {
 public:
  Mapper(const Network& network, const workloads::Parameters& saliency, const faults::ArrayFaults& faults,
         const configs::ChipConfig& chip, const MappingOptions& options)
      : network_(network),
        chip_(chip),
        options_(options),
        avoided_(faults.rows, faults.cols),
        groups_(workloads::channel_groups(network)),
        grown_(groups_.size(), false) {
    const faults::ArrayFaults avoided =
        options.drop ? faults::with_avoided(faults, options.drop->unbypassable) : faults;
    for (int r = 0; r < faults.rows; ++r)
      for (int c = 0; c < faults.cols; ++c) avoided_(r, c) = avoided.bypassed(r, c) ? 1 : 0;
    for (const Stage& stage : network.stages) {
      share_.emplace_back();
      if (!stage.on_chip()) continue;
      const auto& weight = saliency.at(stage.name + ".weight");
      double total = 0;
      for (const float x : weight.data) total += x;
      share_.back().assign(weight.data.begin(), weight.data.end());
      if (total > 0)
        for (double& x : share_.back()) x /= total;
    }
    placement_ = workloads::identity_placement(network);
  }

  Mapping run() {
    Mapping result;
    note_lost_channels();
    result.lost_before = lost();
    if (options_.drop) {
      result.dropped = drop();
    } else if (avoided_.sum() > 0) {
      improve();
    }
    result.lost_after = lost();
    result.placement = placement_;
    result.multiply_adds = multiply_adds_;
    return result;
  }

 private:
  // What stage s reads, channel by channel, and in how many positions each of its channels stands in the
  // GEMM: window positions, or the pixels of a flattened map.
  std::int64_t source_channels(std::size_t s) const {
    const int source = network_.stages[s].inputs.front();
    return source == workloads::kImage ? network_.stages[s].in.channels
                                       : network_.stages[static_cast<std::size_t>(source)].out.channels;
  }
  std::int64_t positions(std::size_t s) const {
    const Stage& stage = network_.stages[s];
    return stage.kernel * stage.kernel * (stage.in.channels / source_channels(s));
  }
  // Slots that the results which stage s reads are spread over.
  std::int64_t source_slots(std::size_t s) const {
    const int source = network_.stages[s].inputs.front();
    return source == workloads::kImage ? source_channels(s)
                                       : placement_.stages[static_cast<std::size_t>(source)].slots;
  }
  std::int32_t source_slot(std::size_t s, std::int64_t channel) const {
    const int source = network_.stages[s].inputs.front();
    return source == workloads::kImage ? static_cast<std::int32_t>(channel)
                                       : placement_.stages[static_cast<std::size_t>(source)].slot_of[channel];
  }
  array::LayerShape placed_shape(std::size_t s, std::int64_t in_slots, std::int64_t out_slots) const {
    const Stage& stage = network_.stages[s];
    array::LayerShape shape = stage.layer_shape(1);
    if (stage.groups == 1) {
      shape.in_c = in_slots * (stage.in.channels / source_channels(s));
      shape.out_c = out_slots;
    }
    return shape;
  }
  array::Tiling tiling(std::size_t s, std::int64_t in_slots, std::int64_t out_slots) const {
    return tiling_of(placed_shape(s, in_slots, out_slots));
  }
  array::Tiling tiling_of(const array::LayerShape& shape) const {
    return array::make_tiling(shape, chip_.array.rows, chip_.array.cols, chip_.convolution);
  }
  // By k of the placed GEMM: the array's row.
  std::vector<int> rows_of(std::size_t s, std::int64_t in_slots) const {
    std::vector<int> rows;
    for (const array::Range& tile : tiling(s, in_slots, placement_.stages[s].slots).k_tiles)
      for (std::int64_t r = 0; r < tile.count; ++r) rows.push_back(static_cast<int>(r));
    return rows;
  }
  // Position p of slot i: its place in the order of k.
  std::int64_t k_of(std::size_t s, std::int64_t slot, std::int64_t position, std::int64_t in_slots) const {
    const Stage& stage = network_.stages[s];
    const std::int64_t pixels = stage.in.channels / source_channels(s);
    return pixels > 1 ? slot * pixels + position : position * in_slots + slot;
  }
  int column(std::int64_t slot) const { return static_cast<int>(slot % avoided_.cols()); }
  double share(std::size_t s, std::int64_t output, std::int64_t channel, std::int64_t position) const {
    const Stage& stage = network_.stages[s];
    const std::int64_t inputs = source_channels(s) / stage.groups, all = positions(s);
    return share_[s][(output * inputs + channel) * all + position];
  }

  // What would be lost of stage s at each row of the array if nothing at the row could hold a weight, by
  // output channel; behind the rows, what multiplies channels that are lost anyway.
  Matrix share_by_row(std::size_t s) const {
    const std::int64_t inputs = source_channels(s) / network_.stages[s].groups, all = positions(s);
    const std::int64_t outputs = network_.stages[s].gemm_out.channels;
    const bool grouped = network_.stages[s].groups > 1;
    const std::int64_t slots = grouped ? inputs : source_slots(s);
    const std::vector<int> rows = rows_of(s, grouped ? source_channels(s) : slots);
    std::vector<Eigen::Index> row(static_cast<std::size_t>(inputs * all));
    for (std::int64_t i = 0; i < inputs; ++i)
      for (std::int64_t p = 0; p < all; ++p)
        row[i * all + p] = rows[k_of(s, grouped ? i : source_slot(s, i), p, slots)];
    Matrix by_row = Matrix::Zero(outputs, avoided_.rows() + 1);
    const double* share = share_[s].data();
    for (std::int64_t o = 0; o < outputs; ++o)
      for (std::int64_t i = 0; i < inputs; ++i) {
        const bool unread = reads_lost(s, o, grouped ? i : source_slot(s, i));
        for (std::int64_t p = 0; p < all; ++p)
          by_row(o, unread ? avoided_.rows() : row[i * all + p]) += *share++;
      }
    return by_row;
  }

  // What stage s loses: by output channel (row) and column of the array.
  Matrix lost_by_column(std::size_t s) const {
    const Matrix by_row = share_by_row(s);
    multiply_adds_ += static_cast<double>(by_row.rows() * avoided_.size());
    Matrix by_column = by_row.leftCols(avoided_.rows()) * avoided_;
    by_column.colwise() += by_row.rightCols(1).col(0);
    return by_column;
  }

  double lost() const {
    double sum = 0;
    for (std::size_t s = 0; s < network_.stages.size(); ++s) {
      const Stage& stage = network_.stages[s];
      if (!stage.on_chip()) continue;
      const Matrix by_row = share_by_row(s);
      const std::int64_t per_group = stage.gemm_out.channels / stage.groups;
      for (std::int64_t o = 0; o < stage.gemm_out.channels; ++o) {
        const int at = column(stage.groups > 1 ? o % per_group : placement_.stages[s].slot_of[o]);
        multiply_adds_ += static_cast<double>(avoided_.rows());
        sum += by_row.row(o).head(avoided_.rows()).dot(avoided_.col(at)) + by_row(o, avoided_.rows());
      }
    }
    return sum;
  }

  // As many slots as cost no tile more, in the group's own stages or their readers, than the channels
  // themselves; of a grown group, than sound columns for all of its channels.
  std::int64_t slots_for(std::size_t g) const {
    const ChannelGroup& group = groups_[g];
    const std::int64_t channels = network_.stages[group.stages.front()].gemm_out.channels;
    if (group.fixed) return channels;
    const std::int64_t cols = avoided_.cols();
    std::int64_t least = channels;
    if (grown_[g]) {
      least = 0;
      for (std::int64_t sound = 0; sound < channels; ++least) sound += spoiled(least) ? 0 : 1;
    }
    if (!options_.spare_columns) return least;
    std::int64_t slots = (least + cols - 1) / cols * cols;
    for (const std::size_t reader : group.readers) {
      if (!network_.stages[reader].on_chip()) continue;
      const std::size_t before = tiling(reader, least, 1).k_tiles.size();
      while (slots > least && tiling(reader, slots, 1).k_tiles.size() > before) --slots;
    }
    return slots;
  }

  void place(std::size_t g) {
    const ChannelGroup& group = groups_[g];
    const std::int64_t channels = network_.stages[group.stages.front()].gemm_out.channels;
    const std::int64_t slots = slots_for(g);
    Matrix cost = Matrix::Zero(channels, slots);
    for (const std::size_t s : group.stages) {
      if (!network_.stages[s].on_chip()) continue;
      const Matrix by_column = lost_by_column(s);
      for (std::int64_t slot = 0; slot < slots; ++slot) cost.col(slot) += by_column.col(column(slot));
    }
    for (const std::size_t reader : group.readers)
      if (network_.stages[reader].on_chip()) add_reader(reader, slots, cost);
    // Every class needs a sound column; other channels may be lost if that costs least.
    std::vector<Eigen::Index> allowed;
    for (std::int64_t slot = 0; slot < slots; ++slot)
      if (!holds_classes(group) || !spoiled(slot)) allowed.push_back(slot);
    std::vector<std::int32_t> slot_of = assign(cost(Eigen::all, allowed));
    for (std::int32_t& slot : slot_of)
      slot = static_cast<std::int32_t>(allowed[static_cast<std::size_t>(slot)]);
    for (const std::size_t s : group.stages) placement_.stages[s] = {slots, slot_of};
    note_lost_channels();
  }

  // Groups take turns.
  void improve() {
    for (int sweep = 0; sweep < options_.sweeps; ++sweep)
      for (std::size_t g = 0; g < groups_.size(); ++g)
        if (!groups_[g].fixed) place(g);
  }

  // What a reader's rows lose if channel n (row of `cost`) stands at a slot.
  void add_reader(std::size_t s, std::int64_t slots, Matrix& cost) const {
    const std::vector<int> rows = rows_of(s, slots);
    const std::int64_t outputs = network_.stages[s].gemm_out.channels;
    // One product for all positions: their columns stand beside each other.
    const std::int64_t all = positions(s), cols = avoided_.cols();
    Matrix by_column = Matrix::Zero(cost.rows(), all * cols), of_slot(slots, all * cols);
    const double* share = share_[s].data();
    for (std::int64_t o = 0; o < outputs; ++o) {
      const int at = column(placement_.stages[s].slot_of[o]);
      for (Eigen::Index n = 0; n < cost.rows(); ++n)
        for (std::int64_t p = 0; p < all; ++p) by_column(n, p * cols + at) += *share++;
    }
    for (std::int64_t slot = 0; slot < slots; ++slot)
      for (std::int64_t p = 0; p < all; ++p)
        if (spoiled(slot))
          of_slot.row(slot).segment(p * cols, cols).setOnes();  // nobody may read it
        else
          of_slot.row(slot).segment(p * cols, cols) = avoided_.row(rows[k_of(s, slot, p, slots)]);
    cost.noalias() += by_column * of_slot.transpose();
    multiply_adds_ += static_cast<double>(cost.size() * by_column.cols());
  }

  // Keeping away from what the bypass does not hide.

  bool spoiled(std::int64_t slot) const {
    return options_.drop &&
           options_.drop->unbypassable.spoiled_column[static_cast<std::size_t>(column(slot))];
  }
  bool holds_classes(const ChannelGroup& group) const {
    return group.stages.back() + 1 == network_.stages.size();
  }
  void note_lost_channels() {
    if (options_.drop)
      gone_ = workloads::lost_channels(workloads::placed(network_, placement_), options_.drop->unbypassable);
  }
  // Output o of stage s at what stands at a slot (of a grouped convolution: of o's group) of its source.
  bool reads_lost(std::size_t s, std::int64_t o, std::int64_t slot) const {
    const Stage& stage = network_.stages[s];
    if (gone_.empty() || stage.inputs.front() == workloads::kImage) return false;
    const std::int64_t group = o / (stage.gemm_out.channels / stage.groups);
    return gone_[static_cast<std::size_t>(stage.inputs.front())]
                [group * (stage.in.channels / stage.groups) + slot] != 0;
  }

  // Of one image, with as many slots as the groups are to have.
  std::int64_t cycles() const {
    std::vector<std::int64_t> slots(network_.stages.size());
    for (std::size_t g = 0; g < groups_.size(); ++g)
      for (const std::size_t s : groups_[g].stages) slots[s] = slots_for(g);
    std::int64_t sum = 0;
    for (std::size_t s = 0; s < network_.stages.size(); ++s) {
      const Stage& stage = network_.stages[s];
      if (!stage.on_chip()) continue;
      const int source = stage.inputs.front();
      const std::int64_t in =
          source == workloads::kImage ? source_channels(s) : slots[static_cast<std::size_t>(source)];
      const array::LayerShape shape = placed_shape(s, in, slots[s]);
      sum += array::ideal_breakdown(shape, tiling_of(shape), chip_.array.rows, chip_.array.cols,
                                    chip_.array.weight_double_buffer)
                 .total();
    }
    return sum;
  }

  // Saliency of the group's channels that stand in spoiled columns.
  double lost_channels_of(const ChannelGroup& group) const {
    double sum = 0;
    const workloads::ChannelPlacement& channels = placement_.stages[group.stages.front()];
    for (std::int64_t n = 0; n < std::ssize(channels.slot_of); ++n) {
      if (!spoiled(channels.slot_of[n])) continue;
      for (const std::size_t s : group.stages)
        for (std::int64_t i = 0; network_.stages[s].on_chip() && i < source_channels(s); ++i)
          for (std::int64_t p = 0; p < positions(s); ++p) sum += share(s, n, i, p);
      for (const std::size_t s : group.readers)
        for (std::int64_t o = 0; network_.stages[s].on_chip() && o < network_.stages[s].gemm_out.channels;
             ++o)
          for (std::int64_t p = 0; p < positions(s); ++p) sum += share(s, o, n, p);
    }
    return sum;
  }

  // Maps, with more tiles for the groups that gain most by the cycle, as long as cycles allow.
  Dropped drop() {
    const faults::Unbypassable& unbypassable = options_.drop->unbypassable;
    Dropped result;
    result.columns = unbypassable.spoiled_columns();
    result.rows = unbypassable.cut_rows();
    if (result.columns == avoided_.cols()) {
      result.problem = "every column of the array has a fault that no bypass hides";
      return result;
    }
    const auto before = static_cast<double>(cycles());
    const auto factor = [&] { return static_cast<double>(cycles()) / before; };
    const Placement unmoved = placement_;
    result.problem = place_classes(factor);
    if (result.problem.empty() && avoided_.sum() > 0) {
      improve();
      if (grow(factor)) improve();
      result.problem = unusable();
    }
    if (!result.problem.empty()) {
      placement_ = unmoved;
      note_lost_channels();
      return result;
    }
    result.cycle_factor = factor();
    for (std::size_t s = 0; s < network_.stages.size(); ++s)
      if (network_.stages[s].on_chip())
        for (const std::int32_t slot : placement_.stages[s].slot_of) result.channels += gone_[s][slot];
    return result;
  }

  // Every class needs a sound column. Returns why not, if it cannot have one.
  template <class Factor>
  std::string place_classes(const Factor& factor) {
    std::size_t g = 0;
    while (!holds_classes(groups_[g])) ++g;
    if (groups_[g].fixed) return "";  // seen later, by unusable()
    const auto classes = std::ssize(placement_.stages.back().slot_of);
    std::int64_t sound = 0;
    for (std::int64_t slot = 0; slot < slots_for(g); ++slot) sound += spoiled(slot) ? 0 : 1;
    if (sound >= classes) return "";
    grown_[g] = true;
    if (factor() <= options_.drop->max_cycle_factor) return "";
    return fmt::format(
        "{} of {} outputs find a column without faults that no bypass hides; another tile of columns takes "
        "{:.2f} "
        "times the cycles, more than max_cycle_factor {:.2f}",
        sound, classes, factor(), options_.drop->max_cycle_factor);
  }

  // Gives groups that lose channels another tile, best saliency by the cycle first. True if there was one.
  template <class Factor>
  bool grow(const Factor& factor) {
    bool any = false;
    for (;;) {
      const double now = factor();
      std::optional<std::size_t> best;
      double most = 0;
      for (std::size_t g = 0; g < groups_.size(); ++g) {
        if (groups_[g].fixed || grown_[g]) continue;
        const double lost = lost_channels_of(groups_[g]);
        grown_[g] = true;
        const double then = factor();
        grown_[g] = false;
        const double worth = lost / std::max(then - now, 1e-9);
        if (lost == 0 || then > options_.drop->max_cycle_factor || worth <= most) continue;
        best = g;
        most = worth;
      }
      if (!best) return any;
      grown_[*best] = any = true;
    }
  }

  // Why the network as placed would compute nothing; empty if it does.
  std::string unusable() const {
    for (std::size_t s = 0; s < network_.stages.size(); ++s) {
      const auto gone = [&](std::int32_t slot) { return gone_[s][slot] != 0; };
      const std::vector<std::int32_t>& slots = placement_.stages[s].slot_of;
      if (std::all_of(slots.begin(), slots.end(), gone))
        return fmt::format("layer '{}' would lose all its channels to faults that no bypass hides",
                           network_.stages[s].name);
      if (s + 1 == network_.stages.size() && std::any_of(slots.begin(), slots.end(), gone))
        return fmt::format(
            "an output of layer '{}', whose channels have to stay where they are, stands in a column with a "
            "fault "
            "that no bypass hides",
            network_.stages[s].name);
    }
    return "";
  }

  const Network& network_;
  const configs::ChipConfig& chip_;
  MappingOptions options_;
  Matrix avoided_;  // 1 where a PE may hold no weight
  std::vector<ChannelGroup> groups_;
  std::vector<bool> grown_;                 // by group: may take another tile of columns
  workloads::LostChannels gone_;            // by stage and slot; empty without drop
  std::vector<std::vector<double>> share_;  // by stage: saliency, as a share of the stage's
  Placement placement_;
  mutable double multiply_adds_ = 0;
};

}  // namespace

Mapping map_around_faults(const Network& network, const workloads::Parameters& saliency,
                          const faults::ArrayFaults& faults, const configs::ChipConfig& chip,
                          const MappingOptions& options) {
  return Mapper(network, saliency, faults, chip, options).run();
}

}  // namespace kintsugi::training::repair
