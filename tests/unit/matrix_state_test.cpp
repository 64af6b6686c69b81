#include <cstring>

#include "matrix_state_support.h"

#include <rill/tests/support/catch.h>
#include <rill/tests/support/gradcheck.h>

using namespace rill;
using namespace rill::matrix_test;

namespace {

constexpr Sizes kSizes[] = {{1, 1, 1},  {2, 3, 5},   {3, 16, 33},
                            {2, 20, 7}, {1, 8, 130}, {1, 64, 64}};

// Runs one op; `states` become the final ones.
Tensor run(const Op& op, Exec& exec, std::span<const Tensor> inputs, std::vector<Tensor>& states,
           const Segments* segments = nullptr) {
  const Tensor& x = inputs[0];
  return op.run(exec, inputs, states, Sequence::from(exec, segments, x.size(0), x.size(1)));
}

// Tokens [first, first + count) of every row of x [B, T, C], or the array itself where it has no
// time.
std::vector<Tensor> stretch(std::span<const Tensor> inputs, std::int64_t first,
                            std::int64_t count) {
  std::vector<Tensor> parts;
  for (const Tensor& x : inputs) {
    if (x.rank() < 3) {
      parts.push_back(x);
      continue;
    }
    const Tensor part = Tensor::empty({x.size(0), count, x.size(2)}, x.dtype());
    const std::size_t row = static_cast<std::size_t>(x.size(2)) * size_of(x.dtype());
    for (std::int64_t b = 0; b < x.size(0) && row * static_cast<std::size_t>(count) > 0; ++b)
      std::memcpy(
          static_cast<char*>(part.raw()) + static_cast<std::size_t>(b * count) * row,
          static_cast<char*>(x.raw()) + static_cast<std::size_t>(b * x.size(1) + first) * row,
          row * static_cast<std::size_t>(count));
    parts.push_back(part);
  }
  return parts;
}

class ForEachTarget {
 public:
  template <class F>
  explicit ForEachTarget(const F& f) {
    const std::string before = cpu_target();
    for (const std::string& target : available_cpu_targets()) {
      set_cpu_target(target);
      f(target);
    }
    set_cpu_target(before);
  }
};

}  // namespace

TEST_CASE("matrix-state ops equal their equations") {
  for (const Sizes& sizes : kSizes)
    for (const Op& op : all_ops(sizes))
      for (const std::int64_t length : {0, 1, 2, 3, 31, 33, 70}) {
        const std::int64_t batch = 2;
        const auto inputs = op.inputs(batch, length, 7);
        const auto initial = op.states(batch, 5);
        Exec exec({.dtype = DType::kFloat64, .threads = 2});
        auto states = converted(initial, DType::kFloat64);
        const Tensor out = run(op, exec, inputs, states);
        for (std::int64_t b = 0; b < batch; ++b) {
          auto expected_states = row_of(initial, b);
          const auto expected = op.plain(inputs, b * length, length, expected_states);
          const std::span<const double> all = out.span<double>();
          INFO(op.name << " H K V " << sizes.heads << " " << sizes.keys << " " << sizes.values
                       << " T " << length);
          // 1e-12: some hundreds of roundings in double.
          CHECK(error(all.subspan(static_cast<std::size_t>(b) * expected.size(), expected.size()),
                      expected) < 1e-12);
          const auto states_now = row_of(states, b);
          for (std::size_t f = 0; f < states.size(); ++f)
            CHECK(error(states_now[f], expected_states[f]) < 1e-12);  // as above
        }
      }
}

