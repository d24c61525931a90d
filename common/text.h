// Strict numbers in, shortest exact numbers out, and the nearest known word for a mistyped one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace kintsugi::common {

// Decimal integer with an optional minus sign. Refuses leading zeros ("010"), plus signs, blanks, and values
// out of range.
std::optional<std::int64_t> parse_integer(std::string_view text);

// Decimal real ("0.5", "1e-3"). Refuses leading zeros, plus signs, blanks, hexadecimal, inf, nan, and values
// that overflow ("1e400").
std::optional<double> parse_real(std::string_view text);

// "true" or "false", nothing else.
std::optional<bool> parse_boolean(std::string_view text);

// The candidate with the least edit distance to `word`, if it is close enough to be a likely slip
// (at most a third of the word's length, at least 1).
std::optional<std::string> nearest(std::string_view word, std::span<const std::string> candidates);

// Shortest decimal text that reads back as the same double; integers without a point.
std::string format_number(double value);

// A fraction as people read it: 0.9731 -> "97.31 %".
std::string format_percent(double fraction);

// A string as YAML text: yaml_scalar is plain where that reads back as the same string, and double-quoted
// otherwise; yaml_quoted is always double-quoted.
std::string yaml_scalar(std::string_view text);
std::string yaml_quoted(std::string_view text);

// 'a', 'b' or 'c'  ->  "a, b or c".
std::string join_or(std::span<const std::string> words);

// The words with `separator` between them.
std::string join(std::span<const std::string> words, std::string_view separator = ", ");

}  // namespace kintsugi::common
