// Gradients of core's ops against central differences, float against double on every vector target,
// and bits that do not depend on an element's place.
#include <rill/core/kernels.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/gradcheck.h>

#include <cstring>
#include <string>

using namespace rill;
using namespace rill::test;

namespace {

// One declaration of a case for the gradient check, float against double, and the comparison with
// the plain loops.
struct Case {
  std::string name;
  TapeFunction function;
  std::function<std::vector<Tensor>(std::int64_t width)> inputs;  // float64
  std::size_t wide = std::size_t(-1);  // the input that stays float64 in a float32 Exec
};

Sequence ragged(Exec& exec, bool resets) {
  Segments segments;
  segments.lengths = {3, 0, 5};
  if (resets) {
    segments.reset = Tensor::zeros({3, 5}, DType::kUInt8);
    segments.reset.data<std::uint8_t>()[1] = 1;
    segments.reset.data<std::uint8_t>()[13] = 1;
  }
  return Sequence::from(exec, &segments, 3, 5);
}

Case unary_case(std::string name, Unary kind, double low, double high) {
  return {std::move(name),
          [kind](Exec& exec, std::span<const Tensor> x) {
            return std::vector{unary(exec, kind, x[0])};
          },
          [=](std::int64_t width) {
            return std::vector{random_tensor({2, width}, 3, low, high)};
          }};
}

std::vector<Case> elementwise_cases() {
  std::vector<Case> cases = {
      unary_case("silu", Unary::kSilu, -8, 8),
      unary_case("gelu", Unary::kGelu, -5, 5),
      unary_case("gelu_tanh", Unary::kGeluTanh, -5, 5),
      unary_case("sigmoid", Unary::kSigmoid, -20, 20),
      unary_case("tanh", Unary::kTanh, -6, 6),
      unary_case("relu", Unary::kRelu, -1, 1),
      unary_case("softplus", Unary::kSoftplus, -20, 20),
      unary_case("log_sigmoid", Unary::kLogSigmoid, -20, 20),
      unary_case("exp", Unary::kExp, -5, 3),
      unary_case("log", Unary::kLog, 0.1, 5),
      unary_case("square", Unary::kSquare, -2, 2),
      unary_case("sqrt", Unary::kSqrt, 0.1, 4),
      unary_case("negate", Unary::kNegate, -2, 2),
      unary_case("reciprocal", Unary::kReciprocal, 0.2, 3),
      unary_case("elu_plus_one", Unary::kEluPlusOne, -4, 4),
      unary_case("min_gru", Unary::kMinGru, -4, 4),
  };
  const auto two = [](std::int64_t width) {
    return std::vector{random_tensor({2, 3, width}, 5), random_tensor({2, 3, width}, 6)};
  };
  const auto with_row = [](std::int64_t width) {
    return std::vector{random_tensor({2, 3, width}, 5), random_tensor({width}, 6)};
  };
  const auto kinds = {std::pair{"add", Binary::kAdd},
                      {"subtract", Binary::kSubtract},
                      {"multiply", Binary::kMultiply}};
  for (const auto& [name, kind] : kinds) {
    const TapeFunction function = [kind = kind](Exec& exec, std::span<const Tensor> x) {
      return std::vector{binary(exec, kind, x[0], x[1])};
    };
    cases.push_back({name, function, two});
    cases.push_back({std::string(name) + " row", function, with_row});
  }
  cases.push_back({"a tensor twice",
                   [](Exec& exec, std::span<const Tensor> x) {
                     const Tensor y = add(exec, x[0], x[0]);
                     return std::vector{multiply(exec, y, y), y};
                   },
                   [](std::int64_t width) {
                     return std::vector{random_tensor({2, width}, 5)};
                   }});
  cases.push_back({"affine",
                   [](Exec& exec, std::span<const Tensor> x) {
                     return std::vector{affine(exec, x[0], -0.7, 0.3)};
                   },
                   [](std::int64_t width) {
                     return std::vector{random_tensor({2, width}, 5)};
                   }});
  for (const Unary kind : {Unary::kSilu, Unary::kSigmoid, Unary::kGelu})
    cases.push_back({"gated " + std::to_string(static_cast<int>(kind)),
                     [kind](Exec& exec, std::span<const Tensor> x) {
                       return std::vector{gated(exec, x[0], x[1], kind)};
                     },
                     two});
  cases.push_back(
      {"glu", [](Exec& exec, std::span<const Tensor> x) { return std::vector{glu(exec, x[0])}; },
       [](std::int64_t width) {
         return std::vector{random_tensor({3, 2 * width}, 5, -3, 3)};
       }});
  cases.push_back({"dropout",
                   [](Exec& exec, std::span<const Tensor> x) {
                     const TrainingScope training(exec, true);
                     exec.set_op_number(0);
                     return std::vector{dropout(exec, x[0], 0.3)};
                   },
                   [](std::int64_t width) {
                     return std::vector{random_tensor({2, 3, width}, 5)};
                   }});
  return cases;
}

std::vector<Case> norm_cases() {
  const auto vectors = [](std::int64_t factor) {
    return [factor](std::int64_t width) {
      const std::int64_t channels = factor * width;
      return std::vector{random_tensor({5, channels}, 5, -1.0, 2.0),
                         random_tensor({channels}, 6, 0.5, 1.5), random_tensor({channels}, 7)};
    };
  };
  const auto shared = [](std::int64_t width) {
    return std::vector{random_tensor({5, 3 * width}, 5, -1.0, 2.0),
                       random_tensor({width}, 6, 0.5, 1.5), random_tensor({width}, 7)};
  };
  using Inputs = std::span<const Tensor>;
  const double eps = 1e-2;  // so that one channel alone is not normalised to a sign
  return {
      {"rms_norm", [=](Exec& e, Inputs x) { return std::vector{rms_norm(e, x[0], x[1], eps)}; },
       vectors(1)},
      {"rms_norm bare", [=](Exec& e, Inputs x) { return std::vector{rms_norm(e, x[0], {}, eps)}; },
       vectors(1)},
      {"layer_norm",
       [=](Exec& e, Inputs x) { return std::vector{layer_norm(e, x[0], x[1], x[2], eps)}; },
       vectors(1)},
      {"group_norm",
       [=](Exec& e, Inputs x) {
         return std::vector{group_norm(e, x[0], 3, x[1], x[2], eps, false)};
       },
       vectors(3)},
      {"group_norm rms",
       [=](Exec& e, Inputs x) { return std::vector{group_norm(e, x[0], 3, x[1], {}, eps, true)}; },
       vectors(3)},
      {"group_norm shared",
       [=](Exec& e, Inputs x) {
         return std::vector{group_norm(e, x[0], 3, x[1], x[2], eps, true)};
       },
       shared},
      {"l2_norm", [=](Exec& e, Inputs x) { return std::vector{l2_norm(e, x[0], 3, eps)}; },
       vectors(3)},
  };
}

std::vector<Case> shape_cases() {
  using Inputs = std::span<const Tensor>;
  const auto one = [](std::int64_t width) { return std::vector{random_tensor({3, 5, width}, 5)}; };
  const auto pool = [](std::int64_t width) {
    return std::vector{random_tensor({3, 5, width}, 5), random_tensor({3, width}, 6)};
  };
  std::vector<Case> cases;
  cases.push_back({"reshape",
                   [](Exec& e, Inputs x) {
                     return std::vector{reshape(e, x[0], {x[0].numel()}), x[0]};
                   },
                   one});
  cases.push_back({"narrow",
                   [](Exec& e, Inputs x) {
                     const std::int64_t width = x[0].size(-1);
                     return std::vector{narrow(e, x[0], 0, (width + 1) / 2),
                                        narrow(e, x[0], width / 3, width - width / 3)};
                   },
                   one});
  cases.push_back({"narrow_time",
                   [](Exec& e, Inputs x) {
                     return std::vector{narrow_time(e, x[0], 1, 3), narrow_time(e, x[0], 4, 1)};
                   },
                   one});
  cases.push_back({"concat",
                   [](Exec& e, Inputs x) {
                     const Tensor parts[] = {x[0], narrow(e, x[0], 0, 1), x[0]};
                     return std::vector{concat(e, parts)};
                   },
                   one});
  cases.push_back(
      {"reverse_time",
       [](Exec& e, Inputs x) { return std::vector{reverse_time(e, x[0], ragged(e, false))}; },
       one});
  cases.push_back(
      {"zero_padding",
       [](Exec& e, Inputs x) { return std::vector{zero_padding(e, x[0], ragged(e, false))}; },
       one});
  for (const bool resets : {false, true}) {
    cases.push_back({resets ? "mean_pool resets" : "mean_pool",
                     [resets](Exec& e, Inputs x) {
                       Tensor sum = x[1];
                       Tensor count = Tensor::from(std::vector<std::int64_t>{2, 1, 3}, {3, 1});
                       const Tensor y = mean_pool(e, x[0], sum, count, ragged(e, resets));
                       return std::vector{y, sum};
                     },
                     pool, 1});
    cases.push_back({resets ? "last_pool resets" : "last_pool",
                     [resets](Exec& e, Inputs x) {
                       Tensor last = x[1];
                       const Tensor y = last_pool(e, x[0], last, ragged(e, resets));
                       return std::vector{y, last};
                     },
                     pool});
  }
  return cases;
}

std::vector<Case> loss_cases() {
  using Inputs = std::span<const Tensor>;
  return {
      {"cross_entropy",
       [](Exec& e, Inputs x) {
         const std::int64_t last = x[0].size(-1) - 1;
         const Tensor targets = Tensor::from(std::vector<std::int64_t>{0, -1, last, last / 2}, {4});
         return std::vector{cross_entropy(e, x[0], targets, 3.0)};
       },
       [](std::int64_t width) {
         return std::vector{random_tensor({4, width}, 5, -4, 4)};
       }},
      {"squared_error",
       [](Exec& e, Inputs x) {
         const Tensor target = random_tensor(x[0].shape(), 6).to(DType::kFloat32).to(e.dtype());
         if (e.dtype() == DType::kFloat64)
           target.data<double>()[0] = NAN;
         else
           target.data<float>()[0] = NAN;
         return std::vector{squared_error(e, x[0], target, 7.0)};
       },
       [](std::int64_t width) {
         return std::vector{random_tensor({4, width}, 5)};
       }},
      {"sum", [](Exec& e, Inputs x) { return std::vector{sum(e, x[0])}; },
       [](std::int64_t width) {
         return std::vector{random_tensor({4, width}, 5, 0.5, 1.0)};
       }},
  };
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const auto& part : {elementwise_cases(), norm_cases(), shape_cases(), loss_cases()})
    cases.insert(cases.end(), part.begin(), part.end());
  return cases;
}

