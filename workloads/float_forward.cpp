#include "workloads/float_forward.h"

#include <dnnl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <span>
#include <stdexcept>
#include <vector>

#include "common/diagnostics.h"
#include "common/random.h"
#include "common/text.h"
#include "common/thread_pool.h"
#include "workloads/local_response_norm.h"

namespace kintsugi::workloads {
namespace {

// Images are given to threads in blocks of this size, whatever the number of threads: the sizes of the matrix
// products, and with them the rounding of their sums, then depend on the batch only.
constexpr std::int64_t kBlock = 32;

struct Expected {
  std::string name;
  std::vector<std::int64_t> shape;
};

// Every parameter of the network with its shape, stage by stage.
std::vector<Expected> expected_parameters(const Network& network) {
  std::vector<Expected> expected;
  for (const Stage& stage : network.stages) {
    if (!stage.on_chip()) continue;
    const std::int64_t out = stage.gemm_out.channels, in = stage.in.channels / stage.groups;
    if (stage.convolution)
      expected.push_back({stage.name + ".weight", {out, in, stage.kernel, stage.kernel}});
    else
      expected.push_back({stage.name + ".weight", {out, in}});
    if (stage.bias) expected.push_back({stage.name + ".bias", {out}});
    if (!stage.batch_norm) continue;
    for (const char* part : {".weight", ".bias", ".running_mean", ".running_var"})
      expected.push_back({stage.batch_norm->name + part, {out}});
  }
  return expected;
}

std::string text(const std::vector<std::int64_t>& shape) {
  std::string sizes;
  for (const std::int64_t d : shape) sizes += fmt::format("{}{}", sizes.empty() ? "" : ", ", d);
  return "(" + sizes + ")";
}

// C (rows×cols) = A (rows×depth) · B (depth×cols), or · Bᵀ with B stored cols×depth. All row-major and dense.
void multiply(std::int64_t rows, std::int64_t cols, std::int64_t depth, const float* a, const float* b,
              bool b_transposed, float* c) {
  const dnnl_status_t status = dnnl_sgemm('N', b_transposed ? 'T' : 'N', rows, cols, depth, 1.0f, a, depth, b,
                                          b_transposed ? depth : cols, 0.0f, c, cols);
  if (status != dnnl_success) throw std::runtime_error("oneDNN refused a float matrix product");
}

// One group's channels of one image as a matrix: row (ci·K + ky)·K + kx, the order of PyTorch's weights,
// column oy·OW + ox; rows are `width` values apart.
void unfold(const Stage& stage, const float* image, float* columns, std::int64_t width) {
  const std::int64_t in_h = stage.in.height, in_w = stage.in.width;
  const std::int64_t out_h = stage.gemm_out.height, out_w = stage.gemm_out.width;
  for (std::int64_t ci = 0; ci < stage.in.channels / stage.groups; ++ci)
    for (std::int64_t ky = 0; ky < stage.kernel; ++ky)
      for (std::int64_t kx = 0; kx < stage.kernel; ++kx, columns += width) {
        // The outputs of a line that meet the image with this tap.
        const std::int64_t first =
            std::max<std::int64_t>(stage.padding - kx + stage.stride - 1, 0) / stage.stride;
        const std::int64_t past = in_w - 1 + stage.padding - kx;
        const std::int64_t end = past < 0 ? 0 : std::min(past / stage.stride + 1, out_w);
        for (std::int64_t oy = 0; oy < out_h; ++oy) {
          float* const line = columns + oy * out_w;
          const std::int64_t y = oy * stage.stride + ky - stage.padding;
          if (y < 0 || y >= in_h || first >= end) {
            std::fill_n(line, out_w, 0.0f);
            continue;
          }
          const float* const from = image + (ci * in_h + y) * in_w - stage.padding + kx;
          std::fill_n(line, first, 0.0f);
          if (stage.stride == 1)
            std::copy(from + first, from + end, line + first);
          else
            for (std::int64_t ox = first; ox < end; ++ox) line[ox] = from[ox * stage.stride];
          std::fill(line + end, line + out_w, 0.0f);
        }
      }
}

// One stage with its parameters at hand; run() works on a block of images.
class StageRunner {
 public:
  StageRunner(const Stage& stage, const Parameters& parameters) : stage_(stage) {
    if (!stage.on_chip()) return;
    weight_ = parameters.at(stage.name + ".weight").data;
    const auto channels = static_cast<std::size_t>(stage.gemm_out.channels);
    scale_.assign(channels, 1.0f);
    shift_.assign(channels, 0.0f);
    if (stage.bias) shift_ = parameters.at(stage.name + ".bias").data;
    if (!stage.batch_norm) return;
    const auto& part = [&](const char* name) -> const std::vector<float>& {
      return parameters.at(stage.batch_norm->name + name).data;
    };
    const auto &gamma = part(".weight"), &beta = part(".bias");
    const auto &mean = part(".running_mean"), &variance = part(".running_var");
    for (std::size_t c = 0; c < channels; ++c) {
      const double factor = gamma[c] / std::sqrt(static_cast<double>(variance[c]) + stage.batch_norm->eps);
      shift_[c] = static_cast<float>(beta[c] + (static_cast<double>(shift_[c]) - mean[c]) * factor);
      scale_[c] = static_cast<float>(factor);
    }
  }

