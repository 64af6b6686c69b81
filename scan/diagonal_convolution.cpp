#include <algorithm>
#include <limits>

#include <rill/core/ops.h>
#include <rill/core/scratch.h>
#include <rill/core/tape.h>
#include <rill/scan/diagonal_checks.h>
#include <rill/scan/diagonal_ssm.h>
#include <rill/scan/kernels.h>

namespace rill {
namespace {

using diagonal::expect, diagonal::expect_input, diagonal::shape_of;

void expect_modes(const Exec& exec, const char* op, const DiagonalCoefficients& k) {
  const Tensor& a = k.a;
  check(a.defined() && a.rank() == 3 && a.size(2) == 2, ErrorCode::kShape,
        "{}: a of shape [H, N, 2] was expected, {} came.", op, shape_of(a));
  expect(exec, op, "a", a, a.shape());
  expect(exec, op, "w", k.w, a.shape());
  if (!k.exact_a.defined()) return;
  check(k.exact_a.shape() == a.shape() && k.exact_a.dtype() == DType::kFloat64, ErrorCode::kShape,
        "{}: exact_a, where there is one, is float64 of shape {}; {} of shape {} came.", op,
        to_string(a.shape()), name_of(k.exact_a.dtype()), to_string(k.exact_a.shape()));
}

// Steps from which on a device kAuto takes the convolution.
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kConvolvedOnCpu = kNever;   // the recurrence needs less arithmetic
constexpr std::int64_t kConvolvedOnCuda = kNever;  // waits for a measurement on a card

const double* exact_of(const DiagonalCoefficients& k) {
  return static_cast<const double*>(k.exact_a.raw());
}

// What one call of diagonal_response holds on to for its way back.
struct Response {
  Tensor x;
  DiagonalCoefficients k;
  Tensor d, h_first, h_last, y;
  bool track_x, track_a, track_w, track_d, track_h;
};

void response_back(Exec& exec, Gradients& gradients, const Response& call,
                   const Sequence& sequence) {
  const Tensor dx = exec.empty(call.x.shape()), da = exec.empty(call.k.a.shape()),
               dw = exec.empty(call.k.w.shape());
  const Tensor dd = call.d.defined() ? exec.empty(call.d.shape()) : Tensor();
  const Tensor dh = exec.empty(call.h_first.shape());
  const ScanKernels& scan = scan_kernels(exec);
  const auto [args, scratch] =
      with_scratch(exec, scan.diagonal_response_backward_scratch,
                   DiagonalResponseBackwardArgs{.sequence = sequence.args(),
                                                .x = call.x.raw(),
                                                .a = call.k.a.raw(),
                                                .w = call.k.w.raw(),
                                                .d = call.d.raw(),
                                                .h_in = call.h_first.raw(),
                                                .exact_a = exact_of(call.k),
                                                .dy = gradients.find(call.y).raw(),
                                                .dh_final = gradients.find(call.h_last).raw(),
                                                .dx = dx.raw(),
                                                .da = da.raw(),
                                                .dw = dw.raw(),
                                                .dd = dd.raw(),
                                                .dh_initial = dh.raw(),
                                                .channels = call.k.a.size(0),
                                                .modes = call.k.a.size(1)});
  enqueue(exec, scan.diagonal_response_backward, args, "diagonal_convolution backward");
  if (call.track_x) gradients.add(exec, call.x, dx);
  if (call.track_a) gradients.add(exec, call.k.a, da);
  if (call.track_w) gradients.add(exec, call.k.w, dw);
  if (call.track_d) gradients.add(exec, call.d, dd);
  if (call.track_h) gradients.add(exec, call.h_first, dh);
}

// d x and what comes from the incoming state; h becomes the final state.
Tensor diagonal_response(Exec& exec, const Tensor& x, const DiagonalCoefficients& k,
                         const Tensor& d, Tensor& h, const Sequence& sequence) {
  Response call{.x = x, .k = k, .d = d, .h_first = h, .y = exec.empty(x.shape())};
  Tape* tape = exec.tape();
  if (tape) h = exec.empty(h.shape());
  call.h_last = h;
  const ScanKernels& scan = scan_kernels(exec);
  const auto [args, scratch] = with_scratch(exec, scan.diagonal_response_scratch,
                                            DiagonalResponseArgs{.sequence = sequence.args(),
                                                                 .x = x.raw(),
                                                                 .a = k.a.raw(),
                                                                 .w = k.w.raw(),
                                                                 .exact_a = exact_of(k),
                                                                 .d = d.raw(),
                                                                 .h_in = call.h_first.raw(),
                                                                 .h_out = h.raw(),
                                                                 .y = call.y.raw(),
                                                                 .channels = k.a.size(0),
                                                                 .modes = k.a.size(1)});
  enqueue(exec, scan.diagonal_response, args, "diagonal_convolution");
  if (!tape) return call.y;
  call.track_x = tape->tracks(x);
  call.track_a = tape->tracks(k.a);
  call.track_w = tape->tracks(k.w);
  call.track_d = tape->tracks(d);
  call.track_h = tape->tracks(call.h_first);
  if (call.track_x || call.track_a || call.track_w || call.track_d || call.track_h)
    tape->record({call.y, h}, [call, sequence](Exec& ex, Gradients& gradients) {
      response_back(ex, gradients, call, sequence);
    });
  return call.y;
}

}  // namespace

bool prefers_convolution(const Device& device, std::int64_t length) noexcept {
  return length >= (device.type == Device::Type::kCpu ? kConvolvedOnCpu : kConvolvedOnCuda);
}

Tensor diagonal_kernel(Exec& exec, const DiagonalCoefficients& coefficients, std::int64_t length) {
  const DiagonalCoefficients& k = coefficients;
  expect_modes(exec, "diagonal_kernel", k);
  check(length >= 0, ErrorCode::kShape,
        "diagonal_kernel: a length of at least 0 was expected, {} came.", length);
  const std::int64_t channels = k.a.size(0), modes = k.a.size(1);
  const Tensor kernel = exec.empty({channels, length});
  enqueue(exec, scan_kernels(exec).diagonal_kernel,
          {.a = k.a.raw(),
           .w = k.w.raw(),
           .exact_a = exact_of(k),
           .kernel = kernel.raw(),
           .channels = channels,
           .modes = modes,
           .length = length},
          "diagonal_kernel");
  Tape* tape = exec.tape();
  if (!tape) return kernel;
  const bool track_a = tape->tracks(k.a), track_w = tape->tracks(k.w);
  if (!track_a && !track_w) return kernel;
  tape->record({kernel}, [=, k = coefficients](Exec& ex, Gradients& gradients) {
    const Tensor da = ex.empty(k.a.shape()), dw = ex.empty(k.w.shape());
    const ScanKernels& scan = scan_kernels(ex);
    const auto [args, scratch] =
        with_scratch(ex, scan.diagonal_kernel_backward_scratch,
                     DiagonalKernelBackwardArgs{.a = k.a.raw(),
                                                .w = k.w.raw(),
                                                .dkernel = gradients.find(kernel).raw(),
                                                .exact_a = exact_of(k),
                                                .da = da.raw(),
                                                .dw = dw.raw(),
                                                .channels = channels,
                                                .modes = modes,
                                                .length = length});
    enqueue(ex, scan.diagonal_kernel_backward, args, "diagonal_kernel backward");
    if (track_a) gradients.add(ex, k.a, da);
    if (track_w) gradients.add(ex, k.w, dw);
  });
  return kernel;
}

Tensor diagonal_convolution(Exec& exec, const Tensor& x, const DiagonalCoefficients& coefficients,
                            const Tensor& d, Tensor& h, const Sequence& sequence) {
  const char* op = "diagonal_convolution";
  expect_modes(exec, op, coefficients);
  const std::int64_t channels = coefficients.a.size(0);
  expect_input(exec, op, x, d, channels, sequence);
  expect(exec, op, "h", h, {sequence.rows(), channels, coefficients.a.size(1), 2});
  check(sequence.args().reset == nullptr, ErrorCode::kUnsupported,
        "{}: a convolution cannot be reset inside of a sequence; diagonal_ssm can.", op);
  const Tensor kernel =
      diagonal_kernel(exec, coefficients, std::max<std::int64_t>(sequence.args().max_length, 1));
  const Tensor convolved = fft_conv(exec, x, kernel, sequence);
  return add(exec, convolved, diagonal_response(exec, x, coefficients, d, h, sequence));
}

}  // namespace rill
