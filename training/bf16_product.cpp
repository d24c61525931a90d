#include "training/bf16_product.h"

#include <bit>

#include "common/diagnostics.h"

namespace kintsugi::training {

using dnnl::memory;

void to_bf16(const float* values, std::int64_t count, Bf16* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(values[i]);
    const std::uint32_t rounded = bits + 0x7fffU + ((bits >> 16) & 1U);
    const bool nan = (bits & 0x7fffffffU) > 0x7f800000U;
    out[i] = static_cast<Bf16>((nan ? bits | 0x400000U : rounded) >> 16);
  }
}

Bf16Product::Bf16Product(const Sizes& s) {
  const auto bf16 = memory::data_type::bf16;
  a_ = memory::desc({s.m, s.k}, bf16, s.transposed ? memory::dims{1, s.lda} : memory::dims{s.lda, 1});
  b_ = memory::desc({s.k, s.n}, bf16, memory::dims{s.n, 1});
  c_ = memory::desc({s.m, s.n}, memory::data_type::f32, memory::dims{s.n, 1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops add;
  add.append_sum(1.0F);
  attributes.set_post_ops(add);
  try {
    const dnnl::matmul::primitive_desc description({a_, b_, c_}, attributes, engine_);
    scratch_ = description.scratchpad_desc();
    product_ = dnnl::matmul(description);
  } catch (const dnnl::error&) {
    throw common::InputError(
        "'backward: bf16' needs a processor with AVX-512, which this machine does not have; train with "
        "'backward: f32'");
  }
}

void Bf16Product::run(const Bf16* a, const Bf16* b, float* c, std::vector<std::byte>& scratch) const {
  if (scratch.size() < scratch_.get_size()) scratch.resize(scratch_.get_size());
  dnnl::stream stream(engine_);
  memory pa(a_, engine_, const_cast<Bf16*>(a)), pb(b_, engine_, const_cast<Bf16*>(b)), pc(c_, engine_, c);
  memory working(scratch_, engine_, scratch.data());
  product_.execute(
      stream,
      {{DNNL_ARG_SRC, pa}, {DNNL_ARG_WEIGHTS, pb}, {DNNL_ARG_DST, pc}, {DNNL_ARG_SCRATCHPAD, working}});
  stream.wait();
}

}  // namespace kintsugi::training