  // input: images×in, and `second` the same for an add; map: images×gemm_out (scratch, and what a global
  // average sums); output: images×out.
  void run(std::int64_t images, const float* input, const float* second, float* map, float* output) const {
    if (stage_.kind == StageKind::add)
      for (std::int64_t i = 0; i < images * stage_.in.count(); ++i) map[i] = input[i] + second[i];
    else if (stage_.kind == StageKind::local_response_norm)
      for (std::int64_t i = 0; i < images * stage_.in.count(); i += stage_.in.count())
        local_response_norm(stage_.lrn, stage_.in.channels, stage_.in.height * stage_.in.width, input + i,
                            map + i);
    else if (stage_.convolution)
      convolve(images, input, map);
    else
      multiply(images, stage_.gemm_out.channels, stage_.in.channels, input, weight_.data(), true, map);
    for (std::int64_t i = 0; i < images; ++i) {
      float* values = map + i * stage_.gemm_out.count();
      finish(values);
      pool(values, output + i * stage_.out.count());
    }
  }

 private:
  // Small maps are unfolded several at a time: a matrix product of few columns would do little more than read
  // the weights.
  void convolve(std::int64_t images, const float* input, float* map) const {
    constexpr std::int64_t kColumns = 1024;
    const std::int64_t in_plane = stage_.in.height * stage_.in.width;
    const std::int64_t out_plane = stage_.gemm_out.height * stage_.gemm_out.width;
    const std::int64_t in_c = stage_.in.channels / stage_.groups,
                       out_c = stage_.gemm_out.channels / stage_.groups;
    const std::int64_t depth = in_c * stage_.kernel * stage_.kernel;
    const std::int64_t together = std::clamp<std::int64_t>(kColumns / out_plane, 1, images);
    const bool as_it_is = together == 1 && stage_.kernel == 1 && stage_.stride == 1 && stage_.padding == 0;
    std::vector<float> columns(as_it_is ? 0 : static_cast<std::size_t>(depth * together * out_plane));
    std::vector<float> products(together == 1 ? 0 : static_cast<std::size_t>(out_c * together * out_plane));
    for (std::int64_t begin = 0; begin < images; begin += together) {
      const std::int64_t count = std::min(together, images - begin), width = count * out_plane;
      for (std::int64_t g = 0; g < stage_.groups; ++g) {
        const float* source = input + begin * stage_.in.count() + g * in_c * in_plane;
        float* const target = map + begin * stage_.gemm_out.count() + g * out_c * out_plane;
        if (!as_it_is) {
          for (std::int64_t i = 0; i < count; ++i)
            unfold(stage_, source + i * stage_.in.count(), columns.data() + i * out_plane, width);
          source = columns.data();
        }
        float* const result = together == 1 ? target : products.data();
        multiply(out_c, width, depth, weight_.data() + g * out_c * depth, source, false, result);
        if (together == 1) continue;
        for (std::int64_t c = 0; c < out_c; ++c)
          for (std::int64_t i = 0; i < count; ++i)
            std::copy_n(result + c * width + i * out_plane, out_plane,
                        target + i * stage_.gemm_out.count() + c * out_plane);
      }
    }
  }

