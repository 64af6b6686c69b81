// Private, host code: libraries of the CUDA Toolkit that are opened when they are first needed. A
// program that is linked to Rill neither names them nor loads their hundreds of megabytes, and one
// that runs where they are not installed has everything but what needs them.
#pragma once

namespace rill {

/// The library of that file name (its version in it), by the system's search path or, where that
/// has none, from the toolkit that Rill was built with; null where neither has it. Stays open.
void* open_library(const char* file_name);

/// The function `name` of an open library; null where it has none.
void* library_function(void* library, const char* name);

}  // namespace rill
