#include "faults/timed_netlist.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "common/files.h"
#include "common/random.h"
#include "common/text.h"

namespace kintsugi::faults {

namespace {

const char* operand_name(Operand operand) {
  switch (operand) {
    case Operand::activation:
      return "activation";
    case Operand::weight:
      return "weight";
    case Operand::psum:
      return "psum";
  }
  return "";
}

std::string edge_text(const EdgeTimes& times) {
  return common::format_number(times.rise) + " " + common::format_number(times.fall);
}

// One input vector per bit of a word.
struct Vectors {
  std::array<std::uint64_t, 8> activation{}, weight{};
  std::array<std::uint64_t, 32> psum{};
};

// Every net's settled value.
std::vector<std::uint64_t> settle(const TimedNetlist& netlist, const Vectors& vectors) {
  std::vector<std::uint64_t> value(static_cast<std::size_t>(netlist.nets), 0);
  value[1] = ~std::uint64_t{0};
  for (const LaunchBit& launch : netlist.launches) {
    const auto bit = static_cast<std::size_t>(launch.bit);
    value[static_cast<std::size_t>(launch.net)] = launch.operand == Operand::activation
                                                      ? vectors.activation[bit]
                                                  : launch.operand == Operand::weight ? vectors.weight[bit]
                                                                                      : vectors.psum[bit];
  }
  for (const TimedGate& gate : netlist.gates) {
    std::uint64_t out = 0;
    for (std::size_t v = 0; v < std::size_t{1} << gate.inputs.size(); ++v) {
      if (((gate.truth >> v) & 1) == 0) continue;
      std::uint64_t term = ~std::uint64_t{0};
      for (std::size_t pin = 0; pin < gate.inputs.size(); ++pin) {
        const std::uint64_t in = value[static_cast<std::size_t>(gate.inputs[pin])];
        term &= ((v >> pin) & 1) != 0 ? in : ~in;
      }
      out |= term;
    }
    value[static_cast<std::size_t>(gate.output)] = out;
  }
  return value;
}

// The low `bits` of x as a signed number.
std::int64_t sign_extend(std::uint64_t x, int bits) {
  const std::uint64_t sign = std::uint64_t{1} << (bits - 1);
  x &= 2 * sign - 1;
  return static_cast<std::int64_t>(x ^ sign) - static_cast<std::int64_t>(sign);
}

}  // namespace

PinSense pin_sense(const TimedGate& gate, std::size_t pin) {
  bool same = false, opposite = false;
  for (std::size_t v = 0; v < std::size_t{1} << gate.inputs.size(); ++v) {
    if (((v >> pin) & 1) != 0) continue;
    const bool low = ((gate.truth >> v) & 1) != 0;
    const bool high = ((gate.truth >> (v | std::size_t{1} << pin)) & 1) != 0;
    same |= !low && high;
    opposite |= low && !high;
  }
  if (same) return opposite ? PinSense::both : PinSense::same;
  return opposite ? PinSense::opposite : PinSense::none;
}

std::vector<int> wrong_bits(const TimedNetlist& netlist) {
  constexpr int kWords = 64;
  common::RandomStream random(1, "netlist function check");
  const auto mask = [](int bits) { return (std::uint64_t{1} << bits) - 1; };
  std::uint64_t wrong = 0;
  for (int word = 0; word < kWords; ++word) {
    Vectors vectors;
    std::array<std::uint64_t, 64> expected{};
    for (std::size_t lane = 0; lane < 64; ++lane) {
      std::uint64_t a = random.next(), w = random.next(), psum = random.next();
      if (word == 0) {  // corners: least, most, -1, 0 of each
        const auto corner = [&](std::size_t which, int bits) {
          const std::uint64_t least = std::uint64_t{1} << (bits - 1);
          return which == 0 ? least : which == 1 ? least - 1 : which == 2 ? ~std::uint64_t{0} : 0;
        };
        a = corner(lane % 4, netlist.operand_bits);
        w = corner(lane / 4 % 4, netlist.operand_bits);
        psum = corner(lane / 16, netlist.accumulator_bits);
      }
      a &= mask(netlist.operand_bits);
      w &= mask(netlist.operand_bits);
      psum &= mask(netlist.accumulator_bits);
      const std::int64_t product =
          sign_extend(a, netlist.operand_bits) * sign_extend(w, netlist.operand_bits);
      expected[lane] = (psum + static_cast<std::uint64_t>(product)) & mask(netlist.accumulator_bits);
      for (std::size_t bit = 0; bit < 8; ++bit) {
        vectors.activation[bit] |= ((a >> bit) & 1) << lane;
        vectors.weight[bit] |= ((w >> bit) & 1) << lane;
      }
      for (std::size_t bit = 0; bit < 32; ++bit) vectors.psum[bit] |= ((psum >> bit) & 1) << lane;
    }
    const std::vector<std::uint64_t> value = settle(netlist, vectors);
    for (const CaptureBit& capture : netlist.captures)
      for (std::size_t lane = 0; lane < 64; ++lane) {
        const std::uint64_t found = value[static_cast<std::size_t>(capture.net)] >> lane;
        wrong |= ((found ^ expected[lane] >> capture.bit) & 1) << capture.bit;
      }
  }
  std::vector<int> bits;
  for (int bit = 0; bit < netlist.accumulator_bits; ++bit)
    if ((wrong >> bit & 1) != 0) bits.push_back(bit);
  return bits;
}

double slowest_path_ps(const TimedNetlist& netlist) {
  constexpr double kNever = -1e300;
  std::vector<EdgeTimes> arrival(static_cast<std::size_t>(netlist.nets), {kNever, kNever});
  for (const LaunchBit& launch : netlist.launches)
    arrival[static_cast<std::size_t>(launch.net)] = launch.clock_to_net;
  for (const TimedGate& gate : netlist.gates) {
    EdgeTimes& out = arrival[static_cast<std::size_t>(gate.output)];
    for (std::size_t pin = 0; pin < gate.inputs.size(); ++pin) {
      const EdgeTimes& in = arrival[static_cast<std::size_t>(gate.inputs[pin])];
      const PinSense sense = pin_sense(gate, pin);
      if (sense == PinSense::same || sense == PinSense::both) {
        out.rise = std::max(out.rise, in.rise + gate.delays[pin].rise);
        out.fall = std::max(out.fall, in.fall + gate.delays[pin].fall);
      }
      if (sense == PinSense::opposite || sense == PinSense::both) {
        out.rise = std::max(out.rise, in.fall + gate.delays[pin].rise);
        out.fall = std::max(out.fall, in.rise + gate.delays[pin].fall);
      }
    }
  }
  double slowest = 0;
  for (const CaptureBit& capture : netlist.captures) {
    const EdgeTimes& data = arrival[static_cast<std::size_t>(capture.net)];
    slowest = std::max({slowest, data.rise + capture.setup.rise, data.fall + capture.setup.fall});
  }
  return slowest;
}

void write_timed_netlist(const TimedNetlist& netlist, const std::filesystem::path& file) {
  std::string text = "pe_timing 1\n";
  text += fmt::format("name {}\nprocess {}\n", netlist.name, netlist.process);
  for (std::size_t begin = 0; begin < netlist.provenance.size();) {
    const std::size_t end = std::min(netlist.provenance.find('\n', begin), netlist.provenance.size());
    text += "provenance " + netlist.provenance.substr(begin, end - begin) + "\n";
    begin = end + 1;
  }
  text += fmt::format("voltage_v {}\ntemperature_c {}\n", common::format_number(netlist.voltage_v),
                      common::format_number(netlist.temperature_c));
  text += fmt::format("operand_bits {}\naccumulator_bits {}\nnets {}\n", netlist.operand_bits,
                      netlist.accumulator_bits, netlist.nets);
  text += "# launch OPERAND BIT NET RISE FALL, times in ps\n";
  for (const LaunchBit& launch : netlist.launches)
    text += fmt::format("launch {} {} {} {}\n", operand_name(launch.operand), launch.bit, launch.net,
                        edge_text(launch.clock_to_net));
  text += "# gate OUTPUT TRUTH, then for each input NET RISE FALL\n";
  for (const TimedGate& gate : netlist.gates) {
    text += fmt::format("gate {} {:#x}", gate.output, gate.truth);
    for (std::size_t pin = 0; pin < gate.inputs.size(); ++pin)
      text += fmt::format(" {} {}", gate.inputs[pin], edge_text(gate.delays[pin]));
    text += "\n";
  }
  text += "# capture BIT NET RISE FALL\n";
  for (const CaptureBit& capture : netlist.captures)
    text += fmt::format("capture {} {} {}\n", capture.bit, capture.net, edge_text(capture.setup));
  text += "end\n";
  common::write_file_atomic(file, text);
}

}  // namespace kintsugi::faults