  // Bias, batch-norm and ReLU, in place.
  void finish(float* values) const {
    const std::int64_t plane = stage_.gemm_out.height * stage_.gemm_out.width;
    // Not std::max(value, 0): a NaN must stay visible.
    const bool relu = stage_.relu;
    const auto activate = [relu](float value) { return relu && value < 0 ? 0.0f : value; };
    if (!stage_.on_chip()) {
      for (std::int64_t i = 0; i < stage_.gemm_out.count(); ++i) values[i] = activate(values[i]);
      return;
    }
    for (std::size_t c = 0; c < scale_.size(); ++c, values += plane) {
      const float scale = scale_[c], shift = shift_[c];
      for (std::int64_t p = 0; p < plane; ++p) values[p] = activate(values[p] * scale + shift);
    }
  }

  void pool(const float* map, float* output) const {
    const std::int64_t height = stage_.gemm_out.height, width = stage_.gemm_out.width;
    if (stage_.global_avg_pool) {
      for (std::int64_t c = 0; c < stage_.gemm_out.channels; ++c, map += height * width) {
        double sum = 0;
        for (std::int64_t p = 0; p < height * width; ++p) sum += map[p];
        output[c] = static_cast<float>(sum / static_cast<double>(height * width));
      }
      return;
    }
    if (!stage_.max_pool) {
      std::copy_n(map, stage_.gemm_out.count(), output);
      return;
    }
    const auto [kernel, stride, padding] = *stage_.max_pool;
    if (kernel == 2 && stride == 2 && padding == 0 && height % 2 == 0 && width % 2 == 0) {
      // The same choices as below, in a form that compilers turn into vectors.
      const std::int64_t lines = stage_.gemm_out.channels * stage_.out.height, out_w = stage_.out.width;
      for (std::int64_t line = 0; line < lines; ++line, map += 2 * width, output += out_w)
        for (std::int64_t x = 0; x < out_w; ++x)
          output[x] = std::max(std::max(std::max(map[2 * x], map[2 * x + 1]), map[width + 2 * x]),
                               map[width + 2 * x + 1]);
      return;
    }
    for (std::int64_t c = 0; c < stage_.gemm_out.channels; ++c, map += height * width)
      for (std::int64_t oy = 0; oy < stage_.out.height; ++oy)
        for (std::int64_t ox = 0; ox < stage_.out.width; ++ox) {
          const std::int64_t top = std::max<std::int64_t>(oy * stride - padding, 0);
          const std::int64_t left = std::max<std::int64_t>(ox * stride - padding, 0);
          const std::int64_t bottom = std::min(oy * stride - padding + kernel, height);
          const std::int64_t right = std::min(ox * stride - padding + kernel, width);
          float best = map[top * width + left];
          for (std::int64_t y = top; y < bottom; ++y)
            for (std::int64_t x = left; x < right; ++x) best = std::max(best, map[y * width + x]);
          *output++ = best;
        }
  }

