#include "faults/netlist_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <mutex>

#include "common/diagnostics.h"
#include "common/isa.h"
#include "faults/netlist_assembler.h"
#include "faults/netlist_engine.h"

namespace kintsugi::faults {

namespace {

const PlaneEngine& engine_for(common::Isa isa) {
  switch (isa) {
    case common::Isa::portable:
      return portable_engine();
    case common::Isa::avx2:
      return avx2_engine();
    case common::Isa::avx512:
      return avx512_engine();
  }
  return portable_engine();
}

struct AlignedDelete {
  void operator()(std::uint64_t* at) const { ::operator delete[](at, std::align_val_t{64}); }
};

// What one thread works in.
struct Workspace {
  std::unique_ptr<std::uint64_t[], AlignedDelete> slots;
  std::size_t capacity = 0;                         // words
  std::vector<std::size_t> lanes;                   // of the call, to be simulated
  std::array<std::vector<std::uint8_t>, 12> bytes;  // of a batch: activation, weight, psum; before, now

  std::uint64_t* planes(std::size_t words) {
    if (words > capacity) {
      slots.reset(
          static_cast<std::uint64_t*>(::operator new[](words * sizeof(std::uint64_t), std::align_val_t{64})));
      capacity = words;
    }
    return slots.get();
  }
};

// Bytes of the operands: activation before, now, weight before, now, and four each of psum before, now.
constexpr std::size_t byte_column(Operand operand, bool before, int bit) {
  const std::size_t base = operand == Operand::activation ? 0 : operand == Operand::weight ? 2 : 4;
  const std::size_t now = before ? 0 : 1;
  return operand == Operand::psum ? base + 4 * now + static_cast<std::size_t>(bit / 8) : base + now;
}

// A delay bin: compiled when it is first asked for.
struct Bin {
  double period_ps = 0;
  std::once_flag once;
  Program program;
  std::unique_ptr<const AssembledProgram> assembled;  // null: the engine runs the program
};

}  // namespace

struct NetlistModel::Impl {
  Impl(std::shared_ptr<const TimedNetlist> the_netlist, double step_ps, const std::vector<double>& periods_ps)
      : netlist(std::move(the_netlist)),
        grid(quantise(*netlist, step_ps)),
        isa(common::choose_isa()),
        engine(engine_for(isa)),
        bins(periods_ps.size()) {
    for (std::size_t b = 0; b < bins.size(); ++b) bins[b].period_ps = periods_ps[b];
  }

  const Bin& bin(int number) {
    Bin& bin = bins[static_cast<std::size_t>(number)];
    std::call_once(bin.once, [&] {
      // With time enough for the slowest path nothing can be late, whatever the grid rounds.
      if (bin.period_ps >= slowest_path_ps(*netlist)) return;
      bin.program = compile_program(grid, bin.period_ps);
      if (isa == common::Isa::avx512) bin.assembled = assemble(bin.program);
      if (bin.assembled) {  // says it all
        bin.program.operations = {};
        bin.program.runs = {};
      }
    });
    return bin;
  }

  std::unique_ptr<Workspace> borrow() {
    const std::scoped_lock lock(mutex);
    if (idle.empty()) return std::make_unique<Workspace>();
    auto workspace = std::move(idle.back());
    idle.pop_back();
    return workspace;
  }
  void give_back(std::unique_ptr<Workspace> workspace) {
    const std::scoped_lock lock(mutex);
    idle.push_back(std::move(workspace));
  }

  void run_batch(const Bin& bin, Workspace& workspace, const PeCycles& cycles,
                 std::span<const std::size_t> lanes, std::size_t words, std::uint32_t* errors) const;

