#include <rill/core/check.h>
#include <rill/core/init.h>
#include <rill/core/kernels.h>
#include <rill/core/ops.h>
#include <rill/model/model.h>
#include <rill/model/registry.h>

#include <cmath>

namespace rill {
namespace {

// About what a level-2 cache holds of one layer's activations at width 128.
constexpr std::int64_t kTileTokens = 2048;
// Enough to fill a card with one layer's kernels.
constexpr std::int64_t kDeviceTileTokens = 65536;

std::int64_t tile_length(const Exec& exec, std::int64_t batch) {
  const std::int64_t tokens = exec.device() == Device{} ? kTileTokens : kDeviceTileTokens;
  return std::max<std::int64_t>(16, tokens / std::max<std::int64_t>(1, batch));
}

// Steps [first, first + count) of [B, T, ...] (any dtype), copied by the back end's kernel.
void copy_time(Exec& exec, const Tensor& from, std::int64_t from_first, const Tensor& to,
               std::int64_t to_first, std::int64_t count) {
  if (from.numel() == 0 || to.numel() == 0) return;
  const auto step = static_cast<std::int64_t>(from.bytes()) / (from.size(0) * from.size(1));
  enqueue(exec, core_kernels(exec).copy,
          {.source = static_cast<const char*>(from.raw()) + from_first * step,
           .target = static_cast<char*>(to.raw()) + to_first * step,
           .rows = from.size(0),
           .bytes = count * step,
           .source_stride = from.size(1) * step,
           .target_stride = to.size(1) * step},
          "copy_time");
}

// What `segments` (their resets on the Exec's device) say of steps [first, first + count). A
// sequence that lies outside is empty there: its state stays.
Segments segments_of(Exec& exec, const Segments& segments, const Tensor& reset, std::int64_t first,
                     std::int64_t count) {
  Segments cut{.offsets = segments.offsets, .lengths = segments.lengths};
  for (std::vector<std::int64_t>* bounds : {&cut.offsets, &cut.lengths})
    for (std::int64_t& bound : *bounds) bound = std::clamp<std::int64_t>(bound - first, 0, count);
  if (reset.defined()) {
    cut.reset = exec.empty({reset.size(0), count}, DType::kUInt8);
    copy_time(exec, reset, first, cut.reset, 0, count);
  }
  return cut;
}

std::vector<std::int64_t> extents_of(const Tensor& tensor) {
  return {tensor.shape().extents().begin(), tensor.shape().extents().end()};
}

template <class T>
void check_tokens(const Tensor& tokens, std::int64_t vocabulary) {
  const Tensor near = tokens.to(Device{});
  const auto values = near.span<T>();
  for (std::size_t i = 0; i < values.size(); ++i)
    check(static_cast<std::int64_t>(values[i]) >= 0 &&
              static_cast<std::int64_t>(values[i]) < vocabulary,
          ErrorCode::kValue, "Model: tokens lie in [0, {}), {} came at position {}.", vocabulary,
          static_cast<std::int64_t>(values[i]), i);
}

bool has_option(const std::string& layer, const std::string& name) {
  for (const OptionSpec& spec : find_layer_type(layer).options)
    if (spec.name == name) return true;
  return false;
}

// What a configuration leaves to the layer is written out, as readers of published files expect.
void write_out_heads(ModelConfig& config, const StateSpec& layer) {
  if (!has_option(config.layer, "num_heads")) return;
  for (const FieldSpec& field : layer.fields)
    if (field.shape.rank() == 3) config.options["num_heads"] = field.shape[0];  // S [H, K, V]
}

}  // namespace

// What the parts of a model are called in the files of its family.
struct Model::Names {
  std::string embedding = "embedding.weight";
  std::string layers = "layers.";
  BlockNames block;
  std::string norm = "norm.";