TEST_CASE("matrix-state ops in float are near double, on every vector target") {
  ForEachTarget([](const std::string& target) {
    for (const Sizes& sizes : kSizes)
      for (const Op& op : all_ops(sizes))
        for (const std::int64_t length : {1, 2, 33, 70}) {
          const auto inputs = op.inputs(2, length, 11);
          const auto states = op.states(2, 3);
          const std::size_t count = inputs.size();
          auto all = inputs;
          all.insert(all.end(), states.begin(), states.end());
          // Rounded to float first, so that both see the same inputs.
          for (Tensor& x : all) x = x.to(DType::kFloat32).to(DType::kFloat64);
          const auto function = [&](Exec& exec, std::span<const Tensor> at) {
            std::vector<Tensor> field(at.begin() + static_cast<std::ptrdiff_t>(count), at.end());
            std::vector<Tensor> outputs{run(op, exec, at.first(count), field)};
            outputs.insert(outputs.end(), field.begin(), field.end());
            return outputs;
          };
          Exec wide({.dtype = DType::kFloat64, .threads = 1});
          Exec narrow({.dtype = DType::kFloat32, .threads = 1});
          const auto floats = converted(all, DType::kFloat32);
          const auto expected = function(wide, converted(all, DType::kFloat64));
          const auto outputs = function(narrow, converted(all, DType::kFloat32));
          INFO(target << " " << op.name << " H K V " << sizes.heads << " " << sizes.keys << " "
                      << sizes.values << " T " << length);
          for (std::size_t i = 0; i < outputs.size(); ++i)
            CHECK(error(outputs[i], expected[i]) < 4e-6);  // sums of K and T terms in float
          const auto expected_gradients = test::tape_gradients(wide, function, all);
          const auto gradients = test::tape_gradients(narrow, function, floats);
          for (std::size_t i = 0; i < gradients.size(); ++i)
            CHECK(error(gradients[i], expected_gradients[i]) < 2e-5);  // and of T x K x V terms
        }
  });
}

TEST_CASE("gradients of matrix-state ops equal central differences") {
  for (const Sizes& sizes : {Sizes{1, 1, 1}, Sizes{2, 3, 5}})
    for (const Op& op : all_ops(sizes))
      for (const int form : {0, 1, 2}) {
        const std::int64_t batch = form == 1 ? 1 : 2, length = 37;
        Segments segments;
        if (form == 1) segments.offsets = {0, 3, 3, 37};
        if (form == 2) segments.lengths = {35, 2};
        if (form != 0) {
          segments.reset = Tensor::zeros({batch, length}, DType::kUInt8);
          for (const int t : {0, 5, 33}) segments.reset.data<std::uint8_t>()[t] = 1;
        }
        const std::int64_t rows = form == 1 ? 3 : batch;
        auto all = op.inputs(batch, length, 21);
        const std::size_t count = all.size();
        for (const Tensor& state : op.states(rows, 4)) all.push_back(state);
        const auto function = [&](Exec& exec, std::span<const Tensor> at) {
          std::vector<Tensor> field(at.begin() + static_cast<std::ptrdiff_t>(count), at.end());
          std::vector<Tensor> outputs{run(op, exec, at.first(count), field, &segments)};
          outputs.insert(outputs.end(), field.begin(), field.end());
          return outputs;
        };
        INFO(op.name << " form " << form);
        CHECK(test::gradcheck(function, all, 1e-5, 24) < 1e-7);  // differences lose half the digits
      }
}

TEST_CASE("steps, cuts and threads give the same bits") {
  ForEachTarget([](const std::string& target) {
    for (const DType dtype : {DType::kFloat32, DType::kFloat64})
      for (const Sizes& sizes :
           {Sizes{1, 1, 1}, Sizes{2, 3, 5}, Sizes{3, 16, 33}, Sizes{1, 64, 64}})
        for (const Op& op : all_ops(sizes)) {
          const std::int64_t length = 41;
          const auto inputs = converted(op.inputs(2, length, 31), dtype);
          const auto initial = converted(op.fresh(2), dtype);
          Exec one({.dtype = dtype, .threads = 1}), three({.dtype = dtype, .threads = 3});
          auto whole = converted(initial, dtype);
          const Tensor out = run(op, one, inputs, whole);
          auto threaded = converted(initial, dtype);
          INFO(target << " " << op.name << " " << name_of(dtype) << " H K V " << sizes.heads << " "
                      << sizes.keys << " " << sizes.values);
          CHECK(same_bits(out, run(op, three, inputs, threaded)));
          for (const std::int64_t cut : {1, 7}) {
            auto states = converted(initial, dtype);
            for (std::int64_t t = 0; t < length; t += cut) {
              const std::int64_t count = std::min(cut, length - t);
              const Tensor part = run(op, one, stretch(inputs, t, count), states);
              const std::vector<Tensor> expected = stretch(std::vector<Tensor>{out}, t, count);
              REQUIRE(same_bits(part, expected[0]));
            }
            for (std::size_t f = 0; f < states.size(); ++f) CHECK(same_bits(states[f], whole[f]));
          }
        }
  });
}

