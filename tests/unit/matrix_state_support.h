// The ops with matrix states as one list of cases, and the equations of each in plain double loops
// that share nothing with the library.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <rill/core/core.h>
#include <rill/scan/delta_rule.h>
#include <rill/scan/linear_attention.h>
#include <rill/scan/mlstm_scan.h>

namespace rill::matrix_test {

struct Sizes {
  std::int64_t heads, keys, values;
};

/// One op: its inputs over time [B, T, ...] and its states [rows, ...].
struct Op {
  std::string name;
  Sizes sizes;
  /// Float64 inputs for `batch` x `length` tokens.
  std::function<std::vector<Tensor>(std::int64_t batch, std::int64_t length, std::uint64_t seed)>
      inputs;
  std::function<std::vector<Tensor>(std::int64_t rows, std::uint64_t seed)> states;
  std::function<std::vector<Tensor>(std::int64_t rows)> fresh;
  std::function<Tensor(Exec&, std::span<const Tensor> inputs, std::span<Tensor> states,
                       const Sequence&)>
      run;
  /// One row from token `first`, `length` tokens: updates `states` (of that row), returns outputs.
  std::function<std::vector<double>(std::span<const Tensor> inputs, std::int64_t first,
                                    std::int64_t length, std::vector<std::vector<double>>& states)>
      plain;
};

inline Tensor draw(const Shape& shape, std::uint64_t seed, double low, double high) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(low, high);
  const Tensor tensor = Tensor::empty(shape, DType::kFloat64);
  for (double& value : tensor.span<double>()) value = uniform(random);
  return tensor;
}

inline Tensor unit_keys(Tensor k, std::int64_t keys) {
  for (std::int64_t row = 0; row < k.numel() / keys; ++row) {
    double sum = 0.0;
    double* x = k.data<double>() + row * keys;
    for (std::int64_t i = 0; i < keys; ++i) sum += x[i] * x[i];
    for (std::int64_t i = 0; i < keys; ++i) x[i] /= std::sqrt(sum);
  }
  return k;
}

enum class DecayKind { kNone, kHead, kToken, kKey };

inline Op attention_op(Sizes s, DecayKind kind) {
  const std::int64_t h = s.heads, kk = s.keys, vv = s.values;
  const double scale = 0.5;
  const std::int64_t width = kind == DecayKind::kKey ? h * kk : h;
  Op op;
  op.name = "gla " + std::to_string(static_cast<int>(kind));
  op.sizes = s;
  op.inputs = [=](std::int64_t b, std::int64_t t, std::uint64_t seed) {
    std::vector<Tensor> x{draw({b, t, h * kk}, seed, -1, 1), draw({b, t, h * kk}, seed + 1, -1, 1),
                          draw({b, t, h * vv}, seed + 2, -1, 1)};
    if (kind == DecayKind::kHead) x.push_back(draw({h}, seed + 3, -0.3, 0));
    if (kind == DecayKind::kToken || kind == DecayKind::kKey)
      x.push_back(draw({b, t, width}, seed + 3, -0.5, 0));
    return x;
  };
  op.states = [=](std::int64_t rows, std::uint64_t seed) {
    return std::vector<Tensor>{draw({rows, h, kk, vv}, seed + 9, -1, 1)};
  };
  op.fresh = [=](std::int64_t rows) {
    return std::vector<Tensor>{Tensor::zeros({rows, h, kk, vv}, DType::kFloat64)};
  };
  op.run = [=](Exec& exec, std::span<const Tensor> x, std::span<Tensor> state,
               const Sequence& sequence) {
    return gated_linear_attention(exec, x[0], x[1], x[2], x.size() > 3 ? x[3] : Tensor(), state[0],
                                  sequence, h, scale);
  };
  op.plain = [=](std::span<const Tensor> x, std::int64_t first, std::int64_t length,
                 std::vector<std::vector<double>>& states) {
    std::vector<double> out(static_cast<std::size_t>(length * h * vv));
    for (std::int64_t t = first; t < first + length; ++t)
      for (std::int64_t n = 0; n < h; ++n)
        for (std::int64_t j = 0; j < vv; ++j) {
          double sum = 0.0;
          for (std::int64_t i = 0; i < kk; ++i) {
            double g = 0.0;
            if (kind == DecayKind::kHead) g = x[3].data<double>()[n];
            if (kind == DecayKind::kToken) g = x[3].data<double>()[t * h + n];
            if (kind == DecayKind::kKey) g = x[3].data<double>()[(t * h + n) * kk + i];
            double& state = states[0][static_cast<std::size_t>((n * kk + i) * vv + j)];
            const double key = x[1].data<double>()[(t * h + n) * kk + i];
            state = std::exp(g) * state + key * x[2].data<double>()[(t * h + n) * vv + j];
            sum += state * x[0].data<double>()[(t * h + n) * kk + i];
          }
          out[static_cast<std::size_t>(((t - first) * h + n) * vv + j)] = scale * sum;
        }
    return out;
  };
  return op;
}