  static Names of(const std::string& layer) {
    if (layer == "mamba")
      return {"backbone.embeddings.weight",
              "backbone.layers.",
              {.layer = "mixer."},
              "backbone.norm_f."};
    if (layer == "gla" || layer == "retnet" || layer == "deltanet")
      return {"model.embeddings.weight",
              "model.layers.",
              {.norm = "attn_norm.", .layer = "attn."},
              "model.norm."};
    if (layer == "mlstm")
      return {"token_embedding.weight",
              "xlstm_block_stack.blocks.",
              {.norm = "xlstm_norm.", .layer = "xlstm."},
              "xlstm_block_stack.post_blocks_norm."};
    return {};
  }
};

Model::Model(const ModelConfig& config, DType dtype, std::uint64_t seed)
    : config_(config), dtype_(dtype) {
  config_.validate();
  const std::int64_t width = config_.hidden_size;
  const bool xlstm = config_.layer == "mlstm";
  const BlockConfig block{.norm = config_.norm == "rms" ? Norm::Kind::kRms : Norm::Kind::kLayer,
                          .norm_eps = config_.norm_eps,
                          .norm_bias = !xlstm,
                          .norm_weight_offset = xlstm ? 1.0 : 0.0,
                          .mlp_size = config_.mlp_size,
                          .dropout = config_.dropout,
                          .names = Names::of(config_.layer).block};
  std::vector<std::unique_ptr<SequenceLayer>> blocks;
  // A layer whose initial values depend on the depth of its model is told it.
  std::vector<std::pair<std::string, OptionValue>> options(config_.options.begin(),
                                                           config_.options.end());
  if (has_option(config_.layer, "num_blocks") && !config_.options.contains("num_blocks"))
    options.emplace_back("num_blocks", config_.num_hidden_layers);
  for (std::int64_t i = 0; i < config_.num_hidden_layers; ++i) {
    const std::uint64_t block_seed = Generator(seed, "block " + std::to_string(i)).next64();
    auto layer = make_layer(config_.layer, width, options, dtype, block_seed);
    if (i == 0) write_out_heads(config_, layer->state_spec());
    blocks.push_back(std::make_unique<Block>(std::move(layer), block, dtype, block_seed));
  }
  stack_ = std::make_unique<Stack>(std::move(blocks));
  stack_fields_ = stack_->state_spec().fields.size();
  norm_ = std::make_unique<Norm>(block.norm, width, block.norm_eps, block.norm_bias,
                                 block.norm_weight_offset, dtype);
  const double residual_scale = 1.0 / std::sqrt(static_cast<double>(config_.num_hidden_layers));
  stack_->visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
    // The paper's rescaling of what is added to the residual (Mamba, as GPT-2).
    if (!name.ends_with("out_proj.weight")) return;
    const Tensor scaled = value.to(DType::kFloat64).clone();
    for (double& element : scaled.span<double>()) element *= residual_scale;
    value.copy_from(scaled);
  });
  if (language()) {
    embedding_ = normal_parameter({config_.vocab_size, width}, dtype, seed, "embedding", 0.02);
    if (!config_.tie_word_embeddings)
      head_weight_ = normal_parameter({config_.vocab_size, width}, dtype, seed, "head", 0.02);
    return;
  }
  const double bound = 1.0 / std::sqrt(static_cast<double>(config_.input_size));
  encoder_weight_ =
      uniform_parameter({width, config_.input_size}, dtype, seed, "encoder.weight", bound);
  encoder_bias_ = uniform_parameter({width}, dtype, seed, "encoder.bias", bound);
  head_weight_ = linear_parameter(config_.output_size, width, dtype, seed, "head.weight");
  head_bias_ = constant_parameter({config_.output_size}, dtype, 0.0);
}

StateSpec Model::state_spec() const {
  StateSpec spec = stack_->state_spec();
  spec.layer = "model of " + config_.layer;
  if (!pooled()) return spec;
  const bool mean = config_.pooling == "mean";
  spec.fields.push_back({"pool.sum", {config_.hidden_size}, mean ? DType::kFloat64 : dtype_, 0.0});
  if (mean) spec.fields.push_back({"pool.count", {1}, DType::kInt64, 0.0});
  return spec;
}

void Model::to(Device device) {
  stack_->to(device);
  visit_parameters(
      [&](const std::string&, const Tensor& value, ParameterGroup) { value.move_to(device); });
}

