#include "training/repair/compensation.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "common/thread_pool.h"
#include "workloads/float_forward.h"
#include "workloads/inference.h"
#include "workloads/pruning_mask.h"

namespace kintsugi::training::repair {
namespace {

using workloads::Network;
using workloads::Stage;

// A constant can be added to what the layer computes: its bias, or what batch-norm subtracts.
bool moves_constant(const Stage& stage) {
  return stage.bias || stage.batch_norm.has_value();
}

bool reads_image(const Stage& stage) {
  return stage.inputs.front() == workloads::kImage;
}

std::int64_t inputs_per_tap(const Stage& stage) {
  return stage.in.channels / stage.groups;
}

void for_each(common::ThreadPool* pool, std::int64_t n, const std::function<void(std::int64_t)>& body) {
  if (pool != nullptr)
    pool->parallel_for(n, body);
  else
    for (std::int64_t i = 0; i < n; ++i) body(i);
}

// One row of the im2col matrix, in the order (ky, kx, channel). `copy(image, y, x, out)` writes the channels
// of one pixel.
template <class Copy>
void unfold(const Stage& stage, std::int64_t position, std::int64_t channels, float* out, const Copy& copy) {
  const std::int64_t width = stage.gemm_out.width, pixels = stage.gemm_out.height * width;
  const std::int64_t oy = position % pixels / width, ox = position % width;
  for (std::int64_t ky = 0; ky < stage.kernel; ++ky)
    for (std::int64_t kx = 0; kx < stage.kernel; ++kx, out += channels) {
      const std::int64_t y = oy * stage.stride + ky - stage.padding;
      const std::int64_t x = ox * stage.stride + kx - stage.padding;
      if (y >= 0 && y < stage.in.height && x >= 0 && x < stage.in.width)
        copy(position / pixels, y, x, out);
      else
        std::fill_n(out, channels, 0.f);
    }
}

}  // namespace

Compensator::Compensator(const Network& network, workloads::Parameters parameters,
                         workloads::ActivationScales scales, workloads::ImageSet images,
                         const CompensationOptions& options, common::ThreadPool* pool)
    : network_(network),
      original_(std::move(parameters)),
      scales_(std::move(scales)),
      images_(std::move(images)),
      options_(options),
      pool_(pool),
      wanted_(network.stages.size()) {
  std::vector<std::int64_t> seen(network.stages.size());
  workloads::float_logits(
      network_, original_, images_,
      [&](std::size_t s, std::span<const float> values, workloads::Observed what) {
        const Stage& stage = network_.stages[s];
        if (what != workloads::Observed::input || !stage.on_chip()) return;
        observe(s, seen[s], values);
        seen[s] += std::ssize(values) / stage.in.count();
      },
      pool_);
  for (std::size_t s = 0; s < network_.stages.size(); ++s)
    shared_multiply_adds_ += static_cast<double>(network_.stages[s].macs() * images_.size()) +
                             static_cast<double>(wanted_[s].rows() * network_.stages[s].weight_count());
}

Compensator::Sample Compensator::sample_of(const Stage& stage) const {
  const std::int64_t pixels = stage.gemm_out.height * stage.gemm_out.width, all = images_.size() * pixels;
  std::int64_t stride = std::max<std::int64_t>(1, (all + options_.positions - 1) / options_.positions);
  // Without a common divisor every pixel of the map is met.
  while (std::gcd(stride, pixels) > 1) ++stride;
  return {stride, (all + stride - 1) / stride};
}

// Of the images from `first_image` on: what the original layer gives, without bias, at the sampled positions.
void Compensator::observe(std::size_t s, std::int64_t first_image, std::span<const float> values) {
  const Stage& stage = network_.stages[s];
  const std::int64_t pixels = stage.gemm_out.height * stage.gemm_out.width;
  const std::int64_t channels = stage.in.channels, area = stage.in.height * stage.in.width;
  const Sample sample = sample_of(stage);
  if (wanted_[s].size() == 0) wanted_[s].resize(sample.count, stage.gemm_out.channels);
  const std::int64_t images = std::ssize(values) / stage.in.count();
  const auto rows_before = [&](std::int64_t image) {
    return (image * pixels + sample.stride - 1) / sample.stride;
  };
  const std::int64_t begin = rows_before(first_image), end = rows_before(first_image + images);
  const std::int64_t columns = stage.gemm_out.channels / stage.groups, inputs = inputs_per_tap(stage);
  constexpr std::int64_t kRows = 512;
  for (std::int64_t group = 0; group < stage.groups; ++group) {
    const Eigen::MatrixXd start = start_of(s, group);
    const Eigen::MatrixXf weight = start.topRows(inputs * stage.kernel * stage.kernel).cast<float>();
    for_each(pool_, (end - begin + kRows - 1) / kRows, [&](std::int64_t block) {
      const std::int64_t first = begin + block * kRows, rows = std::min(kRows, end - first);
      RowMatrix x(rows, weight.rows());
      for (std::int64_t r = 0; r < rows; ++r)
        unfold(stage, (first + r) * sample.stride, inputs, x.row(r).data(),
               [&](std::int64_t image, std::int64_t v, std::int64_t h, float* out) {
                 const float* from = values.data() +
                                     ((image - first_image) * channels + group * inputs) * area +
                                     v * stage.in.width + h;
                 for (std::int64_t c = 0; c < inputs; ++c) out[c] = from[c * area];
               });
      wanted_[s].block(first, group * columns, rows, columns).noalias() = x * weight;
    });
  }
}

// w₀, inputs × columns; the last input is the constant, which is not counted from where it was.
Eigen::MatrixXd Compensator::start_of(std::size_t s, std::int64_t group) const {
  const Stage& stage = network_.stages[s];
  const std::int64_t inputs = inputs_per_tap(stage), taps = stage.kernel * stage.kernel;
  const std::int64_t columns = stage.gemm_out.channels / stage.groups;
  const auto& weight = original_.at(stage.name + ".weight").data;
  Eigen::MatrixXd start = Eigen::MatrixXd::Zero(inputs * taps + (moves_constant(stage) ? 1 : 0), columns);
  for (std::int64_t o = 0; o < columns; ++o)
    for (std::int64_t i = 0; i < inputs; ++i)
      for (std::int64_t tap = 0; tap < taps; ++tap)
        start(tap * inputs + i, o) = weight[((group * columns + o) * inputs + i) * taps + tap];
  return start;
}

// XᵀX and Xᵀ(Y − X w₀) from the chip's maps (N, H, W, C), of which `axis` says where the original's channels
// are. `unread` inputs count as zero.
Compensator::Problem Compensator::pose(std::size_t s, std::int64_t group, std::span<const std::int8_t> input,
                                       const workloads::Axis& axis, const std::vector<bool>& unread,
                                       double& multiply_adds) const {
  const Stage& stage = network_.stages[s];
  const Sample sample = sample_of(stage);
  const std::int64_t inputs = inputs_per_tap(stage), height = stage.in.height, width = stage.in.width;
  const std::int64_t columns = stage.gemm_out.channels / stage.groups;
  Problem problem;
  problem.start = start_of(s, group);
  const Eigen::Index all = problem.start.rows(), weights = all - (moves_constant(stage) ? 1 : 0);
  // As whole numbers: sums over so few rows of products up to 127² are exact in float.
  constexpr std::int64_t kRows = 1024, kPanel = 128;
  Eigen::MatrixXd gram = Eigen::MatrixXd::Zero(all, all);
  Eigen::MatrixXd gradient = Eigen::MatrixXd::Zero(all, columns);
  RowMatrix x(std::min(kRows, sample.count), all);
  if (all > weights) x.rightCols(1).setOnes();
  const auto copy = [&](std::int64_t image, std::int64_t v, std::int64_t h, float* out) {
    const std::int8_t* from = input.data() + ((image * height + v) * width + h) * axis.count;
    for (std::int64_t i = 0; i < inputs; ++i) out[i] = unread[i] ? 0.f : from[axis.at[group * inputs + i]];
  };
  for (std::int64_t first = 0; first < sample.count; first += kRows) {
    const std::int64_t rows = std::min(kRows, sample.count - first);
    constexpr std::int64_t kTogether = 64;
    for_each(pool_, (rows + kTogether - 1) / kTogether, [&](std::int64_t t) {
      for (std::int64_t r = t * kTogether; r < std::min(rows, (t + 1) * kTogether); ++r)
        unfold(stage, (first + r) * sample.stride, inputs, x.row(r).data(), copy);
    });
    const auto part = x.topRows(rows);
    const auto wanted = wanted_[s].block(first, group * columns, rows, columns);
    for_each(pool_, (all + kPanel - 1) / kPanel, [&](std::int64_t p) {
      const Eigen::Index at = p * kPanel, count = std::min<Eigen::Index>(kPanel, all - at);
      const auto panel = part.middleCols(at, count).transpose();
      gram.block(at, 0, count, at + count) += (panel * part.leftCols(at + count)).template cast<double>();
      gradient.middleRows(at, count).noalias() +=
          panel.template cast<double>() * wanted.template cast<double>();
    });
  }
  const double scale = scales_.input[s];
  Eigen::VectorXd unit = Eigen::VectorXd::Constant(all, scale);
  unit.tail(all - weights).setOnes();
  gram = unit.asDiagonal() * gram * unit.asDiagonal();
  gradient = unit.asDiagonal() * gradient;
  gradient -= gram.selfadjointView<Eigen::Lower>() * problem.start;
  problem.shared = prepare_least_squares(std::move(gram), options_.ridge, weights);
  problem.unpruned.noalias() = problem.shared.inverse * gradient;
  const auto m = static_cast<double>(sample.count), k = static_cast<double>(all),
             n = static_cast<double>(columns);
  multiply_adds += m * k * k / 2 + m * k * n + k * k * k / 2 + 2 * k * k * n;
  return problem;
}

// One chip's run through the network.
class ChipCompensation {
 public:
  ChipCompensation(Compensator& shared, const workloads::Masks& masks, const workloads::Placement* placement)
      : shared_(shared),
        masks_(masks),
        placement_(placement != nullptr ? *placement : workloads::identity_placement(shared.network_)),
        network_(placement != nullptr ? workloads::placed(shared.network_, placement_) : shared.network_) {
    result_.parameters = placement != nullptr
                             ? workloads::place(shared.network_, shared.original_, placement_)
                             : shared.original_;
    workloads::apply_masks(result_.parameters, masks_);
  }

