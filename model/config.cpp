#include <rill/core/check.h>
#include <rill/model/config.h>
#include <rill/model/config_fields.h>
#include <rill/model/families.h>
#include <rill/model/registry.h>

#include <array>
#include <cmath>

namespace rill {
namespace {

constexpr int kMaxDepth = 64;
constexpr std::array<const char*, 4> kTaskNames = {"lm", "next", "classify", "regress"};

OptionValue option_value(const Json& value, const OptionSpec& spec) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  fail(ErrorCode::kConfig, "config.json: {} is of type {}, {} came.", spec.name, spec.type(),
       value.dump());
}

Json json_value(const OptionValue& value) {
  return std::visit([](const auto& v) { return Json(v); }, value);
}

// Options that share their name with a key of the model. The key says what the model has; what the
// layer has lies in rill.options, where it is not what the key implies: models of
// flash-linear-attention hand their norm_eps to the layer, a hidden_size is the layer's own
// business, num_blocks is the model's number of blocks unless it is given.
bool is_model_key(const std::string& option) {
  return option == "hidden_size" || option == "norm_eps" || option == "num_blocks";
}

OptionValue implied_value(const OptionSpec& spec, const ModelConfig& config) {
  return spec.name == "norm_eps" ? OptionValue(config.norm_eps) : spec.default_value;
}

void read_options(Fields& fields, Fields& own, ModelConfig& config) {
  Options values(find_layer_type(config.layer).options);
  for (const OptionSpec& spec : values.specs()) {
    OptionValue given = implied_value(spec, config);
    if (own.has(spec.name) || (!is_model_key(spec.name) && fields.has(spec.name))) {
      const Json& value = own.has(spec.name) ? own.raw(spec.name) : fields.raw(spec.name);
      if (config.layer == "mamba" && spec.name == "time_step_rank" && value == "auto") continue;
      given = option_value(value, spec);
    } else if (given == spec.default_value) {
      config.options.erase(spec.name);
      continue;
    }
    values.set(spec.name, given);  // checks
    config.options[spec.name] = given;
  }
  const Json unknown = own.unused();
  check(unknown.empty(), ErrorCode::kConfig,
        "config.json: the layer {} has no option of rill.options {}.", config.layer,
        unknown.dump());
}

Scaling read_scaling(Fields& rill, const std::string& name, std::int64_t columns) {
  Scaling scaling{rill.list<double>(name + "_mean"), rill.list<double>(name + "_scale")};
  const auto size = static_cast<std::int64_t>(scaling.mean.size());
  check(scaling.mean.size() == scaling.scale.size() && (size == 0 || size == columns),
        ErrorCode::kConfig,
        "config.json: rill.{}_mean and rill.{}_scale have {} values each, {} and {} came.", name,
        name, columns, size, scaling.scale.size());
  for (const double scale : scaling.scale)
    check(std::isfinite(scale) && scale > 0, ErrorCode::kConfig,
          "config.json: rill.{}_scale is positive, {} came.", name, scale);
  return scaling;
}

void read_rill(Fields& rill, ModelConfig& config) {
  config.norm = rill.text("norm", config.norm);
  config.mlp_size = rill.integer("mlp_size", config.mlp_size, 0, 1 << 20);
  config.dropout = rill.number("dropout", 0.0, 0.0, 0.999);
  config.task = task_from(rill.text("task", "lm"));
  config.pooling = rill.text("pooling", "mean");
  config.data = rill.text("data", "");
  if (config.task != Task::kLanguageModel) {
    config.input_size = rill.required("input_size", 1, 1 << 20);
    config.output_size = rill.required("output_size", 1, 1 << 20);
    config.input_scaling = read_scaling(rill, "input", config.input_size);
    config.output_scaling = read_scaling(rill, "output", config.output_size);
    config.target_columns = rill.list<std::int64_t>("target_columns");
  }
}

std::string layer_of(const std::string& model_type, const std::string& given) {
  const Family* family = family_of_model_type(model_type);
  std::string layer = given;
  if (layer.empty() && family != nullptr) layer = family->layer;
  if (layer.empty() && model_type.starts_with("rill_")) layer = model_type.substr(5);
  check(!layer.empty() || model_type != "xlstm", ErrorCode::kConfig,
        "config.json: model_type xlstm is xLSTM-7B, whose blocks Rill does not have; NX-AI's "
        "xLSTMLMModel is read by its keys embedding_dim, num_blocks and mlstm_block.");
  check(!layer.empty(), ErrorCode::kConfig,
        "config.json: a model_type of mamba, gla, retnet, delta_net or rill_LAYER, NX-AI's "
        "mlstm_block or a field rill.layer was expected, model_type '{}' came.",
        model_type);
  check(family == nullptr || layer == family->layer, ErrorCode::kConfig,
        "config.json: model_type {} goes with the layer {}, rill.layer is {}.", model_type,
        family ? family->layer : "", layer);
  return layer;
}

// intermediate_size: of Mamba the mixer's, of all others the MLP's.
void read_inner_size(Fields& fields, ModelConfig& config) {
  if (config.layer == "mamba") {
    const std::int64_t expand = fields.integer("expand", 2, 1, 64);
    const std::int64_t inner =
        fields.integer("intermediate_size", expand * config.hidden_size, 1, 1 << 20);
    check(inner == expand * config.hidden_size, ErrorCode::kConfig,
          "config.json: intermediate_size is expand * hidden_size = {}, {} came.",
          expand * config.hidden_size, inner);
  } else if (fields.has("intermediate_size")) {
    config.mlp_size = fields.integer("intermediate_size", config.mlp_size, 0, 1 << 20);
  } else if (is_fla(config.layer)) {
    const bool absent = !fields.contains("hidden_ratio");  // null is 4 for all
    const std::int64_t fallback = absent && config.layer == "retnet" ? 2 : 4;
    config.mlp_size =
        fla_mlp_size(config.hidden_size, fields.integer("hidden_ratio", fallback, 1, 64));
  }
}

std::int64_t heads_of(const ModelConfig& config) {
  const auto heads = config.options.find("num_heads");
  return heads == config.options.end() ? 0 : std::get<std::int64_t>(heads->second);
}

// The options at the root; returns those that cannot stand there.
Json write_options(Json& root, const ModelConfig& config, const Options& values, bool published) {
  Json own = Json::object();
  for (const OptionSpec& spec : values.specs()) {
    const OptionValue& value = values.value(spec.name);
    if (is_model_key(spec.name)) {
      if (value != implied_value(spec, config)) own[spec.name] = json_value(value);
    } else if (!published || !is_beyond_library(config.layer, spec.name)) {
      root[spec.name] = json_value(value);
    }
  }
  return own;
}

// What a library would otherwise fill in from its own defaults.
void write_defaults(Json& root, const ModelConfig& config, const Options& values) {
  if (config.layer == "mamba") {
    root["intermediate_size"] = values.integer("expand") * config.hidden_size;
    if (values.integer("time_step_rank") == 0)
      root["time_step_rank"] = (config.hidden_size + 15) / 16;
    root["hidden_act"] = "silu";
    root["residual_in_fp32"] = true;
    root["torch_dtype"] = "float32";
    return;
  }
  root["intermediate_size"] = config.mlp_size;
  if (!is_fla(config.layer)) return;
  root["hidden_act"] = "swish";
  root["fuse_norm"] = true;  // the norm is called g_norm_swish_gate
  if (config.layer == "retnet" && values.number("expand_v") == 0.0) root["expand_v"] = 2.0;
}

Json rill_object(const ModelConfig& config) {
  Json rill = {{"layer", config.layer}, {"task", to_string(config.task)},
               {"norm", config.norm},   {"dropout", config.dropout},
               {"data", config.data},   {"mlp_size", config.mlp_size}};
  if (config.task == Task::kLanguageModel) return rill;
  rill["input_size"] = config.input_size;
  rill["output_size"] = config.output_size;
  rill["pooling"] = config.pooling;
  rill["input_mean"] = config.input_scaling.mean;
  rill["input_scale"] = config.input_scaling.scale;
  rill["output_mean"] = config.output_scaling.mean;
  rill["output_scale"] = config.output_scaling.scale;
  rill["target_columns"] = config.target_columns;
  return rill;
}

}  // namespace