inline Op delta_op(Sizes s, double beta_high = 1.9) {
  const std::int64_t h = s.heads, kk = s.keys, vv = s.values;
  const double scale = 0.7;
  Op op;
  op.name = "delta";
  op.sizes = s;
  op.inputs = [=](std::int64_t b, std::int64_t t, std::uint64_t seed) {
    return std::vector<Tensor>{
        draw({b, t, h * kk}, seed, -1, 1), unit_keys(draw({b, t, h * kk}, seed + 1, -1, 1), kk),
        draw({b, t, h * vv}, seed + 2, -1, 1), draw({b, t, h}, seed + 3, 0.1, beta_high)};
  };
  op.states = [=](std::int64_t rows, std::uint64_t seed) {
    return std::vector<Tensor>{draw({rows, h, kk, vv}, seed + 9, -1, 1)};
  };
  op.fresh = [=](std::int64_t rows) {
    return std::vector<Tensor>{Tensor::zeros({rows, h, kk, vv}, DType::kFloat64)};
  };
  op.run = [=](Exec& exec, std::span<const Tensor> x, std::span<Tensor> state,
               const Sequence& sequence) {
    return delta_rule(exec, x[0], x[1], x[2], x[3], state[0], sequence, h, scale);
  };
  // As its definition: the matrix I - beta k k^T is formed and multiplied.
  op.plain = [=](std::span<const Tensor> x, std::int64_t first, std::int64_t length,
                 std::vector<std::vector<double>>& states) {
    std::vector<double> out(static_cast<std::size_t>(length * h * vv));
    for (std::int64_t t = first; t < first + length; ++t)
      for (std::int64_t n = 0; n < h; ++n) {
        const double* q = x[0].data<double>() + (t * h + n) * kk;
        const double* k = x[1].data<double>() + (t * h + n) * kk;
        const double beta = x[3].data<double>()[t * h + n];
        double* state = states[0].data() + n * kk * vv;
        for (std::int64_t j = 0; j < vv; ++j) {
          std::vector<double> column(static_cast<std::size_t>(kk), 0.0);
          for (std::int64_t i = 0; i < kk; ++i) {
            for (std::int64_t m = 0; m < kk; ++m)
              column[static_cast<std::size_t>(i)] +=
                  ((i == m ? 1.0 : 0.0) - beta * k[i] * k[m]) * state[m * vv + j];
            column[static_cast<std::size_t>(i)] +=
                beta * k[i] * x[2].data<double>()[(t * h + n) * vv + j];
          }
          double sum = 0.0;
          for (std::int64_t i = 0; i < kk; ++i) {
            state[i * vv + j] = column[static_cast<std::size_t>(i)];
            sum += q[i] * state[i * vv + j];
          }
          out[static_cast<std::size_t>(((t - first) * h + n) * vv + j)] = scale * sum;
        }
      }
    return out;
  };
  return op;
}

