#include <rill/core/tape.h>
#include <rill/scan/diagonal_checks.h>
#include <rill/scan/diagonal_ssm.h>
#include <rill/scan/kernels.h>

#include <algorithm>
#include <array>
#include <functional>

namespace rill {
namespace {

using diagonal::expect, diagonal::shape_of;

// What forward and backward of one call share.
struct Call {
  DiagonalParameters parameters;
  DiagonalCoefficients out;
  double rate;
  std::int64_t channels, modes, copies, bilinear;
  std::array<bool, 5> tracked{};  // in the order of DiagonalParameters
};

void go_back(Exec& exec, Gradients& gradients, const Call& call) {
  const DiagonalParameters& p = call.parameters;
  Tensor da = gradients.find(call.out.a), dw = gradients.find(call.out.w);
  if (!da.defined()) da = exec.zeros(call.out.a.shape());
  if (!dw.defined()) dw = exec.zeros(call.out.w.shape());
  const Tensor parts = exec.empty({call.channels, call.modes, 4}, DType::kFloat64);
  const DiagonalParameters g{exec.empty(p.log_dt.shape()), exec.empty(p.a_real.shape()),
                             exec.empty(p.a_imag.shape()), exec.empty(p.b.shape()),
                             exec.empty(p.c.shape())};
  enqueue(exec, scan_kernels(exec).diagonal_discretize_backward,
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
           .rate = call.rate,
           .channels = call.channels,
           .modes = call.modes,
           .copies = call.copies,
           .bilinear = call.bilinear},
          "discretize_diagonal backward");
  const auto add = [&](bool wanted, const Tensor& tensor, const Tensor& gradient) {
    if (wanted) gradients.add(exec, tensor, gradient);
  };
  add(call.tracked[0], p.log_dt, g.log_dt);
  add(call.tracked[1], p.a_real, g.a_real);
  add(call.tracked[2], p.a_imag, g.a_imag);
  add(call.tracked[3], p.b, g.b);
  add(call.tracked[4], p.c, g.c);
}

}  // namespace

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
  Call call{p,
            {exec.empty({channels, modes, 2}), exec.empty({channels, modes, 2})},
            rate,
            channels,
            modes,
            copies,
            rule == DiagonalRule::kBilinear ? 1 : 0};
  if (exec.dtype() != DType::kFloat64)
    call.out.exact_a = exec.empty({channels, modes, 2}, DType::kFloat64);
  enqueue(exec, scan_kernels(exec).diagonal_discretize,
          {.log_dt = p.log_dt.raw(),
           .a_real = p.a_real.raw(),
           .a_imag = p.a_imag.raw(),
           .b = p.b.raw(),
           .c = p.c.raw(),
           .a = call.out.a.raw(),
           .w = call.out.w.raw(),
           .exact_a = static_cast<double*>(call.out.exact_a.raw()),
           .rate = rate,
           .channels = channels,
           .modes = modes,
           .copies = copies,
           .bilinear = call.bilinear},
          op);
  Tape* tape = exec.tape();
  if (!tape) return call.out;
  call.tracked = {tape->tracks(p.log_dt), tape->tracks(p.a_real), tape->tracks(p.a_imag),
                  tape->tracks(p.b), tape->tracks(p.c)};
  if (std::ranges::any_of(call.tracked, std::identity{}))
    tape->record({call.out.a, call.out.w},
                 [call](Exec& ex, Gradients& gradients) { go_back(ex, gradients, call); });
  return call.out;
}

}  // namespace rill
