#include "array/cycle_array_sc.h"

namespace kintsugi::array {

CycleArraySc::CycleArraySc(sc_core::sc_module_name name, const configs::ArrayConfig& array,
                           configs::ConvolutionMapping mapping)
    : ClockedArray(name), machine_(array, mapping) {
  SC_METHOD(on_clock);
  sensitive << clock.pos();
  dont_initialize();
}

void CycleArraySc::on_clock() {
  machine_.step();
}

}  // namespace kintsugi::array
