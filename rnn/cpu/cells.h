// Private: the CPU's kernels of the recurrent cells in float vectors; cells_table.cpp lists them.
#pragma once

#include <rill/rnn/kernels.h>

namespace rill {

void pack_recurrent_f32(const PackRecurrentArgs& args, const KernelContext& context);
void lstm_f32(const RecurrentArgs& args, const KernelContext& context);
void lstm_backward_f32(const RecurrentBackwardArgs& args, const KernelContext& context);
void gru_f32(const RecurrentArgs& args, const KernelContext& context);
void gru_backward_f32(const RecurrentBackwardArgs& args, const KernelContext& context);

}  // namespace rill
