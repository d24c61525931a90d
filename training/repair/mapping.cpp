#include "training/repair/mapping.h"

#include <lemon/network_simplex.h>
#include <lemon/smart_graph.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "array/layer_shape.h"
#include "workloads/float_forward.h"

namespace kintsugi::training::repair {
namespace {

using workloads::ChannelGroup;
using workloads::Network;
using workloads::Placement;
using workloads::Stage;
using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// The exact assignment: rows of `cost` to distinct columns, of which there are at least as many.
std::vector<std::int32_t> assign(const Matrix& cost) {
  using Graph = lemon::SmartDigraph;
  const Eigen::Index channels = cost.rows(), slots = cost.cols();
  Graph graph;
  graph.reserveNode(static_cast<int>(channels + slots) + 1);
  graph.reserveArc(static_cast<int>(channels * slots + slots));
  std::vector<Graph::Node> left, right;
  for (Eigen::Index n = 0; n < channels; ++n) left.push_back(graph.addNode());
  for (Eigen::Index s = 0; s < slots; ++s) right.push_back(graph.addNode());
  const Graph::Node unused = graph.addNode();
  // Whole numbers: the solver compares exactly. Sums over a thousand channels stay far from overflow.
  const double top = std::max(cost.maxCoeff(), 1e-300);
  const double unit = std::ldexp(1, 44) / top;
  Graph::ArcMap<std::int64_t> price(graph, 0);
  Graph::NodeMap<std::int64_t> supply(graph, 0);
  for (Eigen::Index n = 0; n < channels; ++n) {
    supply[left[n]] = 1;
    for (Eigen::Index s = 0; s < slots; ++s)
      price[graph.addArc(left[n], right[s])] = std::llround(cost(n, s) * unit);
  }
  supply[unused] = slots - channels;
  for (Eigen::Index s = 0; s < slots; ++s) {
    supply[right[s]] = -1;
    graph.addArc(unused, right[s]);
  }
  lemon::NetworkSimplex<Graph, std::int64_t, std::int64_t> solver(graph);
  solver.costMap(price).supplyMap(supply);
  if (solver.run() != lemon::NetworkSimplex<Graph, std::int64_t, std::int64_t>::OPTIMAL)
    throw std::logic_error("an assignment of channels to columns has no solution");
  std::vector<std::int32_t> slot_of(static_cast<std::size_t>(channels));
  for (Eigen::Index n = 0; n < channels; ++n)
    for (Graph::OutArcIt arc(graph, left[n]); arc != lemon::INVALID; ++arc)
      if (solver.flow(arc) > 0)
        slot_of[n] = static_cast<std::int32_t>(graph.id(graph.target(arc)) - channels);
  return slot_of;
}

class Mapper {
 public:
  Mapper(const Network& network, const workloads::Parameters& saliency, const faults::ArrayFaults& faults,
         const configs::ChipConfig& chip, const MappingOptions& options)
      : network_(network), chip_(chip), options_(options), bypassed_(faults.rows, faults.cols) {
    for (int r = 0; r < faults.rows; ++r)
      for (int c = 0; c < faults.cols; ++c) bypassed_(r, c) = faults.bypassed(r, c) ? 1 : 0;
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
    result.lost_before = lost();
    if (bypassed_.sum() > 0) {
      const std::vector<ChannelGroup> groups = workloads::channel_groups(network_);
      double before = result.lost_before;
      for (int sweep = 0; sweep < options_.sweeps; ++sweep) {
        for (const ChannelGroup& group : groups)
          if (!group.fixed) place(group);
        const double now = lost();
        if (before - now <= 1e-3 * before) break;
        before = now;
      }
    }
    result.lost_after = lost();
    result.placement = placement_;
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
  array::Tiling tiling(std::size_t s, std::int64_t in_slots, std::int64_t out_slots) const {
    const Stage& stage = network_.stages[s];
    array::LayerShape shape = stage.layer_shape(1);
    if (stage.groups == 1) {
      shape.in_c = in_slots * (stage.in.channels / source_channels(s));
      shape.out_c = out_slots;
    }
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
  int column(std::int64_t slot) const { return static_cast<int>(slot % bypassed_.cols()); }
  double share(std::size_t s, std::int64_t output, std::int64_t channel, std::int64_t position) const {
    const Stage& stage = network_.stages[s];
    const std::int64_t inputs = source_channels(s) / stage.groups, all = positions(s);
    return share_[s][(output * inputs + channel) * all + position];
  }

  // What stage s loses: by output channel (row) and column of the array.
  Matrix lost_by_column(std::size_t s) const {
    const std::int64_t inputs = source_channels(s) / network_.stages[s].groups, all = positions(s);
    const std::int64_t outputs = network_.stages[s].gemm_out.channels;
    const bool grouped = network_.stages[s].groups > 1;
    const std::int64_t slots = grouped ? inputs : source_slots(s);
    const std::vector<int> rows = rows_of(s, grouped ? source_channels(s) : slots);
    Matrix by_row = Matrix::Zero(outputs, bypassed_.rows());
    for (std::int64_t i = 0; i < inputs; ++i) {
      const std::int64_t slot = grouped ? i : source_slot(s, i);
      for (std::int64_t p = 0; p < all; ++p) {
        const int row = rows[k_of(s, slot, p, slots)];
        for (std::int64_t o = 0; o < outputs; ++o) by_row(o, row) += share(s, o, i, p);
      }
    }
    return by_row * bypassed_;
  }

  double lost() const {
    double sum = 0;
    for (std::size_t s = 0; s < network_.stages.size(); ++s) {
      const Stage& stage = network_.stages[s];
      if (!stage.on_chip()) continue;
      const Matrix cost = lost_by_column(s);
      const std::int64_t per_group = stage.gemm_out.channels / stage.groups;
      for (std::int64_t o = 0; o < stage.gemm_out.channels; ++o)
        sum += cost(o, column(stage.groups > 1 ? o % per_group : placement_.stages[s].slot_of[o]));
    }
    return sum;
  }

  // As many slots as cost no tile more, in the group's own stages or their readers.
  std::int64_t slots_for(const ChannelGroup& group, std::int64_t channels) const {
    if (!options_.spare_columns) return channels;
    const std::int64_t cols = bypassed_.cols();
    std::int64_t slots = (channels + cols - 1) / cols * cols;
    for (const std::size_t reader : group.readers) {
      if (!network_.stages[reader].on_chip()) continue;
      const std::size_t before = tiling(reader, channels, 1).k_tiles.size();
      while (slots > channels && tiling(reader, slots, 1).k_tiles.size() > before) --slots;
    }
    return slots;
  }

  void place(const ChannelGroup& group) {
    const std::int64_t channels = network_.stages[group.stages.front()].gemm_out.channels;
    const std::int64_t slots = slots_for(group, channels);
    Matrix cost = Matrix::Zero(channels, slots);
    for (const std::size_t s : group.stages) {
      if (!network_.stages[s].on_chip()) continue;
      const Matrix by_column = lost_by_column(s);
      for (std::int64_t slot = 0; slot < slots; ++slot) cost.col(slot) += by_column.col(column(slot));
    }
    for (const std::size_t reader : group.readers)
      if (network_.stages[reader].on_chip()) add_reader(reader, slots, cost);
    const std::vector<std::int32_t> slot_of = assign(cost);
    for (const std::size_t s : group.stages) placement_.stages[s] = {slots, slot_of};
  }

  // What a reader's rows lose if channel n (row of `cost`) stands at a slot.
  void add_reader(std::size_t s, std::int64_t slots, Matrix& cost) const {
    const std::vector<int> rows = rows_of(s, slots);
    const std::int64_t outputs = network_.stages[s].gemm_out.channels;
    Matrix by_column(cost.rows(), bypassed_.cols()), of_slot(slots, bypassed_.cols());
    for (std::int64_t p = 0; p < positions(s); ++p) {
      by_column.setZero();
      for (std::int64_t o = 0; o < outputs; ++o) {
        const int at = column(placement_.stages[s].slot_of[o]);
        for (Eigen::Index n = 0; n < cost.rows(); ++n) by_column(n, at) += share(s, o, n, p);
      }
      for (std::int64_t slot = 0; slot < slots; ++slot)
        of_slot.row(slot) = bypassed_.row(rows[k_of(s, slot, p, slots)]);
      cost.noalias() += by_column * of_slot.transpose();
    }
  }

  const Network& network_;
  const configs::ChipConfig& chip_;
  MappingOptions options_;
  Matrix bypassed_;                         // 1 where bypassed
  std::vector<std::vector<double>> share_;  // by stage: saliency, as a share of the stage's
  Placement placement_;
};

}  // namespace

workloads::Parameters weight_saliency(const Network& network, const workloads::Parameters& parameters,
                                      Saliency kind, const workloads::ImageSet& images,
                                      common::ThreadPool* pool) {
  // By stage and input channel (value, if flattened): mean square.
  std::vector<std::vector<double>> squares(network.stages.size());
  if (kind == Saliency::output)
    workloads::float_logits(
        network, parameters, images,
        [&](std::size_t s, std::span<const float> values, workloads::Observed what) {
          if (what != workloads::Observed::input) return;
          const Stage& stage = network.stages[s];
          const std::int64_t channels = stage.in.channels, pixels = stage.in.height * stage.in.width;
          squares[s].resize(static_cast<std::size_t>(channels), 0);
          for (std::int64_t image = 0; image < std::ssize(values) / stage.in.count(); ++image)
            for (std::int64_t c = 0; c < channels; ++c) {
              double sum = 0;
              const float* at = values.data() + (image * channels + c) * pixels;
              for (std::int64_t p = 0; p < pixels; ++p) sum += static_cast<double>(at[p]) * at[p];
              squares[s][c] += sum / static_cast<double>(pixels * images.size());
            }
        },
        pool);
  workloads::Parameters result;
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    const Stage& stage = network.stages[s];
    if (!stage.on_chip()) continue;
    workloads::Tensor<float> weight = parameters.at(stage.name + ".weight");
    const std::int64_t inputs = stage.in.channels / stage.groups, window = stage.kernel * stage.kernel;
    const std::int64_t per_group = stage.gemm_out.channels / stage.groups;
    for (std::size_t i = 0; i < weight.data.size(); ++i) {
      const double w = weight.data[i];
      const auto output = static_cast<std::int64_t>(i) / (inputs * window);
      const std::int64_t input = static_cast<std::int64_t>(i) / window % inputs + output / per_group * inputs;
      const double value = kind == Saliency::magnitude ? std::fabs(w)
                           : kind == Saliency::square  ? w * w
                                                       : w * w * squares[s][input];
      weight.data[i] = static_cast<float>(value);
    }
    result[stage.name + ".weight"] = std::move(weight);
  }
  return result;
}

Mapping map_around_faults(const Network& network, const workloads::Parameters& saliency,
                          const faults::ArrayFaults& faults, const configs::ChipConfig& chip,
                          const MappingOptions& options) {
  return Mapper(network, saliency, faults, chip, options).run();
}

}  // namespace kintsugi::training::repair
