// Jobs and reports in the array target's registers: what is written comes back as the job that was meant.
#include "array/register_file.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "array/job_registers.h"

namespace kintsugi {
namespace {

using array::AccessResult;
using array::Register;

AccessResult write(array::RegisterFile& file, Register which, std::uint64_t value) {
  return file.write(array::offset_of(which), std::as_bytes(std::span(&value, 1)));
}

std::uint64_t read(const array::RegisterFile& file, Register which) {
  std::uint64_t value = 0;
  EXPECT_EQ(file.read(array::offset_of(which), std::as_writable_bytes(std::span(&value, 1))),
            AccessResult::ok);
  return value;
}

array::RegisterFile small_file() {
  configs::ArrayConfig array;
  array.rows = 4;
  array.cols = 3;
  return array::RegisterFile(array);
}

// Every field a value of its own, so that no two can change places.
array::LayerLaunch odd_layer() {
  array::LayerLaunch launch;
  launch.shape = {.batch = 2,
                  .in_h = 13,
                  .in_w = 17,
                  .in_c = 6,
                  .kernel_h = 3,
                  .kernel_w = 5,
                  .stride = 4,
                  .padding = 1,
                  .groups = 2,
                  .out_c = 8};
  launch.activations = 0x1000;
  launch.weights = 0x2000;
  launch.output = 0x3000;
  launch.requantization = 0x4000;
  launch.relu = true;
  launch.pool = array::PoolLaunch{{.kernel = 3, .stride = 2, .padding = 1, .out_h = 2, .out_w = 1}, 0x5000};
  launch.buffer_offset = 64;
  launch.buffer_bytes = 128;
  launch.next = array::NextWeights{{.batch = 3,
                                    .in_h = 21,
                                    .in_w = 22,
                                    .in_c = 10,
                                    .kernel_h = 7,
                                    .kernel_w = 9,
                                    .stride = 6,
                                    .padding = 2,
                                    .groups = 5,
                                    .out_c = 15},
                                   0x6000};
  return launch;
}

TEST(RegisterFile, describes_a_layer_with_all_that_belongs_to_it) {
  array::RegisterFile file = small_file();
  const array::LayerLaunch want = odd_layer();
  for (const auto& [which, value] : array::registers_of(want))
    ASSERT_EQ(write(file, which, value), AccessResult::ok) << static_cast<int>(which);
  // Where a field stands is a promise to other hosts, so it is spelled out once.
  const std::uint64_t shape[] = {2, 13, 17, 6, 3, 5, 4, 1, 2, 8}, next[] = {3, 21, 22, 10, 7, 9, 6, 2, 5, 15};
  const auto behind = [](Register first, std::size_t i) {
    return static_cast<Register>(static_cast<std::size_t>(first) + i);
  };
  for (std::size_t i = 0; i < std::size(shape); ++i) {
    EXPECT_EQ(read(file, behind(Register::batch, i)), shape[i]);
    EXPECT_EQ(read(file, behind(Register::next_batch, i)), next[i]);
  }
  EXPECT_EQ(read(file, Register::stride), 4u);
  EXPECT_EQ(read(file, Register::padding), 1u);
  EXPECT_EQ(read(file, Register::pool_stride), 2u);
  EXPECT_EQ(read(file, Register::pool_result), 0x5000u);
  EXPECT_EQ(read(file, Register::work_bytes), 128u);
  EXPECT_EQ(read(file, Register::next_kernel_h), 7u);
  EXPECT_EQ(read(file, Register::next_weights), 0x6000u);
  EXPECT_EQ(read(file, Register::flags), array::kRequantize | array::kRelu | array::kPool | array::kNext);

  const auto got = file.layer_job();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->shape, want.shape);
  EXPECT_EQ(got->activations, want.activations);
  EXPECT_EQ(got->weights, want.weights);
  EXPECT_EQ(got->output, want.output);
  EXPECT_EQ(got->requantization, want.requantization);
  EXPECT_TRUE(got->relu);
  ASSERT_TRUE(got->pool);
  EXPECT_EQ(got->pool->window, want.pool->window);
  EXPECT_EQ(got->pool->result, want.pool->result);
  EXPECT_EQ(got->buffer_offset, want.buffer_offset);
  EXPECT_EQ(got->buffer_bytes, want.buffer_bytes);
  ASSERT_TRUE(got->next);
  EXPECT_EQ(got->next->shape, want.next->shape);
  EXPECT_EQ(got->next->weights, want.next->weights);
}

TEST(RegisterFile, a_plain_layer_has_nothing_of_the_job_before) {
  array::RegisterFile file = small_file();
  for (const auto& [which, value] : array::registers_of(odd_layer())) write(file, which, value);
  array::LayerLaunch plain;
  plain.shape = array::gemm_shape(2, 3, 4);
  for (const auto& [which, value] : array::registers_of(plain)) write(file, which, value);
  const auto got = file.layer_job();
  ASSERT_TRUE(got);
  EXPECT_FALSE(got->requantization || got->relu || got->pool || got->next);
  EXPECT_EQ(got->buffer_offset + got->buffer_bytes, 0u);
  EXPECT_EQ(got->shape, plain.shape);
}

TEST(RegisterFile, refuses_layers_and_pooled_maps_that_make_none) {
  const auto with = [](Register which, std::uint64_t value) {
    array::RegisterFile file = small_file();
    for (const auto& [w, v] : array::registers_of(odd_layer())) write(file, w, v);
    write(file, which, value);
    return file.layer_job();
  };
  EXPECT_TRUE(with(Register::batch, 1));
  EXPECT_FALSE(with(Register::batch, 0));
  EXPECT_FALSE(with(Register::batch, std::uint64_t{1} << 45));
  EXPECT_FALSE(with(Register::kernel_w, 99));
  EXPECT_FALSE(with(Register::groups, 5));
  EXPECT_FALSE(with(Register::pool_kernel, 0));
  EXPECT_FALSE(with(Register::pool_stride, 0));
  EXPECT_FALSE(with(Register::pool_padding, 3)) << "the first window would lie outside the map";
  EXPECT_TRUE(with(Register::pool_padding, 2));
  EXPECT_TRUE(with(Register::pool_out_h, 2));
  EXPECT_FALSE(with(Register::pool_out_h, 4)) << "the last window would lie outside the map";
  EXPECT_FALSE(with(Register::pool_out_w, 0));
  // A next layer that is none is not worth a failed job.
  const auto got = with(Register::next_in_h, 0);
  ASSERT_TRUE(got);
  EXPECT_FALSE(got->next);
}

TEST(RegisterFile, refuses_flags_without_what_they_belong_to) {
  array::RegisterFile file = small_file();
  for (const std::uint64_t flags : {0, 1, 3, 5, 7, 8, 9, 15})
    EXPECT_EQ(write(file, Register::flags, flags), AccessResult::ok) << flags;
  for (const std::uint64_t flags : {2, 4, 6, 10, 14, 16, 17})
    EXPECT_EQ(write(file, Register::flags, flags), AccessResult::refused) << flags;
  EXPECT_EQ(read(file, Register::flags), 15u);
  EXPECT_EQ(write(file, Register::vector_kind, 2), AccessResult::ok);
  EXPECT_EQ(write(file, Register::vector_kind, 3), AccessResult::refused);
}

TEST(RegisterFile, describes_an_add) {
  array::RegisterFile file = small_file();
  array::VectorLaunch want;
  want.rows = 7;
  want.channels = 5;
  want.a = 0x100, want.b = 0x200, want.output = 0x300;
  want.buffer_offset = 192, want.buffer_bytes = 320;
  want.add = {-12345, 2147483647, 31, -(std::int64_t{1} << 40)};
  want.relu = true;
  for (const auto& [which, value] : array::registers_of(want))
    ASSERT_EQ(write(file, which, value), AccessResult::ok);
  const auto got = file.vector_job();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->kind, array::VectorLaunch::Kind::add);
  EXPECT_EQ(got->rows, 7);
  EXPECT_EQ(got->channels, 5);
  EXPECT_EQ(got->a, 0x100u);
  EXPECT_EQ(got->b, 0x200u);
  EXPECT_EQ(got->output, 0x300u);
  EXPECT_EQ(got->add, want.add);
  EXPECT_EQ(got->buffer_offset, 192u);
  EXPECT_EQ(got->buffer_bytes, 320u);
  EXPECT_TRUE(got->relu);

