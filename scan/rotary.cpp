#include <rill/core/check.h>
#include <rill/core/recorder.h>
#include <rill/scan/matrix_ops.h>
#include <rill/scan/rotary.h>

#include <cmath>

namespace rill {
namespace {

constexpr const char* kName = "rotary";

struct Rotation {
  Sequence sequence;
  Tensor theta, position;
  std::int64_t heads = 0;
  RotaryPlanes planes = RotaryPlanes::kHalves;

  Tensor turn(Exec& exec, const Tensor& x, bool inverse) const {
    const Tensor y = exec.empty(x.shape());
    enqueue(exec, scan_kernels(exec).rotary,
            {.sequence = sequence.args(),
             .x = x.raw(),
             .theta = theta.data<double>(),
             .position = position.data<std::int64_t>(),
             .y = y.raw(),
             .heads = heads,
             .keys = x.size(-1) / heads,
             .pairs = planes == RotaryPlanes::kPairs ? 1 : 0,
             .inverse = inverse ? 1 : 0},
            kName);
    return y;
  }
};

// Turns x; the gradient is turned back.
Tensor turned(Exec& exec, const Rotation& rotation, const Tensor& x) {
  const Tensor y = rotation.turn(exec, x, false);
  if (tracked(exec, x))
    exec.tape()->record({y}, [=](Exec& ex, Gradients& gradients) {
      gradients.add(ex, x, rotation.turn(ex, gradients.find(y), true));
    });
  return y;
}

}  // namespace

Tensor rotary_frequencies(std::int64_t keys, double base, bool inclusive) {
  const std::int64_t planes = keys / 2;
  const Tensor theta = Tensor::empty({planes}, DType::kFloat64);
  for (std::int64_t i = 0; i < planes; ++i) {
    const double last = static_cast<double>(std::max<std::int64_t>(planes - 1, 1));
    const double exponent = inclusive ? static_cast<double>(i) / last
                                      : 2.0 * static_cast<double>(i) / static_cast<double>(keys);
    theta.data<double>()[i] = std::pow(base, -exponent);
  }
  return theta;
}

std::pair<Tensor, Tensor> rotary(Exec& exec, const Tensor& q, const Tensor& k, const Tensor& theta,
                                 Tensor& position, const Sequence& sequence, std::int64_t heads,
                                 RotaryPlanes planes) {
  check_heads(exec, kName, q, k, q, sequence, heads);
  const Shape planes_shape{q.size(-1) / heads / 2};
  check(theta.defined() && theta.dtype() == DType::kFloat64 && theta.shape() == planes_shape,
        ErrorCode::kShape, "{}: theta of shape {} in float64 was expected.", kName,
        to_string(planes_shape));
  check(position.defined() && position.dtype() == DType::kInt64 &&
            position.shape() == Shape({sequence.rows(), 1}),
        ErrorCode::kShape, "{}: a position of shape {} in int64 was expected.", kName,
        to_string(Shape({sequence.rows(), 1})));
  if (exec.recorder()) exec.recorder()->own(theta);  // a stepper may outlive the layer
  const Rotation rotation{sequence, theta, position, heads, planes};
  const Tensor turned_q = turned(exec, rotation, q);
  const Tensor turned_k = turned(exec, rotation, k);
  const Tensor behind = final_field(exec, position);
  enqueue(exec, scan_kernels(exec).advance,
          {.sequence = sequence.args(),
           .position = position.data<std::int64_t>(),
           .final_position = behind.data<std::int64_t>()},
          kName);
  position = behind;
  return {turned_q, turned_k};
}

}  // namespace rill
