// Progress of long work on standard error: a bar on a terminal, a plain line every few seconds otherwise, or
// one JSON object a line for programs:
//   {"phase":"retrain","done":120,"total":900,"unit":"steps","rate":31.5,"seconds_left":24.8}
// `rate` is in units a second since this process began the work; it and `seconds_left` are null until there
// is one.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

namespace kintsugi::common {

enum class ProgressOutput { people, json, none };

class Progress {
 public:
  // `total` in units of work; `before`: how many of them were done before, and say nothing about the rate.
  Progress(std::string label, std::int64_t total, ProgressOutput output, std::string unit = {},
           std::int64_t before = 0);
  // `quiet` prints nothing.
  Progress(std::string label, std::int64_t total, bool quiet)
      : Progress(std::move(label), total, quiet ? ProgressOutput::none : ProgressOutput::people) {}
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void set(std::int64_t done, const std::string& note = {});
  void advance(std::int64_t by = 1, const std::string& note = {}) { set(done_ + by, note); }

 private:
  void print(bool last);
  void print_json(double elapsed) const;
  double rate(double elapsed) const;  // units a second; 0 as long as there is none

  std::string label_;
  std::string note_;
  std::int64_t total_;
  std::int64_t before_;
  std::int64_t done_;
  ProgressOutput output_;
  std::string unit_;
  bool terminal_;
  bool printed_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace kintsugi::common
