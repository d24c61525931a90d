#include "common/thread_pool.h"

#include <omp.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace kintsugi::common {

struct ThreadPool::Shared {
  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable finished;
  std::uint64_t generation = 0;
  int busy = 0;
  bool stop = false;
  std::int64_t count = 0;
  const std::function<void(std::int64_t)>* body = nullptr;
  std::atomic<std::int64_t> next{0};
  std::exception_ptr error;
  std::vector<std::thread> workers;

  void drain() {
    for (;;) {
      const std::int64_t i = next.fetch_add(1);
      if (i >= count) return;
      try {
        (*body)(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
      }
    }
  }

  void work() {
    omp_set_num_threads(1);
    std::uint64_t seen = 0;
    std::unique_lock lock(mutex);
    for (;;) {
      wake.wait(lock, [&] { return stop || generation != seen; });
      if (stop) return;
      seen = generation;
      lock.unlock();
      drain();
      lock.lock();
      if (--busy == 0) finished.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int threads)
    : threads_(threads < 1 ? 1 : threads), shared_(std::make_unique<Shared>()) {
  omp_set_num_threads(1);
  for (int i = 1; i < threads_; ++i) shared_->workers.emplace_back([this] { shared_->work(); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
  }
  shared_->wake.notify_all();
  for (std::thread& worker : shared_->workers) worker.join();
}

void ThreadPool::parallel_for(std::int64_t n, const std::function<void(std::int64_t)>& body) {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->count = n;
    shared_->body = &body;
    shared_->next = 0;
    shared_->error = nullptr;
    shared_->busy = static_cast<int>(shared_->workers.size());
    ++shared_->generation;
  }
  shared_->wake.notify_all();
  shared_->drain();
  std::unique_lock lock(shared_->mutex);
  shared_->finished.wait(lock, [&] { return shared_->busy == 0; });
  if (shared_->error) std::rethrow_exception(shared_->error);
}

}  // namespace kintsugi::common
