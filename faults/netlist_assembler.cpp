#include "faults/netlist_assembler.h"

#ifdef KINTSUGI_HAVE_XBYAK

#include <xbyak/xbyak.h>

#include <algorithm>
#include <array>
#include <vector>

namespace kintsugi::faults {

namespace {

constexpr std::uint32_t kNever = ~std::uint32_t{0};
constexpr int kRegisters = 32, kNone = -1;

// A value from memory that is used again within so many operations goes through a register.
constexpr std::uint32_t kSoon = 100;

// The operations with slots resolved into values: the inputs first, then one per operation.
struct Values {
  std::vector<std::uint32_t> slot;                     // where a value lives in memory
  std::vector<std::array<std::uint32_t, 3>> operands;  // of each operation; kNever: does not matter
  std::vector<std::uint8_t> truth;
  std::vector<std::uint32_t> first_use, uses;  // uses[first_use[v] … first_use[v + 1]) of value v, ascending
  std::vector<char> kept;                      // wanted in memory at the end
};

bool matters(std::uint8_t truth, int input) {
  constexpr std::array<int, 3> kLow = {0x0f, 0x33, 0x55};
  constexpr std::array<int, 3> kShift = {4, 2, 1};
  const auto i = static_cast<std::size_t>(input);
  return ((truth >> kShift[i] ^ truth) & kLow[i]) != 0;
}

Values resolve(const Program& program) {
  Values values;
  std::vector<std::uint32_t> current(program.slots, kNever);
  for (const PlaneInput& input : program.inputs) {
    current[input.slot] = static_cast<std::uint32_t>(values.slot.size());
    values.slot.push_back(input.slot);
  }
  for (const PlaneRun& run : program.runs)
    for (std::uint32_t at = run.begin; at < run.end; ++at) {
      const PlaneOperation& operation = program.operations[at];
      const std::array<std::uint32_t, 3> slots = {operation.a, operation.b, operation.c};
      std::array<std::uint32_t, 3> operands{};
      for (int i = 0; i < 3; ++i) {
        const auto input = static_cast<std::size_t>(i);
        operands[input] = matters(run.truth, i) ? current[slots[input]] : kNever;
      }
      values.operands.push_back(operands);
      values.truth.push_back(run.truth);
      current[operation.out] = static_cast<std::uint32_t>(values.slot.size());
      values.slot.push_back(operation.out);
    }
  values.kept.assign(values.slot.size(), 0);
  for (const PlaneError& error : program.errors) values.kept[current[error.slot]] = 1;

  values.first_use.assign(values.slot.size() + 1, 0);
  for (const auto& operands : values.operands)
    for (const std::uint32_t value : operands)
      if (value != kNever) ++values.first_use[value + 1];
  for (std::size_t v = 0; v < values.slot.size(); ++v) values.first_use[v + 1] += values.first_use[v];
  values.uses.resize(values.first_use.back());
  std::vector<std::uint32_t> next = values.first_use;
  for (std::uint32_t at = 0; at < values.operands.size(); ++at)
    for (const std::uint32_t value : values.operands[at])
      if (value != kNever) values.uses[next[value]++] = at;
  return values;
}

// Registers are a cache of the slots: the value whose next use is farthest away leaves first.
class Assembler : public Xbyak::CodeGenerator {
 public:
  explicit Assembler(const Program& program)
      : CodeGenerator(program.operations.size() * 48 + 65536, Xbyak::DontSetProtectRWE),
        values_(resolve(program)),
        cursor_(values_.first_use.begin(), values_.first_use.end() - 1),
        home_(values_.slot.size(), kNone),
        stored_(values_.slot.size(), 0) {
    owner_.fill(kNever);
    inputs_ = static_cast<std::uint32_t>(program.inputs.size());
    std::fill_n(stored_.begin(), inputs_, char{1});
    for (std::uint32_t at = 0; at < values_.operands.size(); ++at) operation(at);
    for (std::uint32_t v = 0; v < values_.slot.size(); ++v)
      if (values_.kept[v] != 0) store(v);
    vzeroupper();
    ret();
    setProtectModeRE();
    // Only the code stays.
    values_ = {};
    cursor_ = {};
    home_ = {};
    stored_ = {};
  }

 private:
  Xbyak::Address memory(std::uint32_t value) {
    return ptr[rdi + static_cast<std::size_t>(values_.slot[value]) * 64];
  }
  static Xbyak::Zmm zmm(int reg) { return Xbyak::Zmm(reg); }

  std::uint32_t next_use(std::uint32_t value, std::uint32_t after) {
    std::uint32_t& at = cursor_[value];
    while (at < values_.first_use[value + 1] && values_.uses[at] <= after) ++at;
    return at < values_.first_use[value + 1] ? values_.uses[at] : kNever;
  }
  void store(std::uint32_t value) {
    if (stored_[value] != 0) return;
    vmovdqa64(memory(value), zmm(home_[value]));
    stored_[value] = 1;
  }
  void release(int reg) {
    std::uint32_t& value = owner_[static_cast<std::size_t>(reg)];
    if (value != kNever) home_[value] = kNone;
    value = kNever;
  }
  void hold(int reg, std::uint32_t value) {
    owner_[static_cast<std::size_t>(reg)] = value;
    home_[value] = reg;
  }

