// A whole lot of chips in one long CSV file, a line per fault, as testers write them.
//
//   chip,row,col,site,bit,stuck_at
//   A17-03,12,200,multiplier,3,1
//   A17-03,13,7,,,                  known bad, nature unknown
//   A17-04,,,,,                     tested, without a fault
// site, bit and stuck_at are optional, as columns and as cells, and so are `escape` and `wafer`, which goes
// into the map's meta; further columns are ignored. Lines of a chip need not stand together. Ten thousand
// chips fit in memory: a fault takes eight bytes until it is asked for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "faults/fault_map.h"

namespace kintsugi::faults {

struct LotFormat {
  std::string chip_column = "chip";
  std::string row_column = "row";
  std::string col_column = "col";
  std::string site_column = "site";  // optional in the file, as are all below
  std::string bit_column = "bit";
  std::string stuck_at_column = "stuck_at";
  std::string escape_column = "escape";  // true or false
  std::string wafer_column = "wafer";    // the same on all lines of a chip that give it
  int index_base = 0;                    // number of the first row and column in the file: 0 or 1
  bool transpose = false;                // the file's rows are the array's columns
  bool merge_duplicates = false;         // a fault listed twice counts once, instead of being an error
  int rows = 0;                          // of the chip's array (after transposing); required
  int cols = 0;
  int accumulator_bits = 32;
};

// The maps of many chips on arrays of one size, packed. Read from a file, or put together map by map.
class Lot {
 public:
  Lot() = default;
  Lot(int rows, int cols) : rows_(rows), cols_(cols) {}
  // Throws common::InputError with the problems of the file (the first thousand, and how many more).
  Lot(const std::filesystem::path& path, const LotFormat& format);

  // Chips in order of first appearance.
  std::size_t size() const { return ids_.size(); }
  const std::string& id(std::size_t chip) const { return ids_[chip]; }
  // The chip's map, sorted; its faults carry no location.
  FaultMap map(std::size_t chip) const;
  FaultMap operator[](std::size_t chip) const { return map(chip); }

  // Map by map, each unpacked when it is reached.
  class Iterator {
   public:
    using value_type = FaultMap;
    using difference_type = std::ptrdiff_t;
    Iterator() = default;
    Iterator(const Lot* lot, std::size_t chip) : lot_(lot), chip_(chip) {}
    FaultMap operator*() const { return lot_->map(chip_); }
    Iterator& operator++() {
      ++chip_;
      return *this;
    }
    Iterator operator++(int) { return {lot_, chip_++}; }
    friend bool operator==(const Iterator&, const Iterator&) = default;

   private:
    const Lot* lot_ = nullptr;
    std::size_t chip_ = 0;
  };
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, ids_.size()}; }

  // Adds a chip at the end. Its map must be of the lot's size (std::logic_error); locations are not kept.
  void add(const FaultMap& map);

  std::int64_t faults() const;
  std::int64_t merged_duplicates() const { return merged_; }

 private:
  struct Packed {
    std::int16_t row, col;
    std::int8_t site;  // −1: unknown nature
    std::int8_t bit;
    std::int8_t value;
    std::int8_t escape;
  };
  struct Reader;

  int rows_ = 0, cols_ = 0;
  std::vector<std::string> ids_;
  std::vector<std::string> meta_;
  std::vector<std::vector<Packed>> chips_;
  std::int64_t merged_ = 0;
};

// All chips of a lot, in order of first appearance.
std::vector<FaultMap> read_lot(const std::filesystem::path& path, const LotFormat& format);

// The same format, from maps: header line, then chip by chip; of meta only the wafer. Throws
// common::InputError for two chips of one id.
std::string lot_csv(const std::vector<FaultMap>& maps);

}  // namespace kintsugi::faults
