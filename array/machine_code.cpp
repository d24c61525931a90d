#include "array/machine_code.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace kintsugi::array {

namespace {

// As the general-purpose registers are numbered; 8 and above need a bit in the prefix.
constexpr int number(Pointer pointer) {
  return static_cast<int>(pointer);
}

}  // namespace

void CodeWriter::word(std::int32_t x) {
  for (int i = 0; i < 4; ++i) byte(static_cast<int>(static_cast<std::uint32_t>(x) >> 8 * i & 0xffu));
}

// 512 bits, no lane masks. `b` and `x` are the high bits of the last operand; all of these are stored
// inverted.
void CodeWriter::prefix(Prefix prefix, Map map, int reg, int second, bool b, bool x) {
  byte(0x62);
  byte(((reg & 8) == 0 ? 0x80 : 0) | (x ? 0 : 0x40) | (b ? 0 : 0x20) | ((reg & 16) == 0 ? 0x10 : 0) | map);
  byte((~second & 15) << 3 | 4 | prefix);
  byte(0x40 | ((second & 16) == 0 ? 8 : 0));
}

void CodeWriter::registers(Prefix prefix, Map map, int opcode, int reg, int second, int rm) {
  this->prefix(prefix, map, reg, second, (rm & 8) != 0, (rm & 16) != 0);
  byte(opcode);
  byte(0xc0 | (reg & 7) << 3 | (rm & 7));
}

void CodeWriter::memory(Prefix prefix, Map map, int opcode, int reg, int second, Memory at, int unit) {
  this->prefix(prefix, map, reg, second, number(at.base) >= 8, false);
  byte(opcode);
  const int place = (reg & 7) << 3 | (number(at.base) & 7);
  if (at.offset % unit == 0 && at.offset / unit >= -128 && at.offset / unit <= 127) {
    byte(0x40 | place);
    byte(at.offset / unit & 0xff);
  } else {
    byte(0x80 | place);
    word(at.offset);
  }
}

void CodeWriter::shift(int operation, int to, int from, int bits) {
  registers(k66, k0F, 0x72, operation, to, from);
  byte(bits);
}

void CodeWriter::advance(Pointer pointer, std::int32_t bytes) {
  byte(number(pointer) >= 8 ? 0x49 : 0x48);
  byte(0x81);
  byte(0xc0 | (number(pointer) & 7));
  word(bytes);
}

void CodeWriter::advance(Pointer pointer, Pointer by) {
  byte(0x48 | (number(by) >= 8 ? 4 : 0) | (number(pointer) >= 8 ? 1 : 0));
  byte(0x01);
  byte(0xc0 | (number(by) & 7) << 3 | (number(pointer) & 7));
}

std::size_t CodeWriter::skip_if_zero(Pointer argument) {
  const int high = number(argument) >= 8 ? 5 : 0;
  byte(0x48 | high);  // test
  byte(0x85);
  byte(0xc0 | (number(argument) & 7) << 3 | (number(argument) & 7));
  byte(0x0f);  // jz
  byte(0x84);
  word(0);
  return code_.size();
}

void CodeWriter::land(std::size_t skip) {
  const auto distance = static_cast<std::uint32_t>(code_.size() - skip);
  for (std::size_t i = 0; i < 4; ++i) code_[skip - 4 + i] = static_cast<std::uint8_t>(distance >> 8 * i);
}

void CodeWriter::finish() {
  for (const int x : {0xc5, 0xf8, 0x77, 0xc3}) byte(x);  // vzeroupper, ret
}

bool ExecutableCode::allowed() {
  try {
    constexpr std::uint8_t kReturn[] = {0xc3};
    const ExecutableCode code(kReturn);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

ExecutableCode::ExecutableCode(std::span<const std::uint8_t> code) : bytes_(code.size()) {
  if (bytes_ == 0) return;
  void* const pages = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  std::memcpy(pages, code.data(), bytes_);
  if (mprotect(pages, bytes_, PROT_READ | PROT_EXEC) != 0) {
    munmap(pages, bytes_);
    throw std::bad_alloc();
  }
  pages_ = static_cast<std::uint8_t*>(pages);
}

ExecutableCode::~ExecutableCode() {
  if (pages_ != nullptr) munmap(pages_, bytes_);
}

ExecutableCode::ExecutableCode(ExecutableCode&& other) noexcept
    : pages_(std::exchange(other.pages_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

ExecutableCode& ExecutableCode::operator=(ExecutableCode&& other) noexcept {
  std::swap(pages_, other.pages_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace kintsugi::array
