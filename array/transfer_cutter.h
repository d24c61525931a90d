// Cuts a request's runs into transfers: full at `transfer_bytes`, and ended where a run crosses an address
// that is a multiple of it, so that whole bursts are not torn apart.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "memory/transfer.h"

namespace kintsugi::array {

class TransferCutter {
 public:
  TransferCutter(std::vector<memory::Run> runs, std::int64_t transfer_bytes)
      : runs_(std::move(runs)), transfer_bytes_(transfer_bytes) {}

  bool empty() const { return at_ == runs_.size(); }

  // The next runs and their bytes; not when empty.
  void next(memory::Transfer& transfer) {
    while (!empty() && transfer.bytes < transfer_bytes_) {
      memory::Run& run = runs_[at_];
      const auto to_boundary =
          transfer_bytes_ - static_cast<std::int64_t>(run.dram % static_cast<std::uint64_t>(transfer_bytes_));
      const std::int64_t bytes = std::min({run.bytes, transfer_bytes_ - transfer.bytes, to_boundary});
      transfer.runs.push_back({run.dram, run.chip, bytes});
      transfer.bytes += bytes;
      if (bytes == run.bytes) {
        ++at_;
        continue;
      }
      run.dram += static_cast<std::uint64_t>(bytes);
      run.chip += static_cast<std::uint64_t>(bytes);
      run.bytes -= bytes;
      return;
    }
  }

 private:
  std::vector<memory::Run> runs_;
  std::int64_t transfer_bytes_;
  std::size_t at_ = 0;
};

}  // namespace kintsugi::array
