#include <algorithm>
#include <array>
#include <functional>

#include <rill/core/tape.h>
#include <rill/scan/diagonal_checks.h>
#include <rill/scan/diagonal_ssm.h>
#include <rill/scan/kernels.h>

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
           .channels = call.channels,
           .width = call.width,
           .padded_width = call.padded_width,
           .complex = call.complex},
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

DiagonalCoefficients discretize_diagonal(Exec& exec, const DiagonalParameters& parameters,
                                         DiagonalRule rule, double rate) {
  const char* op = "discretize_diagonal";
  const DiagonalParameters& p = parameters;
  check(rate > 0.0, ErrorCode::kValue, "{}: a rate above 0 was expected, {} came.", op, rate);
  check(p.a_real.defined() && p.a_real.rank() == 2 && p.c.defined() && p.c.rank() == 4,
        ErrorCode::kShape, "{}: a_real [S, N] and c [1, H, N, 2] were expected, {} and {} came.",
        op, shape_of(p.a_real), shape_of(p.c));
  const std::int64_t copies = p.a_real.size(0), modes = p.a_real.size(1), channels = p.c.size(1);
  check(copies >= 1 && channels % copies == 0, ErrorCode::kShape,
        "{}: the {} copies of A in a_real have to divide the {} channels of c.", op, copies,
        channels);
  expect(exec, op, "log_dt", p.log_dt, {channels, 1});
  expect(exec, op, "a_real", p.a_real, {copies, modes});
  expect(exec, op, "a_imag", p.a_imag, {copies, modes});
  expect(exec, op, "b", p.b, {1, copies, modes, 2});
  expect(exec, op, "c", p.c, {1, channels, modes, 2});
  const std::int64_t bilinear = rule == DiagonalRule::kBilinear ? 1 : 0;
  const DiagonalCoefficients out{exec.empty({channels, modes, 2}),
                                 exec.empty({channels, modes, 2})};
  enqueue(exec, scan_kernels(exec).diagonal_discretize,
          {.log_dt = p.log_dt.raw(),
           .a_real = p.a_real.raw(),
           .a_imag = p.a_imag.raw(),
           .b = p.b.raw(),
           .c = p.c.raw(),
           .a = out.a.raw(),
           .w = out.w.raw(),
           .rate = rate,
           .channels = channels,
           .modes = modes,
           .copies = copies,
           .bilinear = bilinear},
          op);
  Tape* tape = exec.tape();
  if (!tape) return out;
  const std::array<bool, 5> tracked{tape->tracks(p.log_dt), tape->tracks(p.a_real),
                                    tape->tracks(p.a_imag), tape->tracks(p.b), tape->tracks(p.c)};
  if (std::ranges::none_of(tracked, std::identity{})) return out;
  tape->record({out.a, out.w}, [p, out, tracked, rate, copies, modes, channels, bilinear](
                                   Exec& ex, Gradients& gradients) {
    Tensor da = gradients.find(out.a), dw = gradients.find(out.w);
    if (!da.defined()) da = ex.zeros(out.a.shape());
    if (!dw.defined()) dw = ex.zeros(out.w.shape());
    const Tensor parts = ex.empty({channels, modes, 4}, DType::kFloat64);
    const DiagonalParameters g{ex.empty(p.log_dt.shape()), ex.empty(p.a_real.shape()),
                               ex.empty(p.a_imag.shape()), ex.empty(p.b.shape()),
                               ex.empty(p.c.shape())};
    enqueue(ex, scan_kernels(ex).diagonal_discretize_backward,
            {.log_dt = p.log_dt.raw(),
             .a_real = p.a_real.raw(),
             .a_imag = p.a_imag.raw(),
             .b = p.b.raw(),
             .c = p.c.raw(),
             .da = da.raw(),
             .dw = dw.raw(),
             .dlog_dt = g.log_dt.raw(),
             .da_real = g.a_real.raw(),
             .da_imag = g.a_imag.raw(),
             .db = g.b.raw(),
             .dc = g.c.raw(),
             .parts = parts.raw(),
             .rate = rate,
             .channels = channels,
             .modes = modes,
             .copies = copies,
             .bilinear = bilinear},
            "discretize_diagonal backward");
    add_if(ex, gradients, tracked[0], p.log_dt, g.log_dt);
    add_if(ex, gradients, tracked[1], p.a_real, g.a_real);
    add_if(ex, gradients, tracked[2], p.a_imag, g.a_imag);
    add_if(ex, gradients, tracked[3], p.b, g.b);
    add_if(ex, gradients, tracked[4], p.c, g.c);
  });
  return out;
}

}  // namespace rill
