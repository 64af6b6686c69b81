#include <algorithm>

#include <rill/core/ops.h>
#include <rill/core/tape.h>
#include <rill/scan/diagonal_checks.h>
#include <rill/scan/diagonal_ssm.h>
#include <rill/scan/kernels.h>

namespace rill {
namespace {

using diagonal::expect, diagonal::expect_input, diagonal::shape_of;

void expect_modes(const Exec& exec, const char* op, const Tensor& a, const Tensor& w) {
  check(a.defined() && a.rank() == 3 && a.size(2) == 2, ErrorCode::kShape,
        "{}: a of shape [H, N, 2] was expected, {} came.", op, shape_of(a));
  expect(exec, op, "a", a, a.shape());
  expect(exec, op, "w", w, a.shape());
}

// What one call of diagonal_response holds on to for its way back.
struct Response {
  Tensor x, a, w, d, h_first, h_last, y;
  bool track_x, track_a, track_w, track_d, track_h;
};

void response_back(Exec& exec, Gradients& gradients, const Response& call,
                   const Sequence& sequence) {
  const Tensor dx = exec.empty(call.x.shape()), da = exec.empty(call.a.shape()),
               dw = exec.empty(call.w.shape());
  const Tensor dd = call.d.defined() ? exec.empty(call.d.shape()) : Tensor();
  const Tensor dh = exec.empty(call.h_first.shape());
  enqueue(exec, scan_kernels(exec).diagonal_response_backward,
          {.sequence = sequence.args(),
           .x = call.x.raw(),
           .a = call.a.raw(),
           .w = call.w.raw(),
           .d = call.d.raw(),
           .h_in = call.h_first.raw(),
           .dy = gradients.find(call.y).raw(),
           .dh_final = gradients.find(call.h_last).raw(),
           .dx = dx.raw(),
           .da = da.raw(),
           .dw = dw.raw(),
           .dd = dd.raw(),
           .dh_initial = dh.raw(),
           .channels = call.a.size(0),
           .modes = call.a.size(1)},
          "diagonal_convolution backward");
  if (call.track_x) gradients.add(exec, call.x, dx);
  if (call.track_a) gradients.add(exec, call.a, da);
  if (call.track_w) gradients.add(exec, call.w, dw);
  if (call.track_d) gradients.add(exec, call.d, dd);
  if (call.track_h) gradients.add(exec, call.h_first, dh);
}

// d x and what comes from the incoming state; h becomes the final state.
Tensor diagonal_response(Exec& exec, const Tensor& x, const Tensor& a, const Tensor& w,
                         const Tensor& d, Tensor& h, const Sequence& sequence) {
  Response call{.x = x, .a = a, .w = w, .d = d, .h_first = h, .y = exec.empty(x.shape())};
  Tape* tape = exec.tape();
  if (tape) h = exec.empty(h.shape());
  call.h_last = h;
  enqueue(exec, scan_kernels(exec).diagonal_response,
          {.sequence = sequence.args(),
           .x = x.raw(),
           .a = a.raw(),
           .w = w.raw(),
           .d = d.raw(),
           .h_in = call.h_first.raw(),
           .h_out = h.raw(),
           .y = call.y.raw(),
           .channels = a.size(0),
           .modes = a.size(1)},
          "diagonal_convolution");
  if (!tape) return call.y;
  call.track_x = tape->tracks(x);
  call.track_a = tape->tracks(a);
  call.track_w = tape->tracks(w);
  call.track_d = tape->tracks(d);
  call.track_h = tape->tracks(call.h_first);
  if (call.track_x || call.track_a || call.track_w || call.track_d || call.track_h)
    tape->record({call.y, h}, [call, sequence](Exec& ex, Gradients& gradients) {
      response_back(ex, gradients, call, sequence);
    });
  return call.y;
}

}  // namespace

Tensor diagonal_kernel(Exec& exec, const Tensor& a, const Tensor& w, std::int64_t length) {
  expect_modes(exec, "diagonal_kernel", a, w);
  check(length >= 0, ErrorCode::kShape,
        "diagonal_kernel: a length of at least 0 was expected, {} came.", length);
  const std::int64_t channels = a.size(0), modes = a.size(1);
  const Tensor kernel = exec.empty({channels, length});
  enqueue(exec, scan_kernels(exec).diagonal_kernel,
          {.a = a.raw(),
           .w = w.raw(),
           .kernel = kernel.raw(),
           .channels = channels,
           .modes = modes,
           .length = length},
          "diagonal_kernel");
  Tape* tape = exec.tape();
  if (!tape) return kernel;
  const bool track_a = tape->tracks(a), track_w = tape->tracks(w);
  if (!track_a && !track_w) return kernel;
  tape->record({kernel}, [=](Exec& ex, Gradients& gradients) {
    const Tensor da = ex.empty(a.shape()), dw = ex.empty(w.shape());
    enqueue(ex, scan_kernels(ex).diagonal_kernel_backward,
            {.a = a.raw(),
             .w = w.raw(),
             .dkernel = gradients.find(kernel).raw(),
             .da = da.raw(),
             .dw = dw.raw(),
             .channels = channels,
             .modes = modes,
             .length = length},
            "diagonal_kernel backward");
    if (track_a) gradients.add(ex, a, da);
    if (track_w) gradients.add(ex, w, dw);
  });
  return kernel;
}

Tensor diagonal_convolution(Exec& exec, const Tensor& x, const Tensor& a, const Tensor& w,
                            const Tensor& d, Tensor& h, const Sequence& sequence) {
  const char* op = "diagonal_convolution";
  expect_modes(exec, op, a, w);
  const std::int64_t channels = a.size(0);
  expect_input(exec, op, x, d, channels, sequence);
  expect(exec, op, "h", h, {sequence.rows(), channels, a.size(1), 2});
  check(sequence.args().reset == nullptr, ErrorCode::kUnsupported,
        "{}: a convolution cannot be reset inside of a sequence; diagonal_ssm can.", op);
  const Tensor kernel =
      diagonal_kernel(exec, a, w, std::max<std::int64_t>(sequence.args().max_length, 1));
  const Tensor convolved = fft_conv(exec, x, kernel, sequence);
  return add(exec, convolved, diagonal_response(exec, x, a, w, d, h, sequence));
}

}  // namespace rill
