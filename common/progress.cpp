#include "common/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace kintsugi::common {

using Clock = std::chrono::steady_clock;

namespace {

constexpr std::chrono::milliseconds kBarInterval{100}, kJsonInterval{1000}, kLineInterval{5000};

}  // namespace

Progress::Progress(std::string label, std::int64_t total, ProgressOutput output, std::string unit,
                   std::int64_t before)
    : label_(std::move(label)),
      total_(std::max<std::int64_t>(total, 1)),
      before_(before),
      done_(before),
      output_(output),
      unit_(std::move(unit)),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      last_(start_) {
  if (output_ == ProgressOutput::json) print(false);
}

Progress::~Progress() {
  if (output_ == ProgressOutput::people && printed_ && terminal_) std::fputc('\n', stderr);
}

void Progress::set(std::int64_t done, const std::string& note) {
  done_ = done;
  note_ = note;
  if (output_ == ProgressOutput::none) return;
  const auto now = Clock::now();
  const bool last = done_ >= total_;
  const auto wait = output_ == ProgressOutput::json ? kJsonInterval
                    : terminal_                     ? kBarInterval
                                                    : kLineInterval;
  if (!last && now - last_ < wait) return;
  last_ = now;
  print(last);
}

void Progress::print(bool last) {
  printed_ = true;
  const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
  if (output_ == ProgressOutput::json) return print_json(elapsed);
  const double units = rate(elapsed);
  const double left = units > 0 ? static_cast<double>(total_ - done_) / units : 0;
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

double Progress::rate(double elapsed) const {
  return elapsed > 0 ? static_cast<double>(done_ - before_) / elapsed : 0;
}

void Progress::print_json(double elapsed) const {
  const double units = rate(elapsed);
  const auto number = [&](double value) {
    return units > 0 ? fmt::format("{:.3f}", value) : std::string("null");
  };
  fmt::print(
      stderr,
      "{{\"phase\":\"{}\",\"done\":{},\"total\":{},\"unit\":\"{}\",\"rate\":{},\"seconds_left\":{}}}\n",
      label_, done_, total_, unit_, number(units),
      number(units > 0 ? static_cast<double>(total_ - done_) / units : 0));
  std::fflush(stderr);
}

}  // namespace kintsugi::common
