#include <rill/core/cpu/elementwise_plain-inl.h>
#include <rill/core/cpu/loss_plain-inl.h>
#include <rill/core/cpu/norm_plain-inl.h>

namespace rill::cpu {

template <class T>
void add_plain(CoreKernels& table) {
  table.unary = plain::unary<T>;
  table.unary_backward = plain::unary_backward<T>;
  table.gated = plain::gated<T>;
  table.gated_backward = plain::gated_backward<T>;
  table.binary = plain::binary<T>;
  table.affine = plain::affine<T>;
  table.column_sum = plain::column_sum<T>;
  table.add_rows = plain::add_rows<T>;
  table.norm = plain::norm<T>;
  table.norm_backward = plain::norm_backward<T>;
  table.cross_entropy = plain::cross_entropy<T>;
  table.cross_entropy_backward = plain::cross_entropy_backward<T>;
  table.sum = plain::sum<T>;
  table.squared_error_backward = plain::squared_error_backward<T>;
}

template void add_plain<float>(CoreKernels&);
template void add_plain<double>(CoreKernels&);

}  // namespace rill::cpu
