// Time spent: on the wall, and by all threads of this process on its processors.
#pragma once

#include <chrono>
#include <ctime>

namespace kintsugi::common {

struct Seconds {
  double cpu = 0;
  double wall = 0;
  Seconds& operator+=(const Seconds& other) {
    cpu += other.cpu;
    wall += other.wall;
    return *this;
  }
  friend Seconds operator-(const Seconds& a, const Seconds& b) { return {a.cpu - b.cpu, a.wall - b.wall}; }
};

// Runs from its construction.
class Stopwatch {
 public:
  Stopwatch() : start_(now()) {}
  Seconds elapsed() const { return now() - start_; }

 private:
  static Seconds now() {
    std::timespec cpu{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now().time_since_epoch();
    return {static_cast<double>(cpu.tv_sec) + 1e-9 * static_cast<double>(cpu.tv_nsec), wall.count()};
  }
  Seconds start_;
};

}  // namespace kintsugi::common