inline Op mlstm_op(Sizes s, double gate = 2.0) {
  const std::int64_t h = s.heads, kk = s.keys, vv = s.values;
  Op op;
  op.name = "mlstm";
  op.sizes = s;
  op.inputs = [=](std::int64_t b, std::int64_t t, std::uint64_t seed) {
    std::vector<Tensor> x{draw({b, t, h * kk}, seed, -1, 1), draw({b, t, h * kk}, seed + 1, -1, 1),
                          draw({b, t, h * vv}, seed + 2, -1, 1),
                          draw({b, t, h}, seed + 3, -gate, gate),
                          draw({b, t, h}, seed + 4, -gate, gate)};
    for (double& f : x[4].span<double>()) f = std::min(f, 0.0) - std::log1p(std::exp(-std::abs(f)));
    return x;
  };
  op.states = [=](std::int64_t rows, std::uint64_t seed) {
    return std::vector<Tensor>{draw({rows, h, kk, vv}, seed + 9, -1, 1),
                               draw({rows, h, kk}, seed + 10, -1, 1),
                               draw({rows, h}, seed + 11, -1, 1)};
  };
  op.fresh = [=](std::int64_t rows) {
    return std::vector<Tensor>{Tensor::zeros({rows, h, kk, vv}, DType::kFloat64),
                               Tensor::zeros({rows, h, kk}, DType::kFloat64),
                               Tensor::full({rows, h}, DType::kFloat64, -INFINITY)};
  };
  op.run = [=](Exec& exec, std::span<const Tensor> x, std::span<Tensor> state,
               const Sequence& sequence) {
    return mlstm_scan(exec, x[0], x[1], x[2], x[3], x[4], state[0], state[1], state[2], sequence,
                      h);
  };
  // Without a stabiliser: C e^m and n e^m, divisor max(|n . q|, 1).
  op.plain = [=](std::span<const Tensor> x, std::int64_t first, std::int64_t length,
                 std::vector<std::vector<double>>& states) {
    std::vector<double> out(static_cast<std::size_t>(length * h * vv));
    for (std::int64_t n = 0; n < h; ++n) {
      double& m = states[2][static_cast<std::size_t>(n)];
      double* c = states[0].data() + n * kk * vv;
      double* norm = states[1].data() + n * kk;
      if (length == 0) continue;
      const double unit = std::isinf(m) ? 0.0 : std::exp(m);
      for (std::int64_t i = 0; i < kk * vv; ++i) c[i] *= unit;
      for (std::int64_t i = 0; i < kk; ++i) norm[i] *= unit;
      for (std::int64_t t = first; t < first + length; ++t) {
        const std::int64_t at = t * h + n;
        const double* q = x[0].data<double>() + at * kk;
        const double* k = x[1].data<double>() + at * kk;
        const double* v = x[2].data<double>() + at * vv;
        const double input = x[3].data<double>()[at], log_f = x[4].data<double>()[at];
        m = std::max(log_f + m, input);
        const double in = std::exp(input) / std::sqrt(static_cast<double>(kk));
        double dot = 0.0;
        for (std::int64_t i = 0; i < kk; ++i) {
          norm[i] = std::exp(log_f) * norm[i] + in * k[i];
          dot += norm[i] * q[i];
        }
        for (std::int64_t j = 0; j < vv; ++j) {
          double sum = 0.0;
          for (std::int64_t i = 0; i < kk; ++i) {
            c[i * vv + j] = std::exp(log_f) * c[i * vv + j] + in * k[i] * v[j];
            sum += c[i * vv + j] * q[i];
          }
          out[static_cast<std::size_t>(((t - first) * h + n) * vv + j)] =
              sum / std::max(std::abs(dot), 1.0);
        }
      }
      for (std::int64_t i = 0; i < kk * vv; ++i) c[i] *= std::exp(-m);
      for (std::int64_t i = 0; i < kk; ++i) norm[i] *= std::exp(-m);
    }
    return out;
  };
  return op;
}

inline std::vector<Op> all_ops(Sizes sizes) {
  return {attention_op(sizes, DecayKind::kNone),
          attention_op(sizes, DecayKind::kHead),
          attention_op(sizes, DecayKind::kToken),
          attention_op(sizes, DecayKind::kKey),
          delta_op(sizes),
          mlstm_op(sizes)};
}

inline std::vector<Tensor> converted(std::span<const Tensor> tensors, DType dtype) {
  std::vector<Tensor> result;
  for (const Tensor& tensor : tensors)
    result.push_back(dtype == tensor.dtype() ? tensor.clone() : tensor.to(dtype));
  return result;
}

/// Row `row` of every state, as plain vectors.
inline std::vector<std::vector<double>> row_of(std::span<const Tensor> states, std::int64_t row) {
  std::vector<std::vector<double>> result;
  for (const Tensor& state : states) {
    const std::int64_t size = state.numel() / std::max<std::int64_t>(state.size(0), 1);
    const double* data = state.data<double>() + row * size;
    result.emplace_back(data, data + size);
  }
  return result;
}

/// max |a - b| / max |b|; infinity where either is not finite (equal infinities count as equal).
inline double error(std::span<const double> a, std::span<const double> b) {
  double difference = 0.0, scale = 1e-300;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) {
      if (std::isfinite(b[i])) scale = std::max(scale, std::abs(b[i]));
      continue;
    }
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return INFINITY;
    difference = std::max(difference, std::abs(a[i] - b[i]));
    scale = std::max(scale, std::abs(b[i]));
  }
  return difference / scale;
}
inline double error(const Tensor& a, const Tensor& b) {
  const Tensor x = a.to(DType::kFloat64), y = b.to(DType::kFloat64);
  return error(std::span<const double>(x.span<double>()),
               std::span<const double>(y.span<double>()));
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         (a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

}  // namespace rill::matrix_test