  const auto refused_with = [&](Register which, std::uint64_t value) {
    array::RegisterFile other = file;
    EXPECT_EQ(write(other, which, value), AccessResult::ok);
    return !other.vector_job();
  };
  EXPECT_FALSE(refused_with(Register::add_shift, 62));
  EXPECT_TRUE(refused_with(Register::add_shift, 0));
  EXPECT_TRUE(refused_with(Register::add_shift, 63));
  EXPECT_TRUE(refused_with(Register::add_shift, (std::uint64_t{1} << 32) + 1)) << "not cut to 1";
  EXPECT_TRUE(refused_with(Register::add_multiplier_a, std::uint64_t{1} << 31));
  EXPECT_TRUE(refused_with(Register::add_offset, std::uint64_t{1} << 62));
  EXPECT_TRUE(refused_with(Register::vector_rows, 0));
  EXPECT_TRUE(refused_with(Register::vector_channels, std::uint64_t{1} << 41));
}

TEST(RegisterFile, describes_a_normalisation_to_the_last_bit) {
  array::RegisterFile file = small_file();
  write(file, Register::add_shift, 99);  // of no concern
  array::VectorLaunch want;
  want.kind = array::VectorLaunch::Kind::local_response_norm;
  want.rows = 3;
  want.channels = 9;
  want.a = 0x40, want.output = 0x80;
  want.norm = {7, 1e-4, 0.75, 1.0 / 3};
  want.norm_in_scale = 0.1;
  want.norm_out_scale = 0.7f;
  for (const auto& [which, value] : array::registers_of(want))
    ASSERT_EQ(write(file, which, value), AccessResult::ok);
  EXPECT_EQ(std::bit_cast<double>(read(file, Register::norm_k)), 1.0 / 3);
  const auto got = file.vector_job();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->kind, want.kind);
  EXPECT_EQ(got->norm, want.norm);
  EXPECT_EQ(got->norm_in_scale, want.norm_in_scale);
  EXPECT_EQ(got->norm_out_scale, want.norm_out_scale);
  EXPECT_FALSE(got->relu);

  for (const auto& [which, value] : {std::pair{Register::norm_out_scale, -1.0},
                                     {Register::norm_in_scale, std::nan("")},
                                     {Register::norm_k, 0.0},
                                     {Register::norm_alpha, -1e-9},
                                     {Register::norm_beta, INFINITY}}) {
    array::RegisterFile other = file;
    write(other, which, std::bit_cast<std::uint64_t>(value));
    EXPECT_FALSE(other.vector_job()) << static_cast<int>(which);
  }
}

