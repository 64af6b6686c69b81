// Private: argument checks that throw Error with a formatted sentence.
#pragma once

#include <rill/core/error.h>
#include <rill/core/format.h>

namespace rill {

[[noreturn]] void fail_with(ErrorCode code, fmt::string_view format, fmt::format_args args);

/// Throws Error(code, sentence) built from a format string.
template <class... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  fail_with(code, format, fmt::make_format_args(args...));
}

/// Throws Error(code, sentence) unless `ok`. The sentence names the op, the argument, what was
/// expected, what came.
template <class... Args>
void check(bool ok, ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) [[unlikely]]
    fail_with(code, format, fmt::make_format_args(args...));
}

}  // namespace rill
