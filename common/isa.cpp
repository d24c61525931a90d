#include "common/isa.h"

#include <fmt/format.h>

#include <cstdlib>
#include <string_view>

#include "common/diagnostics.h"

namespace kintsugi::common {

namespace {

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

}  // namespace

Isa choose_isa() {
  const char* wanted = std::getenv("KINTSUGI_ISA");
  if (wanted == nullptr || *wanted == 0) return has_avx512() ? Isa::avx512 : Isa::avx2;
  const std::string_view name(wanted);
  if (name == "portable") return Isa::portable;
  if (name == "avx2") return Isa::avx2;
  if (name == "avx512") {
    if (has_avx512()) return Isa::avx512;
    throw InputError("KINTSUGI_ISA is avx512, but this processor has no AVX-512 VNNI; leave it unset");
  }
  throw InputError(
      fmt::format("KINTSUGI_ISA is '{}'; allowed are portable, avx2 and avx512, or leave it unset", name));
}

const char* to_string(Isa isa) {
  switch (isa) {
    case Isa::portable:
      return "portable";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
  }
  return "";
}

}  // namespace kintsugi::common