  Compensation run(array::Accelerator& accelerator, const faults::ArrayFaults& faults) {
    const workloads::ActivationScales& scales = shared_.scales_;
    workloads::DeployedNetwork deployed = workloads::deploy(network_, result_.parameters, scales, masks_);
    bool changed = false;  // some stage so far, so that later ones read something else
    const workloads::StageRewriter rewrite = [&](std::size_t s, std::span<const std::int8_t> input) {
      if (!is_pruned(s) && !changed) return false;
      changed = true;
      for (std::int64_t group = 0; group < network_.stages[s].groups; ++group) solve(s, group, input);
      deployed.stages[s] = workloads::deploy_stage(network_, result_.parameters, scales, masks_, s);
      return true;
    };
    const workloads::ImageSet& images = shared_.images_;
    workloads::infer(accelerator, network_, deployed, images, images.size(), faults, {}, {}, rewrite);
    for (const Stage& stage : shared_.network_.stages)
      result_.multiply_adds += static_cast<double>(stage.macs() * images.size());
    return std::move(result_);
  }

 private:
  bool is_pruned(std::size_t s) const {
    const auto& mask = masks_.at(network_.stages[s].name + ".weight").data;
    return std::find(mask.begin(), mask.end(), 0) != mask.end();
  }

  void solve(std::size_t s, std::int64_t group, std::span<const std::int8_t> input) {
    const Stage& stage = shared_.network_.stages[s];
    const workloads::Axis axis = workloads::input_axis(shared_.network_, placement_, s);
    if (!reads_image(stage)) {
      write(s, group, axis,
            shared_.pose(s, group, input, axis, unread_inputs(s, group, axis), result_.multiply_adds));
      return;
    }
    auto& known = shared_.of_image_;
    auto found = known.find({s, group});
    if (found == known.end())
      found = known
                  .emplace(std::pair(s, group),
                           shared_.pose(s, group, input, axis,
                                        std::vector<bool>(static_cast<std::size_t>(inputs_per_tap(stage))),
                                        shared_.shared_multiply_adds_))
                  .first;
    write(s, group, axis, found->second);
  }

