#include "workloads/decoded_cache.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include "array/content_hash.h"
#include "common/diagnostics.h"
#include "common/files.h"
#include "common/sha256.h"

namespace kintsugi::workloads {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kHeader = 4096;            // one page, so that what follows begins one
constexpr std::size_t kWorthwhile = 256 * 1024;  // bytes: smaller ones are decompressed as fast as looked up

bool is_gzip(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  char magic[2] = {};
  in.read(magic, 2);
  return in.gcount() == 2 && magic[0] == '\x1f' && magic[1] == '\x8b';
}

// What a copy must say of its source. None if the source cannot be asked, or its path is too long.
std::optional<std::string> description(const fs::path& file) {
  struct stat status {};
  std::error_code code;
  const fs::path path = fs::canonical(file, code);
  if (code || stat(path.c_str(), &status) != 0) return std::nullopt;
  std::string text =
      fmt::format("kintsugi decompressed file 1\nsource {}\nsize {}\nchanged {}.{:09}\n", path.string(),
                  status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  if (text.size() + 128 > kHeader) return std::nullopt;
  return text;
}

std::string contents(const void* bytes, std::size_t count) {
  const array::Fingerprint mark = array::fingerprint(bytes, count);
  return fmt::format("bytes {}\nfingerprint {:016x}{:016x}\n", count, mark.high, mark.low);
}

// The copy, if there is one and it is whole and that of this file.
std::optional<Pixels> look_up(const fs::path& copy, const std::string& wanted) {
  std::error_code code;
  const std::uintmax_t size = fs::file_size(copy, code);
  if (code || size <= kHeader) return std::nullopt;
  try {
    const Pixels all = Pixels::map(copy, 0, static_cast<std::size_t>(size));
    const std::string_view header(reinterpret_cast<const char*>(all.data()), kHeader);
    if (!header.starts_with(wanted)) return std::nullopt;
    Pixels bytes = all.part(kHeader, all.size() - kHeader);
    if (!header.substr(wanted.size()).starts_with(contents(bytes.data(), bytes.size()))) return std::nullopt;
    return bytes;
  } catch (const common::InputError&) {
    return std::nullopt;
  }
}

void keep(const fs::path& copy, std::string header, std::string_view bytes) {
  header += contents(bytes.data(), bytes.size());
  header.resize(kHeader);
  header += bytes;
  try {
    common::write_file_atomic(copy, header);
  } catch (const common::InputError&) {
    // A read-only or full folder: the next run decompresses again.
  }
}

}  // namespace

fs::path cache_folder() {
  for (const auto& [variable, below] : {std::pair{"XDG_CACHE_HOME", "kintsugi"}, {"HOME", ".cache/kintsugi"}})
    if (const char* value = std::getenv(variable); value != nullptr && fs::path(value).is_absolute())
      return fs::path(value) / below;
  return {};
}

Pixels decoded_file(const fs::path& file) {
  std::error_code code;
  const std::uintmax_t size = fs::file_size(file, code);
  if (!code && size > 0 && !is_gzip(file)) return Pixels::map(file, 0, static_cast<std::size_t>(size));
  const fs::path folder = cache_folder();
  const std::optional<std::string> source = folder.empty() ? std::nullopt : description(file);
  const fs::path copy =
      source ? folder / (common::sha256(fs::canonical(file).string()) + ".bin") : fs::path{};
  if (source)
    if (std::optional<Pixels> known = look_up(copy, *source)) return *std::move(known);
  const std::string bytes = common::read_file_maybe_gzip(file);
  if (source && bytes.size() >= kWorthwhile) {
    keep(copy, *source, bytes);
    if (std::optional<Pixels> known = look_up(copy, *source)) return *std::move(known);
  }
  return std::vector<std::uint8_t>(bytes.begin(), bytes.end());
}

}  // namespace kintsugi::workloads
