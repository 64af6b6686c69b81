// Shared by the tests of the recurrent cells: layers of every kind, runs of them, and a plain loop
// over their equations in any precision.
#pragma once

#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <rill/core/core.h>
#include <rill/core/random.h>
#include <rill/rnn/gru.h>
#include <rill/rnn/lstm.h>
#include <rill/tests/support/catch.h>

namespace rill::rnn_test {

struct Kind {
  const char* name;
  bool lstm;
  std::int64_t input, hidden, layers, projection;
  bool bias;
};

inline std::unique_ptr<SequenceLayer> make_layer(const Kind& kind, DType dtype,
                                                 std::uint64_t seed = 5) {
  if (kind.lstm) {
    const LstmConfig config{.input_size = kind.input,
                            .hidden_size = kind.hidden,
                            .num_layers = kind.layers,
                            .proj_size = kind.projection,
                            .bias = kind.bias};
    return std::make_unique<Lstm>(config, dtype, seed);
  }
  const GruConfig config{.input_size = kind.input,
                         .hidden_size = kind.hidden,
                         .num_layers = kind.layers,
                         .bias = kind.bias};
  return std::make_unique<Gru>(config, dtype, seed);
}

/// Numbers that float and double both hold.
inline Tensor noise(const Shape& shape, DType dtype, std::uint64_t seed) {
  const Tensor values = Tensor::empty(shape, DType::kFloat32);
  Generator generator(seed, "noise");
  for (float& value : values.span<float>()) value = static_cast<float>(generator.normal());
  return values.to(dtype);
}

inline State noisy_state(const SequenceLayer& layer, std::int64_t batch, std::uint64_t seed) {
  State state = State::fresh(layer.state_spec(), batch);
  for (std::size_t f = 0; f < state.fields().size(); ++f)
    state.fields()[f].copy_from(noise(state.fields()[f].shape(), layer.dtype(), seed + f));
  return state;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

inline bool same_bits(const State& a, const State& b) {
  for (std::size_t f = 0; f < a.fields().size(); ++f)
    if (!same_bits(a.fields()[f], b.fields()[f])) return false;
  return a.batch() == b.batch();
}

/// max |a - b| / max |b|; infinite where a holds a NaN.
inline double error_of(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  const Tensor x = a.to(DType::kFloat64), y = b.to(DType::kFloat64);
  double difference = 0.0, scale = 0.0;
  for (std::size_t i = 0; i < x.span<double>().size(); ++i) {
    const double d = std::abs(x.span<double>()[i] - y.span<double>()[i]);
    difference = std::isnan(d) ? INFINITY : std::max(difference, d);
    scale = std::max(scale, std::abs(y.span<double>()[i]));
  }
  return difference == 0.0 ? 0.0 : difference / scale;
}

/// Runs on every vector target of this processor and restores the one before.
template <class F>
void on_each_target(const F& f) {
  const std::string before = cpu_target();
  for (const std::string& target : available_cpu_targets()) {
    set_cpu_target(target);
    INFO("target " << target);
    f();
  }
  set_cpu_target(before);
}

/// Rows [first, first + count) of x [B, T, C] in time.
inline Tensor steps_of(const Tensor& x, std::int64_t first, std::int64_t count) {
  const Tensor part = Tensor::empty({x.size(0), count, x.size(2)}, x.dtype());
  const std::size_t width = static_cast<std::size_t>(x.size(2)) * size_of(x.dtype());
  for (std::int64_t b = 0; b < x.size(0); ++b)
    std::memcpy(
        static_cast<char*>(part.raw()) + static_cast<std::size_t>(b * count) * width,
        static_cast<const char*>(x.raw()) + static_cast<std::size_t>(b * x.size(1) + first) * width,
        static_cast<std::size_t>(count) * width);
  return part;
}

// ---- the equations as plain loops
// ------------------------------------------------------------------------------------

template <class T>
T plain_sigmoid(T x) {
  return T(1) / (T(1) + std::exp(-x));
}

/// What one layer of a cell does to one row's step, from parameters looked up by name. Element
/// types are T throughout.
template <class T>
class PlainCell {
 public:
  PlainCell(const Kind& kind, const SequenceLayer& layer) : kind_(kind) {
    layer.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
      parameters_[name] = value.to(dtype_of<T>());
    });
  }

