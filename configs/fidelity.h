// The three fidelities at which the same chip is simulated; see docs/architecture.md.
#pragma once

#include <string>

namespace kintsugi::configs {

enum class Fidelity { pe, cycle, functional };

constexpr const char* to_string(Fidelity fidelity) {
  switch (fidelity) {
    case Fidelity::pe:
      return "pe";
    case Fidelity::cycle:
      return "cycle";
    case Fidelity::functional:
      return "functional";
  }
  return "";
}

}  // namespace kintsugi::configs