TEST_CASE("resets, packed and padded sequences equal the sequences run alone") {
  for (const DType dtype : {DType::kFloat32, DType::kFloat64})
    for (const Op& op : all_ops({2, 3, 5})) {
      Exec exec({.dtype = dtype, .threads = 2});
      const std::int64_t length = 40, cut = 13;
      const auto inputs = converted(op.inputs(1, length, 41), dtype);
      const auto first = stretch(inputs, 0, cut), second = stretch(inputs, cut, length - cut);
      auto alone_first = converted(op.fresh(1), dtype),
           alone_second = converted(op.fresh(1), dtype);
      const Tensor a = run(op, exec, first, alone_first);
      const Tensor b = run(op, exec, second, alone_second);
      INFO(op.name << " " << name_of(dtype));
      const auto check_parts = [&](const Tensor& out) {
        const std::vector<Tensor> whole{out};
        CHECK(same_bits(stretch(whole, 0, cut)[0], a));
        CHECK(same_bits(stretch(whole, cut, length - cut)[0], b));
      };
      Segments reset;
      reset.reset = Tensor::zeros({1, length}, DType::kUInt8);
      reset.reset.data<std::uint8_t>()[cut] = 1;
      auto states = converted(op.fresh(1), dtype);
      check_parts(run(op, exec, inputs, states, &reset));
      for (std::size_t f = 0; f < states.size(); ++f) CHECK(same_bits(states[f], alone_second[f]));
      Segments packed{.offsets = {0, cut, length}};
      states = converted(op.fresh(2), dtype);
      check_parts(run(op, exec, inputs, states, &packed));
      for (std::size_t f = 0; f < states.size(); ++f) {
        CHECK(same_bits(states[f].rows(0, 1), alone_first[f]));
        CHECK(same_bits(states[f].rows(1, 1), alone_second[f]));
      }
      Segments padded{.lengths = {cut}};
      states = converted(op.fresh(1), dtype);
      const Tensor out = run(op, exec, inputs, states, &padded);
      CHECK(same_bits(stretch(std::vector<Tensor>{out}, 0, cut)[0], a));
      const Tensor rest = stretch(std::vector<Tensor>{out}, cut, length - cut)[0];
      CHECK(same_bits(rest, Tensor::zeros(rest.shape(), dtype)));
      for (std::size_t f = 0; f < states.size(); ++f) CHECK(same_bits(states[f], alone_first[f]));
    }
}

TEST_CASE("extreme gates stay finite and near double") {
  const Sizes sizes{2, 8, 8};
  const std::int64_t length = 200;
  ForEachTarget([&](const std::string& target) {
    for (const double gate : {-1e-8, -0.1, -40.0, -1e4}) {
      Op op = attention_op(sizes, DecayKind::kKey);
      auto inputs = op.inputs(1, length, 51);
      for (double& g : inputs[3].span<double>()) g = gate;
      Exec wide({.dtype = DType::kFloat64, .threads = 1}), narrow({.threads = 1});
      const auto function = [&](Exec& exec, std::span<const Tensor> at) {
        std::vector<Tensor> states = converted(op.fresh(1), exec.dtype());
        return std::vector<Tensor>{run(op, exec, at, states)};
      };
      INFO(target << " log decay " << gate);
      const auto floats = converted(inputs, DType::kFloat32);
      CHECK(error(function(narrow, floats)[0], function(wide, inputs)[0]) < 2e-5);  // 200 terms
      const auto expected = test::tape_gradients(wide, function, inputs);
      const auto gradients = test::tape_gradients(narrow, function, floats);
      // 1e-20: decays of e^-40 and below leave gradients that float may flush to 0.
      CHECK(test::relative_error(gradients, expected, 1e-20) < (gate < -80 ? 1.0 : 1e-4));
    }
    for (const double gate : {0.0, 40.0}) {
      const Op op = mlstm_op(sizes, gate);
      const auto inputs = op.inputs(1, length, 61);
      Exec wide({.dtype = DType::kFloat64, .threads = 1}), narrow({.threads = 1});
      auto states = converted(op.fresh(1), DType::kFloat32);
      auto wide_states = converted(op.fresh(1), DType::kFloat64);
      const Tensor out = run(op, narrow, converted(inputs, DType::kFloat32), states);
      const Tensor expected = run(op, wide, inputs, wide_states);
      INFO(target << " mlstm gates +-" << gate);
      CHECK(error(out, expected) < 1e-4);  // i = 40 in float is 2e-6 off, e^i as much
      auto plain_states = row_of(op.fresh(1), 0);
      const auto plain = op.plain(inputs, 0, length, plain_states);
      CHECK(error(expected.span<double>(), plain) < 1e-9);  // e^40 of the unstabilised form
    }
  });
}