  std::shared_ptr<const TimedNetlist> netlist;
  TimeGrid grid;
  common::Isa isa;
  const PlaneEngine& engine;
  std::vector<Bin> bins;
  std::mutex mutex;
  std::vector<std::unique_ptr<Workspace>> idle;
};

void NetlistModel::Impl::run_batch(const Bin& bin, Workspace& workspace, const PeCycles& cycles,
                                   std::span<const std::size_t> lanes, std::size_t words,
                                   std::uint32_t* errors) const {
  const Program& program = bin.program;
  auto& bytes = workspace.bytes;
  for (auto& column : bytes) column.resize(64 * words);
  const auto gather = [&](std::size_t column, const std::int8_t* from) {
    std::uint8_t* to = bytes[column].data();
    for (std::size_t i = 0; i < lanes.size(); ++i) to[i] = static_cast<std::uint8_t>(from[lanes[i]]);
  };
  const auto gather_psums = [&](std::size_t column, const std::int32_t* from) {
    for (std::size_t i = 0; i < lanes.size(); ++i) {
      const auto psum = static_cast<std::uint32_t>(from[lanes[i]]);
      for (std::size_t byte = 0; byte < 4; ++byte)
        bytes[column + byte][i] = static_cast<std::uint8_t>(psum >> (8 * byte));
    }
  };
  gather(0, cycles.activation_before);
  gather(1, cycles.activation);
  gather(2, cycles.weight_before);
  gather(3, cycles.weight);
  gather_psums(4, cycles.psum_before);
  gather_psums(8, cycles.psum);

  std::uint64_t* slots = workspace.planes(program.slots * words);
  std::array<std::array<std::uint64_t*, 8>, 12> planes{};
  for (const PlaneInput& input : program.inputs)
    planes[byte_column(input.operand, input.before, input.bit)][static_cast<std::size_t>(input.bit % 8)] =
        slots + input.slot * words;
  for (std::size_t column = 0; column < bytes.size(); ++column)
    engine.split(bytes[column].data(), words, planes[column].data());
  if (bin.assembled)
    bin.assembled->run(slots);
  else
    (words == engine.words ? engine.run : engine.run_few)(program, slots);

  for (const PlaneError& error : program.errors) {
    const std::uint64_t* plane = slots + error.slot * words;
    for (std::size_t word = 0; 64 * word < lanes.size(); ++word) {
      std::uint64_t set = plane[word];
      const std::size_t left = lanes.size() - 64 * word;
      if (left < 64) set &= (std::uint64_t{1} << left) - 1;
      for (; set != 0; set &= set - 1)
        errors[lanes[64 * word + static_cast<std::size_t>(std::countr_zero(set))]] |= std::uint32_t{1}
                                                                                      << error.bit;
    }
  }
}

NetlistModel::NetlistModel(std::shared_ptr<const TimedNetlist> netlist, double step_ps,
                           std::vector<double> periods_ps)
    : impl_(std::make_unique<Impl>(std::move(netlist), step_ps, periods_ps)) {}

NetlistModel::~NetlistModel() = default;

int NetlistModel::accumulator_bits() const {
  return impl_->netlist->accumulator_bits;
}

void NetlistModel::evaluate(int bin, std::uint64_t /*job_key*/, const PeCycles& cycles,
                            std::uint32_t* errors) const {
  std::fill_n(errors, cycles.count, 0U);
  const Bin& compiled = impl_->bin(bin);
  const Program& program = compiled.program;
  if (program.errors.empty()) return;
  auto workspace = impl_->borrow();
  std::vector<std::size_t>& lanes = workspace->lanes;
  lanes.resize(cycles.count);
  std::size_t late = 0;
  for (std::size_t i = 0; i < cycles.count; ++i) {
    const auto changed = [&](const auto* before, const auto* now) {
      return static_cast<std::uint32_t>(before[i] ^ now[i]);
    };
    lanes[late] = i;
    late += ((changed(cycles.activation_before, cycles.activation) & program.late_activation) |
             (changed(cycles.weight_before, cycles.weight) & program.late_weight) |
             (changed(cycles.psum_before, cycles.psum) & program.late_psum)) != 0;
  }
  for (std::size_t begin = 0; begin < late;) {
    const std::size_t words = compiled.assembled                            ? AssembledProgram::kWords
                              : late - begin > 64 * impl_->engine.few_words ? impl_->engine.words
                                                                            : impl_->engine.few_words;
    const std::size_t count = std::min(late - begin, 64 * words);
    impl_->run_batch(compiled, *workspace, cycles, std::span(lanes).subspan(begin, count), words, errors);
    begin += count;
  }
  impl_->give_back(std::move(workspace));
}

}  // namespace kintsugi::faults
