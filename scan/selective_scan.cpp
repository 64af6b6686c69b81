#include <rill/scan/kernels.h>
#include <rill/scan/op_checks.h>
#include <rill/scan/selective_scan.h>

#include <algorithm>

namespace rill {
namespace {

constexpr const char* kOp = "selective_scan";

struct Saved {
  SelectiveScanInputs in, to;  // to: where gradients go
  Tensor to_initial;
  Tensor a, initial, last, checkpoints, y;
  Sequence sequence;
  std::int64_t channels, states;
};

SelectiveScanArgs arguments(const SelectiveScanInputs& in, const Tensor& a,
                            const Sequence& sequence, std::int64_t channels, std::int64_t states) {
  return {.sequence = sequence.args(),
          .x = in.x.raw(),
          .dt = in.dt.raw(),
          .dt_bias = raw_or_null(in.dt_bias),
          .a = a.raw(),
          .b = in.b.raw(),
          .c = in.c.raw(),
          .d = raw_or_null(in.d),
          .z = raw_or_null(in.z),
          .channels = channels,
          .states = states};
}

SelectivePlan plan_of(const Exec& exec, const Sequence& sequence, std::int64_t channels,
                      std::int64_t states) {
  const ScanKernels& kernels = scan_kernels(exec);
  if (!kernels.selective_plan) return {};
  return kernels.selective_plan(sequence.rows(), channels, states, sequence.args().max_length);
}

void* memory_of(const Tensor& tensor) { return tensor.defined() ? tensor.raw() : nullptr; }

void go_back(Exec& exec, Gradients& gradients, const Saved& saved) {
  const SelectiveScanInputs& in = saved.in;
  const SeqArgs& sequence = saved.sequence.args();
  const Tensor dy = gradients.find(saved.y), dlast = gradients.find(saved.last);
  const Tensor dx = exec.empty(in.x.shape()), ddt = exec.empty(in.dt.shape());
  const Tensor dz = in.z.defined() ? exec.empty(in.z.shape()) : Tensor();
  const Tensor db = exec.empty(in.b.shape()), dc = exec.empty(in.c.shape());
  const Tensor dinitial = exec.empty(saved.initial.shape(), saved.initial.dtype());
  const Tensor da_log = accumulator_of(exec, gradients, saved.to.a_log, in.a_log.shape());
  const Tensor dd = saved.to.d.defined() ? gradients.accumulator(exec, saved.to.d) : Tensor();
  const Tensor dbias =
      saved.to.dt_bias.defined() ? gradients.accumulator(exec, saved.to.dt_bias) : Tensor();
  const SelectivePlan plan = plan_of(exec, saved.sequence, saved.channels, saved.states);
  const std::int64_t tiles = (saved.channels + plan.tile - 1) / plan.tile;
  const std::int64_t stretches = sequence.rows * plan.back_segments;
  const DType dtype = saved.initial.dtype();  // of states, and of all sums
  const Tensor parts_bc = exec.empty({tiles, 2, sequence.tokens, saved.states}, dtype);
  const Tensor parts_a = exec.empty({stretches, saved.states, saved.channels}, dtype);
  const Tensor parts_d = exec.empty({stretches, 2, saved.channels}, dtype);
  const Tensor carries =
      exec.empty({plan.back_segments > 1 ? stretches : 0, saved.states + 1, saved.channels}, dtype);
  const std::int64_t lanes =
      std::max<std::int64_t>(1, std::min<std::int64_t>(sequence.rows * tiles, exec.threads()));
  const Tensor scratch = exec.empty({lanes, selective_scratch(saved.states)}, dtype);
  SelectiveScanArgs forward = arguments(in, saved.a, saved.sequence, saved.channels, saved.states);
  forward.checkpoints = saved.checkpoints.raw();
  enqueue(exec, scan_kernels(exec).selective_scan_backward,
          {.forward = forward,
           .dy = raw_or_null(dy),
           .dfinal = raw_or_null(dlast),
           .dx = dx.raw(),
           .ddt = ddt.raw(),
           .dz = memory_of(dz),
           .db = db.raw(),
           .dc = dc.raw(),
           .dinitial = dinitial.raw(),
           .da_log = da_log.raw(),
           .dd = memory_of(dd),
           .dbias = memory_of(dbias),
           .parts_bc = parts_bc.raw(),
           .parts_a = parts_a.raw(),
           .parts_d = parts_d.raw(),
           .carries = carries.raw(),
           .scratch = scratch.raw(),
           .lanes = lanes},
          "selective_scan backward");
  give(exec, gradients, saved.to.x, dx);
  give(exec, gradients, saved.to.dt, ddt);
  give(exec, gradients, saved.to.z, dz);
  give(exec, gradients, saved.to.b, db);
  give(exec, gradients, saved.to.c, dc);
  give(exec, gradients, saved.to_initial, dinitial);
}

SelectiveScanInputs where_tracked(const Exec& exec, const SelectiveScanInputs& in) {
  return {.x = where_tracked(exec, in.x),
          .dt = where_tracked(exec, in.dt),
          .dt_bias = where_tracked(exec, in.dt_bias),
          .a_log = where_tracked(exec, in.a_log),
          .b = where_tracked(exec, in.b),
          .c = where_tracked(exec, in.c),
          .d = where_tracked(exec, in.d),
          .z = where_tracked(exec, in.z)};
}

void check_inputs(const Exec& exec, const SelectiveScanInputs& in, const Tensor& state,
                  const Sequence& sequence) {
  check(in.a_log.defined() && in.a_log.rank() == 2 && in.a_log.size(1) >= 1, ErrorCode::kShape,
        "selective_scan: a_log of shape [E, N] with N >= 1 was expected, {} came.",
        in.a_log.defined() ? to_string(in.a_log.shape()) : "nothing");
  const std::int64_t channels = in.a_log.size(0), states = in.a_log.size(1),
                     tokens = sequence.tokens();
  check_array(exec, kOp, "a_log", in.a_log, 1, {channels, states});
  check_array(exec, kOp, "x", in.x, tokens, {channels});
  check_array(exec, kOp, "dt", in.dt, tokens, {channels});
  check_array(exec, kOp, "b", in.b, tokens, {states});
  check_array(exec, kOp, "c", in.c, tokens, {states});
  check_array(exec, kOp, "state", state, sequence.rows(), {channels, states});
  if (in.dt_bias.defined()) check_array(exec, kOp, "dt_bias", in.dt_bias, 1, {channels});
  if (in.d.defined()) check_array(exec, kOp, "d", in.d, 1, {channels});
  if (in.z.defined()) check_array(exec, kOp, "z", in.z, tokens, {channels});
}

}  // namespace

Tensor selective_scan(Exec& exec, const SelectiveScanInputs& in, Tensor& state,
                      const Sequence& sequence) {
  check_inputs(exec, in, state, sequence);
  const std::int64_t channels = in.a_log.size(0), states = in.a_log.size(1);
  const ScanKernels& kernels = scan_kernels(exec);
  const Tensor a = exec.empty({states, channels}, state.dtype());
  enqueue(exec, kernels.selective_prepare,
          {.a_log = in.a_log.raw(), .a = a.raw(), .channels = channels, .states = states}, kOp);
  const bool keep =
      tracked(exec, {&in.x, &in.dt, &in.dt_bias, &in.a_log, &in.b, &in.c, &in.d, &in.z, &state});
  const Tensor initial = state;
  const Tensor last = exec.tape() ? exec.empty(state.shape(), state.dtype()) : state;
  const Tensor y = exec.empty(in.x.shape());
  const std::int64_t segments = plan_of(exec, sequence, channels, states).segments;
  const Tensor work = exec.empty(
      {sequence.rows() * segments, segments > 1 ? states + 1 : states, channels}, state.dtype());
  const Tensor checkpoints =
      keep ? exec.empty({sequence.tokens() / kSelectiveChunk + sequence.rows(), states, channels},
                        state.dtype())
           : Tensor();
  SelectiveScanArgs args = arguments(in, a, sequence, channels, states);
  args.initial = initial.raw();
  args.final_state = last.raw();
  args.work = work.raw();
  args.y = y.raw();
  args.checkpoints = memory_of(checkpoints);
  enqueue(exec, kernels.selective_scan, args, kOp);
  state = last;
  if (keep)
    exec.tape()->record({y, last},
                        [saved = Saved{in, where_tracked(exec, in), where_tracked(exec, initial), a,
                                       initial, last, checkpoints, y, sequence, channels, states}](
                            Exec& ex, Gradients& gradients) { go_back(ex, gradients, saved); });
  return y;
}

}  // namespace rill