template <class F>
void on_every_target(F&& f) {
  const std::string before = cpu_target();
  for (const std::string& target : available_cpu_targets()) {
    set_cpu_target(target);
    f(target);
  }
  set_cpu_target(before);
}

std::vector<Tensor> run(DType dtype, const Case& c, std::span<const Tensor> inputs, bool backward,
                        int threads = 1) {
  Exec exec({.dtype = dtype, .threads = threads, .seed = 9});
  std::vector<Tensor> converted;
  // Copies: a state is overwritten where no tape is on.
  for (const Tensor& input : inputs)
    converted.push_back(
        input.to(DType::kFloat32).to(converted.size() == c.wide ? DType::kFloat64 : dtype).clone());
  if (backward) return tape_gradients(exec, c.function, converted);
  return c.function(exec, converted);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

}  // namespace

TEST_CASE("gradients of ops equal central differences") {
  for (const Case& c : all_cases())
    for (const std::int64_t width : {1, 4, 7}) {
      INFO(c.name << " width " << width);
      // Central differences with h = 1e-5 leave about 1e-10 of truncation and 1e-11 of rounding.
      CHECK(gradcheck(c.function, c.inputs(width)) < 1e-7);
    }
}

TEST_CASE("float ops agree with double ones on every target and at every edge length") {
  on_every_target([](const std::string& target) {
    for (const Case& c : all_cases())
      for (std::int64_t width = 1; width < 36; ++width) {
        INFO(target << " " << c.name << " width " << width);
        const auto inputs = c.inputs(width);
        const double eps = 1.2e-7;
        // Inputs are the same numbers; a dozen roundings, sums of at most 175 terms, the largest
        // element as the scale.
        CHECK(relative_error(run(DType::kFloat32, c, inputs, false),
                             run(DType::kFloat64, c, inputs, false)) < 8 * eps);
        CHECK(relative_error(run(DType::kFloat32, c, inputs, true),
                             run(DType::kFloat64, c, inputs, true)) < 16 * eps);
      }
  });
}

TEST_CASE("threads do not change a bit of an op") {
  for (const Case& c : all_cases()) {
    INFO(c.name);
    const auto inputs = c.inputs(9001);  // several tiles
    for (const bool backward : {false, true}) {
      const auto one = run(DType::kFloat32, c, inputs, backward, 1),
                 three = run(DType::kFloat32, c, inputs, backward, 3);
      for (std::size_t i = 0; i < one.size(); ++i) CHECK(same_bits(one[i], three[i]));
    }
  }
}
