// Files that take time to decompress, decompressed once: a copy is kept in the user's cache folder and mapped
// into memory from then on.
//
// The folder is $XDG_CACHE_HOME/kintsugi, or ~/.cache/kintsugi. A copy belongs to one path and is used only
// as long as the file there has the size and time of change that it had, and while the copy's own fingerprint
// is right. It is never needed: where it is missing, damaged or cannot be written, the file is decompressed.
#pragma once

#include <filesystem>

#include "workloads/pixels.h"

namespace kintsugi::workloads {

// The bytes of a file, decompressed if it is gzip; mapped where possible. Throws common::InputError for files
// that cannot be read or are damaged.
Pixels decoded_file(const std::filesystem::path& file);

// Where copies are kept; empty if the environment names no place.
std::filesystem::path cache_folder();

}  // namespace kintsugi::workloads