TEST(RegisterFile, reports_every_counter_in_a_register_of_its_own) {
  array::LaunchReport want;
  want.cycles = 28;
  want.breakdown = {1, 2, 3, 4, 5, 6, 7};
  want.traffic = {.dram_weight_bytes = 11,
                  .dram_activation_bytes = 12,
                  .dram_output_bytes = 13,
                  .dram_bus_bytes = 14,
                  .row_hits = 15,
                  .row_misses = 16,
                  .buffer_bytes = 17,
                  .fifo_bytes = 18,
                  .accumulator_bytes = 19,
                  .register_bytes = 20};
  array::RegisterFile file = small_file();
  file.begin_job();
  file.end_job(array::JobError::none, want);
  const auto got = array::report_in_registers([&](Register which) { return read(file, which); });
  EXPECT_EQ(got.cycles, 28);
  EXPECT_EQ(got.breakdown, want.breakdown);
  EXPECT_EQ(got.traffic, want.traffic);
  EXPECT_EQ(read(file, Register::cycles_active), 1u);
  EXPECT_EQ(read(file, Register::stall_output), 7u);
  EXPECT_EQ(read(file, Register::dram_weight_bytes), 11u);
  EXPECT_EQ(read(file, Register::register_traffic), 20u);
  EXPECT_EQ(write(file, Register::stall_output, 0), AccessResult::bad_command);
  // A failed job costs nothing, and says why.
  file.end_job(array::JobError::buffer_too_small);
  EXPECT_EQ(read(file, Register::cycles), 0u);
  EXPECT_EQ(read(file, Register::stall_output), 0u);
  EXPECT_EQ(read(file, Register::error), static_cast<std::uint64_t>(array::JobError::buffer_too_small));
  EXPECT_STREQ(to_string(array::JobError::bad_vector),
               "sizes or factors make no pass of the activation unit");
}

// docs/architecture.md has these numbers; other hosts are written by them.
TEST(RegisterFile, has_its_registers_where_the_documentation_says) {
  const std::pair<Register, std::uint64_t> promised[] = {
      {Register::identity, 0x00},        {Register::control, 0x18},
      {Register::cycles, 0x30},          {Register::cycles_active, 0x38},
      {Register::stall_output, 0x68},    {Register::dram_weight_bytes, 0x70},
      {Register::buffer_traffic, 0xA0},  {Register::batch, 0xC0},
      {Register::out_c, 0x108},          {Register::activations, 0x110},
      {Register::requantization, 0x128}, {Register::flags, 0x130},
      {Register::pool_kernel, 0x138},    {Register::work_offset, 0x168},
      {Register::next_batch, 0x178},     {Register::vector_kind, 0x1D0},
      {Register::vector_rows, 0x1D8},    {Register::add_multiplier_a, 0x1F0},
      {Register::norm_size, 0x210},      {Register::norm_out_scale, 0x238}};
  for (const auto& [which, offset] : promised) EXPECT_EQ(array::offset_of(which), offset);
}

TEST(RegisterFile, starts_layers_and_passes_by_commands_of_their_own) {
  array::RegisterFile file = small_file();
  EXPECT_EQ(write(file, Register::control, array::kStartVector), AccessResult::ok);
  EXPECT_EQ(file.take_command(), array::kStartVector);
  EXPECT_EQ(write(file, Register::control, array::kStartVector | array::kStart), AccessResult::refused);
  file.begin_job();
  EXPECT_EQ(write(file, Register::control, array::kStartVector), AccessResult::refused);
  EXPECT_EQ(write(file, Register::add_shift, 3), AccessResult::refused) << "a job is running";
}

}  // namespace
}  // namespace kintsugi
