// The sub-commands of `kintsugi campaign`.
#pragma once

#include <string>
#include <vector>

namespace kintsugi::sim {

int campaign_status(const std::vector<std::string>& arguments);
int campaign_resume(const std::vector<std::string>& arguments);
int campaign_collect(const std::vector<std::string>& arguments);
int campaign_cancel(const std::vector<std::string>& arguments);
int campaign_work(const std::vector<std::string>& arguments);

}  // namespace kintsugi::sim
