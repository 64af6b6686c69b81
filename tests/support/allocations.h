// Counts calls of the allocator (operator new, malloc family) on the calling thread. Link
// allocations.cpp.
#pragma once

#include <cstdint>

namespace rill::test {

/// Allocations of this thread since it began.
std::int64_t allocation_count() noexcept;

}  // namespace rill::test
