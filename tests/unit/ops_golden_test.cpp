// Values and gradients of core's ops, and of the causal convolution, against PyTorch's and loops
// over the definition (tests/golden/ops/make_golden.py).
#include <rill/io/safetensors.h>
#include <rill/scan/causal_conv.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/compare.h>
#include <rill/tests/support/gradcheck.h>

#include <set>
#include <string>

using namespace rill;
using namespace rill::test;

namespace {

using Inputs = std::span<const Tensor>;

// What a case's function sees besides its inputs: a name in the file and the sequences.
struct Golden {
  const SafetensorsReader& file;
  std::string name;

  Tensor at(const std::string& part) const { return file.tensor(name + "." + part); }
  bool has(const std::string& part) const { return file.has_tensor(name + "." + part); }
  Tensor at(const std::string& part, std::size_t i) const { return at(part + std::to_string(i)); }
  bool has(const std::string& part, std::size_t i) const { return has(part + std::to_string(i)); }
  Sequence sequence(Exec& exec, const Tensor& x) const {
    Segments segments;
    const Tensor lengths = at("lengths");
    segments.lengths.assign(lengths.span<std::int64_t>().begin(),
                            lengths.span<std::int64_t>().end());
    if (has("reset")) segments.reset = at("reset");
    return Sequence::from(exec, &segments, x.size(0), x.size(1));
  }
};

struct Case {
  std::string name;
  std::function<std::vector<Tensor>(Exec&, Inputs, const Golden&)> function;
};

constexpr double kNormEps = 0x1p-7;

std::vector<Case> elementwise_cases() {
  std::vector<Case> cases;
  for (const auto& [name, kind] : {std::pair{"silu", Unary::kSilu},
                                   {"gelu", Unary::kGelu},
                                   {"gelu_tanh", Unary::kGeluTanh},
                                   {"sigmoid", Unary::kSigmoid},
                                   {"tanh", Unary::kTanh},
                                   {"relu", Unary::kRelu},
                                   {"softplus", Unary::kSoftplus},
                                   {"log_sigmoid", Unary::kLogSigmoid},
                                   {"exp", Unary::kExp},
                                   {"log", Unary::kLog},
                                   {"square", Unary::kSquare},
                                   {"sqrt", Unary::kSqrt},
                                   {"negate", Unary::kNegate},
                                   {"reciprocal", Unary::kReciprocal},
                                   {"elu_plus_one", Unary::kEluPlusOne},
                                   {"min_gru", Unary::kMinGru}})
    cases.push_back({name, [kind = kind](Exec& e, Inputs x, const Golden&) {
                       return std::vector{unary(e, kind, x[0])};
                     }});
  for (const auto& [name, kind] : {std::pair{"add", Binary::kAdd},
                                   {"subtract", Binary::kSubtract},
                                   {"multiply", Binary::kMultiply}})
    cases.push_back({name, [kind = kind](Exec& e, Inputs x, const Golden&) {
                       return std::vector{binary(e, kind, x[0], x[1]), binary(e, kind, x[0], x[2])};
                     }});
  cases.push_back({"affine", [](Exec& e, Inputs x, const Golden&) {
                     return std::vector{affine(e, x[0], -0.75, 0.375)};
                   }});
  cases.push_back({"gated", [](Exec& e, Inputs x, const Golden&) {
                     return std::vector{gated(e, x[0], x[1], Unary::kSilu),
                                        gated(e, x[0], x[1], Unary::kSigmoid)};
                   }});
  cases.push_back(
      {"glu", [](Exec& e, Inputs x, const Golden&) { return std::vector{glu(e, x[0])}; }});
  return cases;
}

std::vector<Case> norm_cases() {
  const auto group = [](bool rms) {
    return [rms](Exec& e, Inputs x, const Golden&) {
      return std::vector{group_norm(e, x[0], 2, x[1], x[2], kNormEps, rms)};
    };
  };
  return {{"rms_norm",
           [](Exec& e, Inputs x, const Golden&) {
             return std::vector{rms_norm(e, x[0], x[1], kNormEps), rms_norm(e, x[0], {}, kNormEps)};
           }},
          {"layer_norm",
           [](Exec& e, Inputs x, const Golden&) {
             return std::vector{layer_norm(e, x[0], x[1], x[2], kNormEps),
                                layer_norm(e, x[0], {}, {}, kNormEps)};
           }},
          {"group_norm", group(false)},
          {"group_norm_shared", group(false)},
          {"group_norm_rms", group(true)},
          {"l2_norm", [](Exec& e, Inputs x, const Golden&) {
             return std::vector{l2_norm(e, x[0], 2, kNormEps)};
           }}};
}

std::vector<Case> product_and_loss_cases() {
  return {{"linear",
           [](Exec& e, Inputs x, const Golden&) {
             return std::vector{linear(e, x[0], x[1], x[2]), linear(e, x[0], x[1]),
                                linear(e, x[0], x[1], x[2], {1, 3})};
           }},
          {"embedding",
           [](Exec& e, Inputs x, const Golden& golden) {
             return std::vector{embedding(e, golden.at("tokens"), x[0])};
           }},
          {"cross_entropy",
           [](Exec& e, Inputs x, const Golden& golden) {
             return std::vector{cross_entropy(e, x[0], golden.at("tokens"), 3.0)};
           }},
          {"squared_error",
           [](Exec& e, Inputs x, const Golden&) {
             return std::vector{squared_error(e, x[0], x[1], 7.0)};
           }},
          {"sum", [](Exec& e, Inputs x, const Golden&) { return std::vector{sum(e, x[0])}; }}};
}

std::vector<Case> sequence_cases() {
  std::vector<Case> cases;
  for (const std::string resets : {"", "_resets"}) {
    cases.push_back({"mean_pool" + resets, [](Exec& e, Inputs x, const Golden& golden) {
                       const Tensor counts = golden.at("count");  // before, after: [2, rows, 1]
                       const Shape shape{x[0].size(0), 1};
                       Tensor total = x[1], count = counts.rows(0, 1).view(shape).clone();
                       const Tensor y = mean_pool(e, x[0], total, count, golden.sequence(e, x[0]));
                       CHECK(same_bits(count, counts.rows(1, 1).view(shape)));
                       return std::vector{y, total};
                     }});
    cases.push_back({"last_pool" + resets, [](Exec& e, Inputs x, const Golden& golden) {
                       Tensor last = x[1];
                       const Tensor y = last_pool(e, x[0], last, golden.sequence(e, x[0]));
                       return std::vector{y, last};
                     }});
  }
  for (const std::string width : {"1", "2", "4", "9"})
    cases.push_back({"causal_conv_" + width, [](Exec& e, Inputs x, const Golden& golden) {
                       Tensor state = x[3];
                       const Tensor y =
                           causal_conv(e, x[0], x[1], x[2], state, golden.sequence(e, x[0]));
                       return std::vector{y, state};
                     }});
  cases.push_back({"fft_conv", [](Exec& e, Inputs x, const Golden& golden) {
                     return std::vector{fft_conv(e, x[0], x[1], golden.sequence(e, x[0]))};
                   }});
  return cases;
}

// Runs a case and compares: outputs without a tape, then outputs and gradients with one.
void check_case(const Case& test, const Golden& golden, DType dtype, double bound) {
  INFO(test.name << " " << name_of(dtype));
  Exec exec({.dtype = dtype, .threads = 1});
  std::vector<Tensor> inputs;
  for (std::size_t i = 0; golden.has("x", i); ++i) {
    const bool sum = test.name.starts_with("mean_pool") && i == 1;  // float64 in every Exec
    inputs.push_back(golden.at("x", i).to(sum ? DType::kFloat64 : dtype));
  }
  REQUIRE(!inputs.empty());
  const auto compare = [&](const std::vector<Tensor>& outputs) {
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      INFO("output " << i);
      CHECK(outputs[i].shape() == golden.at("y", i).shape());
      CHECK(error_of(outputs[i], golden.at("y", i)) <= bound);
    }
    CHECK_FALSE(golden.has("y", outputs.size()));
  };
  std::vector<Tensor> copies;  // without a tape a state is overwritten
  for (const Tensor& input : inputs) copies.push_back(input.clone());
  compare(test.function(exec, copies, golden));
  Tape tape;
  const TapeScope scope(exec, &tape);
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (golden.has("dx", i)) tape.watch(inputs[i]);
  const std::vector<Tensor> outputs = test.function(exec, inputs, golden);
  compare(outputs);
  std::vector<std::pair<Tensor, Tensor>> seeds;
  for (std::size_t i = 0; i < outputs.size(); ++i)
    seeds.emplace_back(outputs[i], golden.at("dy", i).to(dtype));
  backward(exec, tape, std::move(seeds));
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!golden.has("dx", i)) continue;
    INFO("gradient " << i);
    const Tensor gradient = tape.gradient(inputs[i]);
    REQUIRE(gradient.defined());
    CHECK(error_of(gradient, golden.at("dx", i)) <= bound);
  }
}

}  // namespace

TEST_CASE("ops give the values and gradients of independent code") {
  const auto file = SafetensorsReader::open(RILL_SOURCE_DIR "/tests/golden/ops/ops.safetensors");
  std::set<std::string> untested;
  for (const SafetensorsInfo& info : file.infos())
    untested.insert(info.name.substr(0, info.name.find('.')));
  const std::string before = cpu_target();
  for (const auto& part :
       {elementwise_cases(), norm_cases(), product_and_loss_cases(), sequence_cases()})
    for (const Case& test : part) {
      const Golden golden{file, test.name};
      CHECK(untested.erase(test.name) == 1);
      check_case(test, golden, DType::kFloat64, 1e-13);  // double's rounding, a few dozen times
      for (const std::string& target : available_cpu_targets()) {
        set_cpu_target(target);
        INFO(target);
        // As for float against double in ops_test: a dozen roundings of the largest element.
        check_case(test, golden, DType::kFloat32, 16 * 0x1p-23);
      }
      set_cpu_target(before);
    }
  CHECK(untested.empty());
}
