#include "configs/shipped_pe.h"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <system_error>

namespace kintsugi::configs {
namespace {

namespace fs = std::filesystem;

constexpr int kFoldersAbove = 3;
constexpr const char* kExtension = ".pe";

}  // namespace

std::vector<fs::path> shipped_pe_folders() {
  std::vector<fs::path> folders;
  if (const char* named = std::getenv("KINTSUGI_PES"); named != nullptr && *named != '\0')
    folders.emplace_back(named);
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  fs::path folder = program.parent_path();
  for (int i = 0; i <= kFoldersAbove && !folder.empty(); ++i) {
    folders.push_back(folder / "configs" / "pes");
    if (folder == folder.parent_path()) break;
    folder = folder.parent_path();
  }
  folders.emplace_back(KINTSUGI_PES_FOLDER);
  return folders;
}

bool is_shipped_pe_name(const std::string& text) {
  return !text.empty() && text.find_first_of("/.") == std::string::npos;
}

fs::path find_shipped_pe(const std::string& name) {
  std::error_code ignored;
  for (const fs::path& folder : shipped_pe_folders())
    if (const fs::path file = folder / (name + kExtension); fs::is_regular_file(file, ignored)) return file;
  return {};
}

std::vector<std::string> shipped_pe_names() {
  std::set<std::string> names;
  std::error_code ignored;
  for (const fs::path& folder : shipped_pe_folders())
    for (const auto& entry : fs::directory_iterator(folder, ignored))
      if (entry.path().extension() == kExtension) names.insert(entry.path().stem().string());
  return {names.begin(), names.end()};
}

}  // namespace kintsugi::configs
