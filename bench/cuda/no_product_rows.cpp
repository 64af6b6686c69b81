// A build without cuBLASLt measures no product rate.
#include <rill/bench/cuda/bench_run.h>

namespace rill::bench {

void product_rows(Run&) {}

}  // namespace rill::bench
