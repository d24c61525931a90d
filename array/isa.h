// Which instructions the int8 kernels use. The bits are the same with all of them.
#pragma once

namespace kintsugi::array {

enum class Isa {
  portable,  // plain loops
  avx2,      // operands widened to 16 bits, vpmaddwd
  avx512     // AVX-512 VNNI
};

// The widest that the processor has, or what the environment variable KINTSUGI_ISA (portable, avx2, avx512)
// asks for. Throws common::InputError for another value, and for instructions that the processor has not.
Isa choose_isa();

const char* to_string(Isa isa);

}  // namespace kintsugi::array
