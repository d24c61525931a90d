// Activation scales in a file of a campaign's folder, so that all of its tasks quantise alike.
#pragma once

#include <filesystem>

#include "workloads/deployed.h"

namespace kintsugi::sim {

// A file that holds them already is left alone.
void write_scales(const std::filesystem::path& path, const workloads::ActivationScales& scales);
// Throws common::InputError if the file does not hold them.
workloads::ActivationScales read_scales(const std::filesystem::path& path);

}  // namespace kintsugi::sim
