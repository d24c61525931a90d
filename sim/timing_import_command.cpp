// `kintsugi timing import`: a user's own PE becomes a timing file.
#include "common/diagnostics.h"
#include "sim/timing_command.h"

namespace kintsugi::sim {

int timing_import(const std::vector<std::string>&) {
  throw common::InputError("kintsugi timing import: error: this version cannot import netlists yet");
}

}  // namespace kintsugi::sim