  const Stage& stage_;
  std::span<const float> weight_;
  std::vector<float> scale_, shift_;  // of each output channel: batch-norm and bias as one multiply and add
};

// For every stage, the last one that reads its result: the values can be given up after it.
std::vector<std::size_t> last_readers_of(const Network& network) {
  std::vector<std::size_t> last(network.stages.size(), network.stages.size());
  for (std::size_t s = 0; s < network.stages.size(); ++s)
    for (const int source : network.stages[s].inputs)
      if (source != kImage) last[static_cast<std::size_t>(source)] = s;
  return last;
}

}  // namespace

void check_parameters(const Network& network, const Parameters& parameters, const std::string& source) {
  common::Diagnostics problems;
  std::vector<std::string> known;
  std::vector<std::string> superfluous;
  const std::vector<Expected> expected = expected_parameters(network);
  for (const Expected& e : expected) known.push_back(e.name);
  for (const auto& [name, tensor] : parameters)
    if (std::find(known.begin(), known.end(), name) == known.end() && !name.ends_with("num_batches_tracked"))
      superfluous.push_back(name);
  for (const Expected& e : expected) {
    const auto found = parameters.find(e.name);
    if (found == parameters.end()) {
      const auto near = common::nearest(e.name, superfluous);
      problems.error({source}, fmt::format("'{}' of shape {} is missing{}", e.name, text(e.shape),
                                           near ? fmt::format("; there is a '{}'", *near) : ""));
    } else if (found->second.shape != e.shape) {
      problems.error({source}, fmt::format("'{}' has shape {}, the network '{}' needs {}", e.name,
                                           text(found->second.shape), network.name, text(e.shape)));
    } else if (e.name.ends_with(".running_var") &&
               std::any_of(found->second.data.begin(), found->second.data.end(),
                           [](float v) { return v < 0; })) {
      problems.error({source}, fmt::format("'{}' holds a negative variance", e.name));
    }
  }
  for (const std::string& name : superfluous)
    problems.error({source}, fmt::format("'{}' belongs to no layer of the network '{}'", name, network.name));
  problems.throw_if_any();
}

Parameters initial_parameters(const Network& network, std::uint64_t seed) {
  Parameters parameters;
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    const Stage& stage = network.stages[s];
    if (!stage.on_chip()) continue;
    common::RandomStream random(seed, "initial-weights", s);
    // Kaiming-uniform with a = √5 comes out as 1/√fan_in, and PyTorch draws the biases from the same range.
    const std::int64_t fan_in = stage.in.channels / stage.groups * stage.kernel * stage.kernel;
    const double bound = 1.0 / std::sqrt(static_cast<double>(fan_in));
    for (const std::string part : {".weight", ".bias"}) {
      if (part == ".bias" && !stage.bias) continue;
      std::vector<std::int64_t> shape = {stage.gemm_out.channels};
      if (part == ".weight") {
        shape.push_back(stage.in.channels / stage.groups);
        if (stage.convolution) shape.insert(shape.end(), 2, stage.kernel);
      }
      Tensor<float> tensor(shape);
      for (float& value : tensor.data) value = static_cast<float>(random.uniform(-bound, bound));
      parameters[stage.name + part] = std::move(tensor);
    }
    if (!stage.batch_norm) continue;
    const auto fill = [&](const char* part, float value) {
      Tensor<float> tensor({stage.gemm_out.channels});
      std::fill(tensor.data.begin(), tensor.data.end(), value);
      parameters[stage.batch_norm->name + part] = std::move(tensor);
    };
    fill(".weight", 1);
    fill(".bias", 0);
    fill(".running_mean", 0);
    fill(".running_var", 1);
  }
  return parameters;
}

Parameters random_weights(const Network& network, std::uint64_t seed) {
  Parameters parameters = initial_parameters(network, seed);
  for (const Stage& stage : network.stages) {
    if (!stage.on_chip()) continue;
    for (float& value : parameters.at(stage.name + ".weight").data) value *= std::sqrt(6.0f);
  }
  return parameters;
}

