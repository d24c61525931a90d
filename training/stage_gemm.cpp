#include "training/stage_gemm.h"

#include <dnnl.hpp>
#include <map>
#include <stdexcept>
#include <vector>

namespace kintsugi::training {
namespace {

using dnnl::algorithm;
using dnnl::memory;

void sgemm(char transpose_a, char transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
           std::int64_t lda, const float* b, std::int64_t ldb, float* c) {
  if (dnnl_sgemm(transpose_a, transpose_b, m, n, k, 1.0F, a, lda, b, ldb, 0.0F, c, n) != dnnl_success) {
    throw std::runtime_error("oneDNN refused a matrix product");
  }
}

// The three primitives for one shard size.
struct Primitives {
  dnnl::convolution_forward::primitive_desc forward_desc;
  dnnl::convolution_backward_data::primitive_desc data_desc;
  dnnl::convolution_backward_weights::primitive_desc weight_desc;
  dnnl::convolution_forward forward;
  dnnl::convolution_backward_data data;
  dnnl::convolution_backward_weights weight;
};

// What one shard must not share with another.
struct Workspace {
  dnnl::stream stream;
  memory forward_scratch, data_scratch, weight_scratch;
  memory x, z;             // handles set at every call
  memory weight_gradient;  // in the primitive's own layout
  dnnl::reorder weight_gradient_out;
};

}  // namespace

struct StageGemm::Impl {
  workloads::Stage stage;
  std::vector<Shard> shards;
  const float* weight = nullptr;

  // Convolutions only.
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream main_stream{engine};
  memory::desc plain_weight;
  std::map<std::int64_t, Primitives> primitives;  // by shard size
  std::vector<Workspace> workspaces;
  std::vector<memory> forward_weights, data_weights;  // per distinct shard size, in the primitives' layouts
  std::map<std::int64_t, std::size_t> size_index;

  std::int64_t in() const { return stage.in.count(); }
  std::int64_t out() const { return stage.gemm_out.count(); }

