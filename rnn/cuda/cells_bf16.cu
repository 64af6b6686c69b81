// The recurrent cells' kernels in bfloat16.
#include <rill/rnn/cuda/cell_launch.h>

namespace rill {

RILL_INSTANTIATE_CELLS(BFloat16)

}  // namespace rill
