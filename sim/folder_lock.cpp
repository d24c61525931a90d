#include "sim/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <vector>

#include "common/diagnostics.h"

namespace kintsugi::sim {

using common::InputError;

FolderLock::FolderLock(const std::filesystem::path& root) {
  std::error_code code;
  std::filesystem::create_directories(root, code);
  if (code) throw InputError({root.string()}, "cannot create the folder: " + code.message());
  const std::filesystem::path path = root / ".lock";
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file_ < 0) throw InputError({path.string()}, "cannot open: " + std::generic_category().message(errno));
  if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
    ::close(file_);
    throw InputError(
        {root.string()},
        "another kintsugi process is at work in this folder; wait for it, or choose another --out");
  }
  std::vector<std::filesystem::path> leftovers;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root, code)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with('.') && name.ends_with(".tmp")) leftovers.push_back(entry.path());
  }
  for (const auto& leftover : leftovers) std::filesystem::remove(leftover, code);
}

FolderLock::~FolderLock() {
  ::close(file_);
}

}  // namespace kintsugi::sim
