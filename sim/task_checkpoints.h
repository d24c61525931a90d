// Where a campaign's tasks keep their checkpoints: beside the result, with the same name.
#pragma once

#include <filesystem>
#include <string>

#include "training/checkpointer.h"

namespace kintsugi::sim {

// `tag`: see training/checkpointer.h. The campaign itself is seen to by the manifest.
inline training::CheckpointOptions checkpoints_beside(std::filesystem::path result, double every_seconds,
                                                      std::string tag) {
  return {result.replace_extension(".checkpoint"), every_seconds, std::move(tag)};
}

}  // namespace kintsugi::sim