TEST_CASE("the delta rule keeps its digits at beta 1.9 with one key repeated") {
  const Sizes sizes{1, 16, 16};
  const std::int64_t length = 512;
  const Op op = delta_op(sizes);
  auto inputs = op.inputs(1, length, 71);
  for (std::int64_t t = 1; t < length; ++t)
    std::copy_n(inputs[1].data<double>(), 16, inputs[1].data<double>() + t * 16);
  for (double& beta : inputs[3].span<double>()) beta = 1.9;
  ForEachTarget([&](const std::string& target) {
    Exec wide({.dtype = DType::kFloat64, .threads = 1}), narrow({.threads = 1});
    auto states = converted(op.fresh(1), DType::kFloat32);
    auto wide_states = converted(op.fresh(1), DType::kFloat64);
    const Tensor out = run(op, narrow, converted(inputs, DType::kFloat32), states);
    INFO(target);
    // 1e-5: the eigenvalue -0.9 sums about ten steps' errors.
    CHECK(error(out, run(op, wide, inputs, wide_states)) < 1e-5);
  });
}

TEST_CASE("an mLSTM token that reads nothing gives 0 whatever m is") {
  const Op op = mlstm_op({1, 4, 4});
  auto inputs = op.inputs(1, 3, 81);
  for (double& q : inputs[0].span<double>()) q = 0.0;
  for (double& i : inputs[3].span<double>()) i = 300.0;
  Exec narrow({.threads = 1});
  auto states = converted(op.fresh(1), DType::kFloat32);
  const Tensor out = run(op, narrow, converted(inputs, DType::kFloat32), states);
  for (const float y : out.span<float>()) CHECK(y == 0.0f);
}

TEST_CASE("a state that only decays ends at 0, on every thread") {
  // Denormal numbers would never leave it (0.97 of the smallest rounds back) and slow every step.
  for (const int threads : {1, 3})
    for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
      Exec exec({.dtype = dtype, .threads = threads});
      const Tensor zero = exec.zeros({4, 64, 6});
      const Tensor decay = Tensor::full({3}, dtype, -0.5);
      Tensor state = Tensor::full({4, 3, 2, 2}, dtype, 1e-30);
      const Sequence sequence = Sequence::batch(exec, 4, 64);
      for (int repeat = 0; repeat < 40; ++repeat)
        gated_linear_attention(exec, zero, zero, zero, decay, state, sequence, 3, 1.0);
      CHECK(same_bits(state, Tensor::zeros(state.shape(), dtype)));
    }
}

TEST_CASE("matrix-state ops refuse what does not fit") {
  Exec exec({.threads = 1});
  const Sequence sequence = Sequence::batch(exec, 1, 2);
  const Tensor q = exec.zeros({1, 2, 6}), v = exec.zeros({1, 2, 4});
  Tensor state = exec.zeros({1, 2, 3, 2});
  CHECK_NOTHROW(gated_linear_attention(exec, q, q, v, {}, state, sequence, 2, 1.0));
  CHECK_THROWS_AS(gated_linear_attention(exec, q, q, v, {}, state, sequence, 4, 1.0), Error);
  CHECK_THROWS_AS(gated_linear_attention(exec, q, v, v, {}, state, sequence, 2, 1.0), Error);
  CHECK_THROWS_AS(gated_linear_attention(exec, q, q, v, exec.zeros({3}), state, sequence, 2, 1.0),
                  Error);
  Tensor wrong = exec.zeros({2, 2, 3, 2});
  CHECK_THROWS_AS(gated_linear_attention(exec, q, q, v, {}, wrong, sequence, 2, 1.0), Error);
  CHECK_THROWS_AS(delta_rule(exec, q, q, v, q, state, sequence, 2, 1.0), Error);
}