  // A register that may be overwritten, not one of those in use by this operation.
  int take(std::uint32_t at, std::uint32_t busy) {
    int best = kNone;
    std::uint32_t farthest = 0;
    for (int reg = 0; reg < kRegisters; ++reg) {
      const std::uint32_t value = owner_[static_cast<std::size_t>(reg)];
      if ((busy >> reg & 1) != 0) continue;
      if (value == kNever) return reg;
      // Of two as far away the one that needs no store.
      const std::uint32_t next = std::min(next_use(value, at), kNever - 2) + (stored_[value] != 0);
      if (best == kNone || next > farthest) best = reg, farthest = next;
    }
    const std::uint32_t value = owner_[static_cast<std::size_t>(best)];
    if (next_use(value, at) != kNever || values_.kept[value] != 0) store(value);
    release(best);
    return best;
  }

  void operation(std::uint32_t at) {
    std::array<std::uint32_t, 3> distinct{};
    std::size_t count = 0;
    for (const std::uint32_t value : values_.operands[at])
      if (value != kNever && std::find(distinct.begin(), distinct.begin() + count, value) ==
                                 distinct.begin() + static_cast<std::ptrdiff_t>(count))
        distinct[count++] = value;
    std::uint32_t busy = 0;
    for (std::size_t i = 0; i < count; ++i)
      if (home_[distinct[i]] != kNone) busy |= std::uint32_t{1} << home_[distinct[i]];

    const int out = destination(at, distinct, count, busy);
    busy |= std::uint32_t{1} << out;
    const std::uint32_t result = inputs_ + at;
    int second = out;
    Xbyak::Operand third = zmm(out);
    Xbyak::Address address = ptr[rdi];
    bool from_memory = false;
    std::array<std::uint32_t, 3> place = {count > 0 ? distinct[0] : kNever, kNever, kNever};
    for (std::size_t i = 1; i < count; ++i) {
      const std::uint32_t value = distinct[i];
      if (home_[value] == kNone &&
          (from_memory || (next_use(value, at) != kNever && next_use(value, at) - at < kSoon))) {
        const int reg = take(at, busy);
        vmovdqa64(zmm(reg), memory(value));
        hold(reg, value);
        busy |= std::uint32_t{1} << reg;
      }
      if (home_[value] == kNone) {
        address = memory(value);
        from_memory = true;
        place[2] = value;
      } else if (place[1] == kNever) {
        second = home_[value];
        place[1] = value;
      } else {
        third = zmm(home_[value]);
        place[2] = value;
      }
    }
    // Two operands in registers and one in memory may have met in either order.
    const std::uint8_t table = rearranged(at, place);
    if (from_memory)
      vpternlogq(zmm(out), zmm(second), address, table);
    else
      vpternlogq(zmm(out), zmm(second), place[2] == kNever ? Xbyak::Operand(zmm(second)) : third, table);
    for (std::size_t i = 1; i < count; ++i)
      if (home_[distinct[i]] != kNone && next_use(distinct[i], at) == kNever &&
          values_.kept[distinct[i]] == 0)
        release(home_[distinct[i]]);
    hold(out, result);
  }

  // Puts the operand that is to be overwritten first, and has a register hold a copy of it that may be.
  int destination(std::uint32_t at, std::array<std::uint32_t, 3>& operands, std::size_t count,
                  std::uint32_t busy) {
    if (count == 0) return take(at, busy);
    std::size_t best = 0;
    const auto cost = [&](std::uint32_t value) {
      if (home_[value] != kNone) return next_use(value, at) == kNever && values_.kept[value] == 0 ? 0 : 2;
      return 1;
    };
    for (std::size_t i = 1; i < count; ++i)
      if (cost(operands[i]) < cost(operands[best]) ||
          (cost(operands[i]) == cost(operands[best]) &&
           next_use(operands[i], at) > next_use(operands[best], at)))
        best = i;
    std::swap(operands[0], operands[best]);
    const std::uint32_t value = operands[0];
    if (cost(value) == 0) {
      const int reg = home_[value];
      release(reg);
      return reg;
    }
    const int reg = take(at, busy);
    if (home_[value] != kNone)
      vmovdqa64(zmm(reg), zmm(home_[value]));
    else
      vmovdqa64(zmm(reg), memory(value));
    return reg;
  }

  // The truth table for operands in these places (destination, second, third).
  std::uint8_t rearranged(std::uint32_t at, const std::array<std::uint32_t, 3>& place) const {
    int table = 0;
    for (int v = 0; v < 8; ++v) {
      int spelled = 0;
      for (std::size_t input = 0; input < 3; ++input)
        for (std::size_t i = 0; i < 3; ++i)
          if (place[i] != kNever && place[i] == values_.operands[at][input] && (v >> (2 - i) & 1) != 0)
            spelled |= 4 >> input;
      table |= (values_.truth[at] >> spelled & 1) << v;
    }
    return static_cast<std::uint8_t>(table);
  }

  Values values_;
  std::uint32_t inputs_ = 0;
  std::vector<std::uint32_t> cursor_;              // of each value: its next use, an index of uses
  std::vector<int> home_;                          // register of a value
  std::vector<char> stored_;                       // a value's slot holds it
  std::array<std::uint32_t, kRegisters> owner_{};  // value in a register
};

class XbyakProgram final : public AssembledProgram {
 public:
  explicit XbyakProgram(const Program& program) : code_(program) {}
  void run(std::uint64_t* slots) const override { code_.getCode<void (*)(std::uint64_t*)>()(slots); }

 private:
  Assembler code_;
};

}  // namespace

std::unique_ptr<const AssembledProgram> assemble(const Program& program) {
  try {
    return std::make_unique<XbyakProgram>(program);
  } catch (const Xbyak::Error&) {  // no memory, or none that may be executed
    return nullptr;
  }
}

}  // namespace kintsugi::faults

#else

namespace kintsugi::faults {

std::unique_ptr<const AssembledProgram> assemble(const Program& /*program*/) {
  return nullptr;
}

}  // namespace kintsugi::faults

#endif
