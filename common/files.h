// Whole files in and out. Writing is atomic: a reader sees the old file or the new one, never a part.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace kintsugi::common {

// The whole file. Throws InputError naming the path if it cannot be read.
std::string read_file(const std::filesystem::path& path);

// As read_file, and decompressed if it is gzip (by its magic number, whatever its name). Throws InputError
// for a damaged or truncated stream.
std::string read_file_maybe_gzip(const std::filesystem::path& path);

// gzip without name or time stamp: the same bytes in give the same bytes out.
std::string gzip(std::string_view bytes);

// Writes to a temporary name beside `path`, fsyncs, renames, fsyncs the folder. Creates missing parent
// folders. Two writers of the same path are harmless. Throws InputError (read-only folder, disk full).
void write_file_atomic(const std::filesystem::path& path, std::string_view bytes);

// The same for one of many files: without fsync, so that a power failure may take its contents until
// sync_files() has been called for a folder of its file system.
void write_file_unsynced(const std::filesystem::path& path, std::string_view bytes);
void sync_files(const std::filesystem::path& folder);

// A temporary file of write_file_atomic() whose writer was killed: a process of this machine that is no more,
// or of any machine an hour ago.
bool is_abandoned_temporary(const std::filesystem::path& path);

// Of this machine.
std::string host_name();
// Of this machine, and still running: not one that is dead and only waits for its parent to notice.
bool process_runs(std::int64_t pid);

}  // namespace kintsugi::common
