// The configurations of published models: transformers' MambaConfig (5.24),
// flash-linear-attention's GLAConfig, RetNetConfig and DeltaNetConfig (0.6.0), and NX-AI's
// xLSTMLMModelConfig (xlstm 2.0.6).
#include <rill/core/check.h>
#include <rill/model/families.h>

#include <algorithm>

namespace rill {
namespace {

constexpr Family kFamilies[] = {{"mamba", "mamba", "MambaForCausalLM", 50280, 0},
                                {"gla", "gla", "GLAForCausalLM", 32000, 4},
                                {"retnet", "retnet", "RetNetForCausalLM", 32000, 8},
                                {"delta_net", "deltanet", "DeltaNetForCausalLM", 32000, 16},
                                {"", "mlstm", "xLSTMLMModel", 256, 4}};

// Values of a key with which the library computes what Rill does.
struct Implemented {
  const char* layer;
  const char* key;
  const char* values;  // a JSON list
};
constexpr Implemented kImplemented[] = {{"mamba", "hidden_act", R"(["silu", "swish"])"},
                                        {"gla", "hidden_act", R"(["swish", "silu"])"},
                                        {"gla", "feature_map", "[null]"},
                                        {"gla", "use_short_conv", "[false]"},
                                        {"gla", "use_output_gate", "[true]"},
                                        {"gla", "elementwise_affine", "[true]"},
                                        {"gla", "clamp_min", "[null]"},
                                        {"gla", "attn", "[null]"},
                                        {"gla", "attnres_block_size", "[null]"},
                                        {"retnet", "hidden_act", R"(["swish", "silu"])"},
                                        {"retnet", "feature_map", "[null]"},
                                        {"retnet", "use_short_conv", "[false]"},
                                        {"retnet", "use_output_gate", "[true]"},
                                        {"retnet", "elementwise_affine", "[true]"},
                                        {"retnet", "attn", "[null]"},
                                        {"retnet", "attnres_block_size", "[null]"},
                                        {"deltanet", "hidden_act", R"(["swish", "silu"])"},
                                        {"deltanet", "use_short_conv", "[true]"},
                                        {"deltanet", "use_gate", "[false]"},
                                        {"deltanet", "use_beta", "[true]"},
                                        {"deltanet", "qk_activation", R"(["silu"])"},
                                        {"deltanet", "qk_norm", R"(["l2"])"},
                                        {"deltanet", "attn", "[null]"},
                                        {"deltanet", "attnres_block_size", "[null]"}};

constexpr double kNxaiNormEps = 1e-5;
// Of the causal mask in NX-AI's parallel form, where the file read did not say: Rill has no limit.
constexpr std::int64_t kNxaiContextLength = 2048;

void check_value(const Fields& fields, const std::string& key, const Json& values) {
  if (!fields.contains(key)) return;
  const Json& value = fields.peek(key);
  check(std::ranges::find(values, value) != values.end(), ErrorCode::kConfig,
        "config.json: {}{} is one of {} in what Rill computes, {} came.", fields.where(), key,
        values.dump(), value.dump());
}

}  // namespace

const Family* family_of_layer(const std::string& layer) {
  for (const Family& family : kFamilies)
    if (layer == family.layer) return &family;
  return nullptr;
}

const Family* family_of_model_type(const std::string& model_type) {
  if (model_type.empty()) return nullptr;
  for (const Family& family : kFamilies)
    if (model_type == family.model_type) return &family;
  return nullptr;
}

bool is_fla(const std::string& layer) {
  return layer == "gla" || layer == "retnet" || layer == "deltanet";
}

std::int64_t fla_mlp_size(std::int64_t width, std::int64_t ratio) {
  return (2 * width * ratio / 3 + 255) / 256 * 256;
}

const char* eps_key(const std::string& layer) {
  return layer == "mamba" ? "layer_norm_epsilon" : "norm_eps";
}

bool is_beyond_library(const std::string& layer, const std::string& option) {
  if (layer == "gla") return option == "gate_low_rank_dim" || option == "gate_logit_normalizer";
  return layer == "retnet" && option == "variant";
}

bool is_expressible(const ModelConfig& config, const Options& options) {
  if (family_of_layer(config.layer) == nullptr || config.task != Task::kLanguageModel) return false;
  if (config.layer == "mlstm")
    return config.norm == "layer" && config.mlp_size == 0 && config.norm_eps == kNxaiNormEps;
  if (config.norm != "rms" || (config.mlp_size > 0) != is_fla(config.layer)) return false;
  if (is_fla(config.layer) && options.number("norm_eps") != config.norm_eps) return false;
  return std::ranges::all_of(options.specs(), [&](const OptionSpec& spec) {
    return !is_beyond_library(config.layer, spec.name) ||
           options.value(spec.name) == spec.default_value;
  });
}

void check_mathematics(const Fields& fields, const std::string& layer, std::int64_t num_heads) {
  for (const Implemented& each : kImplemented)
    if (layer == each.layer) check_value(fields, each.key, Json::parse(each.values));
  if (is_fla(layer)) check_value(fields, "num_kv_heads", Json::array({nullptr, num_heads}));
}

bool is_nxai(const Json& root) {
  return root.contains("mlstm_block") ||
         (root.contains("embedding_dim") && !root.contains("hidden_size"));
}

Json from_nxai(const Json& root) {
  Fields fields(root, "");
  Fields block(fields.object("mlstm_block"), "mlstm_block.");
  Fields layer(block.object("mlstm"), "mlstm_block.mlstm.");
  check(fields.has("mlstm_block"), ErrorCode::kConfig,
        "config.json: mlstm_block is an object (blocks of sLSTM alone are not read), null came.");
  check_value(fields, "slstm_at", Json::array({nullptr, Json::array()}));
  check_value(fields, "bias", Json::array({false}));
  check_value(fields, "add_post_blocks_norm", Json::array({true}));
  check_value(layer, "qkv_proj_blocksize", Json::array({4}));
  check_value(layer, "round_proj_up_dim_up", Json::array({true}));
  check_value(layer, "round_proj_up_to_multiple_of", Json::array({64}));
  for (const char* checked : {"slstm_at", "bias", "add_post_blocks_norm"})
    if (fields.contains(checked)) fields.raw(checked);
  Json rill = fields.object("rill");
  if (!rill.contains("layer")) rill["layer"] = "mlstm";
  const double dropout = fields.number("dropout", 0.0, 0.0, 0.999);
  if (fields.has("dropout")) rill["dropout"] = dropout;
  const Json written = {{"model_type", "rill_mlstm"},
                        {"hidden_size", fields.required("embedding_dim", 1, 1 << 16)},
                        {"num_hidden_layers", fields.required("num_blocks", 1, 1024)},
                        {"vocab_size", fields.required("vocab_size", 1, 1 << 22)},
                        {"tie_word_embeddings", fields.flag("tie_weights", false)},
                        {"num_heads", layer.integer("num_heads", 4, 1, 4096)},
                        {"proj_factor", layer.number("proj_factor", 2.0, 0.01, 16.0)},
                        {"conv1d_kernel_size", layer.integer("conv1d_kernel_size", 4, 1, 1024)},
                        {"rill", rill}};
  Json result = fields.unused();
  result.update(written);
  return result;
}

void write_nxai(Json& root, const ModelConfig& config, const Options& options) {
  if (!root.contains("context_length")) root["context_length"] = kNxaiContextLength;
  root["vocab_size"] = config.vocab_size;
  root["embedding_dim"] = config.hidden_size;
  root["num_blocks"] = config.num_hidden_layers;
  root["tie_weights"] = config.tie_word_embeddings;
  root["add_post_blocks_norm"] = true;
  root["bias"] = false;
  root["dropout"] = config.dropout;
  root["slstm_at"] = Json::array();
  const std::int64_t heads = options.integer("num_heads");
  root["mlstm_block"]["mlstm"] = {{"conv1d_kernel_size", options.integer("conv1d_kernel_size")},
                                  {"qkv_proj_blocksize", 4},
                                  {"num_heads", heads == 0 ? 4 : heads},
                                  {"proj_factor", options.number("proj_factor")}};
}

}  // namespace rill
