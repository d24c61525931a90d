// SHA-256, as 64 lower-case hexadecimal digits.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace kintsugi::common {

std::string sha256(std::string_view bytes);
// Throws InputError if the file cannot be read.
std::string sha256_file(const std::filesystem::path& path);

}  // namespace kintsugi::common
