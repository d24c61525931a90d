// The instructions that the int8 kernels use: see common/isa.h.
#pragma once

#include "common/isa.h"

namespace kintsugi::array {

using common::choose_isa;
using common::Isa;
using common::to_string;

}  // namespace kintsugi::array
