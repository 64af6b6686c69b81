// Bidirectional over every layer: against layers run alone on sequences reversed by hand, central
// differences, and torch.nn.LSTM(bidirectional=True) (tests/golden/models/make_golden.py).
#include <rill/core/core.h>
#include <rill/io/safetensors.h>
#include <rill/model/registry.h>
#include <rill/model/stack.h>
#include <rill/rnn/lstm.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/compare.h>
#include <rill/tests/support/files.h>
#include <rill/tests/support/gradcheck.h>

#include <cstring>

using namespace rill;
using namespace rill::test;

namespace {

constexpr std::int64_t kWidth = 8;

std::unique_ptr<SequenceLayer> layer_of(const std::string& name, DType dtype, std::uint64_t seed) {
  return make_layer(name, kWidth, {}, dtype, seed);
}

Bidirectional both(const std::string& name, DType dtype, AntiCausal anti_causal) {
  return {layer_of(name, dtype, 1), layer_of(name, dtype, 2), anti_causal};
}

// Steps [first, first + count) of row b of x [B, T, C], forwards or backwards, as [1, count, C].
Tensor part_of(const Tensor& x, std::int64_t b, std::int64_t first, std::int64_t count,
               bool reversed) {
  const auto bytes = static_cast<std::int64_t>(size_of(x.dtype())) * x.size(2);
  const Tensor part = Tensor::empty({1, count, x.size(2)}, x.dtype());
  for (std::int64_t t = 0; t < count; ++t) {
    const std::int64_t from = b * x.size(1) + first + (reversed ? count - 1 - t : t);
    std::memcpy(static_cast<char*>(part.raw()) + t * bytes,
                static_cast<const char*>(x.raw()) + from * bytes, static_cast<std::size_t>(bytes));
  }
  return part;
}

Tensor alone(Exec& exec, const SequenceLayer& layer, const Tensor& x) {
  State state = layer.initial_state(exec, 1);
  return layer.forward(exec, x, state);
}

struct Span {
  std::int64_t row, first, count;
};

// What Bidirectional is to give for one sequence, from the two layers alone: [1, count, 2 C].
Tensor by_hand(Exec& exec, const std::string& name, DType dtype, AntiCausal anti_causal,
               const Tensor& x, const Span& span) {
  const Tensor there =
      alone(exec, *layer_of(name, dtype, 1), part_of(x, span.row, span.first, span.count, false));
  const Tensor reversed =
      alone(exec, *layer_of(name, dtype, 2), part_of(x, span.row, span.first, span.count, true));
  const Tensor back = part_of(reversed, 0, 0, span.count, true);
  const Tensor result = Tensor::zeros({1, span.count, 2 * kWidth}, DType::kFloat64);
  const std::int64_t lag = anti_causal == AntiCausal::kFromNext ? 1 : 0;
  const Tensor wide_there = there.to(DType::kFloat64), wide_back = back.to(DType::kFloat64);
  for (std::int64_t t = 0; t < span.count; ++t)
    for (std::int64_t c = 0; c < kWidth; ++c) {
      double* out = result.data<double>() + t * 2 * kWidth;
      out[c] = wide_there.data<double>()[t * kWidth + c];
      if (t + lag < span.count) out[kWidth + c] = wide_back.data<double>()[(t + lag) * kWidth + c];
    }
  return result;
}

// The largest difference over all spans; steps in no span are to be 0.
double difference(Exec& exec, const std::string& name, AntiCausal anti_causal, const Tensor& x,
                  const Segments* segments, const std::vector<Span>& spans) {
  const Tensor y = both(name, x.dtype(), anti_causal).forward(exec, x, segments);
  REQUIRE(y.shape() == Shape({x.size(0), x.size(1), 2 * kWidth}));
  const Tensor expected = Tensor::zeros(y.shape(), DType::kFloat64);
  for (const Span& span : spans) {
    const Tensor part = by_hand(exec, name, x.dtype(), anti_causal, x, span);
    std::copy_n(part.data<double>(), part.numel(),
                expected.data<double>() + (span.row * x.size(1) + span.first) * 2 * kWidth);
  }
  return error_of(y, expected);
}

}  // namespace

