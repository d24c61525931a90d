// The free-form `meta:` block of a map file as the text it was written as. Private to the YAML reader and
// writer.
#pragma once

#include <string>

#include "common/diagnostics.h"

namespace kintsugi::faults {

// `where`: the start of meta's value in `source`. A block mapping is returned without its indentation, every
// line ended by a line break, comments included; a flow mapping ({…}) as it stands.
std::string meta_text(const std::string& source, const common::Location& where);

// "  meta:\n    lot: …\n" or "  meta: {…}\n"; "" for no meta.
std::string meta_block(const std::string& meta);

}  // namespace kintsugi::faults
