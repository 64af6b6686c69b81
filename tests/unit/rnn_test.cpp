// LSTM and GRU: values, bits, and the ways of calling them.
#include "rnn_support.h"

using namespace rill;
using namespace rill::rnn_test;

namespace {

const Kind kKinds[] = {
    {"lstm", true, 3, 5, 1, 0, true},
    {"lstm of 2 layers", true, 4, 18, 2, 0, true},
    {"lstm, one unit", true, 1, 1, 1, 0, false},
    {"lstm, projected", true, 3, 19, 2, 6, true},
    {"lstm, whole vectors", true, 2, 32, 1, 0, true},
    {"lstm, odd", true, 2, 33, 1, 0, true},
    {"gru", false, 3, 5, 1, 0, true},
    {"gru of 2 layers", false, 4, 18, 2, 0, true},
    {"lstm, wide input", true, 40, 8, 1, 0, true},
    {"gru, wide input", false, 40, 17, 2, 0, true},
    {"gru, one unit", false, 1, 1, 1, 0, false},
    {"gru, whole vectors", false, 2, 48, 1, 0, true},
};

// Bound of float: twice the error of plain float loops, and 8 roundings where those happen to be
// lucky.
double float_bound(double plain_error) { return 2 * plain_error + 8 * 1.1920929e-7; }

template <class T>
void check_values(const Kind& kind, std::int64_t batch, std::int64_t steps) {
  const auto layer = make_layer(kind, dtype_of<T>()), exact = make_layer(kind, DType::kFloat64);
  const Tensor x = noise({batch, steps, kind.input}, dtype_of<T>(), 1);
  State state = noisy_state(*layer, batch, 2), plain_state = state,
        exact_state = noisy_state(*exact, batch, 2);
  Exec exec({.dtype = dtype_of<T>(), .threads = 2});
  const Tensor y = layer->forward(exec, x, state);
  const Tensor plain = PlainCell<T>(kind, *layer).run(x, plain_state);
  const Tensor reference = PlainCell<double>(kind, *exact).run(x.to(DType::kFloat64), exact_state);
  // Double: rounding of some ten operations a step, carried over the steps.
  const bool is_double = sizeof(T) == sizeof(double);
  INFO(kind.name << ", batch " << batch << ", steps " << steps);
  CHECK(error_of(y, reference) <= (is_double ? 1e-13 : float_bound(error_of(plain, reference))));
  for (std::size_t f = 0; f < state.fields().size(); ++f) {
    const double error = error_of(plain_state.fields()[f], exact_state.fields()[f]);
    CHECK(error_of(state.fields()[f], exact_state.fields()[f]) <=
          (is_double ? 1e-13 : float_bound(error)));
  }
}

template <class T>
void check_bits(const Kind& kind, std::int64_t batch, std::int64_t steps) {
  INFO(kind.name << ", batch " << batch << ", steps " << steps);
  const auto layer = make_layer(kind, dtype_of<T>());
  const Tensor x = noise({batch, steps, kind.input}, dtype_of<T>(), 1);
  const State initial = noisy_state(*layer, batch, 2);
  Exec exec({.dtype = dtype_of<T>(), .threads = 1}),
      threaded({.dtype = dtype_of<T>(), .threads = 3});
  State whole = initial, other = initial, single = initial, stepped = initial;
  const Tensor y = layer->forward(exec, x, whole);
  CHECK(same_bits(layer->forward(threaded, x, other), y));
  CHECK(same_bits(other, whole));
  {
    Tape tape;
    const TapeScope scope(exec, &tape);
    State trained = initial;
    CHECK(same_bits(layer->forward(exec, x, trained), y));
    CHECK(same_bits(trained, whole));
  }
  Stepper stepper = layer->prepare_step(exec, batch);
  const Tensor y_t = Tensor::empty({batch, layer->output_size()}, dtype_of<T>());
  for (std::int64_t t = 0; t < steps; ++t) {
    const Tensor x_t = steps_of(x, t, 1), expected = steps_of(y, t, 1);
    CHECK(same_bits(layer->forward(exec, x_t, single), expected));
    REQUIRE(stepper.step(x_t.view({batch, kind.input}), stepped, y_t) == StepStatus::kOk);
    CHECK(same_bits(y_t.view(expected.shape()), expected));
  }
  CHECK(same_bits(single, whole));
  CHECK(same_bits(stepped, whole));
  for (std::int64_t b = 0; b < batch; ++b) {
    const std::int64_t row[] = {b};
    State alone = initial.select(row);
    CHECK(same_bits(layer->forward(exec, x.rows(b, 1), alone), y.rows(b, 1)));
    CHECK(same_bits(alone, whole.select(row)));
  }
}

}  // namespace