State Model::initial_state(Exec& exec, std::int64_t batch) const {
  return State::fresh(state_spec(), batch).to(exec.device());
}

void Model::check_input(const Exec& exec, const Tensor& input) const {
  check(input.defined(), ErrorCode::kShape, "Model: an input was expected, nothing came.");
  check(exec.device() == device(), ErrorCode::kDevice,
        "Model: the Exec is on {}, the model lies on {}.", to_string(exec.device()),
        to_string(device()));
  if (language()) {
    check(input.rank() == 2, ErrorCode::kShape, "Model: tokens [B, T] were expected, {} came.",
          to_string(input.shape()));
    switch (input.dtype()) {
      case DType::kUInt8:
        return check_tokens<std::uint8_t>(input, config_.vocab_size);
      case DType::kInt32:
        return check_tokens<std::int32_t>(input, config_.vocab_size);
      case DType::kInt64:
        return check_tokens<std::int64_t>(input, config_.vocab_size);
      default:
        fail(ErrorCode::kDType, "Model: tokens are uint8, int32 or int64, {} came.",
             name_of(input.dtype()));
    }
  }
  check(input.rank() == 3 && input.size(2) == config_.input_size, ErrorCode::kShape,
        "Model: x [B, T, {}] was expected, {} came.", config_.input_size, to_string(input.shape()));
  check(input.dtype() == dtype_, ErrorCode::kDType, "Model: x is {}, {} came.", name_of(dtype_),
        name_of(input.dtype()));
}

Tensor Model::compute(Exec& exec, const Tensor& input, std::span<Tensor> state,
                      const Sequence& sequence) const {
  const OpNumberScope ops(exec);
  const Tensor x = language() ? embedding(exec, input, embedding_)
                              : linear(exec, input, encoder_weight_, encoder_bias_);
  Tensor y = norm_->forward(exec, stack_->apply(exec, x, state.first(stack_fields_), sequence));
  if (pooled()) {
    y = reshape(exec, y, {input.size(0) * input.size(1), config_.hidden_size});
    y = config_.pooling == "mean"
            ? mean_pool(exec, y, state[stack_fields_], state[stack_fields_ + 1], sequence)
            : last_pool(exec, y, state[stack_fields_], sequence);
  }
  y = linear(exec, y, head_weight_.defined() ? head_weight_ : embedding_, head_bias_);
  return sequence.padded() && !pooled() ? zero_padding(exec, y, sequence) : y;
}

Tensor Model::forward(Exec& exec, const Tensor& input, State& state,
                      const Segments* segments) const {
  check(exec.dtype() == dtype_, ErrorCode::kDType, "Model: it computes in {}, the Exec in {}.",
        name_of(dtype_), name_of(exec.dtype()));
  check_input(exec, input);
  const std::int64_t batch = input.size(0);
  const std::int64_t length = input.size(1);
  const Sequence sequence = Sequence::from(exec, segments, batch, length);
  state.check_fits(state_spec(), sequence.rows(), "Model");
  state.check_on(exec.device(), "Model");
  const std::int64_t tile = tile_length(exec, batch);
  if (exec.tape() != nullptr || length <= tile)
    return compute(exec, exec.upload(input), state.fields(), sequence);
  const std::int64_t outputs = language() ? config_.vocab_size : config_.output_size;
  Tensor result = pooled() ? Tensor() : exec.empty({batch, length, outputs});
  walk(exec, input, state, segments, tile, [&](std::int64_t first, const Tensor& y) {
    if (pooled())
      result = y;
    else
      copy_time(exec, y, 0, result, first, y.size(1));
  });
  return result;
}

void Model::forward_tiles(Exec& exec, const Tensor& input, State& state, std::int64_t tile,
                          const TileVisitor& visit) const {
  check(exec.tape() == nullptr, ErrorCode::kUnsupported,
        "Model::forward_tiles: it runs without a tape.");
  check(tile >= 1, ErrorCode::kShape,
        "Model::forward_tiles: a tile of at least one step was expected, {} came.", tile);
  check_input(exec, input);
  state.check_fits(state_spec(), input.size(0), "Model");
  state.check_on(exec.device(), "Model");
  walk(exec, input, state, nullptr, tile, visit);
}

