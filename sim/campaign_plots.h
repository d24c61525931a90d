// Pictures of a campaign.
#pragma once

#include <string>

#include "sim/campaign_report.h"
#include "training/reduce/constraint.h"

namespace kintsugi::sim {

// Figure 3 of Reduce: accuracy of each chip on the test set against the retraining that was spent on it, one
// panel a policy on common axes, with the constraint as a line. An SVG document.
std::string compare_picture(const CampaignReport& report, const reduce::Constraint& constraint);

}  // namespace kintsugi::sim
