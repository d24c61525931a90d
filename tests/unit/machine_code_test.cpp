// Machine code written at run time, against loops over the same sixteen words.
#include "array/machine_code.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>

#include "array/functional_engine.h"
#include "common/isa.h"
#include "common/random.h"
#include "tests/support/naive_array.h"
#include "tests/support/random_cases.h"

namespace kintsugi {
namespace {

using array::CodeWriter;
using array::Pointer;
using Words = std::array<std::uint32_t, 16>;

bool can_run() {
  return common::choose_isa() == common::Isa::avx512 && array::ExecutableCode::allowed();
}

void call(const CodeWriter& writer, const void* first, const void* second, void* third,
          const void* fourth = nullptr, std::int64_t fifth = 0, std::int64_t sixth = 0) {
  const array::ExecutableCode code(writer.code());
  using Code = void(const void*, const void*, void*, const void*, std::int64_t, std::int64_t);
  reinterpret_cast<Code*>(reinterpret_cast<std::uintptr_t>(code.data()))(first, second, third, fourth, fifth,
                                                                         sixth);
}

std::uint32_t dot(std::uint32_t sum, std::uint32_t a, std::uint32_t b) {
  for (int i = 0; i < 4; ++i)
    sum += static_cast<std::uint32_t>(static_cast<int>(a >> 8 * i & 0xffu) *
                                      static_cast<int>(static_cast<std::int8_t>(b >> 8 * i & 0xffu)));
  return sum;
}

struct Operation {
  const char* name;
  std::function<void(CodeWriter&, int to, int a, int b)> write;
  std::function<std::uint32_t(std::uint32_t to, std::uint32_t a, std::uint32_t b)> expected;
};

const Operation kOperations[] = {
    {"copy", [](CodeWriter& w, int to, int a, int) { w.copy(to, a); }, [](auto, auto a, auto) { return a; }},
    {"add", [](CodeWriter& w, int to, int a, int b) { w.add(to, a, b); },
     [](auto, auto a, auto b) { return a + b; }},
    {"and", [](CodeWriter& w, int to, int a, int b) { w.bit_and(to, a, b); },
     [](auto, auto a, auto b) { return a & b; }},
    {"or", [](CodeWriter& w, int to, int a, int b) { w.bit_or(to, a, b); },
     [](auto, auto a, auto b) { return a | b; }},
    {"xor", [](CodeWriter& w, int to, int a, int b) { w.bit_xor(to, a, b); },
     [](auto, auto a, auto b) { return a ^ b; }},
    {"ternary", [](CodeWriter& w, int to, int a, int b) { w.ternary(to, a, b, 0x6a); },
     [](auto to, auto a, auto b) { return (to & a) ^ b; }},
    {"dot", [](CodeWriter& w, int to, int a, int b) { w.dot(to, a, b); }, dot},
    {"shift left", [](CodeWriter& w, int to, int a, int) { w.shift_left(to, a, 9); },
     [](auto, auto a, auto) { return a << 9; }},
    {"shift right", [](CodeWriter& w, int to, int a, int) { w.shift_right_signed(to, a, 13); },
     [](auto, auto a, auto) { return static_cast<std::uint32_t>(static_cast<std::int32_t>(a) >> 13); }},
};

TEST(MachineCode, computes_what_it_says_in_all_registers) {
  if (!can_run()) GTEST_SKIP() << "no AVX-512 VNNI, or no code may be written here";
  common::RandomStream random(1, "machine-code");
  for (const Operation& operation : kOperations)
    for (int number = 0; number < 32; ++number) {
      // Each register once in each place.
      const int to = number, a = (number * 5 + 7) % 32, b = (number * 13 + 11) % 32;
      if (to == a || to == b || a == b) continue;
      std::array<Words, 3> in;
      for (Words& words : in)
        for (std::uint32_t& word : words)
          word = static_cast<std::uint32_t>(random.below(std::uint64_t{1} << 32));
      CodeWriter writer;
      writer.load(to, {Pointer::first, 0});
      writer.load(a, {Pointer::first, 64});
      writer.load(b, {Pointer::first, 128});
      operation.write(writer, to, a, b);
      writer.store({Pointer::third, 0}, to);
      writer.finish();
      Words out{};
      call(writer, in.data(), nullptr, out.data());
      for (int lane = 0; lane < 16; ++lane)
        ASSERT_EQ(out[lane], operation.expected(in[0][lane], in[1][lane], in[2][lane]))
            << operation.name << " to " << to << " of " << a << ", " << b;
    }
}

TEST(MachineCode, reaches_near_and_far_memory_through_all_arguments) {
  if (!can_run()) GTEST_SKIP() << "no AVX-512 VNNI, or no code may be written here";
  constexpr int kWords = 8192;
  std::vector<std::uint32_t> from(kWords);
  for (int i = 0; i < kWords; ++i) from[i] = static_cast<std::uint32_t>(i) * 2654435761u;
  const std::uint32_t* const middle = from.data() + kWords / 2;
  const auto address = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(middle));
  for (const Pointer pointer :
       {Pointer::first, Pointer::second, Pointer::fourth, Pointer::fifth, Pointer::sixth})
    for (const int bytes : {0, 4, 64, -64, 508, 512, -512, -516, 8128, 8192, -8192, -8256, 60}) {
      CodeWriter writer;
      writer.load(17, {pointer, bytes});
      writer.broadcast(9, {pointer, bytes});
      writer.add(30, 17, array::Memory{pointer, bytes});
      writer.store({Pointer::third, 0}, 17);
      writer.store({Pointer::third, 64}, 9);
      writer.advance(Pointer::third, 8256);
      writer.store({Pointer::third, 128 - 8256}, 30);
      writer.finish();
      std::array<Words, 3> out{};
      call(writer, middle, middle, out.data(), middle, address, address);
      for (int lane = 0; lane < 16; ++lane) {
        const std::uint32_t word = middle[bytes / 4 + lane];
        ASSERT_EQ(out[0][lane], word) << bytes;
        ASSERT_EQ(out[1][lane], middle[bytes / 4]) << bytes;
        ASSERT_EQ(out[2][lane], word + word) << bytes;
      }
    }
}

TEST(MachineCode, moves_on_and_skips) {
  if (!can_run()) GTEST_SKIP() << "no AVX-512 VNNI, or no code may be written here";
  Words in{};
  in.fill(3);
  CodeWriter writer;
  writer.load(1, {Pointer::first, 0});
  writer.advance(Pointer::third, Pointer::fifth);
  const std::size_t skip = writer.skip_if_zero(Pointer::sixth);
  writer.add(1, 1, 1);
  writer.land(skip);
  writer.store({Pointer::third, 0}, 1);
  writer.finish();
  for (const std::int64_t sixth : {0, 1, 1 << 20}) {
    std::array<Words, 2> out{};
    call(writer, in.data(), nullptr, out.data(), nullptr, 64, sixth);
    EXPECT_EQ(out[0][0], 0u);
    EXPECT_EQ(out[1][15], sixth == 0 ? 3u : 6u);
  }
}

// In a process that may not have executable pages of its own making, live faults take the other path.
TEST(MachineCode, is_not_needed_for_the_same_bits) {
#ifndef PR_SET_MDWE
  constexpr int PR_SET_MDWE = 65;
#endif
  constexpr unsigned long kRefuseExecGain = 1;
  constexpr int kSame = 0, kDifferent = 1, kStillAllowed = 2, kNoSuchRefusal = 3;
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (prctl(PR_SET_MDWE, kRefuseExecGain, 0, 0, 0) != 0) _exit(kNoSuchRefusal);
    if (array::ExecutableCode::allowed()) _exit(kStillAllowed);
    for (std::uint64_t number = 0; number < 40; ++number) {
      const test::RandomCase c = test::random_case(number, 17);
      array::FunctionalEngine engine(c.array, c.mapping);
      engine.load_faults(c.faults);
      std::vector<std::int32_t> out(static_cast<std::size_t>(c.shape.outputs()));
      engine.run({c.shape, c.activations.data(), c.weights.data(), out.data()});
      if (out != test::naive_array(c.array, c.mapping, c.faults, c.shape, c.activations.data(),
                                   c.weights.data(), test::NaiveArithmetic::datapath))
        _exit(kDifferent);
    }
    _exit(kSame);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kNoSuchRefusal) GTEST_SKIP() << "this kernel cannot refuse executable pages";
  EXPECT_EQ(WEXITSTATUS(status), kSame);
}

}  // namespace
}  // namespace kintsugi
