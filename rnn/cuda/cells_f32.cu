// The recurrent cells' kernels in float.
#include <rill/rnn/cuda/cell_launch.h>

namespace rill {

RILL_INSTANTIATE_CELLS(float)

}  // namespace rill