const char* to_string(Task task) noexcept { return kTaskNames[static_cast<std::size_t>(task)]; }

Task task_from(const std::string& name) {
  for (std::size_t i = 0; i < kTaskNames.size(); ++i)
    if (name == kTaskNames[i]) return static_cast<Task>(i);
  fail(ErrorCode::kConfig, "A task is one of lm, next, classify, regress; '{}' came.", name);
}

ModelConfig ModelConfig::for_layer(const std::string& layer, std::int64_t width,
                                   std::int64_t blocks) {
  ModelConfig config;
  config.layer = find_layer_type(layer).name;
  config.hidden_size = width;
  config.num_hidden_layers = blocks;
  if (layer == "mlstm") config.norm = "layer";
  config.tie_word_embeddings = layer != "mlstm" && !is_fla(layer);
  if (layer != "mamba" && layer != "mlstm") config.mlp_size = (8 * width / 3 + 31) / 32 * 32;
  if (is_fla(layer))
    config.options["norm_eps"] = config.norm_eps = 1e-6;  // flash-linear-attention's models
  return config;
}

void ModelConfig::validate() const {
  const auto range = [](const char* name, std::int64_t value, std::int64_t min, std::int64_t max) {
    check(value >= min && value <= max, ErrorCode::kConfig,
          "config.json: {} lies between {} and {}, {} came.", name, min, max, value);
  };
  range("hidden_size", hidden_size, 1, 1 << 16);
  range("num_hidden_layers", num_hidden_layers, 1, 1024);
  range("vocab_size", vocab_size, 1, 1 << 22);
  range("mlp_size", mlp_size, 0, 1 << 20);
  check(norm == "rms" || norm == "layer", ErrorCode::kConfig,
        "config.json: rill.norm is rms or layer, '{}' came.", norm);
  check(pooling == "mean" || pooling == "last", ErrorCode::kConfig,
        "config.json: rill.pooling is mean or last, '{}' came.", pooling);
  check(norm_eps > 0 && norm_eps < 1, ErrorCode::kConfig,
        "config.json: the norm's epsilon lies between 0 and 1, {} came.", norm_eps);
  if (task != Task::kLanguageModel) {
    range("rill.input_size", input_size, 1, 1 << 20);
    range("rill.output_size", output_size, 1, 1 << 20);
  }
  Options values(find_layer_type(layer).options);
  for (const auto& [name, value] : options) values.set(name, value);
}