TEST_CASE("bidirectional: its halves are the layer, and the layer on the reversed sequence") {
  for (const LayerType& type : layer_types())
    for (const DType dtype : {DType::kFloat32, DType::kFloat64})
      for (const AntiCausal anti_causal : {AntiCausal::kFromPresent, AntiCausal::kFromNext}) {
        INFO(type.name << " " << name_of(dtype) << " lag "
                       << (anti_causal == AntiCausal::kFromNext ? -1 : 0));
        Exec exec({.dtype = dtype, .threads = 1});
        const Tensor x = random_tensor({3, 7, kWidth}, 5).to(dtype);
        CHECK(difference(exec, type.name, anti_causal, x, nullptr,
                         {{0, 0, 7}, {1, 0, 7}, {2, 0, 7}}) == 0);
        const Segments padded{.lengths = {4, 0, 7}};
        CHECK(difference(exec, type.name, anti_causal, x, &padded, {{0, 0, 4}, {2, 0, 7}}) == 0);
        const Tensor packed_x = part_of(x.view({1, 21, kWidth}), 0, 0, 21, false);
        const Segments packed{.offsets = {0, 6, 6, 7, 21}};
        CHECK(difference(exec, type.name, anti_causal, packed_x, &packed,
                         {{0, 0, 6}, {0, 6, 1}, {0, 7, 14}}) == 0);
        const Bidirectional layer = both(type.name, dtype, anti_causal);
        CHECK(layer.output_size() == 2 * kWidth);
        CHECK(layer.forward(exec, Tensor::empty({2, 0, kWidth}, dtype)).shape() ==
              Shape({2, 0, 2 * kWidth}));
      }
}

TEST_CASE("bidirectional: gradients equal central differences, through lengths too") {
  for (const LayerType& type : layer_types())
    for (const AntiCausal anti_causal : {AntiCausal::kFromPresent, AntiCausal::kFromNext}) {
      INFO(type.name);
      const Bidirectional layer = both(type.name, DType::kFloat64, anti_causal);
      Exec exec({.dtype = DType::kFloat64, .threads = 1});
      const Segments segments{.lengths = {5, 3}};
      std::vector<Tensor> leaves = {random_tensor({2, 5, kWidth}, 7)};
      layer.visit_parameters([&](const std::string&, const Tensor& value, ParameterGroup) {
        leaves.push_back(value);
      });
      const auto run = [&](Exec& ex, std::span<const Tensor> inputs) {
        return std::vector{layer.forward(ex, inputs[0], &segments)};
      };
      const std::vector<Tensor> gradients = tape_gradients(exec, run, leaves);
      const Tensor direction = random_tensor({2, 5, 2 * kWidth}, 1001);  // tape_gradients' own
      for (std::size_t k = 0; k < leaves.size(); ++k) {
        // Along one random direction of each array: every element counts.
        const Tensor way = random_tensor(leaves[k].shape(), 11 + k), kept = leaves[k].clone();
        const Tensor moved = kept.clone();
        double sides[2], along = 0.0, scale = 0.0;
        for (const int side : {0, 1}) {
          for (std::int64_t i = 0; i < kept.numel(); ++i)
            moved.data<double>()[i] =
                kept.data<double>()[i] + (side ? 1e-5 : -1e-5) * way.data<double>()[i];
          leaves[k].copy_from(moved);
          const Tensor y = layer.forward(exec, leaves[0], &segments);
          sides[side] = 0.0;
          for (std::int64_t i = 0; i < y.numel(); ++i)
            sides[side] += y.data<double>()[i] * direction.data<double>()[i];
        }
        leaves[k].copy_from(kept);
        for (std::int64_t i = 0; i < kept.numel(); ++i) {
          const double product = gradients[k].data<double>()[i] * way.data<double>()[i];
          along += product;
          scale += std::abs(product);
        }
        // Third derivatives times (1e-5)^2, and roundings of 1e-16 / 1e-5.
        CHECK(std::abs((sides[1] - sides[0]) / 2e-5 - along) <= 1e-6 * scale + 1e-9);
      }
    }
}

TEST_CASE("bidirectional: the lag decides whether the layer against time sees the present step") {
  for (const AntiCausal anti_causal : {AntiCausal::kFromPresent, AntiCausal::kFromNext}) {
    const Bidirectional layer = both("s4d", DType::kFloat64, anti_causal);
    Exec exec({.dtype = DType::kFloat64, .threads = 1});
    const Tensor x = random_tensor({1, 6, kWidth}, 3);
    const Tensor before = layer.forward(exec, x);
    for (std::int64_t c = 0; c < kWidth; ++c) x.data<double>()[3 * kWidth + c] += 1.0;
    const Tensor after = layer.forward(exec, x);
    for (std::int64_t t = 0; t < 6; ++t) {
      const std::int64_t back = (2 * t + 1) * kWidth, there = 2 * t * kWidth;
      const auto changed = [&](std::int64_t at) {
        return !std::equal(before.data<double>() + at, before.data<double>() + at + kWidth,
                           after.data<double>() + at);
      };
      CHECK(changed(there) == (t >= 3));
      CHECK(changed(back) == (anti_causal == AntiCausal::kFromNext ? t < 3 : t <= 3));
    }
  }
}

