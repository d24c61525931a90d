// Which instructions kernels use. The bits are the same with all of them.
#pragma once

namespace kintsugi::common {

enum class Isa {
  portable,  // plain loops
  avx2,
  avx512  // F, BW, DQ, VL and VNNI
};

// The widest that the processor has, or what the environment variable KINTSUGI_ISA (portable, avx2, avx512)
// asks for. Throws InputError for another value, and for instructions that the processor has not.
Isa choose_isa();

const char* to_string(Isa isa);

}  // namespace kintsugi::common
