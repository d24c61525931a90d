// The memory system of a chip description as a checked, immutable value. All sizes in bytes.
#pragma once

#include <cstdint>
#include <optional>

namespace kintsugi::configs {

// Open-page rows: a burst to the row that its bank holds open costs its transfer only, any other burst opens
// its row first and holds the bus for `miss_ns`. Row i of the address space lies in bank i mod banks.
struct RowBufferConfig {
  int banks = 8;                  // 1 … 1024
  std::int64_t row_bytes = 2048;  // a multiple of the burst
  double miss_ns = 30;            // precharge and activate
};

struct DramConfig {
  double bandwidth_gb_s = 34;     // 10^9 bytes per second
  double latency_ns = 0;          // from the end of a transfer on the bus to its arrival
  std::int64_t burst_bytes = 64;  // power of two; a burst that is touched is paid whole
  std::optional<RowBufferConfig> row_buffer;
};

struct DmaConfig {
  int outstanding = 8;                 // transfers issued and not yet complete, at most
  std::int64_t transfer_bytes = 4096;  // a request is issued in transfers of at most so many bytes
};

struct UnifiedBufferConfig {
  std::int64_t bytes = 24 << 20;
  std::int64_t bytes_per_cycle = 256;  // of each port: to the array, from the activation unit
};

struct AccumulatorConfig {
  std::int64_t entries = 4096;  // stream positions held, for every column
  bool double_buffer = true;    // two halves: one drains while the other fills
};

struct MemoryConfig {
  DramConfig dram;
  DmaConfig dma;
  UnifiedBufferConfig unified_buffer;
  int weight_fifo_tiles = 4;
  AccumulatorConfig accumulators;
  std::int64_t activation_unit_width = 256;  // elements per cycle
  bool layer_overlap = false;                // weights of the next layer are fetched while this one ends
};

}  // namespace kintsugi::configs
