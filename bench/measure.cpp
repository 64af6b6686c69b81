#include "cases.h"

#include <rill/core/kernel.h>
#include <rill/core/ops.h>

namespace rill::bench {
namespace {

double parameter_bytes(const SequenceLayer& layer) {
  double bytes = 0;
  for (const Tensor& parameter : layer.parameters())
    bytes += static_cast<double>(parameter.bytes());
  return bytes;
}

// One measured case: its samples are nanoseconds of one call over `tokens` tokens.
struct Case {
  const SequenceLayer& layer;
  Exec& exec;
  std::int64_t batch, length;
  double seconds;

  Samples forward() const {
    const Tensor x = random_tensor({batch, length, layer.input_size()}, 1).to(exec.device());
    State state = layer.initial_state(exec, batch);
    return repeat(
        [&] {
          layer.forward(exec, x, state);
          exec.synchronize();
        },
        seconds);
  }

  Samples backward_too() const {
    const Tensor x = random_tensor({batch, length, layer.input_size()}, 1).to(exec.device());
    const Tensor dy = random_tensor({batch, length, layer.output_size()}, 2).to(exec.device());
    Tape tape;
    return repeat(
        [&] {
          State state = layer.initial_state(exec, batch);
          tape.watch(x);
          Tensor y;
          {
            const TapeScope scope(exec, &tape);
            y = layer.forward(exec, x, state);
          }
          backward(exec, tape, {{y, dy}});
          tape.clear();
          exec.synchronize();
        },
        seconds);
  }

  Samples step() const {
    State state = layer.initial_state(exec, batch);
    Stepper stepper = layer.prepare_step(exec, batch);
    const Tensor x = random_tensor({batch, layer.input_size()}, 1).to(exec.device());
    const Tensor y = Tensor::empty({batch, layer.output_size()}, DType::kFloat32, exec.device());
    return repeat(
        [&] {
          (void)stepper.step(x, state, y);
          exec.synchronize();
        },
        seconds, 1000);
  }

  Samples run(const std::string& mode) const {
    if (mode == "forward") return forward();
    if (mode == "backward") return backward_too();
    if (mode == "step") return step();
    throw Error(ErrorCode::kConfig,
                "bench: the modes are forward, backward and step; '" + mode + "' came.");
  }
};

Row measure(const LayerType& type, const std::string& mode, std::int64_t length, int threads,
            const Options& options) {
  const auto layer = make_layer(type.name, options.width);
  Row row{.layer = type.name,
          .mode = mode,
          .B = options.batch,
          .T = mode == "step" ? 1 : length,
          .D = options.width,
          .threads = mode == "step" ? 1 : threads,
          .target = options.device == Device{} ? cpu_target() : to_string(options.device)};
  layer->to(options.device);
  Exec exec({.device = options.device, .threads = row.threads});
  Samples samples = Case{*layer, exec, row.B, row.T, options.seconds}.run(mode);
  const double state =
      2.0 * static_cast<double>(row.B) * static_cast<double>(layer->state_spec().bytes());
  fill(row, samples,
       {.flops = layer->flops_per_token(),
        .io_bytes = 4.0 * static_cast<double>(layer->input_size() + layer->output_size()),
        .once_bytes = parameter_bytes(*layer) + state},
       passes_of(mode));
  if (options.baseline) {
    const PlainKernels plain;
    const std::int64_t short_length = std::min(row.T, kBaselineLength);
    layer->to(Device{});
    Exec one({.threads = 1});
    Samples slow = Case{*layer, one, row.B, short_length, options.seconds / 2}.run(mode);
    fill_baseline(row, slow, short_length);
  }
  return row;
}

double read_rate() {
  constexpr std::int64_t kFloats = std::int64_t{64} << 20;
  const Tensor array = Tensor::zeros({kFloats}, DType::kFloat32);
  const auto* words = static_cast<const std::uint64_t*>(array.raw());
  volatile std::uint64_t sink = 0;
  Samples samples = repeat(
      [&] {
        // Eight sums: the loads, not the additions, are the limit.
        std::uint64_t sums[8] = {};
        for (std::int64_t i = 0; i < kFloats / 2; i += 8)
          for (int j = 0; j < 8; ++j) sums[j] += words[i + j];
        for (const std::uint64_t sum : sums) sink = sink + sum;
      },
      0.3);
  return static_cast<double>(array.bytes()) / samples.quantile(0);
}

double product_rate() {
  Exec exec({.threads = 1});
  const Tensor x = random_tensor({1024, 1024}, 1), w = random_tensor({1024, 1024}, 2);
  Samples samples = repeat([&] { linear(exec, x, w); }, 0.5);
  return 2.0 * 1024 * 1024 * 1024 / samples.quantile(0);
}

double exp_rate() {
  Exec exec({.threads = 1});
  const Tensor x = random_tensor({4096}, 1);
  Samples samples = repeat(
      [&] {
        for (int i = 0; i < 64; ++i) exp(exec, x);
      },
      0.2);
  return 64.0 * 4096 / samples.quantile(0);
}

}  // namespace

Machine measure_machine() {
  Machine machine{.cpu = cpu_name(),
                  .targets = available_cpu_targets(),
                  .read_GBps = read_rate(),
                  .gemm_GFLOPs = product_rate(),
                  .exp_Gps = exp_rate()};
  // The arrays just measured are no part of what the rows' rss_bytes are to show.
  MemoryPool::process_pool()->trim();
  return machine;
}

std::vector<Row> measure_layers(const Options& options,
                                const std::function<void(const Row&)>& done) {
  std::vector<std::string> names = options.layers;
  if (names.empty())
    for (const LayerType& type : layer_types()) names.push_back(type.name);
  std::vector<Row> rows;
  for (const std::string& name : names)
    for (const std::string& mode : options.modes) {
      const LayerType& type = find_layer_type(name);
      const bool step = mode == "step";
      const std::vector<std::int64_t> lengths =
          step ? std::vector<std::int64_t>{1} : options.lengths;
      const std::vector<int> threads = step ? std::vector<int>{1} : options.threads;
      for (const std::int64_t length : lengths)
        for (const int count : threads) {
          rows.push_back(measure(type, mode, length, count, options));
          if (done) done(rows.back());
        }
    }
  return rows;
}

namespace {

// Times of the last 1,024 steps.
class RecentSteps {
 public:
  void add(double ns) {
    if (ns_.size() < kMost)
      ns_.push_back(ns);
    else
      ns_[static_cast<std::size_t>(next_++ % kMost)] = ns;
  }
  Samples samples() const { return {ns_}; }

