#include "sim/folder_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>
#include <vector>

#include "common/diagnostics.h"
#include "common/files.h"

namespace kintsugi::sim {
namespace {

namespace fs = std::filesystem;
using common::InputError;

fs::path lock_file(const fs::path& root) {
  return root / ".lock";
}

LockHolder read_holder(const fs::path& root) {
  LockHolder holder;
  std::ifstream file(lock_file(root));
  file >> holder.pid >> holder.host;
  return holder;
}

// The kernel's list of locks names the process that took each one.
bool holds(pid_t pid, const fs::path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return false;
  const std::string inode = fmt::format(":{}", status.st_ino);
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    // "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF"
    std::istringstream words(line);
    std::string number, kind, mode, access, place;
    pid_t owner = 0;
    if (words >> number >> kind >> mode >> access >> owner >> place && kind == "FLOCK" && owner == pid &&
        place.ends_with(inode))
      return true;
  }
  return false;
}

void clear_leftovers(const fs::path& root) {
  std::error_code code;
  std::vector<fs::path> leftovers;
  for (fs::recursive_directory_iterator it(root, code), end; !code && it != end; it.increment(code)) {
    const fs::path& path = it->path();
    if (common::is_abandoned_temporary(path)) leftovers.push_back(path);
    if (path.extension() != ".checkpoint") continue;
    for (const char* result : {".csv", ".safetensors"})
      if (fs::exists(fs::path(path).replace_extension(result))) leftovers.push_back(path);
  }
  for (const fs::path& leftover : leftovers) fs::remove(leftover, code);
}

}  // namespace

FolderLock::FolderLock(const fs::path& root) : root_(root) {
  std::error_code code;
  fs::create_directories(root, code);
  if (code)
    throw InputError({root.string()},
                     fmt::format("cannot create the folder: {}; choose another --out", code.message()));
  const fs::path path = lock_file(root);
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file_ < 0)
    throw InputError(
        {path.string()},
        fmt::format("cannot write in the campaign's folder: {}; make it writable, or choose another "
                    "--out. Nothing was changed",
                    std::generic_category().message(errno)));
  if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
    ::close(file_);
    const LockHolder holder = read_holder(root);
    throw InputError(
        {root.string()},
        fmt::format(
            "another kintsugi process is at work in this folder{}; wait for it ('kintsugi "
            "campaign status' shows how far it is), stop it ('kintsugi campaign cancel'), or "
            "choose another --out",
            holder.pid > 0 ? fmt::format(" (process {} on {})", holder.pid, holder.host) : std::string()));
  }
  // Only `campaign cancel` and messages read it: a full disk must not stop anything here.
  const std::string text = fmt::format("{} {}\n", ::getpid(), common::host_name());
  if (::ftruncate(file_, 0) == 0) [[maybe_unused]]
    const ssize_t written = ::write(file_, text.data(), text.size());
  clear_leftovers(root);
}

FolderLock::~FolderLock() {
  clear_leftovers(root_);  // of workers that were still dying at the beginning
  ::close(file_);
}

std::optional<LockHolder> lock_holder(const fs::path& root) {
  const int file = ::open(lock_file(root).c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  const bool free = ::flock(file, LOCK_SH | LOCK_NB) == 0;
  ::close(file);
  if (free) return std::nullopt;
  LockHolder holder = read_holder(root);
  holder.verified =
      holder.pid > 0 && holder.host == common::host_name() && holds(holder.pid, lock_file(root));
  return holder;
}

}  // namespace kintsugi::sim
