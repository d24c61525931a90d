// A peer: a grid of SystemC modules, one SC_METHOD each, with the signals of the pe fidelity's array and a
// multiply and add between them, and nothing else: what the SystemC kernel itself asks for so many PEs.
// Weights are random and stay; the left edge is fed with random values in every cycle.
#pragma once

#include <cstdint>
#include <memory>
#include <systemc>
#include <vector>

#include "common/random.h"
#include "pe/pe.h"

namespace kintsugi::bench {

class BareCell : public sc_core::sc_module {
 public:
  sc_core::sc_in<bool> clock;
  sc_core::sc_in<pe::ActivationToken> act_in;
  sc_core::sc_out<pe::ActivationToken> act_out;
  sc_core::sc_in<pe::PsumToken> psum_in;
  sc_core::sc_out<pe::PsumToken> psum_out;
  sc_core::sc_in<pe::WeightToken> weight_in;
  sc_core::sc_out<pe::WeightToken> weight_out;

  SC_HAS_PROCESS(BareCell);
  BareCell(sc_core::sc_module_name name, std::int8_t weight) : sc_core::sc_module(name), weight_(weight) {
    SC_METHOD(on_clock);
    sensitive << clock.pos();
    dont_initialize();
  }

 private:
  void on_clock() {
    const pe::ActivationToken& a = act_in.read();
    act_out.write(a);
    psum_out.write({psum_in.read().value + a.value * weight_, a.valid, a.first});
    weight_out.write(weight_in.read());
  }

  std::int8_t weight_;
};

class BareGrid : public sc_core::sc_module {
 public:
  sc_core::sc_in<bool> clock{"clock"};

  SC_HAS_PROCESS(BareGrid);
  BareGrid(sc_core::sc_module_name name, int rows, int cols)
      : sc_core::sc_module(name), rows_(rows), random_(1, "bare-grid") {
    const auto wires = [](auto& out, std::size_t count) {
      using Wire = typename std::remove_reference_t<decltype(out)>::value_type::element_type;
      for (std::size_t i = 0; i < count; ++i)
        out.push_back(std::make_unique<Wire>(sc_core::sc_gen_unique_name("wire")));
    };
    const auto at = [](int r, int c, int width) { return static_cast<std::size_t>(r) * width + c; };
    wires(activations_, at(rows, 0, cols + 1));
    wires(psums_, at(rows + 1, 0, cols));
    wires(weights_, at(rows + 1, 0, cols));
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < cols; ++c) {
        cells_.push_back(std::make_unique<BareCell>(sc_core::sc_gen_unique_name("cell"),
                                                    static_cast<std::int8_t>(random_.below(256))));
        BareCell& cell = *cells_.back();
        cell.clock(clock);
        cell.act_in(*activations_[at(r, c, cols + 1)]);
        cell.act_out(*activations_[at(r, c + 1, cols + 1)]);
        cell.psum_in(*psums_[at(r, c, cols)]);
        cell.psum_out(*psums_[at(r + 1, c, cols)]);
        cell.weight_in(*weights_[at(r, c, cols)]);
        cell.weight_out(*weights_[at(r + 1, c, cols)]);
      }
    SC_METHOD(feed);
    sensitive << clock.pos();
    dont_initialize();
  }

 private:
  void feed() {
    for (int r = 0; r < rows_; ++r)
      activations_[static_cast<std::size_t>(r) * (activations_.size() / rows_)]->write(
          {static_cast<std::int8_t>(random_.below(256)), true, false});
  }

  int rows_;
  common::RandomStream random_;
  std::vector<std::unique_ptr<sc_core::sc_signal<pe::ActivationToken>>> activations_;
  std::vector<std::unique_ptr<sc_core::sc_signal<pe::PsumToken>>> psums_;
  std::vector<std::unique_ptr<sc_core::sc_signal<pe::WeightToken>>> weights_;
  std::vector<std::unique_ptr<BareCell>> cells_;
};

}  // namespace kintsugi::bench
