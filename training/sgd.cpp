#include "training/sgd.h"

#include <Eigen/Core>
#include <algorithm>
#include <vector>

#include "common/thread_pool.h"

namespace kintsugi::training {

Sgd::Sgd(const configs::SgdConfig& config, const workloads::Parameters& shapes)
    : momentum_factor_(static_cast<float>(config.momentum)),
      weight_decay_(static_cast<float>(config.weight_decay)) {
  for (const auto& [name, tensor] : shapes) momentum_[name] = workloads::Tensor<float>(tensor.shape);
}

void Sgd::step(workloads::Parameters& parameters, const workloads::Parameters& gradients,
               const workloads::Masks& masks, double learning_rate, common::ThreadPool& pool) {
  struct Piece {
    float* w;
    float* v;
    const float* g;
    const std::uint8_t* mask;
    std::int64_t count;
  };
  constexpr std::int64_t kPiece = 32768;
  std::vector<Piece> pieces;
  for (auto& [name, momentum] : momentum_) {
    const auto mask = masks.find(name);
    float* const w = parameters.at(name).data.data();
    const float* const g = gradients.at(name).data.data();
    for (std::int64_t begin = 0; begin < momentum.count(); begin += kPiece) {
      pieces.push_back({w + begin, momentum.data.data() + begin, g + begin,
                        mask == masks.end() ? nullptr : mask->second.data.data() + begin,
                        std::min(kPiece, momentum.count() - begin)});
    }
  }
  const float rate = static_cast<float>(learning_rate), mu = momentum_factor_, decay = weight_decay_;
  pool.parallel_for(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t i) {
    const Piece& p = pieces[i];
    Eigen::Map<Eigen::ArrayXf> w(p.w, p.count), v(p.v, p.count);
    const Eigen::Map<const Eigen::ArrayXf> g(p.g, p.count);
    v = mu * v + (g + decay * w);
    w -= rate * v;
    if (!p.mask) return;
    const Eigen::Map<const Eigen::Array<std::uint8_t, Eigen::Dynamic, 1>> mask(p.mask, p.count);
    v = (mask != 0).select(v, 0.0F);
    w = (mask != 0).select(w, 0.0F);
  });
}

}  // namespace kintsugi::training
