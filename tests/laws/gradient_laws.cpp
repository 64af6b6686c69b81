// Laws 5, 5b, 6: gradients are right, in double and in float, whole and through cuts.
#include "law.h"

#include <rill/core/kernel.h>

namespace rill::laws {
namespace {

constexpr std::int64_t kBatch = 2;

// Central differences of the objective over up to `most` elements of an array, evenly chosen; the
// largest difference to `gradient`, as a part of `scale`.
double difference_error(Exec& exec, const SequenceLayer& layer, const Tensor& x,
                        const State& initial, const Tensor& array, const Tensor& gradient,
                        double scale, std::int64_t most = 24) {
  double worst = 0;
  double* values = array.data<double>();
  const std::int64_t stride = std::max<std::int64_t>(1, array.numel() / most);
  for (std::int64_t i = 0; i < array.numel(); i += stride) {
    const double kept = values[i];
    const double h = 1e-5 * std::max(1.0, std::abs(kept));
    const auto at = [&](double value) {
      values[i] = value;
      array.storage()->bump_version();
      return objective(exec, layer, x, initial);
    };
    // Fourth order: the error of the difference itself stays below 1e-9.
    const double slope =
        (8 * (at(kept + h) - at(kept - h)) - (at(kept + 2 * h) - at(kept - 2 * h))) / (12 * h);
    at(kept);
    const double got = gradient.defined() ? gradient.data<double>()[i] : 0.0;
    worst = std::max(worst, std::abs(got - slope) / scale);
  }
  return worst;
}

double largest(const Tensor& array) {
  double value = 0;
  if (array.defined())
    for (const double element : array.to(DType::kFloat64).span<double>())
      value = std::max(value, std::abs(element));
  return value;
}

Finding central_differences(const Subject& subject) {
  // The objective is a sum of some hundred terms of size 1 in double: its differences at h = 1e-5
  // are good to about 1e-16 * 100 / 1e-5 = 1e-9 of the objective, 1e-7 of a small gradient.
  constexpr double kBound = 1e-6;
  Finding finding;
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
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

// The errors of the arrays of a gradient over many cases. What a plain loop errs by in one case is
// a draw from its rounding errors; its precision is the largest over all cases. Arrays of one
// element, whose one value may be all cancellation, are judged over many draws as one array: add()
// what belongs together, then close().
struct GradientErrors {
  struct Sum {
    double reference = 0, got = 0, plain = 0;  // largest magnitude, largest differences
  };
  std::vector<Sum> open;
  std::vector<double> got, plain;

  void add(const Gradient& result, const Gradient& simple, const Gradient& exact) {
    std::size_t index = 0;
    const auto one = [&](const Tensor& a, const Tensor& b, const Tensor& reference) {
      if (open.size() <= index) open.emplace_back();
      Sum& sum = open[index++];
      const double scale = largest(reference);
      if (scale == 0) return;
      sum.reference = std::max(sum.reference, scale);
      sum.got = std::max(sum.got, a.defined() ? scale * test::error_of(a, reference) : scale);
      sum.plain = std::max(sum.plain, b.defined() ? scale * test::error_of(b, reference) : 0.0);
    };
    one(result.x, simple.x, exact.x);
    for (std::size_t f = 0; f < exact.state.size(); ++f)
      one(result.state[f], simple.state[f], exact.state[f]);
    for (std::size_t p = 0; p < exact.parameters.size(); ++p)
      one(result.parameters[p], simple.parameters[p], exact.parameters[p]);
  }
  void close() {
    got.resize(open.size());
    plain.resize(open.size());
    for (std::size_t i = 0; i < open.size(); ++i) {
      if (open[i].reference == 0) continue;
      got[i] = std::max(got[i], open[i].got / open[i].reference);
      plain[i] = std::max(plain[i], open[i].plain / open[i].reference);
    }
    open.clear();
  }
  void judge(Finding& finding, DType dtype) const {
    for (std::size_t i = 0; i < got.size(); ++i) finding.add(got[i], bound_of(plain[i], dtype));
  }
};

Finding float_gradients(const Subject& subject) {
  Finding finding;
  Exec exec({.threads = 2});
  Exec exec64({.dtype = DType::kFloat64, .threads = 1});
  GradientErrors errors;
  for (const std::int64_t width : {1, 16, 48}) {
    const auto layer = subject.make(width, DType::kFloat32);
    const auto layer64 = subject.make(width, DType::kFloat64);
    const auto one_case = [&](std::int64_t length, std::uint64_t seed) {
      const Tensor x = random_input({kBatch, length, layer->input_size()}, DType::kFloat32, seed);
      const State initial = used_state(exec, *layer, kBatch, seed + 100);
      const Gradient exact = gradient(exec64, *layer64, x.to(DType::kFloat64),
                                      convert(initial, layer64->state_spec()));
      const Gradient got = gradient(exec, *layer, x, initial);
      const PlainKernels plain;
      errors.add(got, gradient(exec, *layer, x, initial), exact);
    };
    for (const std::int64_t length : {1, 2, 15, 16, 17, 33, 65, 129}) {
      if (width == 48 && length > 33) continue;
      // One channel has arrays of one element: many draws.
      for (std::uint64_t seed = 1; seed <= (width == 1 ? 24 : 1); ++seed) one_case(length, seed);
      errors.close();
    }
  }
  errors.judge(finding, DType::kFloat32);
  return finding;
}

Finding gradients_through_cuts(const Subject& subject) {
  Finding finding;
  Exec exec({.dtype = subject.dtype, .threads = 1});
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
    plain = gradient(exec, *layer, x, initial);
  }
  const std::vector<std::vector<std::int64_t>> all_cuts = {
      {1}, {20}, {3, 4, 30}, {8, 16, 24, 32, 40}};
  GradientErrors errors;
  for (const auto& cuts : all_cuts) {
    errors.add(gradient(exec, *layer, x, initial, cuts), plain, exact);
    errors.close();
  }
  errors.judge(finding, subject.dtype);
  return finding;
}

bool is_chunkable(const LayerType& type) { return type.flags.chunkable; }

}  // namespace

void add_gradient_laws(std::vector<Law>& laws) {
  laws.push_back({"5", "gradients equal central differences", false, true, central_differences});
  laws.push_back({"5b", "float gradients equal double ones", true, false, float_gradients});
  laws.push_back({"6", "gradients through cuts equal those of the whole", true, true,
                  gradients_through_cuts, is_chunkable});
}

}  // namespace rill::laws