  // Channels whose every weight is pruned. They may carry anything (a column with a fault that the bypass
  // does not hide), and must not set the ridge's scale.
  std::vector<bool> unread_inputs(std::size_t s, std::int64_t group, const workloads::Axis& axis) const {
    const Stage& stage = network_.stages[s];
    const std::int64_t inputs = inputs_per_tap(shared_.network_.stages[s]),
                       taps = stage.kernel * stage.kernel;
    const std::int64_t outputs = stage.gemm_out.channels / stage.groups;
    const std::int64_t placed_inputs = stage.groups > 1 ? inputs : axis.count;
    const auto& mask = masks_.at(stage.name + ".weight").data;
    std::vector<bool> unread(static_cast<std::size_t>(inputs), true);
    for (std::int64_t o = group * outputs; o < (group + 1) * outputs; ++o)
      for (std::int64_t i = 0; i < inputs; ++i) {
        const auto first = mask.begin() + (o * placed_inputs + (stage.groups > 1 ? i : axis.at[i])) * taps;
        if (unread[i] && std::find(first, first + taps, 1) != first + taps) unread[i] = false;
      }
    if (std::find(unread.begin(), unread.end(), false) == unread.end()) unread.flip();
    return unread;
  }

  void write(std::size_t s, std::int64_t group, const workloads::Axis& axis,
             const Compensator::Problem& problem) {
    const Stage& stage = shared_.network_.stages[s];
    const std::int64_t inputs = inputs_per_tap(stage), taps = stage.kernel * stage.kernel;
    const std::int64_t columns = stage.gemm_out.channels / stage.groups;
    const std::int64_t placed_inputs = stage.groups > 1 ? inputs : axis.count;
    // Where an original weight stands in the placed tensor.
    const auto slot = [&](std::int64_t o) {
      return static_cast<std::int64_t>(placement_.stages[s].slot_of[group * columns + o]);
    };
    const auto at = [&](std::int64_t o, std::int64_t i, std::int64_t tap) {
      return (slot(o) * placed_inputs + (stage.groups > 1 ? i : axis.at[i])) * taps + tap;
    };
    const auto& mask = masks_.at(stage.name + ".weight").data;
    std::vector<Pruned> pruned(static_cast<std::size_t>(columns));
    for (std::int64_t o = 0; o < columns; ++o)
      for (std::int64_t tap = 0; tap < taps; ++tap)
        for (std::int64_t i = 0; i < inputs; ++i)
          if (mask[at(o, i, tap)] == 0) pruned[o].push_back(static_cast<int>(tap * inputs + i));
    const Eigen::MatrixXd change = solve_columns(problem.shared, problem.unpruned, problem.start, pruned,
                                                 shared_.pool_, result_.multiply_adds);
    auto& weight = result_.parameters.at(stage.name + ".weight").data;
    for (std::int64_t o = 0; o < columns; ++o)
      for (std::int64_t tap = 0; tap < taps; ++tap)
        for (std::int64_t i = 0; i < inputs; ++i) {
          const std::int64_t k = tap * inputs + i;
          weight[at(o, i, tap)] = static_cast<float>(problem.start(k, o) + change(k, o));
        }
    if (!moves_constant(stage)) return;
    auto& constant =
        result_.parameters.at(stage.bias ? stage.name + ".bias" : stage.batch_norm->name + ".running_mean")
            .data;
    for (std::int64_t o = 0; o < columns; ++o)
      constant[slot(o)] += static_cast<float>((stage.bias ? 1 : -1) * change(inputs * taps, o));
  }

  Compensator& shared_;
  const workloads::Masks& masks_;
  workloads::Placement placement_;
  Network network_;  // as placed
  Compensation result_;
};

Compensation Compensator::run(array::Accelerator& accelerator, const workloads::Masks& masks,
                              const faults::ArrayFaults& faults, const workloads::Placement* placement) {
  return ChipCompensation(*this, masks, placement).run(accelerator, faults);
}

}  // namespace kintsugi::training::repair
