#include "sim/waveform.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <sstream>
#include <system_error>
#include <utility>

#include "common/diagnostics.h"
#include "common/text.h"

namespace kintsugi::sim {
namespace {

using common::InputError;

constexpr std::int64_t kDefaultPes = 8;
constexpr std::int64_t kDefaultCycles = 100'000;
constexpr std::int64_t kTicks = 1000;  // of a cycle

const std::vector<std::string> kSignalNames = {"valid", "activation", "weight", "psum"};
const std::vector<std::string> kKeys = {"row", "col", "cycle", "show"};

[[noreturn]] void refuse(const std::string& message) {
  throw InputError(fmt::format("--trace-signals: error: {}", message));
}

WaveformRange read_range(const std::string& key, const std::string& text, std::int64_t limit) {
  const auto dash = text.find('-');
  const auto first = common::parse_integer(text.substr(0, dash));
  const auto last = dash == std::string::npos ? first : common::parse_integer(text.substr(dash + 1));
  if (!first || !last || *first < 0 || *last < *first)
    refuse(fmt::format("{0} must be a number or a range like {0}=0-3, but is '{1}'", key, text));
  if (*last >= limit) refuse(fmt::format("{0}={1}: the array has {0}s 0 to {2}", key, text, limit - 1));
  return {*first, *last};
}

std::array<bool, kWaveformSignals> read_shown(const std::string& text) {
  std::array<bool, kWaveformSignals> shown{};
  std::istringstream words(text);
  bool any = false;
  for (std::string word; std::getline(words, word, ',');) {
    int found = -1;
    for (int i = 0; i < kWaveformSignals; ++i)
      if (word == kSignalNames[i]) found = i;
    if (found < 0)
      refuse(fmt::format("there is no signal '{}'; write show= with {}, separated by commas", word,
                         common::join_or(kSignalNames)));
    shown[found] = any = true;
  }
  if (!any) refuse(fmt::format("show= names no signal; there are {}", common::join_or(kSignalNames)));
  return shown;
}

// VCD's own names: printable characters, like a number with 94 digits.
std::string code_of(std::size_t number) {
  std::string code;
  do {
    code += static_cast<char>('!' + number % 94);
    number /= 94;
  } while (number > 0);
  return code;
}

// Two's complement; VCD extends a shorter text by zeros, so only those of positive numbers may go.
std::string bits_of(std::int64_t value) {
  const auto word = static_cast<std::uint32_t>(value);
  return fmt::format("b{:b}", word);
}

}  // namespace

WaveformRequest read_waveform_request(const std::filesystem::path& file, const std::string& signals, int rows,
                                      int cols) {
  WaveformRequest request;
  request.file = file;
  request.rows = {0, std::min<std::int64_t>(rows, kDefaultPes) - 1};
  request.cols = {0, std::min<std::int64_t>(cols, kDefaultPes) - 1};
  request.cycles = {0, kDefaultCycles - 1};
  std::map<std::string, std::string> given;
  std::istringstream words(signals);
  for (std::string word; words >> word;) {
    const auto equals = word.find('=');
    const std::string key = word.substr(0, equals);
    if (equals == std::string::npos || std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end())
      refuse(
          fmt::format("'{}' is not understood; write words like 'row=0-3 col=0-3 cycle=0-999 "
                      "show=valid,psum'",
                      word));
    if (!given.emplace(key, word.substr(equals + 1)).second)
      refuse(fmt::format("{}= is given more than once; give it once", key));
  }
  constexpr std::int64_t kAnyCycle = std::int64_t{1} << 50;
  for (const auto& [key, value] : given) {
    if (key == "row") request.rows = read_range(key, value, rows);
    if (key == "col") request.cols = read_range(key, value, cols);
    if (key == "cycle") request.cycles = read_range(key, value, kAnyCycle);
    if (key == "show") request.shown = read_shown(value);
  }
  return request;
}

WaveformWriter::WaveformWriter(WaveformRequest request) : request_(std::move(request)) {
  temporary_ = request_.file;
  temporary_ += fmt::format(".tmp-{}", ::getpid());
  file_ = std::fopen(temporary_.c_str(), "wb");
  if (file_ == nullptr)
    throw InputError({request_.file.string()},
                     fmt::format("cannot be written: {}; choose another place for --trace",
                                 std::generic_category().message(errno)));
  write_header();
}

WaveformWriter::~WaveformWriter() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

void WaveformWriter::put(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), file_) != text.size()) failed_ = true;
}