ModelConfig parse_config(const std::string& text) {
  // Published configurations nest three deep; values are copied and written by recursion.
  const auto nested = [](int depth, Json::parse_event_t, Json&) {
    check(depth <= kMaxDepth, ErrorCode::kConfig, "config.json: values nest at most {} deep.",
          kMaxDepth);
    return true;
  };
  Json root;
  try {
    root = Json::parse(text, nested);
  } catch (const Json::exception& error) {
    fail(ErrorCode::kConfig, "config.json: a JSON object was expected: {}.", error.what());
  }
  check(root.is_object(), ErrorCode::kConfig, "config.json: a JSON object was expected, {} came.",
        root.type_name());
  if (is_nxai(root)) root = from_nxai(root);
  Fields fields(root, "");
  Fields rill(fields.object("rill"), "rill.");
  const std::string model_type = fields.text("model_type", "");
  const std::string layer = layer_of(model_type, rill.text("layer", ""));
  const Family* published = rill.has("layer") ? nullptr : family_of_model_type(model_type);
  ModelConfig config = ModelConfig::for_layer(layer, fields.required("hidden_size", 1, 1 << 16),
                                              fields.required("num_hidden_layers", 1, 1024));
  config.vocab_size =
      fields.integer("vocab_size", published ? published->vocab_size : 256, 1, 1 << 22);
  config.tie_word_embeddings = fields.flag("tie_word_embeddings", config.tie_word_embeddings);
  config.norm_eps = fields.number(eps_key(layer), config.norm_eps, 1e-30, 0.5);
  read_inner_size(fields, config);
  Fields own(rill.object("options"), "rill.options.");
  read_options(fields, own, config);
  if (published && published->num_heads > 0 && !fields.has("num_heads"))
    config.options["num_heads"] = published->num_heads;
  check_mathematics(fields, layer, heads_of(config));
  read_rill(rill, config);
  if (family_of_layer(layer) != nullptr)
    for (const char* written :
         {"architectures", "hidden_act", "fuse_norm", "residual_in_fp32", "torch_dtype", "dtype"})
      if (fields.contains(written)) fields.raw(written);
  config.other_keys = fields.unused().dump();
  config.validate();
  return config;
}

std::string to_json(const ModelConfig& config) {
  config.validate();
  Options values(find_layer_type(config.layer).options);
  for (const auto& [name, value] : config.options) values.set(name, value);
  const bool published = is_expressible(config, values);
  const Family* family = family_of_layer(config.layer);
  Json root = Json::parse(config.other_keys);
  const bool named = published && *family->model_type != '\0';
  root["model_type"] = named ? family->model_type : "rill_" + config.layer;
  if (published) root["architectures"] = {family->architecture};
  Json own = Json::object();
  if (published && config.layer == "mlstm") {
    Json beside = Json::object();
    own = write_options(beside, config, values, true);
    write_nxai(root, config, values);
  } else {
    root["hidden_size"] = config.hidden_size;
    root["num_hidden_layers"] = config.num_hidden_layers;
    root["vocab_size"] = config.vocab_size;
    root["tie_word_embeddings"] = config.tie_word_embeddings;
    root[eps_key(config.layer)] = config.norm_eps;
    own = write_options(root, config, values, published);
    if (published || config.layer == "mamba")
      write_defaults(root, config, values);
    else
      root["intermediate_size"] = config.mlp_size;
  }
  root["rill"] = rill_object(config);
  if (!own.empty()) root["rill"]["options"] = own;
  try {
    return root.dump(2) + "\n";
  } catch (const Json::type_error&) {
    fail(ErrorCode::kConfig, "config.json is UTF-8; a path or name that is not came.");
  }
}

}  // namespace rill
