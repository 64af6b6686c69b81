// Private: text from a format string (the syntax of fmt). The formatting itself is compiled once,
// in format.cpp: fmt's header-only form would take five seconds in every file that sees it.
#pragma once

#include <fmt/core.h>

#include <cstdio>
#include <string>

namespace rill {

std::string format_arguments(fmt::string_view format, fmt::format_args args);

/// The text of `format` with `args` in its places; the format is checked while compiling.
template <class... Args>
std::string formatted(fmt::format_string<Args...> format, Args&&... args) {
  return format_arguments(format, fmt::make_format_args(args...));
}

/// Writes the same text to `stream`; the stream's error flag tells of failure.
template <class... Args>
void print_to(std::FILE* stream, fmt::format_string<Args...> format, Args&&... args) {
  const std::string text = format_arguments(format, fmt::make_format_args(args...));
  std::fwrite(text.data(), 1, text.size(), stream);
}

}  // namespace rill
