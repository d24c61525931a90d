#include "array/cycle_array_sc.h"

namespace kintsugi::array {

CycleArray::CycleArray(sc_core::sc_module_name name, const configs::ArrayConfig& array)
    : ClockedArray(name), machine_(array) {
  SC_METHOD(on_clock);
  sensitive << clock.pos();
  dont_initialize();
}

void CycleArray::on_clock() {
  machine_.step();
}

}  // namespace kintsugi::array