TEST_CASE("lstm and gru equal plain loops") {
  for (const Kind& kind : kKinds)
    for (const std::int64_t batch : {1, 2, 7}) {
      check_values<double>(kind, batch, 6);
      on_each_target([&] { check_values<float>(kind, batch, 6); });
    }
  on_each_target([&] { check_values<float>(kKinds[1], 2, 300); });
}

TEST_CASE("lstm and gru: steps, threads and other rows change no bit") {
  for (const Kind& kind : kKinds)
    for (const std::int64_t batch : {1, 2, 5, 13}) {
      check_bits<double>(kind, batch, 3);
      on_each_target([&] { check_bits<float>(kind, batch, 3); });
    }
  // Enough work for every thread to get rows.
  for (const Kind& kind : {kKinds[4], kKinds[7]})
    on_each_target([&] { check_bits<float>(kind, 19, 70); });
}

TEST_CASE("lstm and gru: no steps, no rows") {
  for (const Kind& kind : {kKinds[3], kKinds[6]}) {
    const auto layer = make_layer(kind, DType::kFloat32);
    Exec exec;
    const State initial = noisy_state(*layer, 2, 3);
    State state = initial;
    CHECK(layer->forward(exec, Tensor::empty({2, 0, kind.input}, DType::kFloat32), state).numel() ==
          0);
    CHECK(same_bits(state, initial));
    Tape tape;
    const TapeScope scope(exec, &tape);
    CHECK(layer->forward(exec, Tensor::empty({2, 0, kind.input}, DType::kFloat32), state).numel() ==
          0);
    CHECK(same_bits(state, initial));
    State none = State::fresh(layer->state_spec(), 0);
    CHECK(layer->forward(exec, Tensor::empty({0, 4, kind.input}, DType::kFloat32), none).numel() ==
          0);
  }
}

TEST_CASE("lstm and gru: resets, lengths and packed sequences equal the sequences run alone") {
  for (const Kind& kind : kKinds) {
    INFO(kind.name);
    const auto layer = make_layer(kind, DType::kFloat32);
    Exec exec;
    const Tensor x = noise({3, 6, kind.input}, DType::kFloat32, 1);
    const State initial = noisy_state(*layer, 3, 2);

    Segments lengths{.lengths = {6, 0, 4}};
    State state = initial;
    const Tensor y = layer->forward(exec, x, state, &lengths);
    Segments packed{.offsets = {0, 6, 6, 10}};
    const Tensor both = Tensor::empty({1, 10, kind.input}, DType::kFloat32);
    std::copy_n(x.data<float>(), 6 * kind.input, both.data<float>());
    std::copy_n(x.data<float>() + 12 * kind.input, 4 * kind.input,
                both.data<float>() + 6 * kind.input);
    State packed_state = initial;
    const Tensor packed_y = layer->forward(exec, both, packed_state, &packed);
    CHECK(same_bits(packed_state, state));
    const std::int64_t width = layer->output_size();
    for (std::int64_t b = 0; b < 3; ++b) {
      const std::int64_t row[] = {b}, length = lengths.lengths[static_cast<std::size_t>(b)];
      State alone = initial.select(row);
      const Tensor expected = layer->forward(exec, steps_of(x.rows(b, 1), 0, length), alone);
      CHECK(same_bits(alone, state.select(row)));
      CHECK(same_bits(steps_of(y.rows(b, 1), 0, length), expected));
      const std::int64_t offset = packed.offsets[static_cast<std::size_t>(b)];
      CHECK(same_bits(steps_of(packed_y, offset, length), expected));
      for (std::int64_t i = length * width; i < 6 * width; ++i)
        CHECK(y.data<float>()[b * 6 * width + i] == 0.0f);
    }

    Segments resets{.reset = Tensor::zeros({3, 6}, DType::kUInt8)};
    resets.reset.data<std::uint8_t>()[6 + 2] = 1;
    state = initial;
    const Tensor cut = layer->forward(exec, x, state, &resets);
    const std::int64_t row[] = {1};
    State before = initial.select(row), after = State::fresh(layer->state_spec(), 1);
    CHECK(same_bits(steps_of(cut.rows(1, 1), 0, 2),
                    layer->forward(exec, steps_of(x.rows(1, 1), 0, 2), before)));
    CHECK(same_bits(steps_of(cut.rows(1, 1), 2, 4),
                    layer->forward(exec, steps_of(x.rows(1, 1), 2, 4), after)));
    CHECK(same_bits(state.select(row), after));
  }
}