 private:
  static constexpr std::size_t kMost = 1024;
  std::vector<double> ns_;
  std::size_t next_ = 0;
};

// Short sequences are repeated; a long one is its own average.
Samples time_pass(Exec& exec, const Model& model, const Tensor& tokens) {
  const auto once = [&] {
    State state = model.initial_state(exec, 1);
    model.forward_tiles(exec, tokens, state, 2048, [](std::int64_t, const Tensor&) {});
  };
  if (tokens.numel() <= 65536) return repeat(once, 0.5, 1);
  const double start = now_ns();
  once();
  return {{now_ns() - start}};
}

}  // namespace

std::vector<Row> measure_growth(const Model& model, const std::vector<std::int64_t>& lengths,
                                int threads, const std::function<void(const Row&)>& done) {
  const ModelConfig& config = model.config();
  if (config.task != Task::kLanguageModel)
    throw Error(ErrorCode::kConfig, "bench: growth is measured on a language model.");
  Cost cost{.flops = model.flops_per_token(),
            .io_bytes = 1.0 + 4.0 * static_cast<double>(config.vocab_size),
            .once_bytes = 2.0 * static_cast<double>(model.state_spec().bytes())};
  model.visit_parameters([&](const std::string&, const Tensor& value, ParameterGroup) {
    cost.once_bytes += static_cast<double>(value.bytes());
  });
  std::vector<Row> rows;
  // `call`: tokens of a sample.
  const auto add = [&](const std::string& mode, std::int64_t length, std::int64_t call,
                       Samples samples, int used) {
    Row row{.layer = config.layer,
            .mode = mode,
            .B = 1,
            .T = call,
            .D = config.hidden_size,
            .threads = used,
            .target = model.device() == Device{} ? cpu_target() : to_string(model.device())};
    fill(row, samples, cost);
    row.T = length;
    rows.push_back(row);
    if (done) done(row);
  };
  Exec exec({.device = model.device(), .threads = threads});
  Generator generator(1);
  const auto tokens_below =
      static_cast<std::uint64_t>(std::min<std::int64_t>(128, config.vocab_size));
  for (const std::int64_t length : lengths) {
    const Tensor tokens = Tensor::empty({1, length}, DType::kUInt8);
    for (std::uint8_t& token : tokens.span<std::uint8_t>())
      token = static_cast<std::uint8_t>(generator.below(tokens_below));
    add("parallel", length, length, time_pass(exec, model, tokens), threads);
  }
  // One stream, sampled just before each length.
  Stepper stepper = model.prepare_step(exec, 1);
  State state = model.initial_state(exec, 1);
  const Tensor token = Tensor::empty({1}, DType::kInt32);
  const Tensor logits = Tensor::empty({1, config.vocab_size}, DType::kFloat32);
  RecentSteps recent;
  std::size_t next = 0;
  for (std::int64_t t = 1; next < lengths.size(); ++t) {
    token.data<std::int32_t>()[0] = static_cast<std::int32_t>(generator.below(tokens_below));
    const double start = now_ns();
    if (stepper.step(token, state, logits) != StepStatus::kOk)
      throw Error(ErrorCode::kState, "bench: the model's step does not fit its own state.");
    recent.add(now_ns() - start);
    if (t != lengths[next]) continue;
    add("step", t, 1, recent.samples(), 1);
    ++next;
  }
  return rows;
}

}  // namespace rill::bench
