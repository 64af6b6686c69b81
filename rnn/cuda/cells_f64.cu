// The recurrent cells' kernels in double, the oracle: compiled in the execution model alone.
#include <rill/rnn/cuda/cell_launch.h>

namespace rill {

RILL_INSTANTIATE_CELLS(double)

}  // namespace rill
