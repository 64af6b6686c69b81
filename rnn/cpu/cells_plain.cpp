// The recurrent cells in double: plain loops, the oracle of the vector code. PyTorch's equations
// (torch.nn.LSTM, GRU):
//   LSTM  i, f, o = sigmoid, g = tanh of W x + b_ih + U h + b_hh;  c = f c + i g;  h = o tanh(c)
//   GRU   r, z = sigmoid of W x + b_ih + U h + b_hh;  q = U_n h + b_hn;  n = tanh(W_n x + b_in + r
//   q);
//         h = n + z (h - n)
// Products run over k strictly in order, starting from what the element holds.
#include <cmath>

#include <rill/rnn/cpu/recurrence-inl.h>

namespace rill {
namespace {

using recurrence::BackwardRow;
using recurrence::ForwardRow;

// exp of a non-positive number alone: no overflow.
double sigmoid(double x) {
  const double e = std::exp(-std::abs(x));
  return (x >= 0 ? 1.0 : e) / (1.0 + e);
}

// start + sum_k u[k] h[k].
double dot(double start, const double* u, const double* h, std::int64_t k) {
  for (std::int64_t i = 0; i < k; ++i) start += u[i] * h[i];
  return start;
}

double at(const void* array, std::int64_t index) {
  return array ? static_cast<const double*>(array)[index] : 0.0;
}

// b_ih + W_ih x: made here, or by core's linear before.
double of_input(const RecurrentArgs& a, const ForwardRow<double>& row, std::int64_t index) {
  if (!row.x) return row.gates[index];
  const auto* const w = static_cast<const double*>(a.weight_ih);
  return dot(at(a.bias_ih, index), w + index * a.input, row.x, a.input);
}

struct Lstm {
  static constexpr std::int64_t kGates = 4;
  static constexpr bool kPassesH = false;

  static void forward(const RecurrentArgs& a, const ForwardRow<double>* rows, std::int64_t n) {
    const auto* const u = static_cast<const double*>(a.weight_hh);
    for (std::int64_t row = 0; row < n; ++row) {
      const ForwardRow<double>& r = rows[row];
      for (std::int64_t j = 0; j < a.hidden; ++j) {
        double gate[4];
        for (std::int64_t g = 0; g < 4; ++g) {
          const std::int64_t index = g * a.hidden + j;
          gate[g] = dot(of_input(a, r, index) + at(a.bias_hh, index), u + index * a.output, r.h,
                        a.output);
          gate[g] = g == 2 ? std::tanh(gate[g]) : sigmoid(gate[g]);
        }
        r.c[j] = gate[1] * r.c[j] + gate[0] * gate[2];
        r.out[j] = gate[3] * std::tanh(r.c[j]);
        if (!r.kept) continue;
        for (std::int64_t g = 0; g < 4; ++g) r.gates[g * a.hidden + j] = gate[g];
        r.kept[j] = r.c[j];
      }
    }
  }

  static void backward(const RecurrentBackwardArgs& a, const BackwardRow<double>* rows,
                       std::int64_t n) {
    for (std::int64_t row = 0; row < n; ++row) {
      const BackwardRow<double>& r = rows[row];
      for (std::int64_t j = 0; j < a.hidden; ++j) {
        const double i = r.gates[j], f = r.gates[a.hidden + j], g = r.gates[2 * a.hidden + j],
                     o = r.gates[3 * a.hidden + j];
        const double tanh_c = std::tanh(r.kept[j]);
        const double dc = r.dc[j] + r.dout[j] * o * (1 - tanh_c * tanh_c);
        const double d[4] = {dc * g * i * (1 - i),
                             dc * (r.c_previous ? r.c_previous[j] : 0.0) * f * (1 - f),
                             dc * i * (1 - g * g), r.dout[j] * tanh_c * o * (1 - o)};
        r.dc[j] = dc * f;
        if (r.projected) r.projected[j] = o * tanh_c;
        for (std::int64_t q = 0; q < 4; ++q)
          r.dgates[q * a.hidden + j] = r.gates[q * a.hidden + j] = d[q];
      }
    }
  }
};

struct Gru {
  static constexpr std::int64_t kGates = 3;
  static constexpr bool kPassesH = true;

  static void forward(const RecurrentArgs& a, const ForwardRow<double>* rows, std::int64_t n) {
    const auto* const u = static_cast<const double*>(a.weight_hh);
    for (std::int64_t row = 0; row < n; ++row) {
      const ForwardRow<double>& r = rows[row];
      for (std::int64_t j = 0; j < a.hidden; ++j) {
        double gate[2];
        for (std::int64_t g = 0; g < 2; ++g) {
          const std::int64_t index = g * a.hidden + j;
          gate[g] = sigmoid(dot(of_input(a, r, index) + at(a.bias_hh, index), u + index * a.output,
                                r.h, a.output));
        }
        const std::int64_t index = 2 * a.hidden + j;
        const double q = dot(at(a.bias_hh, index), u + index * a.output, r.h, a.output);
        const double candidate = std::tanh(of_input(a, r, index) + gate[0] * q);
        r.out[j] = candidate + gate[1] * (r.h[j] - candidate);
        if (!r.kept) continue;
        r.gates[j] = gate[0];
        r.gates[a.hidden + j] = gate[1];
        r.gates[index] = candidate;
        r.kept[j] = q;
      }
    }
  }

  static void backward(const RecurrentBackwardArgs& a, const BackwardRow<double>* rows,
                       std::int64_t n) {
    for (std::int64_t row = 0; row < n; ++row) {
      const BackwardRow<double>& b = rows[row];
      for (std::int64_t j = 0; j < a.hidden; ++j) {
        const double r = b.gates[j], z = b.gates[a.hidden + j],
                     candidate = b.gates[2 * a.hidden + j];
        const double dn = b.dout[j] * (1 - z) * (1 - candidate * candidate);
        const double dr = dn * b.kept[j] * r * (1 - r);
        const double dz = b.dout[j] * (b.h_previous[j] - candidate) * z * (1 - z);
        b.dh[j] = b.dout[j] * z;
        b.gates[j] = b.dgates[j] = dr;
        b.gates[a.hidden + j] = b.dgates[a.hidden + j] = dz;
        b.gates[2 * a.hidden + j] = dn;
        b.kept[j] = b.dgates[2 * a.hidden + j] = dn * r;
      }
    }
  }
};

void pack(const PackRecurrentArgs& a, const KernelContext&) {
  std::copy_n(static_cast<const double*>(a.weight), a.gates * a.hidden * a.width,
              static_cast<double*>(a.packed));
}

std::int64_t packed_count(std::int64_t hidden, std::int64_t gates, std::int64_t width) {
  return hidden * gates * width;
}

}  // namespace

const RnnKernels& cpu_rnn_kernels_f64() {
  static const RnnKernels table = {.pack = pack,
                                   .packed_count = packed_count,
                                   .lstm = recurrence::forward<double, Lstm>,
                                   .lstm_backward = recurrence::backward<double, Lstm>,
                                   .gru = recurrence::forward<double, Gru>,
                                   .gru_backward = recurrence::backward<double, Gru>};
  return table;
}

}  // namespace rill
