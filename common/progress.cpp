#include "common/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace kintsugi::common {

using Clock = std::chrono::steady_clock;

Progress::Progress(std::string label, std::int64_t total, bool quiet)
    : label_(std::move(label)),
      total_(std::max<std::int64_t>(total, 1)),
      quiet_(quiet),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      last_(start_) {}

Progress::~Progress() {
  if (!quiet_ && printed_ && terminal_) std::fputc('\n', stderr);
}

void Progress::set(std::int64_t done, const std::string& note) {
  done_ = done;
  note_ = note;
  if (quiet_) return;
  const auto now = Clock::now();
  const bool last = done_ >= total_;
  const auto wait = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(5000);
  if (!last && now - last_ < wait) return;
  last_ = now;
  print(last);
}

void Progress::print(bool last) {
  printed_ = true;
  const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
  const double left =
      done_ > 0 ? elapsed * static_cast<double>(total_ - done_) / static_cast<double>(done_) : 0;
  const std::string time = last ? fmt::format("{:.0f} s", elapsed) : fmt::format("{:.0f} s left", left);
  const std::string note = note_.empty() ? "" : "  " + note_;
  if (terminal_) {
    constexpr int kWidth = 30;
    const int filled = static_cast<int>(std::min(done_, total_) * kWidth / total_);
    fmt::print(stderr, "\r{} [{}{}] {}/{}  {}{}\x1b[K", label_, std::string(filled, '#'),
               std::string(kWidth - filled, '.'), done_, total_, time, note);
  } else {
    fmt::print(stderr, "{}: {}/{}  {}{}\n", label_, done_, total_, time, note);
  }
  std::fflush(stderr);
}

}  // namespace kintsugi::common
