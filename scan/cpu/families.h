// Private: each family of CPU kernels fills its entries of both tables. One line a family here and
// in scan_table.cpp.
#pragma once

#include <rill/scan/kernels.h>

namespace rill {}  // namespace rill
