// Element-wise CUDA kernels, in the execution model, at their edges; over sizes they are under the
// laws.
#include "device_support.h"

#include <rill/core/cuda/launch.h>
#include <rill/tests/support/saturated_slopes.h>

using namespace rill;
using namespace rill::device_test;

TEMPLATE_TEST_CASE("device derivatives of activations keep their limits", "", float, double) {
  test::check_saturated_slopes<TestType>(
      [](const UnaryArgs& args) { launched(launch_unary<TestType>(args, {})); },
      [](const UnaryBackwardArgs& args) { launched(launch_unary_backward<TestType>(args, {})); });
}
