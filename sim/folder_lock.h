// Keeps a campaign's folder to one process.
#pragma once

#include <filesystem>

namespace kintsugi::sim {

// Holds the folder against a second coordinator for as long as it lives, and clears away temporary files that
// a killed one left. Throws common::InputError if another process is at work there.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& root);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int file_ = -1;
};

}  // namespace kintsugi::sim