void WaveformWriter::write_header() {
  std::size_t number = 0;
  std::string text =
      "$comment Kintsugi: 1 ns of this file is one cycle of the chip $end\n$timescale 1 ps $end\n"
      "$scope module array $end\n";
  const auto declare = [&](const std::string& name, bool scalar) {
    Variable variable{code_of(number++), "", scalar};
    text += scalar ? fmt::format("$var wire 1 {} {} $end\n", variable.code, name)
                   : fmt::format("$var integer 32 {} {} $end\n", variable.code, name);
    return variable;
  };
  clock_ = declare("clock", true);
  cycle_ = declare("cycle", false);
  job_ = declare("job", false);
  for (std::int64_t r = request_.rows.first; r <= request_.rows.last; ++r) {
    text += fmt::format("$scope module row_{} $end\n", r);
    for (std::int64_t c = request_.cols.first; c <= request_.cols.last; ++c) {
      text += fmt::format("$scope module pe_{}_{} $end\n", r, c);
      for (int i = 0; i < kWaveformSignals; ++i)
        if (request_.shown[i])
          variables_.push_back(declare(kSignalNames[i], i == static_cast<int>(WaveformSignal::valid)));
      text += "$upscope $end\n";
    }
    text += "$upscope $end\n";
  }
  put(text + "$upscope $end\n$enddefinitions $end\n");
}

void WaveformWriter::set(Variable& variable, const std::string& value) {
  if (variable.last == value) return;
  variable.last = value;
  changes_ += variable.scalar ? value + variable.code + "\n" : value + " " + variable.code + "\n";
}

void WaveformWriter::begin_time(std::int64_t time) {
  changes_ = fmt::format("#{}\n", time);
}

void WaveformWriter::sample(const array::ClockedArray& array, std::int64_t cycle) {
  if (cycle == 0) {
    before_ = now_;
    if (++jobs_ > 1) return;  // this moment has been shown: it is the end of the job before
  }
  now_ = before_ + cycle;
  if (!request_.cycles.contains(now_)) return;

  begin_time(now_ * kTicks);
  if (!begun_) changes_ += "$dumpvars\n";
  // No edge has led to cycle 0.
  set(clock_, now_ == 0 ? "0" : "1");
  set(cycle_, bits_of(now_));
  set(job_, bits_of(jobs_ - 1));
  std::size_t next = 0;
  for (std::int64_t r = request_.rows.first; r <= request_.rows.last; ++r) {
    for (std::int64_t c = request_.cols.first; c <= request_.cols.last; ++c) {
      const array::PeRegisters found = array.registers(static_cast<int>(r), static_cast<int>(c));
      const auto show = [&](WaveformSignal signal, auto value) {
        if (request_.shown[static_cast<int>(signal)]) set(variables_[next++], value());
      };
      show(WaveformSignal::valid, [&] { return std::string(found.valid ? "1" : "0"); });
      show(WaveformSignal::activation, [&] { return found.valid ? bits_of(found.activation) : "bx"; });
      show(WaveformSignal::weight, [&] { return bits_of(found.weight); });
      show(WaveformSignal::psum, [&] { return found.valid ? bits_of(found.psum) : "bx"; });
    }
  }
  if (!begun_) changes_ += "$end\n";
  begun_ = true;
  put(changes_);
  if (now_ > 0) {
    begin_time(now_ * kTicks + kTicks / 2);
    set(clock_, "0");
    put(changes_);
  }
}

std::int64_t WaveformWriter::finish() {
  // So that viewers show the last values for a whole cycle.
  if (begun_) put(fmt::format("#{}\n", (std::min(now_, request_.cycles.last) + 1) * kTicks));
  failed_ |= std::fflush(file_) != 0 || ::fsync(::fileno(file_)) != 0;
  failed_ |= std::fclose(std::exchange(file_, nullptr)) != 0;
  std::error_code code;
  if (!failed_) std::filesystem::rename(temporary_, request_.file, code);
  if (failed_ || code) {
    std::error_code ignored;
    std::filesystem::remove(temporary_, ignored);
    throw InputError({request_.file.string()},
                     "the waveform cannot be written (is the disk full?); choose another place for --trace, "
                     "or fewer signals or cycles");
  }
  return now_;
}

}  // namespace kintsugi::sim