TEST_CASE("bidirectional: what does not fit is refused") {
  using Catch::Matchers::Contains;
  const DType dtype = DType::kFloat32;
  CHECK_THAT(sentence_of(ErrorCode::kConfig,
                         [&] { Bidirectional(nullptr, layer_of("gru", DType::kFloat32, 1)); }),
             Contains("null"));
  CHECK_THAT(sentence_of(ErrorCode::kConfig,
                         [&] { Bidirectional(layer_of("gru", DType::kFloat32, 1), nullptr); }),
             Contains("against"));
  sentence_of(ErrorCode::kShape, [&] {
    Bidirectional(layer_of("gru", dtype, 1), make_layer("gru", kWidth + 1, {}, dtype));
  });
  sentence_of(ErrorCode::kDType, [&] {
    Bidirectional(layer_of("gru", dtype, 1), layer_of("gru", DType::kFloat64, 1));
  });
  sentence_of(ErrorCode::kConfig, [&] { Block(nullptr, {}, dtype, 1); });
  sentence_of(ErrorCode::kConfig, [&] {
    std::vector<std::unique_ptr<SequenceLayer>> layers;
    layers.push_back(nullptr);
    Stack(std::move(layers));
  });
  const Bidirectional layer = both("gru", dtype, AntiCausal::kFromPresent);
  Exec exec({.threads = 1});
  Segments resets;
  resets.reset = Tensor::zeros({1, 4}, DType::kUInt8);
  CHECK_THAT(sentence_of(ErrorCode::kUnsupported,
                         [&] {
                           layer.forward(exec, Tensor::zeros({1, 4, kWidth}, dtype), &resets);
                         }),
             Contains("offsets"));
  sentence_of(ErrorCode::kShape, [&] {
    layer.forward(exec, Tensor::zeros({1, 4, kWidth + 1}, dtype));
  });
  sentence_of(ErrorCode::kShape, [&] { layer.forward(exec, {}); });
}

TEST_CASE("bidirectional: two LSTMs give torch.nn.LSTM(bidirectional=True)") {
  for (const char* name : {"bidirectional", "bidirectional_lengths"}) {
    INFO(name);
    const SafetensorsReader file = SafetensorsReader::open(
        std::string(RILL_SOURCE_DIR "/tests/golden/models/") + name + ".safetensors");
    const LstmConfig config{.input_size = 3, .hidden_size = 5};
    const Bidirectional layer(std::make_unique<Lstm>(config, DType::kFloat64, 1),
                              std::make_unique<Lstm>(config, DType::kFloat64, 2));
    // "backward.weight_ih_l0" is PyTorch's "weight_ih_l0_reverse".
    const auto in_torch = [](const std::string& parameter) {
      const std::string own = parameter.substr(parameter.find('.') + 1);
      return parameter.starts_with("backward.") ? own + "_reverse" : own;
    };
    int parameters = 0;
    layer.visit_parameters([&](const std::string& own, const Tensor& value, ParameterGroup) {
      value.copy_from(file.tensor("p." + in_torch(own)));
      ++parameters;
    });
    CHECK(parameters == 8);
    Segments segments;
    if (file.has_tensor("lengths"))
      for (const std::int64_t length : file.tensor("lengths").span<std::int64_t>())
        segments.lengths.push_back(length);
    Exec exec({.dtype = DType::kFloat64, .threads = 1});
    const Tensor x = file.tensor("x");
    Tape tape;
    tape.watch(x);
    Tensor y;
    {
      const TapeScope scope(exec, &tape);
      y = layer.forward(exec, x, &segments);
    }
    CHECK(error_of(y, file.tensor("y")) <= 1e-12);  // two double programs, each in its own order
    backward(exec, tape, {{y, file.tensor("dy")}});
    CHECK(error_of(tape.gradient(x), file.tensor("dx")) <= 1e-12);  // as above
    layer.visit_parameters([&](const std::string& own, const Tensor& value, ParameterGroup) {
      INFO(own);
      CHECK(error_of(tape.gradient(value), file.tensor("g." + in_torch(own))) <= 1e-12);
    });
  }
}
