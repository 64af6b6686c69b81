// The library's version.
#pragma once

namespace rill {

/// "MAJOR.MINOR.PATCH", a C string.
const char* version() noexcept;

}  // namespace rill