  /// x [B, T, I] -> y [B, T, P], from the state, which is updated.
  Tensor run(const Tensor& x, State& state) const {
    const std::int64_t batch = x.size(0), steps = x.size(1),
                       output = kind_.projection ? kind_.projection : kind_.hidden;
    const Tensor y = Tensor::empty({batch, steps, output}, dtype_of<T>());
    for (std::int64_t b = 0; b < batch; ++b)
      for (std::int64_t t = 0; t < steps; ++t) {
        const T* first = x.data<T>() + (b * steps + t) * kind_.input;
        std::vector<T> value(first, first + kind_.input);
        for (std::int64_t k = 0; k < kind_.layers; ++k) value = step(k, b, value, state);
        std::copy(value.begin(), value.end(), y.data<T>() + (b * steps + t) * output);
      }
    return y;
  }

 private:
  // W[first row + i] v + b.
  std::vector<T> affine(const std::string& weight, const std::string& bias, std::int64_t first,
                        std::int64_t count, const std::vector<T>& v) const {
    const auto width = static_cast<std::int64_t>(v.size());
    std::vector<T> out(static_cast<std::size_t>(count), T(0));
    for (std::int64_t i = 0; i < count; ++i) {
      T sum =
          parameters_.contains(bias) ? parameters_.at(bias).template data<T>()[first + i] : T(0);
      for (std::int64_t k = 0; k < width; ++k)
        sum += parameters_.at(weight).template data<T>()[(first + i) * width + k] *
               v[static_cast<std::size_t>(k)];
      out[static_cast<std::size_t>(i)] = sum;
    }
    return out;
  }

  std::vector<T> step(std::int64_t k, std::int64_t b, const std::vector<T>& x, State& state) const {
    const std::string l = "_l" + std::to_string(k);
    const std::int64_t hidden = kind_.hidden;
    const Tensor& h_field = state.at("h" + l);
    T* const h_row = h_field.template data<T>() + b * h_field.size(1);
    const std::vector<T> h(h_row, h_row + h_field.size(1));
    std::vector<std::vector<T>> from_x, from_h;
    for (std::int64_t g = 0; g < (kind_.lstm ? 4 : 3); ++g) {
      from_x.push_back(affine("weight_ih" + l, "bias_ih" + l, g * hidden, hidden, x));
      from_h.push_back(affine("weight_hh" + l, "bias_hh" + l, g * hidden, hidden, h));
    }
    std::vector<T> out(static_cast<std::size_t>(hidden));
    for (std::size_t j = 0; j < out.size(); ++j) {
      if (kind_.lstm) {
        T& c = state.at("c" + l).template data<T>()[b * hidden + static_cast<std::int64_t>(j)];
        const T i = plain_sigmoid(from_x[0][j] + from_h[0][j]),
                f = plain_sigmoid(from_x[1][j] + from_h[1][j]);
        c = f * c + i * std::tanh(from_x[2][j] + from_h[2][j]);
        out[j] = plain_sigmoid(from_x[3][j] + from_h[3][j]) * std::tanh(c);
      } else {
        const T r = plain_sigmoid(from_x[0][j] + from_h[0][j]),
                z = plain_sigmoid(from_x[1][j] + from_h[1][j]);
        out[j] = (T(1) - z) * std::tanh(from_x[2][j] + r * from_h[2][j]) + z * h[j];
      }
    }
    if (kind_.projection) out = affine("weight_hr" + l, "", 0, kind_.projection, out);
    std::copy(out.begin(), out.end(), h_row);
    return out;
  }

  Kind kind_;
  std::map<std::string, Tensor> parameters_;
};

}  // namespace rill::rnn_test