  void build() {
    const auto& s = stage;
    const std::int64_t in_c = s.in.channels, out_c = s.gemm_out.channels;
    const memory::dims strides{s.stride, s.stride}, padding{s.padding, s.padding};
    memory::dims weight_dims{out_c, in_c / s.groups, s.kernel, s.kernel};
    auto plain = memory::format_tag::oihw;
    if (s.groups > 1) {
      weight_dims = {s.groups, out_c / s.groups, in_c / s.groups, s.kernel, s.kernel};
      plain = memory::format_tag::goihw;
    }
    const auto f32 = memory::data_type::f32;
    plain_weight = memory::desc(weight_dims, f32, plain);
    const memory::desc any_weight(weight_dims, f32, memory::format_tag::any);
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // shards run at the same time

    for (const Shard& shard : shards) {
      if (primitives.contains(shard.count)) continue;
      const memory::desc x({shard.count, in_c, s.in.height, s.in.width}, f32, memory::format_tag::nhwc);
      const memory::desc z({shard.count, out_c, s.gemm_out.height, s.gemm_out.width}, f32,
                           memory::format_tag::nhwc);
      Primitives p;
      p.forward_desc = {{dnnl::prop_kind::forward_training, algorithm::convolution_direct, x, any_weight, z,
                         strides, padding, padding},
                        attributes,
                        engine};
      p.data_desc = {{algorithm::convolution_direct, x, any_weight, z, strides, padding, padding},
                     attributes,
                     engine,
                     p.forward_desc};
      p.weight_desc = {{algorithm::convolution_direct, x, any_weight, z, strides, padding, padding},
                       attributes,
                       engine,
                       p.forward_desc};
      p.forward = dnnl::convolution_forward(p.forward_desc);
      p.data = dnnl::convolution_backward_data(p.data_desc);
      p.weight = dnnl::convolution_backward_weights(p.weight_desc);
      size_index[shard.count] = forward_weights.size();
      forward_weights.emplace_back(p.forward_desc.weights_desc(), engine);
      data_weights.emplace_back(p.data_desc.weights_desc(), engine);
      primitives.emplace(shard.count, std::move(p));
    }
    for (const Shard& shard : shards) {
      const Primitives& p = primitives.at(shard.count);
      Workspace w;
      w.stream = dnnl::stream(engine);
      w.forward_scratch = memory(p.forward_desc.scratchpad_desc(), engine);
      w.data_scratch = memory(p.data_desc.scratchpad_desc(), engine);
      w.weight_scratch = memory(p.weight_desc.scratchpad_desc(), engine);
      w.x = memory(p.forward_desc.src_desc(), engine, DNNL_MEMORY_NONE);
      w.z = memory(p.forward_desc.dst_desc(), engine, DNNL_MEMORY_NONE);
      w.weight_gradient = memory(p.weight_desc.diff_weights_desc(), engine);
      const dnnl::reorder::primitive_desc out_desc(engine, p.weight_desc.diff_weights_desc(), engine,
                                                   plain_weight);
      w.weight_gradient_out = dnnl::reorder(out_desc);
      workspaces.push_back(std::move(w));
    }
  }
};

StageGemm::StageGemm(const workloads::Stage& stage, std::span<const Shard> shards)
    : impl_(std::make_unique<Impl>()) {
  impl_->stage = stage;
  impl_->shards.assign(shards.begin(), shards.end());
  if (stage.convolution) impl_->build();
}

StageGemm::~StageGemm() = default;
StageGemm::StageGemm(StageGemm&&) noexcept = default;

void StageGemm::set_weight(const float* weight) {
  Impl& self = *impl_;
  self.weight = weight;
  if (!self.stage.convolution) return;
  memory plain(self.plain_weight, self.engine, const_cast<float*>(weight));
  for (const auto& [count, index] : self.size_index) {
    dnnl::reorder(plain, self.forward_weights[index])
        .execute(self.main_stream, plain, self.forward_weights[index]);
    dnnl::reorder(plain, self.data_weights[index]).execute(self.main_stream, plain, self.data_weights[index]);
  }
  self.main_stream.wait();
}

void StageGemm::forward(std::size_t shard, const float* x, float* z) {
  Impl& self = *impl_;
  const std::int64_t count = self.shards[shard].count;
  if (!self.stage.convolution) {
    sgemm('N', 'T', count, self.out(), self.in(), x, self.in(), self.weight, self.in(), z);
    return;
  }
  Workspace& w = self.workspaces[shard];
  w.x.set_data_handle(const_cast<float*>(x));
  w.z.set_data_handle(z);
  self.primitives.at(count).forward.execute(
      w.stream, {{DNNL_ARG_SRC, w.x},
                 {DNNL_ARG_WEIGHTS, self.forward_weights[self.size_index.at(count)]},
                 {DNNL_ARG_DST, w.z},
                 {DNNL_ARG_SCRATCHPAD, w.forward_scratch}});
  w.stream.wait();
}

void StageGemm::backward_data(std::size_t shard, const float* dz, float* dx) {
  Impl& self = *impl_;
  const std::int64_t count = self.shards[shard].count;
  if (!self.stage.convolution) {
    sgemm('N', 'N', count, self.in(), self.out(), dz, self.out(), self.weight, self.in(), dx);
    return;
  }
  Workspace& w = self.workspaces[shard];
  w.x.set_data_handle(dx);
  w.z.set_data_handle(const_cast<float*>(dz));
  self.primitives.at(count).data.execute(w.stream,
                                         {{DNNL_ARG_DIFF_DST, w.z},
                                          {DNNL_ARG_WEIGHTS, self.data_weights[self.size_index.at(count)]},
                                          {DNNL_ARG_DIFF_SRC, w.x},
                                          {DNNL_ARG_SCRATCHPAD, w.data_scratch}});
  w.stream.wait();
}

void StageGemm::backward_weight(std::size_t shard, const float* x, const float* dz, float* dw) {
  Impl& self = *impl_;
  const std::int64_t count = self.shards[shard].count;
  if (!self.stage.convolution) {
    sgemm('T', 'N', self.out(), self.in(), count, dz, self.out(), x, self.in(), dw);
    return;
  }
  Workspace& w = self.workspaces[shard];
  w.x.set_data_handle(const_cast<float*>(x));
  w.z.set_data_handle(const_cast<float*>(dz));
  self.primitives.at(count).weight.execute(w.stream, {{DNNL_ARG_SRC, w.x},
                                                      {DNNL_ARG_DIFF_DST, w.z},
                                                      {DNNL_ARG_DIFF_WEIGHTS, w.weight_gradient},
                                                      {DNNL_ARG_SCRATCHPAD, w.weight_scratch}});
  memory plain(self.plain_weight, self.engine, dw);
  w.weight_gradient_out.execute(w.stream, w.weight_gradient, plain);
  w.stream.wait();
}

}  // namespace kintsugi::training
