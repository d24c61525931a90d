#include "training/direct_convolution.h"

#include <dnnl.hpp>
#include <map>
#include <vector>

#include "common/thread_pool.h"
#include "training/shards.h"

namespace kintsugi::training {
namespace {

using dnnl::algorithm;
using dnnl::memory;

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
  std::vector<float> plain_gradient;
  dnnl::reorder weight_gradient_out;
};

class DirectConvolution final : public StageGemm {
 public:
  DirectConvolution(const workloads::Stage& stage, std::int64_t batch, common::ThreadPool& pool)
      : stage_(stage), pool_(pool), shards_(make_shards(batch)) {
    build();
  }

  void forward(const float* weight, const float* x, float* z) override {
    arrange(weight, forward_weights_);
    for_each_shard(
        [&](std::size_t i) { forward_shard(i, x + shards_[i].begin * in(), z + shards_[i].begin * out()); });
  }

  void backward(const float* weight, const float* x, float* dz, const BatchNormGradient* norm, float* dx,
                float* dw) override {
    if (dx) arrange(weight, data_weights_);
    for_each_shard([&](std::size_t i) {
      const std::int64_t at = shards_[i].begin * out();
      float* const part = dz + at;
      if (norm) norm->apply(part, norm->x + at, shards_[i].count * out() / stage_.gemm_out.channels, part);
      backward_weight(i, x + shards_[i].begin * in(), part);
      if (dx) backward_data(i, part, dx + shards_[i].begin * in());
    });
    add_up(dw);
  }

 private:
  void build() {
    const auto& s = stage_;
    const std::int64_t in_c = s.in.channels, out_c = s.gemm_out.channels;
    const memory::dims strides{s.stride, s.stride}, padding{s.padding, s.padding};
    memory::dims weight_dims{out_c, in_c / s.groups, s.kernel, s.kernel};
    auto plain = memory::format_tag::oihw;
    if (s.groups > 1) {
      weight_dims = {s.groups, out_c / s.groups, in_c / s.groups, s.kernel, s.kernel};
      plain = memory::format_tag::goihw;
    }
    const auto f32 = memory::data_type::f32;
    plain_weight_ = memory::desc(weight_dims, f32, plain);
    const memory::desc any_weight(weight_dims, f32, memory::format_tag::any);
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // shards run at the same time

    for (const Shard& shard : shards_) {
      if (primitives_.contains(shard.count)) continue;
      const memory::desc x({shard.count, in_c, s.in.height, s.in.width}, f32, memory::format_tag::nhwc);
      const memory::desc z({shard.count, out_c, s.gemm_out.height, s.gemm_out.width}, f32,
                           memory::format_tag::nhwc);
      Primitives p;
      p.forward_desc = {{dnnl::prop_kind::forward_training, algorithm::convolution_direct, x, any_weight, z,
                         strides, padding, padding},
                        attributes,
                        engine_};
      p.data_desc = {{algorithm::convolution_direct, x, any_weight, z, strides, padding, padding},
                     attributes,
                     engine_,
                     p.forward_desc};
      p.weight_desc = {{algorithm::convolution_direct, x, any_weight, z, strides, padding, padding},
                       attributes,
                       engine_,
                       p.forward_desc};
      p.forward = dnnl::convolution_forward(p.forward_desc);
      p.data = dnnl::convolution_backward_data(p.data_desc);
      p.weight = dnnl::convolution_backward_weights(p.weight_desc);
      size_index_[shard.count] = forward_weights_.size();
      forward_weights_.emplace_back(p.forward_desc.weights_desc(), engine_);
      data_weights_.emplace_back(p.data_desc.weights_desc(), engine_);
      primitives_.emplace(shard.count, std::move(p));
    }
    for (const Shard& shard : shards_) {
      const Primitives& p = primitives_.at(shard.count);
      Workspace w;
      w.stream = dnnl::stream(engine_);
      w.forward_scratch = memory(p.forward_desc.scratchpad_desc(), engine_);
      w.data_scratch = memory(p.data_desc.scratchpad_desc(), engine_);
      w.weight_scratch = memory(p.weight_desc.scratchpad_desc(), engine_);
      w.x = memory(p.forward_desc.src_desc(), engine_, DNNL_MEMORY_NONE);
      w.z = memory(p.forward_desc.dst_desc(), engine_, DNNL_MEMORY_NONE);
      w.plain_gradient.resize(stage_.weight_count());
      w.weight_gradient = memory(p.weight_desc.diff_weights_desc(), engine_);
      const dnnl::reorder::primitive_desc out_desc(engine_, p.weight_desc.diff_weights_desc(), engine_,
                                                   plain_weight_);
      w.weight_gradient_out = dnnl::reorder(out_desc);
      workspaces_.push_back(std::move(w));
    }
  }

