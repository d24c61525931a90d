// Where the timing files of processing elements that come with Kintsugi are.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kintsugi::configs {

// Folders in the order in which they are searched: $KINTSUGI_PES if it is set, configs/pes beside the program
// or up to three folders above it, and the folder of the sources that the program was built from.
std::vector<std::filesystem::path> shipped_pe_folders();

// Whether a text stands for a shipped file: a bare name, without a folder and without an extension.
bool is_shipped_pe_name(const std::string& text);

// The file `name`.pe in the first folder that has it; empty if none has.
std::filesystem::path find_shipped_pe(const std::string& name);

// Names of all shipped files that are found, sorted.
std::vector<std::string> shipped_pe_names();

}  // namespace kintsugi::configs
