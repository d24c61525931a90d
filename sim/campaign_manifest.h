// What a Reduce campaign's manifest (sim/manifest.h) lists.
#pragma once

#include <vector>

#include "sim/campaign_inputs.h"
#include "sim/manifest.h"

namespace kintsugi::sim {

// In a fixed order.
std::vector<ManifestEntry> manifest_of(const CampaignInputs& inputs);

}  // namespace kintsugi::sim
