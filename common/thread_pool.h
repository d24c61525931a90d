// A fixed set of threads that share out the indices of a loop.
//
// Which thread runs which index is not fixed, so the body must write only to places that belong to its index;
// anything summed over indices is summed afterwards, in index order, by the caller. Every pool thread (and
// the thread that builds the pool) runs OpenMP libraries with one thread, so that their results do not depend
// on the machine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace kintsugi::common {

class ThreadPool {
 public:
  // `threads` ≥ 1 counts the calling thread, which works too.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // body(i) for i in 0 … n−1, each once; returns when all are done. The first exception thrown by a body is
  // rethrown here after the others finished. Not reentrant.
  void parallel_for(std::int64_t n, const std::function<void(std::int64_t)>& body);

 private:
  struct Shared;
  int threads_;
  std::unique_ptr<Shared> shared_;
};

}  // namespace kintsugi::common
