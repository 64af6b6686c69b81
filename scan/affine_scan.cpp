#include <rill/scan/affine_scan.h>
#include <rill/scan/kernels.h>
#include <rill/scan/op_checks.h>

namespace rill {
namespace {

struct Saved {
  Tensor a, b, h, initial, last;
  Tensor to_a, to_b, to_initial;  // where gradients go
  Sequence sequence;
  AffineScanOptions options;
  std::int64_t channels;
};

void go_back(Exec& exec, Gradients& gradients, const Saved& saved) {
  const Tensor dh = gradients.find(saved.h), dlast = gradients.find(saved.last);
  const Tensor da = exec.empty(saved.a.shape()), db = exec.empty(saved.b.shape());
  const Tensor dinitial = exec.empty(saved.initial.shape());
  enqueue(exec, scan_kernels(exec).affine_scan_backward,
          {.sequence = saved.sequence.args(),
           .a = saved.a.raw(),
           .b = saved.b.raw(),
           .h = saved.h.raw(),
           .initial = saved.initial.raw(),
           .dh = raw_or_null(dh),
           .dfinal = raw_or_null(dlast),
           .da = da.raw(),
           .db = db.raw(),
           .dinitial = dinitial.raw(),
           .channels = saved.channels,
           .complex = saved.options.complex,
           .reverse = saved.options.reverse,
           .log_space = saved.options.log_space},
          "affine_scan backward");
  give(exec, gradients, saved.to_a, da);
  give(exec, gradients, saved.to_b, db);
  give(exec, gradients, saved.to_initial, dinitial);
}

}  // namespace

Tensor affine_scan(Exec& exec, const Tensor& a, const Tensor& b, Tensor& state,
                   const Sequence& sequence, const AffineScanOptions& options) {
  check(!(options.complex && options.log_space), ErrorCode::kConfig,
        "affine_scan: complex states have no logarithmic form.");
  check(state.defined() && state.rank() == (options.complex ? 3 : 2), ErrorCode::kShape,
        "affine_scan: a state of shape [rows, C{}] was expected.", options.complex ? ", 2" : "");
  const std::int64_t channels = state.size(1);
  const Shape element = options.complex ? Shape({channels, 2}) : Shape({channels});
  check_array(exec, "affine_scan", "state", state, sequence.rows(), element);
  check_array(exec, "affine_scan", "a", a, sequence.tokens(), element);
  check_array(exec, "affine_scan", "b", b, sequence.tokens(), element);
  const Tensor initial = state;
  const Tensor last = exec.tape() ? exec.empty(state.shape()) : state;
  const Tensor h = exec.empty(b.shape());
  enqueue(exec, scan_kernels(exec).affine_scan,
          {.sequence = sequence.args(),
           .a = a.raw(),
           .b = b.raw(),
           .initial = initial.raw(),
           .final_state = last.raw(),
           .h = h.raw(),
           .channels = channels,
           .complex = options.complex,
           .reverse = options.reverse,
           .log_space = options.log_space},
          "affine_scan");
  state = last;
  if (tracked(exec, {&a, &b, &initial}))
    exec.tape()->record(
        {h, last},
        [saved = Saved{a, b, h, initial, last, where_tracked(exec, a), where_tracked(exec, b),
                       where_tracked(exec, initial), sequence, options, channels}](
            Exec& ex, Gradients& gradients) { go_back(ex, gradients, saved); });
  return h;
}

}  // namespace rill
