// The recurrent cells' kernels in half.
#include <rill/rnn/cuda/cell_launch.h>

namespace rill {

RILL_INSTANTIATE_CELLS(Half)

}  // namespace rill
