// What the prepared layers of the functional engine share: the chip, the threads, and working memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "array/fault_plan.h"
#include "array/isa.h"
#include "common/thread_pool.h"
#include "configs/chip.h"

namespace kintsugi::array {

class ChainCodes;

struct LayerContext {
  configs::ArrayConfig array;
  configs::ConvolutionMapping mapping = configs::ConvolutionMapping::im2col;
  common::ThreadPool* pool = nullptr;
  Isa isa = Isa::portable;
  FaultPlan plan;
  std::shared_ptr<ChainCodes> chain_codes;  // of this plan

  int threads() const { return pool != nullptr ? pool->threads() : 1; }
  void for_each(std::int64_t n, const std::function<void(std::int64_t)>& body) const {
    if (threads() > 1 && n > 1) {
      pool->parallel_for(n, body);
    } else {
      for (std::int64_t i = 0; i < n; ++i) body(i);
    }
  }
};

// Working memory, one per thread at a time, kept between launches.
template <class Scratch>
class ScratchPool {
 public:
  template <class Body>
  void with(const Body& body) {
    std::unique_ptr<Scratch> scratch = take();
    body(*scratch);
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(scratch));
  }

 private:
  std::unique_ptr<Scratch> take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<Scratch>();
    std::unique_ptr<Scratch> scratch = std::move(idle_.back());
    idle_.pop_back();
    return scratch;
  }
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> idle_;
};

}  // namespace kintsugi::array