void Model::walk(Exec& exec, const Tensor& given, State& state, const Segments* segments,
                 std::int64_t tile, const TileVisitor& visit) const {
  const Tensor input = exec.upload(given);
  const std::int64_t batch = input.size(0);
  const std::int64_t length = input.size(1);
  const std::int64_t start = exec.time();
  const bool resets = segments != nullptr && segments->reset.defined();
  const Tensor reset = resets ? exec.upload(segments->reset) : Tensor();
  for (std::int64_t first = 0; first < length; first += tile) {
    const std::int64_t count = std::min(tile, length - first);
    std::vector<std::int64_t> extents = extents_of(input);
    extents[1] = count;
    const Tensor part = exec.empty(Shape(extents), input.dtype());
    copy_time(exec, input, first, part, 0, count);
    exec.set_time(start + first);
    Segments cut;
    if (segments != nullptr) cut = segments_of(exec, *segments, reset, first, count);
    visit(first, compute(exec, part, state.fields(), Sequence::from(exec, &cut, batch, count)));
  }
  exec.set_time(start);
}

Stepper Model::prepare_step(Exec& exec, std::int64_t batch) const {
  check(batch >= 1, ErrorCode::kShape, "prepare_step: a batch of at least 1 was expected, {} came.",
        batch);
  check(exec.dtype() == dtype_, ErrorCode::kDType,
        "prepare_step: the model computes in {}, the Exec in {}.", name_of(dtype_),
        name_of(exec.dtype()));
  check(exec.device() == device(), ErrorCode::kDevice,
        "prepare_step: the model lies on {}, the Exec is on {}.", to_string(device()),
        to_string(exec.device()));
  std::vector<Tensor> parameters;
  visit_parameters([&](const std::string&, const Tensor& value, ParameterGroup) {
    parameters.push_back(value);
  });
  const Shape input = language() ? Shape({batch, 1}) : Shape({batch, 1, config_.input_size});
  return Stepper::record(exec, input, language() ? DType::kInt32 : dtype_, state_spec(),
                         std::move(parameters),
                         [this, batch](Exec& ex, const Tensor& x, std::span<Tensor> state) {
                           const Tensor y = compute(ex, x, state, Sequence::batch(ex, batch, 1));
                           return y.view({batch, 1, y.size(-1)});
                         });
}

void Model::visit_parameters(const ParameterVisitor& visitor) const {
  const Names names = Names::of(config_.layer);
  if (language()) {
    visitor(names.embedding, embedding_, ParameterGroup::kDecay);
  } else {
    visitor("encoder.weight", encoder_weight_, ParameterGroup::kDecay);
    visitor("encoder.bias", encoder_bias_, ParameterGroup::kNoDecay);
  }
  stack_->visit_parameters(with_prefix(visitor, names.layers));
  norm_->visit_parameters(with_prefix(visitor, names.norm));
  if (head_weight_.defined())
    visitor(language() ? "lm_head.weight" : "head.weight", head_weight_, ParameterGroup::kDecay);
  if (head_bias_.defined()) visitor("head.bias", head_bias_, ParameterGroup::kNoDecay);
}

std::int64_t Model::parameter_count() const {
  std::int64_t count = 0;
  visit_parameters(
      [&](const std::string&, const Tensor& value, ParameterGroup) { count += value.numel(); });
  return count;
}

double Model::flops_per_token() const {
  const std::int64_t outputs = language() ? config_.vocab_size : config_.output_size;
  const std::int64_t inputs = language() ? 0 : config_.input_size;
  return stack_->flops_per_token() +
         2.0 * static_cast<double>(config_.hidden_size * (outputs + inputs));
}

void Model::check_finite() const {
  visit_parameters([](const std::string& name, const Tensor& value, ParameterGroup) {
    const Tensor wide = value.to(Device{}).to(DType::kFloat64);
    for (const double element : wide.span<double>())
      check(std::isfinite(element), ErrorCode::kValue, "Model: the parameter {} holds {}.", name,
            element);
  });
}

}  // namespace rill