  std::int64_t in() const { return stage_.in.count(); }
  std::int64_t out() const { return stage_.gemm_out.count(); }

  // Into the layouts that the primitives want, one for each size of shard.
  void arrange(const float* weight, std::vector<memory>& arranged) {
    memory plain(plain_weight_, engine_, const_cast<float*>(weight));
    for (memory& to : arranged) dnnl::reorder(plain, to).execute(main_stream_, plain, to);
    main_stream_.wait();
  }

  template <class Body>
  void for_each_shard(Body body) {
    pool_.parallel_for(static_cast<std::int64_t>(shards_.size()),
                       [&](std::int64_t i) { body(static_cast<std::size_t>(i)); });
  }

  void forward_shard(std::size_t shard, const float* x, float* z) {
    const std::int64_t count = shards_[shard].count;
    Workspace& w = workspaces_[shard];
    w.x.set_data_handle(const_cast<float*>(x));
    w.z.set_data_handle(z);
    primitives_.at(count).forward.execute(w.stream,
                                          {{DNNL_ARG_SRC, w.x},
                                           {DNNL_ARG_WEIGHTS, forward_weights_[size_index_.at(count)]},
                                           {DNNL_ARG_DST, w.z},
                                           {DNNL_ARG_SCRATCHPAD, w.forward_scratch}});
    w.stream.wait();
  }

  void backward_data(std::size_t shard, const float* dz, float* dx) {
    const std::int64_t count = shards_[shard].count;
    Workspace& w = workspaces_[shard];
    w.x.set_data_handle(dx);
    w.z.set_data_handle(const_cast<float*>(dz));
    primitives_.at(count).data.execute(w.stream, {{DNNL_ARG_DIFF_DST, w.z},
                                                  {DNNL_ARG_WEIGHTS, data_weights_[size_index_.at(count)]},
                                                  {DNNL_ARG_DIFF_SRC, w.x},
                                                  {DNNL_ARG_SCRATCHPAD, w.data_scratch}});
    w.stream.wait();
  }

  void backward_weight(std::size_t shard, const float* x, const float* dz) {
    Workspace& w = workspaces_[shard];
    w.x.set_data_handle(const_cast<float*>(x));
    w.z.set_data_handle(const_cast<float*>(dz));
    primitives_.at(shards_[shard].count)
        .weight.execute(w.stream, {{DNNL_ARG_SRC, w.x},
                                   {DNNL_ARG_DIFF_DST, w.z},
                                   {DNNL_ARG_DIFF_WEIGHTS, w.weight_gradient},
                                   {DNNL_ARG_SCRATCHPAD, w.weight_scratch}});
    memory plain(plain_weight_, engine_, w.plain_gradient.data());
    w.weight_gradient_out.execute(w.stream, w.weight_gradient, plain);
    w.stream.wait();
  }

  void add_up(float* dw) {
    const std::int64_t count = stage_.weight_count();
    std::copy_n(workspaces_.front().plain_gradient.data(), count, dw);
    for (std::size_t k = 1; k < shards_.size(); ++k) {
      const float* const part = workspaces_[k].plain_gradient.data();
      for (std::int64_t j = 0; j < count; ++j) dw[j] += part[j];
    }
  }

  workloads::Stage stage_;
  common::ThreadPool& pool_;
  std::vector<Shard> shards_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream main_stream_{engine_};
  memory::desc plain_weight_;
  std::map<std::int64_t, Primitives> primitives_;       // by shard size
  std::vector<Workspace> workspaces_;                   // by shard
  std::vector<memory> forward_weights_, data_weights_;  // by distinct shard size, in the primitives' layouts
  std::map<std::int64_t, std::size_t> size_index_;
};

}  // namespace

std::unique_ptr<StageGemm> make_direct_convolution(const workloads::Stage& stage, std::int64_t batch,
                                                   common::ThreadPool& pool) {
  return std::make_unique<DirectConvolution>(stage, batch, pool);
}

}  // namespace kintsugi::training
