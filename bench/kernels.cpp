// One op after the other, beside the plain loops: what a layer's time is made of.
#include "cases.h"

#include <rill/core/check.h>
#include <rill/core/kernel.h>
#include <rill/core/ops.h>
#include <rill/rnn/gru_op.h>
#include <rill/rnn/lstm_op.h>
#include <rill/scan/affine_scan.h>
#include <rill/scan/causal_conv.h>
#include <rill/scan/delta_rule.h>
#include <rill/scan/diagonal_ssm.h>
#include <rill/scan/linear_attention.h>
#include <rill/scan/mlstm_scan.h>
#include <rill/scan/selective_scan.h>

#include <cmath>

namespace rill::bench {
namespace {

constexpr double kFloat = sizeof(float);
constexpr double kExpPart = 4;  // operations of a sigmoid times x

// One op on arrays of a size: x and y are [B, T, D].
struct KernelCase {
  std::vector<Tensor> inputs;  // whose gradients the backward computes
  std::function<Tensor(Exec&)> run;
  Cost cost;
};

struct Size {
  std::int64_t B, T, D;
  double width() const { return static_cast<double>(D); }
  Shape shape(std::int64_t channels) const { return {B, T, channels}; }
  // Bytes of a state that is read and written once.
  double state_bytes(double elements) const {
    return 2 * kFloat * static_cast<double>(B) * elements;
  }
  // Channels of a head: a power of two up to 64 that divides D.
  std::int64_t head() const {
    std::int64_t head = 64;
    while (D % head != 0) head /= 2;
    return head;
  }
};

KernelCase linear_case(Exec&, const Size& size) {
  const double d = size.width();
  const Tensor x = random_tensor(size.shape(size.D), 1);
  const Tensor weight = random_tensor({size.D, size.D}, 2);
  return {.inputs = {x, weight},
          .run = [=](Exec& exec) { return linear(exec, x, weight); },
          .cost = {2 * d * d, 2 * kFloat * d, kFloat * d * d}};
}

KernelCase rms_norm_case(Exec&, const Size& size) {
  const double d = size.width();
  const Tensor x = random_tensor(size.shape(size.D), 1), weight = random_tensor({size.D}, 2);
  return {.inputs = {x, weight},
          .run = [=](Exec& exec) { return rms_norm(exec, x, weight, 1e-5); },
          .cost = {4 * d, 2 * kFloat * d, kFloat * d}};
}

KernelCase layer_norm_case(Exec&, const Size& size) {
  const double d = size.width();
  const Tensor x = random_tensor(size.shape(size.D), 1);
  const Tensor weight = random_tensor({size.D}, 2), bias = random_tensor({size.D}, 3);
  return {.inputs = {x, weight, bias},
          .run = [=](Exec& exec) { return layer_norm(exec, x, weight, bias, 1e-5); },
          .cost = {8 * d, 2 * kFloat * d, 2 * kFloat * d}};
}

KernelCase silu_case(Exec&, const Size& size) {
  const double d = size.width();
  const Tensor x = random_tensor(size.shape(size.D), 1);
  return {.inputs = {x},
          .run = [=](Exec& exec) { return silu(exec, x); },
          .cost = {kExpPart * d, 2 * kFloat * d, 0}};
}

KernelCase affine_scan_case(Exec& owner, const Size& size) {
  const double d = size.width();
  const Tensor a = random_tensor(size.shape(size.D), 1, 0.5, 0.99);
  const Tensor b = random_tensor(size.shape(size.D), 2);
  const Tensor h = Tensor::zeros({size.B, size.D}, DType::kFloat32);
  const Sequence sequence = Sequence::batch(owner, size.B, size.T);
  return {.inputs = {a, b},
          .run =
              [=](Exec& exec) {
                Tensor state = h;
                return affine_scan(exec, a, b, state, sequence);
              },
          .cost = {2 * d, 3 * kFloat * d, size.state_bytes(d)}};
}

KernelCase selective_scan_case(Exec& owner, const Size& size) {
  constexpr std::int64_t kStates = 16;
  const double d = size.width(), n = kStates;
  const SelectiveScanInputs in{.x = random_tensor(size.shape(size.D), 1),
                               .dt = random_tensor(size.shape(size.D), 2, -4, -1),
                               .dt_bias = random_tensor({size.D}, 3),
                               .a_log = random_tensor({size.D, kStates}, 4, 0, 3),
                               .b = random_tensor(size.shape(kStates), 5),
                               .c = random_tensor(size.shape(kStates), 6),
                               .d = random_tensor({size.D}, 7),
                               .z = random_tensor(size.shape(size.D), 8)};
  const Tensor h = Tensor::zeros({size.B, size.D, kStates}, DType::kFloat32);
  const Sequence sequence = Sequence::batch(owner, size.B, size.T);
  return {.inputs = {in.x, in.dt, in.dt_bias, in.a_log, in.b, in.c, in.d, in.z},
          .run =
              [=](Exec& exec) {
                Tensor state = h;
                return selective_scan(exec, in, state, sequence);
              },
          .cost = {7 * d * n + 8 * d, kFloat * (4 * d + 2 * n),
                   kFloat * (d * n + 2 * d) + size.state_bytes(d * n)}};
}

KernelCase causal_conv_case(Exec& owner, const Size& size) {
  constexpr std::int64_t kTaps = 4;
  const double d = size.width(), taps = kTaps;
  const Tensor x = random_tensor(size.shape(size.D), 1);
  const Tensor weight = random_tensor({size.D, kTaps}, 2), bias = random_tensor({size.D}, 3);
  const Tensor past = Tensor::zeros({size.B, kTaps - 1, size.D}, DType::kFloat32);
  const Sequence sequence = Sequence::batch(owner, size.B, size.T);
  return {.inputs = {x, weight, bias},
          .run =
              [=](Exec& exec) {
                Tensor state = past;
                return causal_conv(exec, x, weight, bias, state, sequence, ConvActivation::kSilu);
              },
          .cost = {(2 * taps + kExpPart) * d, 2 * kFloat * d,
                   kFloat * (taps + 1) * d + size.state_bytes((taps - 1) * d)}};
}

KernelCase diagonal_ssm_case(Exec& owner, const Size& size) {
  constexpr std::int64_t kModes = 32;
  const double d = size.width(), n = kModes;
  const Tensor x = random_tensor(size.shape(size.D), 1);
  // |a| < 1 everywhere in the square.
  const Tensor a = random_tensor({size.D, kModes, 2}, 2, -0.7, 0.7);
  const Tensor w = random_tensor({size.D, kModes, 2}, 3), skip = random_tensor({size.D}, 4);
  const Tensor h = Tensor::zeros({size.B, size.D, kModes, 2}, DType::kFloat32);
  const Sequence sequence = Sequence::batch(owner, size.B, size.T);
  return {.inputs = {x, a, w, skip},
          .run =
              [=](Exec& exec) {
                Tensor state = h;
                return diagonal_ssm(exec, x, a, w, skip, state, sequence);
              },
          .cost = {(12 * n + 2) * d, 2 * kFloat * d,
                   kFloat * (4 * n + 1) * d + size.state_bytes(2 * n * d)}};
}

KernelCase linear_attention_case(Exec& owner, const Size& size) {
  const std::int64_t head = size.head(), heads = size.D / head;
  const double d = size.width(), k = static_cast<double>(head);
  const Tensor q = random_tensor(size.shape(size.D), 1), key = random_tensor(size.shape(size.D), 2),
               v = random_tensor(size.shape(size.D), 3),
               decay = random_tensor(size.shape(size.D), 4, -0.1, 0);
  const Tensor s = Tensor::zeros({size.B, heads, head, head}, DType::kFloat32);
  const Sequence sequence = Sequence::batch(owner, size.B, size.T);
  return {.inputs = {q, key, v, decay},
          .run =
              [=](Exec& exec) {
                Tensor state = s;
                return gated_linear_attention(exec, q, key, v, decay, state, sequence, heads,
                                              1 / std::sqrt(k));
              },
          .cost = {5 * d * k + d, 5 * kFloat * d, size.state_bytes(d * k)}};
}

KernelCase delta_rule_case(Exec& owner, const Size& size) {
  const std::int64_t head = size.head(), heads = size.D / head;
  const double d = size.width(), k = static_cast<double>(head), h = static_cast<double>(heads);
  // Keys no longer than 1: the recurrence is stable.
  const double longest = 1 / std::sqrt(k);
  const Tensor q = random_tensor(size.shape(size.D), 1),
               key = random_tensor(size.shape(size.D), 2, -longest, longest),
               v = random_tensor(size.shape(size.D), 3),
               beta = random_tensor(size.shape(heads), 4, 0, 1);
  const Tensor s = Tensor::zeros({size.B, heads, head, head}, DType::kFloat32);
  const Sequence sequence = Sequence::batch(owner, size.B, size.T);
  return {.inputs = {q, key, v, beta},
          .run =
              [=](Exec& exec) {
                Tensor state = s;
                return delta_rule(exec, q, key, v, beta, state, sequence, heads, longest);
              },
          .cost = {6 * d * k + 2 * d, kFloat * (4 * d + h), size.state_bytes(d * k)}};
}

KernelCase mlstm_scan_case(Exec& owner, const Size& size) {
  const std::int64_t head = size.head(), heads = size.D / head;
  const double d = size.width(), k = static_cast<double>(head), h = static_cast<double>(heads);
  const Tensor q = random_tensor(size.shape(size.D), 1), key = random_tensor(size.shape(size.D), 2),
               v = random_tensor(size.shape(size.D), 3),
               input = random_tensor(size.shape(heads), 4),
               forget = random_tensor(size.shape(heads), 5, -0.1, 0);
  const Tensor c = Tensor::zeros({size.B, heads, head, head}, DType::kFloat32);
  const Tensor n = Tensor::zeros({size.B, heads, head}, DType::kFloat32);
  const Tensor m = Tensor::full({size.B, heads}, DType::kFloat32, -INFINITY);
  const Sequence sequence = Sequence::batch(owner, size.B, size.T);
  return {.inputs = {q, key, v, input, forget},
          .run =
              [=](Exec& exec) {
                Tensor state_c = c, state_n = n, state_m = m;
                return mlstm_scan(exec, q, key, v, input, forget, state_c, state_n, state_m,
                                  sequence, heads);
              },
          .cost = {5 * d * k + 5 * d + 10 * h, kFloat * (4 * d + 2 * h),
                   size.state_bytes(d * k + d + h)}};
}

KernelCase lstm_case(Exec& owner, const Size& size) {
  const double d = size.width(), bound = 1 / std::sqrt(d);
  const Tensor x = random_tensor(size.shape(size.D), 1);
  const LstmWeights weights{.weight_ih = random_tensor({4 * size.D, size.D}, 2, -bound, bound),
                            .weight_hh = random_tensor({4 * size.D, size.D}, 3, -bound, bound),
                            .bias_ih = random_tensor({4 * size.D}, 4, -bound, bound),
                            .bias_hh = random_tensor({4 * size.D}, 5, -bound, bound),
                            .weight_hr = {}};
  const Tensor h = Tensor::zeros({size.B, size.D}, DType::kFloat32), c = h.clone();
  const Sequence sequence = Sequence::batch(owner, size.B, size.T);
  return {.inputs = {x, weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh},
          .run =
              [=](Exec& exec) {
                Tensor state_h = h, state_c = c;
                return lstm(exec, x, weights, state_h, state_c, sequence);
              },
          .cost = {16 * d * d + 9 * d, 2 * kFloat * d,
                   kFloat * (8 * d * d + 8 * d) + size.state_bytes(2 * d)}};
}

KernelCase gru_case(Exec& owner, const Size& size) {
  const double d = size.width(), bound = 1 / std::sqrt(d);
  const Tensor x = random_tensor(size.shape(size.D), 1);
  const GruWeights weights{.weight_ih = random_tensor({3 * size.D, size.D}, 2, -bound, bound),
                           .weight_hh = random_tensor({3 * size.D, size.D}, 3, -bound, bound),
                           .bias_ih = random_tensor({3 * size.D}, 4, -bound, bound),
                           .bias_hh = random_tensor({3 * size.D}, 5, -bound, bound)};
  const Tensor h = Tensor::zeros({size.B, size.D}, DType::kFloat32);
  const Sequence sequence = Sequence::batch(owner, size.B, size.T);
  return {.inputs = {x, weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh},
          .run =
              [=](Exec& exec) {
                Tensor state = h;
                return gru(exec, x, weights, state, sequence);
              },
          .cost = {12 * d * d + 8 * d, 2 * kFloat * d,
                   kFloat * (6 * d * d + 6 * d) + size.state_bytes(d)}};
}

struct KernelType {
  const char* name;
  KernelCase (*make)(Exec& owner, const Size& size);
};
constexpr KernelType kKernels[] = {
    {"linear", linear_case},
    {"rms_norm", rms_norm_case},
    {"layer_norm", layer_norm_case},
    {"silu", silu_case},
    {"causal_conv", causal_conv_case},
    {"affine_scan", affine_scan_case},
    {"selective_scan", selective_scan_case},
    {"diagonal_ssm", diagonal_ssm_case},
    {"linear_attention", linear_attention_case},
    {"delta_rule", delta_rule_case},
    {"mlstm_scan", mlstm_scan_case},
    {"lstm", lstm_case},
    {"gru", gru_case},
};

const KernelType& find_kernel(const std::string& name) {
  std::string names;
  for (const KernelType& type : kKernels) {
    if (name == type.name) return type;
    names += (names.empty() ? "" : ", ") + std::string(type.name);
  }
  fail(ErrorCode::kConfig, "bench: there is no kernel '{}'; there is: {}.", name, names);
}

Samples time_calls(Exec& exec, const KernelCase& kernel, const std::string& mode, double seconds) {
  if (mode == "forward") return repeat([&] { kernel.run(exec); }, seconds);
  Tape tape;
  Tensor dy;
  return repeat(
      [&] {
        for (const Tensor& input : kernel.inputs) tape.watch(input);
        Tensor y;
        {
          const TapeScope scope(exec, &tape);
          y = kernel.run(exec);
        }
        if (!dy.defined()) dy = random_tensor(y.shape(), 9);
        backward(exec, tape, {{y, dy}});
        tape.clear();
      },
      seconds);
}

Row measure(const KernelType& type, const std::string& mode, std::int64_t length, int threads,
            const Options& options) {
  Row row{.layer = std::string("kernel:") + type.name,
          .mode = mode,
          .B = options.batch,
          .T = length,
          .D = options.width,
          .threads = threads,
          .target = cpu_target()};
  {
    Exec exec({.threads = threads});
    const KernelCase kernel = type.make(exec, {row.B, row.T, row.D});
    Samples samples = time_calls(exec, kernel, mode, options.seconds);
    fill(row, samples, kernel.cost, passes_of(mode));
  }
  if (options.baseline) {
    const PlainKernels plain;
    Exec one({.threads = 1});
    const std::int64_t short_length = std::min(length, kBaselineLength);
    const KernelCase kernel = type.make(one, {row.B, short_length, row.D});
    Samples slow = time_calls(one, kernel, mode, options.seconds / 2);
    fill_baseline(row, slow, short_length);
  }
  return row;
}

}  // namespace

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const KernelType& type : kKernels) names.emplace_back(type.name);
  return names;
}

void check_kernel_name(const std::string& name) { find_kernel(name); }

std::vector<Row> measure_kernels(const Options& options,
                                 const std::function<void(const Row&)>& done) {
  std::vector<Row> rows;
  for (const std::string& name : options.kernels.empty() ? kernel_names() : options.kernels)
    for (const std::string& mode : options.modes) {
      if (mode == "step") continue;
      for (const std::int64_t length : options.lengths)
        for (const int count : options.threads) {
          rows.push_back(measure(find_kernel(name), mode, length, count, options));
          if (done) done(rows.back());
        }
    }
  return rows;
}

}  // namespace rill::bench
