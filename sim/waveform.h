// Waveforms of a clocked array as VCD files, for any viewer: `kintsugi run --trace`.
//
// Time is counted in cycles of the chip: at 1000·n of the file's picoseconds, which viewers show as n ns,
// stands what registers hold after the n-th clock edge. The same text comes from both clocked fidelities if
// they hold the same; docs/timing.md says what the signals are.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "array/clocked_array.h"

namespace kintsugi::sim {

// Inclusive.
struct WaveformRange {
  std::int64_t first = 0;
  std::int64_t last = 0;
  std::int64_t count() const { return last - first + 1; }
  bool contains(std::int64_t value) const { return first <= value && value <= last; }
};

enum class WaveformSignal { valid, activation, weight, psum };
inline constexpr int kWaveformSignals = 4;

struct WaveformRequest {
  std::filesystem::path file;
  WaveformRange rows, cols;
  WaveformRange cycles;
  std::array<bool, kWaveformSignals> shown{true, true, true, true};  // by WaveformSignal
};

// `signals` is what --trace-signals says: words like "row=0-3 col=2 cycle=0-999 show=valid,psum", each at
// most once; "" chooses nothing. What is not chosen is limited: rows and columns 0 to 7, cycles 0 to 99,999.
// Throws common::InputError for anything else, and for PEs outside rows × cols.
WaveformRequest read_waveform_request(const std::filesystem::path& file, const std::string& signals, int rows,
                                      int cols);

class WaveformWriter {
 public:
  // Opens a temporary file beside the requested one; throws common::InputError if that cannot be done.
  explicit WaveformWriter(WaveformRequest request);
  // Without finish(), nothing is left behind.
  ~WaveformWriter();
  WaveformWriter(const WaveformWriter&) = delete;
  WaveformWriter& operator=(const WaveformWriter&) = delete;

  // See array::ArrayTarget::observe: `cycle` counts from the start of each job; jobs follow each other
  // without a gap, whatever time passes between them.
  void sample(const array::ClockedArray& array, std::int64_t cycle);
  // Ends the waveform and gives the file its name. Returns how many cycles were observed, written or not.
  // Throws common::InputError if the file could not be written.
  std::int64_t finish();

 private:
  struct Variable {
    std::string code;  // the file's name for it
    std::string last;  // as written
    bool scalar = false;
  };

  void write_header();
  void set(Variable& variable, const std::string& value);
  void begin_time(std::int64_t time);
  void put(const std::string& text);

  WaveformRequest request_;
  std::filesystem::path temporary_;
  std::FILE* file_ = nullptr;
  bool failed_ = false;
  Variable clock_, cycle_, job_;
  std::vector<Variable> variables_;  // PE by PE, only those shown
  std::string changes_;              // of the time being written
  std::int64_t jobs_ = 0, before_ = 0, now_ = 0;
  bool begun_ = false;
};

}  // namespace kintsugi::sim
