// The recurrent cells as plain loops: in double the oracle of the vector code. PyTorch's equations
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
template <class T>
T sigmoid(T x) {
  const T e = std::exp(-std::abs(x));
  return (x >= 0 ? T(1) : e) / (T(1) + e);
}

// start + sum_k u[k] h[k].
template <class T>
T dot(T start, const T* u, const T* h, std::int64_t k) {
  for (std::int64_t i = 0; i < k; ++i) start += u[i] * h[i];
  return start;
}

template <class T>
T at(const void* array, std::int64_t index) {
  return array ? static_cast<const T*>(array)[index] : T(0);
}

// b_ih + W_ih x: made here, or by core's linear before.
template <class T>
T of_input(const RecurrentArgs& a, const ForwardRow<T>& row, std::int64_t index) {
  if (!row.x) return row.gates[index];
  const auto* const w = static_cast<const T*>(a.weight_ih);
  return dot(at<T>(a.bias_ih, index), w + index * a.input, row.x, a.input);
}

template <class T>
struct Lstm {
  static constexpr std::int64_t kGates = 4;
  static constexpr bool kPassesH = false;

  static void forward(const RecurrentArgs& a, const ForwardRow<T>* rows, std::int64_t n) {
    const auto* const u = static_cast<const T*>(a.weight_hh);
    for (std::int64_t row = 0; row < n; ++row) {
      const ForwardRow<T>& r = rows[row];
      for (std::int64_t j = 0; j < a.hidden; ++j) {
        T gate[4];
        for (std::int64_t g = 0; g < 4; ++g) {
          const std::int64_t index = g * a.hidden + j;
          gate[g] = dot(of_input(a, r, index) + at<T>(a.bias_hh, index), u + index * a.output, r.h,
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

  static void backward(const RecurrentBackwardArgs& a, const BackwardRow<T>* rows, std::int64_t n) {
    for (std::int64_t row = 0; row < n; ++row) {
      const BackwardRow<T>& r = rows[row];
      for (std::int64_t j = 0; j < a.hidden; ++j) {
        const T i = r.gates[j], f = r.gates[a.hidden + j], g = r.gates[2 * a.hidden + j],
                o = r.gates[3 * a.hidden + j];
        const T tanh_c = std::tanh(r.kept[j]);
        const T dc = r.dc[j] + r.dout[j] * o * (1 - tanh_c * tanh_c);
        const T d[4] = {dc * g * i * (1 - i),
                        dc * (r.c_previous ? r.c_previous[j] : T(0)) * f * (1 - f),
                        dc * i * (1 - g * g), r.dout[j] * tanh_c * o * (1 - o)};
        r.dc[j] = dc * f;
        if (r.projected) r.projected[j] = o * tanh_c;
        for (std::int64_t q = 0; q < 4; ++q)
          r.dgates[q * a.hidden + j] = r.gates[q * a.hidden + j] = d[q];
      }
    }
  }
};

template <class T>
struct Gru {
  static constexpr std::int64_t kGates = 3;
  static constexpr bool kPassesH = true;

  static void forward(const RecurrentArgs& a, const ForwardRow<T>* rows, std::int64_t n) {
    const auto* const u = static_cast<const T*>(a.weight_hh);
    for (std::int64_t row = 0; row < n; ++row) {
      const ForwardRow<T>& r = rows[row];
      for (std::int64_t j = 0; j < a.hidden; ++j) {
        T gate[2];
        for (std::int64_t g = 0; g < 2; ++g) {
          const std::int64_t index = g * a.hidden + j;
          gate[g] = sigmoid(dot(of_input(a, r, index) + at<T>(a.bias_hh, index),
                                u + index * a.output, r.h, a.output));
        }
        const std::int64_t index = 2 * a.hidden + j;
        const T q = dot(at<T>(a.bias_hh, index), u + index * a.output, r.h, a.output);
        const T candidate = std::tanh(of_input(a, r, index) + gate[0] * q);
        r.out[j] = candidate + gate[1] * (r.h[j] - candidate);
        if (!r.kept) continue;
        r.gates[j] = gate[0];
        r.gates[a.hidden + j] = gate[1];
        r.gates[index] = candidate;
        r.kept[j] = q;
      }
    }
  }

  static void backward(const RecurrentBackwardArgs& a, const BackwardRow<T>* rows, std::int64_t n) {
    for (std::int64_t row = 0; row < n; ++row) {
      const BackwardRow<T>& b = rows[row];
      for (std::int64_t j = 0; j < a.hidden; ++j) {
        const T r = b.gates[j], z = b.gates[a.hidden + j], candidate = b.gates[2 * a.hidden + j];
        const T dn = b.dout[j] * (1 - z) * (1 - candidate * candidate);
        const T dr = dn * b.kept[j] * r * (1 - r);
        const T dz = b.dout[j] * (b.h_previous[j] - candidate) * z * (1 - z);
        b.dh[j] = b.dout[j] * z;
        b.gates[j] = b.dgates[j] = dr;
        b.gates[a.hidden + j] = b.dgates[a.hidden + j] = dz;
        b.gates[2 * a.hidden + j] = dn;
        b.kept[j] = b.dgates[2 * a.hidden + j] = dn * r;
      }
    }
  }
};

template <class T>
void pack(const PackRecurrentArgs& a, const KernelContext&) {
  std::copy_n(static_cast<const T*>(a.weight), a.gates * a.hidden * a.width,
              static_cast<T*>(a.packed));
}

std::int64_t packed_count(std::int64_t hidden, std::int64_t gates, std::int64_t width) {
  return hidden * gates * width;
}

template <class T>
RnnKernels table_of() {
  return {.pack = pack<T>,
          .packed_count = packed_count,
          .lstm = recurrence::forward<T, Lstm<T>>,
          .lstm_backward = recurrence::backward<T, Lstm<T>>,
          .gru = recurrence::forward<T, Gru<T>>,
          .gru_backward = recurrence::backward<T, Gru<T>>};
}

}  // namespace

const RnnKernels& cpu_rnn_kernels_f64() {
  static const RnnKernels table = table_of<double>();
  return table;
}

const RnnKernels& cpu_rnn_kernels_plain_f32() {
  static const RnnKernels table = table_of<float>();
  return table;
}

}  // namespace rill
