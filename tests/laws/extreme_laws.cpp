// Law 15: a million steps, inputs of 40, decays at 0 and 1 and gates wide open or shut: finite, and
// as near to double as a plain loop is.
#include "law.h"

#include <rill/core/kernel.h>

#include <cmath>
#include <map>

namespace rill::laws {
namespace {

constexpr std::int64_t kChunk = 16384;

std::int64_t chunks_of(const Subject& subject) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  (void)subject;
  return 1;
#else
  // A million steps for each layer as it comes; variants share its recurrences.
  return subject.variant->suffix.empty() && subject.fault.empty() ? 64 : 4;
#endif
}

// The long run in double and in plain float loops: made once, held against every vector target.
struct LongRun {
  std::vector<State> states;  // float64, at the end of every chunk
  Tensor y;                   // of the last chunk
  double plain_y = 0, plain_state = 0;
};

// Runs chunk by chunk; `look` gets the number of the chunk and what came of it.
void long_run(const Subject& subject, DType dtype, int threads,
              const std::function<void(std::int64_t chunk, const Run&)>& look) {
  Exec exec({.dtype = dtype, .threads = threads});
  const auto layer = subject.make(16, dtype);
  const Tensor x = random_input({1, kChunk, layer->input_size()}, DType::kFloat32, 46).to(dtype);
  State state = layer->initial_state(exec, 1);
  for (std::int64_t chunk = 0; chunk < chunks_of(subject); ++chunk) {
    Run part = run(exec, *layer, x, std::move(state));
    look(chunk, part);
    state = std::move(part.state);
  }
}

const LongRun& exact_long_run(const Subject& subject) {
  static std::map<std::string, LongRun> known;
  const auto [entry, is_new] = known.try_emplace(subject.variant->name() + " " + subject.fault);
  LongRun& result = entry->second;
  if (!is_new) return result;
  long_run(subject, DType::kFloat64, 2, [&](std::int64_t, const Run& part) {
    result.states.push_back(part.state);
    result.y = part.y;
  });
  const PlainKernels plain;
  long_run(subject, DType::kFloat32, 2, [&](std::int64_t chunk, const Run& part) {
    // A state may be a few numbers, whose error at one moment is luck: the worst of all chunks.
    result.plain_state =
        std::max(result.plain_state,
                 state_error(part.state, result.states[static_cast<std::size_t>(chunk)]));
    if (chunk + 1 == chunks_of(subject)) result.plain_y = test::error_of(part.y, result.y);
  });
  return result;
}

bool finite(const Run& run) {
  bool all = std::isfinite(largest(run.y));
  for (const Tensor& field : run.state.fields())
    if (is_floating(field.dtype())) all = all && std::isfinite(largest(field));
  return all;
}

void million_steps(Finding& finding, const Subject& subject) {
  // Stable recurrences with inputs in [-1, 1] stay far below; 1e6 tells growth.
  constexpr double kGrowth = 1e6;
  const LongRun& exact = exact_long_run(subject);
  for (const State& state : exact.states)
    for (const Tensor& field : state.fields())
      if (is_floating(field.dtype())) finding.add(largest(field), kGrowth);
  finding.add(largest(exact.y), kGrowth);
  if (subject.dtype == DType::kFloat64) return;
  long_run(subject, DType::kFloat32, 2, [&](std::int64_t chunk, const Run& part) {
    finding.add(state_error(part.state, exact.states[static_cast<std::size_t>(chunk)]),
                bound_of(exact.plain_state, subject.dtype));
    finding.add(finite(part));
    if (chunk + 1 == chunks_of(subject))
      finding.add(test::error_of(part.y, exact.y), bound_of(exact.plain_y, subject.dtype));
  });
}

// A parameter that opens or shuts a gate or sets a decay, by the beginning of its name, and how it
// is made extreme.
struct Extreme {
  const char* layer;
  const char* parameter;
  double factor, shift;
  bool near = true;  // false: the recurrence is chaotic then, and owes no more than to stay finite
};
constexpr Extreme kExtremes[] = {
    {"s4d", "layer.kernel.inv_dt", 1, 8},    // steps of e^8 dt: decays at 0
    {"s4d", "layer.kernel.inv_dt", 1, -12},  // decays at 1
    {"s4d", "layer.kernel.A_real", 1, 12},   // decay at once
    {"s4d", "layer.kernel.A_real", 1, -30},  // hardly ever
    {"mamba", "dt_proj.bias", 1, 40},        // dt = 40
    {"mamba", "dt_proj.bias", 1, -40},       // dt = e^-40
    {"mamba", "A_log", 1, 10},
    {"mamba", "A_log", 1, -20},
    {"lstm", "bias_ih", 1, 40},
    {"lstm", "bias_ih", 1, -40},
    {"lstm", "weight_hh", 40, 0, false},
    {"gru", "bias_ih", 1, 40},
    {"gru", "bias_ih", 1, -40},
    {"gru", "weight_hh", 40, 0, false},
    {"mingru", "linear_z.bias", 1, 40},
    {"mingru", "linear_z.bias", 1, -40},
    {"mingru", "linear_z.weight", 40, 0},
    {"retnet", "g_proj.weight", 400, 0},  // its decays are no parameters
    {"gla", "gk_proj.1.bias", 1, 640},    // decays are sigmoid(.)^(1/16): logits of +-40
    {"gla", "gk_proj.1.bias", 1, -640},
    {"gla", "gk_proj.1.weight", 4000, 0},
    {"mlstm", "mlstm_cell.igate.bias", 1, 40},
    {"mlstm", "mlstm_cell.igate.bias", 1, -40},
    {"mlstm", "mlstm_cell.fgate.bias", 1, 40},
    {"mlstm", "mlstm_cell.fgate.bias", 1, -40},
    {"mlstm", "mlstm_cell.igate.weight", 400, 0},
    {"mlstm", "mlstm_cell.fgate.weight", 400, 0},
    {"deltanet", "b_proj.weight", 400, 0},  // beta at 0 and 1 (2 with negative eigenvalues)
};

// Forward, steps and gradients of a changed layer: finite, and near to double.
void stays_finite(Finding& finding, const Subject& subject, const Tensor& x, bool near,
                  const std::function<void(const SequenceLayer&)>& change) {
  Exec exec({.dtype = subject.dtype, .threads = 2});
  const auto layer = subject.make();
  if (change) change(*layer);
  const State initial = used_state(exec, *layer, x.size(0), 48);
  const Run whole = run(exec, *layer, x, initial);
  finding.add(finite(whole));
  if (near)
    compare(finding, subject, whole, reference(subject, layer->input_size(), x, initial, change));
  const Run steps = run_steps(exec, *layer, x, initial);
  finding.add(finite(steps));
  if (subject.sequential())
    finding.add(test::same_bits(whole.y, steps.y) && same_state(whole.state, steps.state));
  const Gradient g = gradient(exec, *layer, x, initial, {.cuts = {100}});
  finding.add(std::isfinite(largest(g.x)));
  for (const Tensor& field : g.state) finding.add(std::isfinite(largest(field)));
  for (const Tensor& parameter : g.parameters) finding.add(std::isfinite(largest(parameter)));
}

Finding extremes(const Subject& subject) {
  Finding finding;
  const std::int64_t width = subject.make()->input_size();
  stays_finite(finding, subject, random_input({2, 257, width}, subject.dtype, 47, 40.0), true, {});
  const Tensor x = random_input({2, 131, width}, subject.dtype, 47);
  bool any = false;
  for (const Extreme& extreme : kExtremes) {
    if (subject.type->name != extreme.layer) continue;
    stays_finite(finding, subject, x, extreme.near, [&](const SequenceLayer& layer) {
      layer.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
        if (!name.starts_with(extreme.parameter)) return;
        any = true;
        const Tensor changed = value.to(DType::kFloat64).clone();
        for (double& element : changed.span<double>())
          element = element * extreme.factor + extreme.shift;
        value.copy_from(changed.to(DType::kFloat32).to(value.dtype()));
      });
    });
  }
  finding.add(any);  // a layer without a line in the list has not been tried
  million_steps(finding, subject);
  return finding;
}

}  // namespace

void add_extreme_laws(std::vector<Law>& laws) {
  laws.push_back(
      {"15", "extreme gates and long runs stay finite and near to double", true, true, extremes});
}

}  // namespace rill::laws
