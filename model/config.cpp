#include <rill/core/check.h>
#include <rill/model/config.h>
#include <rill/model/registry.h>

#include <nlohmann/json.hpp>

#include <array>
#include <cmath>
#include <set>

namespace rill {
namespace {

using nlohmann::json;

constexpr std::array<const char*, 4> kTaskNames = {"lm", "next", "classify", "regress"};

// model_type of published models, and the registry name of their layer.
struct Family {
  const char* model_type;
  const char* layer;
  const char* architecture;
  const char* eps_key;
};
constexpr Family kFamilies[] = {
    {"mamba", "mamba", "MambaForCausalLM", "layer_norm_epsilon"},
    {"gla", "gla", "GLAForCausalLM", "norm_eps"},
    {"retnet", "retnet", "RetNetForCausalLM", "norm_eps"},
    {"delta_net", "deltanet", "DeltaNetForCausalLM", "norm_eps"},
    {"xlstm", "mlstm", "xLSTMLMModel", "norm_eps"},
};

// flash-linear-attention's models: a gated MLP whose size follows from the width, an untied head.
bool is_fla(const std::string& layer) {
  return layer == "gla" || layer == "retnet" || layer == "deltanet";
}

std::int64_t fla_mlp_size(std::int64_t width, std::int64_t ratio) {
  return (2 * width * ratio / 3 + 255) / 256 * 256;
}

const Family* family_of_layer(const std::string& layer) {
  for (const Family& family : kFamilies)
    if (layer == family.layer) return &family;
  return nullptr;
}

// Reads typed fields of one object and remembers which keys were read.
class Fields {
 public:
  explicit Fields(const json& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  bool has(const std::string& key) const {
    return object_.contains(key) && !object_.at(key).is_null();
  }
  const json& raw(const std::string& key) {
    used_.insert(key);
    return object_.at(key);
  }
  std::int64_t integer(const std::string& key, std::int64_t fallback, std::int64_t min,
                       std::int64_t max) {
    if (!has(key)) return used_.insert(key), fallback;
    const json& value = raw(key);
    check(value.is_number_integer() || value.is_number_unsigned(), ErrorCode::kConfig,
          "config.json: {}{} is an integer, {} came.", where_, key, value.dump());
    const bool fits = !value.is_number_unsigned() || value.get<std::uint64_t>() <= std::uint64_t{1}
                                                                                       << 62;
    check(fits && value.get<std::int64_t>() >= min && value.get<std::int64_t>() <= max,
          ErrorCode::kConfig, "config.json: {}{} lies between {} and {}, {} came.", where_, key,
          min, max, value.dump());
    return value.get<std::int64_t>();
  }
  std::int64_t required(const std::string& key, std::int64_t min, std::int64_t max) {
    check(has(key), ErrorCode::kConfig, "config.json: the field {}{} is missing.", where_, key);
    return integer(key, 0, min, max);
  }
  double number(const std::string& key, double fallback, double min, double max) {
    if (!has(key)) return used_.insert(key), fallback;
    const json& value = raw(key);
    check(value.is_number(), ErrorCode::kConfig, "config.json: {}{} is a number, {} came.", where_,
          key, value.dump());
    const double number = value.get<double>();
    check(number >= min && number <= max, ErrorCode::kConfig,
          "config.json: {}{} lies between {} and {}, {} came.", where_, key, min, max, number);
    return number;
  }
  bool flag(const std::string& key, bool fallback) {
    if (!has(key)) return used_.insert(key), fallback;
    const json& value = raw(key);
    check(value.is_boolean(), ErrorCode::kConfig, "config.json: {}{} is true or false, {} came.",
          where_, key, value.dump());
    return value.get<bool>();
  }
  std::string text(const std::string& key, const std::string& fallback) {
    if (!has(key)) return used_.insert(key), fallback;
    const json& value = raw(key);
    check(value.is_string(), ErrorCode::kConfig, "config.json: {}{} is a string, {} came.", where_,
          key, value.dump());
    return value.get<std::string>();
  }
  template <class T>
  std::vector<T> list(const std::string& key) {
    std::vector<T> values;
    if (!has(key)) return used_.insert(key), values;
    const json& array = raw(key);
    check(array.is_array(), ErrorCode::kConfig, "config.json: {}{} is a list, {} came.", where_,
          key, array.dump());
    for (const json& value : array) {
      check(std::is_floating_point_v<T> ? value.is_number() : value.is_number_integer(),
            ErrorCode::kConfig, "config.json: {}{} is a list of {}, {} came in it.", where_, key,
            std::is_floating_point_v<T> ? "numbers" : "integers", value.dump());
      values.push_back(value.get<T>());
    }
    return values;
  }
  json unused() const {
    json rest = json::object();
    for (const auto& [key, value] : object_.items())
      if (!used_.contains(key)) rest[key] = value;
    return rest;
  }

 private:
  const json& object_;
  std::string where_;
  std::set<std::string> used_;
};

OptionValue option_value(const json& value, const OptionSpec& spec) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  fail(ErrorCode::kConfig, "config.json: {} is of type {}, {} came.", spec.name, spec.type(),
       value.dump());
}

json json_value(const OptionValue& value) {
  return std::visit([](const auto& v) { return json(v); }, value);
}

// Options that share their name with a key of the model. The key says what the model has; what the
// layer has lies in rill.options, where it is not what the key implies: models of
// flash-linear-attention hand their norm_eps to the layer, a hidden_size is the layer's own
// business.
bool is_model_key(const std::string& option) {
  return option == "hidden_size" || option == "norm_eps";
}

OptionValue implied_value(const OptionSpec& spec, const ModelConfig& config) {
  return spec.name == "norm_eps" ? OptionValue(config.norm_eps) : spec.default_value;
}

void read_options(Fields& fields, Fields& own, ModelConfig& config) {
  Options values(find_layer_type(config.layer).options);
  for (const OptionSpec& spec : values.specs()) {
    OptionValue given = implied_value(spec, config);
    if (own.has(spec.name) || (!is_model_key(spec.name) && fields.has(spec.name))) {
      const json& value = own.has(spec.name) ? own.raw(spec.name) : fields.raw(spec.name);
      if (config.layer == "mamba" && spec.name == "time_step_rank" && value == "auto") continue;
      given = option_value(value, spec);
    } else if (given == spec.default_value) {
      config.options.erase(spec.name);
      continue;
    }
    values.set(spec.name, given);  // checks
    config.options[spec.name] = given;
  }
  const json unknown = own.unused();
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
  json root;
  try {
    root = json::parse(text);
  } catch (const json::exception& error) {
    fail(ErrorCode::kConfig, "config.json: a JSON object was expected: {}.", error.what());
  }
  check(root.is_object(), ErrorCode::kConfig, "config.json: a JSON object was expected, {} came.",
        root.type_name());
  Fields fields(root, "");
  const std::string model_type = fields.text("model_type", "");
  const json empty = json::object();
  if (fields.has("rill"))
    check(fields.raw("rill").is_object(), ErrorCode::kConfig,
          "config.json: rill is an object, {} came.", fields.raw("rill").dump());
  Fields rill(fields.has("rill") ? fields.raw("rill") : empty, "rill.");
  std::string layer = rill.text("layer", "");
  const Family* family = nullptr;
  for (const Family& each : kFamilies)
    if (model_type == each.model_type) family = &each;
  check(!layer.empty() || family != nullptr, ErrorCode::kConfig,
        "config.json: a model_type of mamba, gla, retnet, delta_net or xlstm, or a field "
        "rill.layer was expected, model_type "
        "'{}' came.",
        model_type);
  if (layer.empty()) layer = family->layer;
  check(family == nullptr || layer == family->layer, ErrorCode::kConfig,
        "config.json: model_type {} goes with the layer {}, rill.layer is {}.", model_type,
        family ? family->layer : "", layer);
  ModelConfig config = ModelConfig::for_layer(layer, fields.required("hidden_size", 1, 1 << 16),
                                              fields.required("num_hidden_layers", 1, 1024));
  config.vocab_size = fields.integer("vocab_size", 256, 1, 1 << 22);
  config.tie_word_embeddings = fields.flag("tie_word_embeddings", !is_fla(layer));
  config.norm_eps =
      fields.number(family ? family->eps_key : "norm_eps", config.norm_eps, 1e-30, 0.5);
  if (layer == "mamba") {
    const std::int64_t expand = fields.integer("expand", 2, 1, 64);
    const std::int64_t inner =
        fields.integer("intermediate_size", expand * config.hidden_size, 1, 1 << 20);
    check(inner == expand * config.hidden_size, ErrorCode::kConfig,
          "config.json: intermediate_size is expand * hidden_size = {}, {} came.",
          expand * config.hidden_size, inner);
  } else if (fields.has("intermediate_size")) {
    config.mlp_size = fields.integer("intermediate_size", config.mlp_size, 0, 1 << 20);
  } else if (is_fla(layer)) {
    const std::int64_t ratio = fields.integer("hidden_ratio", layer == "retnet" ? 2 : 4, 1, 64);
    config.mlp_size = fla_mlp_size(config.hidden_size, ratio);
  }
  if (rill.has("options"))
    check(rill.raw("options").is_object(), ErrorCode::kConfig,
          "config.json: rill.options is an object, {} came.", rill.raw("options").dump());
  Fields own(rill.has("options") ? rill.raw("options") : empty, "rill.options.");
  read_options(fields, own, config);
  read_rill(rill, config);
  for (const char* written : {"architectures", "hidden_act", "residual_in_fp32", "torch_dtype"})
    if (layer == "mamba" && fields.has(written)) fields.raw(written);
  config.other_keys = fields.unused().dump();
  config.validate();
  return config;
}

std::string to_json(const ModelConfig& config) {
  config.validate();
  json root = json::parse(config.other_keys);
  const Family* family = family_of_layer(config.layer);
  root["model_type"] = family ? family->model_type : "rill_" + config.layer;
  if (family && config.task == Task::kLanguageModel) root["architectures"] = {family->architecture};
  root["hidden_size"] = config.hidden_size;
  root["num_hidden_layers"] = config.num_hidden_layers;
  root["vocab_size"] = config.vocab_size;
  root["tie_word_embeddings"] = config.tie_word_embeddings;
  root[family ? family->eps_key : "norm_eps"] = config.norm_eps;
  Options values(find_layer_type(config.layer).options);
  for (const auto& [name, value] : config.options) values.set(name, value);
  json own = json::object();
  for (const OptionSpec& spec : values.specs()) {
    const OptionValue& value = values.value(spec.name);
    if (!is_model_key(spec.name))
      root[spec.name] = json_value(value);
    else if (value != implied_value(spec, config))
      own[spec.name] = json_value(value);
  }
  if (config.layer == "mamba") {
    // What transformers would otherwise fill in from its own defaults.
    root["intermediate_size"] = values.integer("expand") * config.hidden_size;
    if (values.integer("time_step_rank") == 0)
      root["time_step_rank"] = (config.hidden_size + 15) / 16;
    root["hidden_act"] = "silu";
    root["residual_in_fp32"] = true;
    root["torch_dtype"] = "float32";
  } else {
    root["intermediate_size"] = config.mlp_size;
  }
  json& rill = root["rill"];
  rill = {{"layer", config.layer}, {"task", to_string(config.task)},
          {"norm", config.norm},   {"dropout", config.dropout},
          {"data", config.data},   {"mlp_size", config.mlp_size}};
  if (!own.empty()) rill["options"] = own;
  if (config.task != Task::kLanguageModel) {
    rill["input_size"] = config.input_size;
    rill["output_size"] = config.output_size;
    rill["pooling"] = config.pooling;
    rill["input_mean"] = config.input_scaling.mean;
    rill["input_scale"] = config.input_scaling.scale;
    rill["output_mean"] = config.output_scaling.mean;
    rill["output_scale"] = config.output_scaling.scale;
    rill["target_columns"] = config.target_columns;
  }
  try {
    return root.dump(2) + "\n";
  } catch (const json::type_error&) {
    fail(ErrorCode::kConfig, "config.json is UTF-8; a path or name that is not came.");
  }
}

}  // namespace rill
