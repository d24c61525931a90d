// Keeps a campaign's folder to one coordinator.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>

namespace kintsugi::sim {

// Holds the folder against a second coordinator for as long as it lives, and clears away what killed
// processes left: temporary files, and checkpoints of tasks that are done. A lock whose holder was killed is
// no lock. Throws common::InputError if another process is at work there or the folder cannot be written.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& root);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  std::filesystem::path root_;
  int file_ = -1;
};

struct LockHolder {
  std::string host;
  pid_t pid = 0;
  // It is a process of this machine and has the lock at this moment; false also where that cannot be seen.
  bool verified = false;
};

// Who holds the folder's lock now, if anyone does.
std::optional<LockHolder> lock_holder(const std::filesystem::path& root);

}  // namespace kintsugi::sim
