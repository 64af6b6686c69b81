// The one file that compiles fmt (header-only, so that an installed Rill needs no library for it).
#define FMT_HEADER_ONLY
#include <fmt/core.h>
#include <rill/core/check.h>
#include <rill/core/format.h>

namespace rill {

std::string format_arguments(fmt::string_view format, fmt::format_args args) {
  return fmt::vformat(format, args);
}

void fail_with(ErrorCode code, fmt::string_view format, fmt::format_args args) {
  throw Error(code, fmt::vformat(format, args));
}

}  // namespace rill
