// The program `laws-device`: the CUDA kernels, in the execution model that runs them without a GPU.
#include "law.h"

#include <rill/core/cuda/model/stand_in.h>

namespace rill::laws {

bool on_device_model() { return true; }
void choose_kernels() { use_device_model(); }

}  // namespace rill::laws
