#include <rill/core/tape.h>
#include <rill/scan/diagonal_checks.h>
#include <rill/scan/diagonal_ssm.h>
#include <rill/scan/kernels.h>

#include <algorithm>

namespace rill {
namespace {

using diagonal::expect, diagonal::expect_input, diagonal::shape_of;

// Adds a gradient where it is wanted. Identities of untracked tensors may be used again: nothing is
// kept under them.
void add_if(Exec& exec, Gradients& gradients, bool wanted, const Tensor& tensor,
            const Tensor& gradient) {
  if (wanted) gradients.add(exec, tensor, gradient);
}

// What forward and backward of one call share.
struct Call {
  Tensor x, a, w, d, coefficients;
  Sequence sequence;
  std::int64_t channels, width, padded_width, complex;
  bool track_x = false, track_a = false, track_w = false, track_d = false, track_h = false;
};

Call checked_call(Exec& exec, const Tensor& x, const Tensor& a, const Tensor& w, const Tensor& d,
                  const Tensor& h, const Sequence& sequence) {
  const char* op = "diagonal_ssm";
  check(a.defined() && (a.rank() == 2 || (a.rank() == 3 && a.size(2) == 2)), ErrorCode::kShape,
        "{}: a of shape [H, N] or [H, N, 2] was expected, {} came.", op, shape_of(a));
  expect(exec, op, "a", a, a.shape());
  expect(exec, op, "w", w, a.shape());
  const std::int64_t channels = a.size(0);
  expect_input(exec, op, x, d, channels, sequence);
  const bool complex = a.rank() == 3;
  expect(exec, op, "h", h,
         complex ? Shape({sequence.rows(), channels, a.size(1), 2})
                 : Shape({sequence.rows(), channels, a.size(1)}));
  const std::int64_t width = a.size(1) * (complex ? 2 : 1);
  const std::int64_t padded = (width + kDiagonalPadding - 1) / kDiagonalPadding * kDiagonalPadding;
  Call call{x,        a,        w,     d,      exec.empty({channels, 3, padded}),
            sequence, channels, width, padded, complex ? 1 : 0};
  if (const Tape* tape = exec.tape()) {
    call.track_x = tape->tracks(x);
    call.track_a = tape->tracks(a);
    call.track_w = tape->tracks(w);
    call.track_d = tape->tracks(d);
    call.track_h = tape->tracks(h);
  }
  return call;
}

void go_back(Exec& exec, Gradients& gradients, const Call& call, const Tensor& y,
             const Tensor& h_first, const Tensor& h_last, const Tensor& checkpoints) {
  const ScanKernels& table = scan_kernels(exec);
  Tensor dy = gradients.find(y);
  if (!dy.defined()) dy = exec.zeros(y.shape());
  const Tensor dh_final = gradients.find(h_last);
  const Tensor dx = exec.empty(call.x.shape()), dh_initial = exec.empty(h_first.shape());
  const Tensor dcoefficients = exec.empty(call.coefficients.shape());
  const Tensor dd = call.d.defined() ? exec.empty(call.d.shape()) : Tensor();
  const std::int64_t lanes =
      std::max<std::int64_t>(1, std::min<std::int64_t>(call.channels, exec.threads()));
  const Tensor scratch = exec.empty({lanes, diagonal_scratch(call.width)});
  enqueue(exec, table.diagonal_ssm_backward,
          {.sequence = call.sequence.args(),
           .x = call.x.raw(),
           .dy = dy.raw(),
           .coefficients = call.coefficients.raw(),
           .d = call.d.raw(),
           .checkpoints = checkpoints.raw(),
           .dh_final = dh_final.raw(),
           .dx = dx.raw(),
           .dh_initial = dh_initial.raw(),
           .dcoefficients = dcoefficients.raw(),
           .dd = dd.raw(),
           .scratch = scratch.raw(),
           .channels = call.channels,
           .width = call.width,
           .padded_width = call.padded_width,
           .complex = call.complex,
           .lanes = lanes},
          "diagonal_ssm backward");
  const Tensor da = exec.empty(call.a.shape()), dw = exec.empty(call.w.shape());
  enqueue(exec, table.diagonal_unpack,
          {.dcoefficients = dcoefficients.raw(),
           .da = da.raw(),
           .dw = dw.raw(),
           .channels = call.channels,
           .width = call.width,
           .padded_width = call.padded_width,
           .complex = call.complex},
          "diagonal_ssm backward");
  add_if(exec, gradients, call.track_x, call.x, dx);
  add_if(exec, gradients, call.track_a, call.a, da);
  add_if(exec, gradients, call.track_w, call.w, dw);
  add_if(exec, gradients, call.track_d, call.d, dd);
  add_if(exec, gradients, call.track_h, h_first, dh_initial);
}

}  // namespace

Tensor diagonal_ssm(Exec& exec, const Tensor& x, const Tensor& a, const Tensor& w, const Tensor& d,
                    Tensor& h, const Sequence& sequence) {
  const Call call = checked_call(exec, x, a, w, d, h, sequence);
  const ScanKernels& table = scan_kernels(exec);
  enqueue(exec, table.diagonal_pack,
          {.a = a.raw(),
           .w = w.raw(),
           .coefficients = call.coefficients.raw(),
           .channels = call.channels,
           .width = call.width,
           .padded_width = call.padded_width,
           .complex = call.complex},
          "diagonal_ssm");
  Tape* tape = exec.tape();
  const bool tracked = call.track_x || call.track_a || call.track_w || call.track_d || call.track_h;
  const Tensor y = exec.empty(x.shape()), h_first = h;
  Tensor checkpoints;
  if (tape) h = exec.empty(h_first.shape());
  if (tracked)
    checkpoints = exec.empty({diagonal_slots(sequence.args()), call.channels, call.width});
  enqueue(exec, table.diagonal_ssm,
          {.sequence = sequence.args(),
           .x = x.raw(),
           .coefficients = call.coefficients.raw(),
           .d = d.raw(),
           .h_in = h_first.raw(),
           .h_out = h.raw(),
           .y = y.raw(),
           .checkpoints = checkpoints.raw(),
           .channels = call.channels,
           .width = call.width,
           .padded_width = call.padded_width,
           .complex = call.complex},
          "diagonal_ssm");
  if (tracked)
    tape->record({y, h},
                 [call, y, h_first, h_last = h, checkpoints](Exec& ex, Gradients& gradients) {
                   go_back(ex, gradients, call, y, h_first, h_last, checkpoints);
                 });
  return y;
}

}  // namespace rill
