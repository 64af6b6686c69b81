// Laws 5, 5b, 6: gradients are right, in double and in float, whole and through cuts.
#include "law.h"

#include <rill/core/kernel.h>

#include <cmath>

namespace rill::laws {
namespace {

constexpr std::int64_t kBatch = 2;

// Central differences of the objective over up to `most` elements of an array, evenly chosen; the
// largest difference to `gradient`, as a part of `scale`.
double difference_error(Exec& exec, const SequenceLayer& layer, const Tensor& x,
                        const State& initial, const Tensor& array, const Tensor& gradient,
                        double scale, std::int64_t most = 24) {
  double worst = 0;
  const Tensor host = array.to(Device{}).clone();
  double* values = host.data<double>();
  const std::int64_t stride = std::max<std::int64_t>(1, array.numel() / most);
  for (std::int64_t i = 0; i < array.numel(); i += stride) {
    const double kept = values[i];
    const double h = 1e-5 * std::max(1.0, std::abs(kept));
    const auto at = [&](double value) {
      values[i] = value;
      array.copy_from(host);
      return objective(exec, layer, x, initial);
    };
    // Fourth order: the error of the difference itself stays below 1e-9.
    const double slope =
        (8 * (at(kept + h) - at(kept - h)) - (at(kept + 2 * h) - at(kept - 2 * h))) / (12 * h);
    at(kept);
    const double got = gradient.defined() ? gradient.data<double>()[i] : 0.0;
    const double error = std::abs(got - slope) / scale;
    if (!std::isfinite(error)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, error);
  }
  return worst;
}

Finding central_differences(const Subject& subject) {
  // The objective is a sum of some hundred terms of size 1 in double: its differences at h = 1e-5
  // are good to about 1e-16 * 100 / 1e-5 = 1e-9 of the objective, 1e-7 of a small gradient.
  constexpr double kBound = 1e-6;
  Finding finding;
  Exec exec(under_law(DType::kFloat64, 1));
  for (const std::int64_t width : {4, 16}) {
    const auto layer = subject.make(width, DType::kFloat64);
    const Tensor x = random_input({kBatch, 11, layer->input_size()}, DType::kFloat64, 21);
    const State initial = used_state(exec, *layer, kBatch, 22);
    const Gradient g = gradient(exec, *layer, x, initial);
    finding.add(difference_error(exec, *layer, x, initial, x, g.x, std::max(1e-3, largest(g.x))),
                kBound);
    for (std::size_t f = 0; f < g.state.size(); ++f)
      if (is_floating(initial.fields()[f].dtype()))
        finding.add(difference_error(exec, *layer, x, initial, initial.fields()[f], g.state[f],
                                     std::max(1e-3, largest(g.state[f]))),
                    kBound);
    const std::vector<Tensor> parameters = layer->parameters();
    for (std::size_t p = 0; p < parameters.size(); ++p)
      finding.add(difference_error(exec, *layer, x, initial, parameters[p], g.parameters[p],
                                   std::max(1e-3, largest(g.parameters[p]))),
                  kBound);
  }
  return finding;
}

// The rounding errors of one draw of a small array say little of a loop's precision: of one element
// that is all cancellation, nothing. Every width and length is judged alone, over this many inputs.
std::uint64_t draws(std::int64_t width, std::int64_t length) {
  if (width == 1) return 24;
  return length <= 3 ? 8 : 3;
}

Finding float_gradients(const Subject& subject) {
  Finding finding;
  Exec exec(under_law(DType::kFloat32, 2));
  Exec plain_exec({.threads = 1});
  Exec exec64({.dtype = DType::kFloat64, .threads = 1});
  const auto judge = [&](std::int64_t width, std::int64_t length) {
    const auto layer = subject.make(width, DType::kFloat32);
    const auto layer64 = subject.make(width, DType::kFloat64);
    ArrayErrors errors;
    for (std::uint64_t seed = 1; seed <= draws(width, length); ++seed) {
      const Tensor x = random_input({kBatch, length, layer->input_size()}, DType::kFloat32, seed);
      const State initial = used_state(exec, *layer, kBatch, seed + 100);
      const Gradient exact = gradient(exec64, *layer64, x.to(DType::kFloat64),
                                      convert(initial, layer64->state_spec()));
      const Gradient got = gradient(exec, *layer, x, initial);
      const PlainKernels plain;
      add(errors, got, gradient(plain_exec, *layer, x, initial), exact);
    }
    // Normalised over one channel, a gradient is g (1 - x^2 / (x^2 + eps)): all cancellation, in
    // which the plain loop's rounded products meet, and fused multiply-adds keep what they round.
    errors.judge(finding, DType::kFloat32, width == 1 ? 4 : 2);
  };
  // The backward passes keep the state every 16 or 32 steps: lengths on both sides of these.
  for (const std::int64_t length : {0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129})
    judge(16, length);
  for (const std::int64_t length : {1, 3, 16, 33, 65}) judge(1, length);
  for (const std::int64_t length : {1, 16, 33, 64}) judge(48, length);
  return finding;
}

Finding gradients_through_cuts(const Subject& subject) {
  Finding finding;
  Exec exec(under_law(subject.dtype, 1));
  Exec exec64({.dtype = DType::kFloat64, .threads = 1});
  const auto layer = subject.make();
  const auto layer64 = subject.make(16, DType::kFloat64);
  const Tensor x = random_input({kBatch, 41, layer->input_size()}, subject.dtype, 25);
  const State initial = used_state(exec, *layer, kBatch, 26);
  const Gradient exact =
      gradient(exec64, *layer64, x.to(DType::kFloat64), convert(initial, layer64->state_spec()));
  Gradient plain = exact;
  if (subject.dtype == DType::kFloat32) {
    const PlainKernels scope;
    Exec plain_exec({.threads = 1});
    plain = gradient(plain_exec, *layer, x, initial);
  }
  const std::vector<std::vector<std::int64_t>> all_cuts = {
      {1}, {20}, {3, 4, 30}, {8, 16, 24, 32, 40}};
  for (const auto& cuts : all_cuts) {
    ArrayErrors errors;
    add(errors, gradient(exec, *layer, x, initial, {.cuts = cuts}), plain, exact);
    errors.judge(finding, subject.dtype);
  }
  return finding;
}

bool is_chunkable(const Subject& subject) { return subject.type->flags.chunkable; }

}  // namespace

void add_gradient_laws(std::vector<Law>& laws) {
  laws.push_back({"5", "gradients equal central differences", false, true, central_differences});
  laws.push_back({"5b", "float gradients equal double ones", true, false, float_gradients});
  laws.push_back({"6", "gradients through cuts equal those of the whole", true, true,
                  gradients_through_cuts, is_chunkable});
}

}  // namespace rill::laws
