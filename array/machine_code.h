// Machine code written at run time: the few AVX-512 instructions that compiled chains consist of, and the
// pages that hold them.
//
// Why at all: where faults are dense, what a chain does next changes every few instructions, and a processor
// that interprets it guesses wrong at every other turn. Written out as straight code there is nothing to
// guess. Encodings: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, sections 2.7
// (EVEX) and 5.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kintsugi::array {

// Arguments of a function of the System V calling convention, in order.
enum class Pointer : std::uint8_t { first = 7, second = 6, third = 2, fourth = 1, fifth = 8, sixth = 9 };

struct Memory {
  Pointer base;
  std::int32_t offset = 0;  // bytes
};

// Appends instructions. Vector registers are numbered 0 … 31 and hold sixteen 32-bit lanes.
class CodeWriter {
 public:
  void load(int to, Memory from) { memory(kF3, k0F, 0x6f, to, 0, from, 64); }
  void store(Memory to, int from) { memory(kF3, k0F, 0x7f, from, 0, to, 64); }
  void broadcast(int to, Memory from) { memory(k66, k0F38, 0x58, to, 0, from, 4); }
  void copy(int to, int from) { registers(k66, k0F, 0x6f, to, 0, from); }
  void add(int to, int a, int b) { registers(k66, k0F, 0xfe, to, a, b); }
  void add(int to, int a, Memory b) { memory(k66, k0F, 0xfe, to, a, b, 64); }
  void bit_and(int to, int a, int b) { registers(k66, k0F, 0xdb, to, a, b); }
  void bit_or(int to, int a, int b) { registers(k66, k0F, 0xeb, to, a, b); }
  void bit_xor(int to, int a, int b) { registers(k66, k0F, 0xef, to, a, b); }
  // to = function of the bits of (to, b, c), as vpternlogd has it.
  void ternary(int to, int b, int c, std::uint8_t function) {
    registers(k66, k0F3A, 0x25, to, b, c);
    byte(function);
  }
  // to += products of unsigned and signed bytes, four to a lane.
  void dot(int to, int unsigned_bytes, int signed_bytes) {
    registers(k66, k0F38, 0x50, to, unsigned_bytes, signed_bytes);
  }
  void shift_left(int to, int from, int bits) { shift(6, to, from, bits); }
  void shift_right_signed(int to, int from, int bits) { shift(4, to, from, bits); }

  void advance(Pointer pointer, std::int32_t bytes);
  void advance(Pointer pointer, Pointer by);
  // Skips what is written until `land`, if the argument is zero.
  std::size_t skip_if_zero(Pointer argument);
  void land(std::size_t skip);
  void finish();  // back to the caller

  std::size_t size() const { return code_.size(); }
  std::span<const std::uint8_t> code() const { return code_; }

 private:
  enum Prefix : std::uint8_t { k66 = 1, kF3 = 2 };
  enum Map : std::uint8_t { k0F = 1, k0F38 = 2, k0F3A = 3 };
  void byte(int x) { code_.push_back(static_cast<std::uint8_t>(x)); }
  void word(std::int32_t x);
  void prefix(Prefix prefix, Map map, int reg, int second, bool b, bool x);
  void registers(Prefix prefix, Map map, int opcode, int reg, int second, int rm);
  // unit: bytes that a short offset counts in, those that the instruction reads or writes.
  void memory(Prefix prefix, Map map, int opcode, int reg, int second, Memory at, int unit);
  void shift(int operation, int to, int from, int bits);

  std::vector<std::uint8_t> code_;
};

// Pages that are written once and may then be executed, never both.
class ExecutableCode {
 public:
  // Whether this process may have such pages; hardened systems forbid them.
  static bool allowed();

  ExecutableCode() = default;
  // Throws std::bad_alloc where there is no memory for it, or where it is not allowed.
  explicit ExecutableCode(std::span<const std::uint8_t> code);
  ~ExecutableCode();
  ExecutableCode(const ExecutableCode&) = delete;
  ExecutableCode& operator=(const ExecutableCode&) = delete;
  ExecutableCode(ExecutableCode&& other) noexcept;
  ExecutableCode& operator=(ExecutableCode&& other) noexcept;

  const std::uint8_t* data() const { return pages_; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::uint8_t* pages_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace kintsugi::array