std::int64_t float_batch(const Network& network) {
  constexpr std::int64_t kMost = 250, kValues = std::int64_t{1} << 26;
  std::int64_t largest = network.input_shape().count();
  for (const Stage& stage : network.stages) largest = std::max(largest, stage.gemm_out.count());
  return std::clamp<std::int64_t>(kValues / largest, 1, kMost);
}

Tensor<float> float_forward(const Network& network, const Parameters& parameters, const Tensor<float>& input,
                            const StageInputObserver& observe, common::ThreadPool* pool) {
  // A pool of one also keeps oneDNN to one thread, which fixes the order of its sums.
  std::optional<common::ThreadPool> alone;
  if (pool == nullptr) pool = &alone.emplace(1);
  const std::int64_t batch = input.shape.at(0);
  const std::int64_t blocks = (batch + kBlock - 1) / kBlock;
  const std::vector<std::size_t> last_readers = last_readers_of(network);
  std::vector<std::vector<float>> results(network.stages.size());
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    const Stage& stage = network.stages[s];
    const auto values_of = [&](int source) -> const std::vector<float>& {
      return source == kImage ? input.data : results[static_cast<std::size_t>(source)];
    };
    const std::vector<float>& values = values_of(stage.inputs.front());
    const std::vector<float>* second = stage.inputs.size() > 1 ? &values_of(stage.inputs[1]) : nullptr;
    if (static_cast<std::int64_t>(values.size()) != batch * stage.in.count())
      throw std::logic_error(
          fmt::format("stage {} was given {} values for {} images", stage.name, values.size(), batch));
    if (observe) observe(s, values, Observed::input);
    if (observe && second != nullptr) observe(s, *second, Observed::second_input);
    const StageRunner runner(stage, parameters);
    std::vector<float> output(static_cast<std::size_t>(batch * stage.out.count()));
    // The maps of all images are kept only where someone wants to see them.
    const bool keep_maps = observe && stage.global_avg_pool;
    std::vector<float> maps(static_cast<std::size_t>(keep_maps ? batch * stage.gemm_out.count() : 0));
    pool->parallel_for(blocks, [&](std::int64_t block) {
      const std::int64_t first = block * kBlock, images = std::min(kBlock, batch - first);
      std::vector<float> scratch(static_cast<std::size_t>(keep_maps ? 0 : images * stage.gemm_out.count()));
      float* map = keep_maps ? maps.data() + first * stage.gemm_out.count() : scratch.data();
      runner.run(images, values.data() + first * stage.in.count(),
                 second == nullptr ? nullptr : second->data() + first * stage.in.count(), map,
                 output.data() + first * stage.out.count());
    });
    if (keep_maps) observe(s, maps, Observed::before_average);
    results[s] = std::move(output);
    for (const int source : stage.inputs)
      if (source != kImage && last_readers[static_cast<std::size_t>(source)] == s)
        results[static_cast<std::size_t>(source)] = {};
  }
  if (network.class_slots.empty()) return Tensor<float>({batch, network.classes}, std::move(results.back()));
  Tensor<float> logits({batch, network.classes});
  network.pick_classes(results.back(), logits.data);
  return logits;
}

Tensor<float> float_logits(const Network& network, const Parameters& parameters, const ImageSet& images,
                           const StageInputObserver& observe, common::ThreadPool* pool) {
  const std::int64_t at_once = float_batch(network);
  const FeatureShape shape = network.input_shape();
  Tensor<float> logits({images.size(), network.classes});
  for (std::int64_t begin = 0; begin < images.size(); begin += at_once) {
    const std::int64_t count = std::min(at_once, images.size() - begin);
    Tensor<float> batch({count, shape.channels, shape.height, shape.width});
    normalize(images, begin, count, network.input, batch.data);
    const Tensor<float> part = float_forward(network, parameters, batch, observe, pool);
    std::copy(part.data.begin(), part.data.end(), logits.data.begin() + begin * network.classes);
  }
  return logits;
}

}  // namespace kintsugi::workloads
