// Progress of long work on standard error: a bar on a terminal, a plain line every few seconds otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace kintsugi::common {

class Progress {
 public:
  // `total` in units of work; `quiet` prints nothing.
  Progress(std::string label, std::int64_t total, bool quiet);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void set(std::int64_t done, const std::string& note = {});
  void advance(std::int64_t by = 1, const std::string& note = {}) { set(done_ + by, note); }

 private:
  void print(bool last);

  std::string label_;
  std::string note_;
  std::int64_t total_;
  std::int64_t done_ = 0;
  bool quiet_;
  bool terminal_;
  bool printed_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace kintsugi::common
