// Private: argument checks that throw Error with a formatted sentence.
#pragma once

#include <fmt/core.h>

#include <rill/core/error.h>

namespace rill {

/// Throws Error(code, sentence) built from a format string.
template <class... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// Throws Error(code, sentence) unless `ok`. The sentence names the op, the argument, what was
/// expected, what came.
template <class... Args>
void check(bool ok, ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) [[unlikely]]
    fail(code, format, std::forward<Args>(args)...);
}

}  // namespace rill