TEST_CASE("lstm and gru stay finite with extreme gates") {
  on_each_target([] {
    for (const Kind& kind : {kKinds[0], kKinds[6]}) {
      const auto layer = make_layer(kind, DType::kFloat32);
      Exec exec;
      const Tensor x = noise({2, 50, kind.input}, DType::kFloat32, 1);
      for (float& value : x.span<float>()) value *= 1e4f;
      State state = layer->initial_state(exec, 2);
      for (const float value : layer->forward(exec, x, state).span<float>())
        CHECK(std::abs(value) <= 1.0f);
    }
  });
}

TEST_CASE("lstm and gru refuse what does not fit") {
  CHECK_THROWS_AS(Lstm(LstmConfig{.hidden_size = 4, .proj_size = 4}, DType::kFloat32, 1), Error);
  CHECK_THROWS_AS(Lstm(LstmConfig{.hidden_size = 0}, DType::kFloat32, 1), Error);
  CHECK_THROWS_AS(Gru(GruConfig{.num_layers = 0}, DType::kFloat32, 1), Error);
  CHECK_THROWS_AS(Gru(GruConfig{.dropout = 1.0}, DType::kFloat32, 1), Error);
  Options options(lstm_layer_type().options);
  options.set("hidden_size", std::int64_t{8});
  CHECK(lstm_layer_type().create(4, options, DType::kFloat32, 1)->output_size() == 4);
  CHECK_THROWS_AS(lstm_layer_type().create(16, options, DType::kFloat32, 1), Error);
  Exec exec;
  const Sequence sequence = Sequence::batch(exec, 2, 3);
  const auto array = [](const Shape& shape) { return Tensor::zeros(shape, DType::kFloat32); };
  Tensor h = array({2, 5}), c = array({2, 5});
  const LstmWeights weights{.weight_ih = array({20, 4}), .weight_hh = array({20, 5})};
  CHECK_THROWS_AS(lstm(exec, array({2, 3, 3}), weights, h, c, sequence), Error);
  CHECK_THROWS_AS(lstm(exec, array({2, 2, 4}), weights, h, c, sequence), Error);
  Tensor wrong = array({1, 5});
  CHECK_THROWS_AS(lstm(exec, array({2, 3, 4}), weights, wrong, c, sequence), Error);
  CHECK(lstm(exec, array({2, 3, 4}), weights, h, c, sequence).shape() == Shape({2, 3, 5}));
}

TEST_CASE("lstm parameters carry PyTorch's names in PyTorch's order") {
  std::vector<std::string> names;
  make_layer(kKinds[3], DType::kFloat32)
      ->visit_parameters(
          [&](const std::string& name, const Tensor&, ParameterGroup) { names.push_back(name); });
  CHECK(names == std::vector<std::string>{
                     "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_hr_l0",
                     "weight_ih_l1", "weight_hh_l1", "bias_ih_l1", "bias_hh_l1", "weight_hr_l1"});
}
