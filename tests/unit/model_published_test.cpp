// Published models: what Rill reads of the libraries' own files, computes from them and writes
// (tests/golden/models/make_golden.py).
#include <rill/core/core.h>
#include <rill/io/safetensors.h>
#include <rill/model/model.h>
#include <rill/model/registry.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/compare.h>
#include <rill/tests/support/files.h>

#include <nlohmann/json.hpp>

#include <map>
#include <sstream>

using namespace rill;
using namespace rill::test;
using Catch::Matchers::Contains;
using nlohmann::json;

namespace {

const std::string kGolden = RILL_SOURCE_DIR "/tests/golden/models/";

using Names = std::map<std::string, std::vector<std::int64_t>>;

Names names_in(const std::string& folder) {
  Names names;
  std::istringstream lines(read_file(kGolden + folder + "/names.txt"));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    for (std::int64_t extent; words >> extent;) names[name].push_back(extent);
  }
  return names;
}

Names names_of(const Model& model, const std::string& strip = "") {
  Names names;
  model.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
    const auto extents = value.shape().extents();
    if (name.starts_with(strip))
      names[name.substr(strip.size())] = {extents.begin(), extents.end()};
  });
  return names;
}

json written(const ModelConfig& config) { return json::parse(to_json(Model(config).config())); }

std::string refusal(const json& config) {
  return sentence_of(ErrorCode::kConfig, [&] { parse_config(config.dump()); });
}

Tensor logits_of(const Model& model, const Tensor& tokens) {
  Exec exec({.dtype = model.dtype(), .threads = 1});
  State state = model.initial_state(exec, 1);
  return model.forward(exec, tokens, state);
}

}  // namespace

TEST_CASE("published: models of transformers and NX-AI give their libraries' logits") {
  for (const char* name : {"mamba", "mamba-untied", "nxai-xlstm"}) {
    INFO(name);
    const std::string folder = kGolden + name;
    const SafetensorsReader expected = SafetensorsReader::open(folder + "/expected.safetensors");
    const Tensor tokens = expected.tensor("tokens"), logits = expected.tensor("logits");
    // Two layers of sums in float in another order (transformers' scan is float32 throughout).
    CHECK(error_of(logits_of(*load_model(folder), tokens), logits) < 2e-6);
    CHECK(error_of(logits_of(*load_model(folder, DType::kFloat64), tokens), logits) < 2e-6);
    const TemporaryFolder again;  // written by Rill, read by Rill: the same model
    save_model(*load_model(folder), again.path().string());
    CHECK(same_bits(logits_of(*load_model(again.path().string()), tokens),
                    logits_of(*load_model(folder), tokens)));
    // Every key of the library that Rill writes keeps the library's value.
    const json theirs = json::parse(read_file(folder + "/config.json"));
    const json ours = json::parse(read_file(again / "config.json"));
    for (const auto& [key, value] : theirs.items())
      if (key != "dtype") CHECK(ours[key] == value);
  }
}

TEST_CASE("published: tensors and keys of flash-linear-attention are its own") {
  for (const char* name : {"fla-gla", "fla-gla-unfused", "fla-retnet", "fla-delta_net"}) {
    INFO(name);
    const json theirs = json::parse(read_file(kGolden + name + "/config.json"));
    const ModelConfig config = parse_config(theirs.dump());
    Names names = names_in(name);
    if (config.tie_word_embeddings) names.erase("lm_head.weight");
    if (!theirs["fuse_norm"])  // its norm has another name, which Rill reads but does not write
      for (int block = 0; block < 2; ++block) {
        auto node = names.extract("model.layers." + std::to_string(block) + ".attn.g_norm.weight");
        node.key() = "model.layers." + std::to_string(block) + ".attn.g_norm_swish_gate.weight";
        names.insert(std::move(node));
      }
    CHECK(names_of(Model(config)) == names);
    const json ours = written(config);
    for (const auto& [key, value] : theirs.items()) {
      INFO(key);
      if (key == "hidden_ratio" && theirs["intermediate_size"].is_null())
        CHECK_FALSE(ours.contains(key));  // the size itself is written
      else if (key == "intermediate_size")
        CHECK(ours[key] == config.mlp_size);
      else if (key == "fuse_norm")
        CHECK(ours[key] == true);
      else
        CHECK(ours[key] == value);
    }
    // What Rill adds is nothing that the library would read in another sense.
    for (const auto& [key, value] : ours.items()) CHECK((theirs.contains(key) || key == "rill"));
  }
}

TEST_CASE("published: the plain name of flash-linear-attention's gated norm is read") {
  const json theirs = json::parse(read_file(kGolden + "fla-gla-unfused/config.json"));
  const Model model(parse_config(theirs.dump()), DType::kFloat32, 3);
  const TemporaryFolder folder;
  SafetensorsWriter writer;
  model.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
    const std::size_t fused = name.find("g_norm_swish_gate");
    writer.tensor(fused == std::string::npos ? name : name.substr(0, fused) + "g_norm.weight",
                  value);
  });
  writer.write(folder / "model.safetensors");
  write_file(folder / "config.json", theirs.dump());
  const Tensor tokens = Tensor::zeros({1, 5}, DType::kInt64);
  CHECK(
      same_bits(logits_of(*load_model(folder.path().string()), tokens), logits_of(model, tokens)));
}

TEST_CASE("published: LSTM and GRU have PyTorch's names, S4D those of state-spaces/s4") {
  for (const char* layer : {"lstm", "gru"})
    CHECK(names_of(Model(ModelConfig::for_layer(layer, 16, 1)), "layers.0.layer.") ==
          names_in(std::string("torch-") + layer));
  // S4Block of state-spaces/s4: the layer, its kernel, and the output's linear map.
  const Names s4 = {{"layer.D", {1, 16}},
                    {"layer.kernel.C", {1, 16, 32, 2}},
                    {"layer.kernel.inv_dt", {16, 1}},
                    {"layer.kernel.B", {1, 1, 32, 2}},
                    {"layer.kernel.A_real", {1, 32}},
                    {"layer.kernel.A_imag", {1, 32}},
                    {"output_linear.0.weight", {32, 16}},
                    {"output_linear.0.bias", {32}}};
  CHECK(names_of(Model(ModelConfig::for_layer("s4d", 16, 1)), "layers.0.layer.") == s4);
}

TEST_CASE("published: an mLSTM model is written in NX-AI's keys, untied, with its depth") {
  ModelConfig config = ModelConfig::for_layer("mlstm", 32, 4);
  CHECK_FALSE(config.tie_word_embeddings);
  const json ours = written(config);
  CHECK(ours["model_type"] == "rill_mlstm");  // transformers' "xlstm" is another model
  CHECK(ours["architectures"] == json::array({"xLSTMLMModel"}));
  CHECK(ours["num_blocks"] == 4);
  CHECK(ours["embedding_dim"] == 32);
  CHECK(ours["vocab_size"] == 256);
  CHECK(ours["tie_weights"] == false);
  CHECK(ours["context_length"] > 0);
  CHECK(ours["mlstm_block"] == json::parse(R"({"mlstm": {"conv1d_kernel_size": 4, "num_heads": 4,
      "qkv_proj_blocksize": 4, "proj_factor": 2.0}})"));
  CHECK_FALSE(ours.contains("hidden_size"));
  CHECK(names_of(Model(config)).contains("lm_head.weight"));
  config.norm = "rms";  // not NX-AI's: Rill's own keys
  const json own = written(config);
  CHECK(own["model_type"] == "rill_mlstm");
  CHECK_FALSE(own.contains("mlstm_block"));
  CHECK_FALSE(own.contains("architectures"));
  CHECK(to_json(parse_config(own.dump())) == own.dump(2) + "\n");
}

TEST_CASE("published: NX-AI's configurations that Rill does not compute are refused") {
  const json good = json::parse(read_file(kGolden + "nxai-xlstm/config.json"));
  CHECK(parse_config(good.dump()).num_hidden_layers == 2);
  const auto with = [&](const char* pointer, json value) {
    json changed = good;
    changed[json::json_pointer(pointer)] = std::move(value);
    return changed;
  };
  CHECK_THAT(refusal(with("/slstm_at", {1})), Contains("slstm_at"));
  CHECK_THAT(refusal(with("/slstm_at", "all")), Contains("slstm_at"));
  CHECK_THAT(refusal(with("/bias", true)), Contains("bias"));
  CHECK_THAT(refusal(with("/add_post_blocks_norm", false)), Contains("add_post_blocks_norm"));
  CHECK_THAT(refusal(with("/mlstm_block/mlstm/qkv_proj_blocksize", 8)),
             Contains("qkv_proj_blocksize"));
  CHECK_THAT(refusal(with("/mlstm_block", nullptr)), Contains("mlstm_block"));
  CHECK_THAT(refusal(with("/mlstm_block", 3)), Contains("mlstm_block"));
  CHECK_THAT(refusal(with("/embedding_dim", "wide")), Contains("embedding_dim"));
  CHECK_THAT(refusal({{"model_type", "xlstm"},
                      {"embedding_dim", 16},
                      {"num_blocks", 2},
                      {"hidden_size", 16},
                      {"num_hidden_layers", 2}}),
             Contains("xLSTM-7B"));
}

TEST_CASE("published: depth shrinks the initial output projection of mLSTM blocks") {
  const auto scale = [](ModelConfig config) {
    double sum = 0, count = 0;
    Model(config).visit_parameters(
        [&](const std::string& name, const Tensor& value, ParameterGroup) {
          if (!name.ends_with("blocks.0.xlstm.proj_down.weight")) return;
          for (const float element : value.span<float>()) sum += element * element, ++count;
        });
    return std::sqrt(sum / count);
  };
  const double one = scale(ModelConfig::for_layer("mlstm", 32, 1));
  CHECK(one == Approx(2.0 / std::sqrt(32.0)).epsilon(0.05));  // 2,048 draws
  CHECK(scale(ModelConfig::for_layer("mlstm", 32, 4)) == Approx(one / 4).epsilon(1e-5));
  ModelConfig told = ModelConfig::for_layer("mlstm", 32, 4);
  told.options["num_blocks"] = std::int64_t{1};
  CHECK(scale(told) == Approx(one).epsilon(1e-5));
  CHECK(scale(parse_config(to_json(told))) == Approx(one).epsilon(1e-5));
}

TEST_CASE("published: what a library's configuration cannot say is no file of that library") {
  using Change = std::pair<const char*, std::function<void(ModelConfig&)>>;
  const auto option = [](const char* name, OptionValue value) {
    return [=](ModelConfig& config) { config.options[name] = value; };
  };
  const Change changes[] = {{"gla", option("gate_low_rank_dim", std::int64_t{8})},
                            {"gla", option("gate_logit_normalizer", 8.0)},
                            {"gla", option("norm_eps", 1e-4)},
                            {"gla", [](ModelConfig& config) { config.norm = "layer"; }},
                            {"gla", [](ModelConfig& config) { config.mlp_size = 0; }},
                            {"retnet", option("variant", std::string("paper"))},
                            {"deltanet", [](ModelConfig& config) { config.norm = "layer"; }},
                            {"mamba", [](ModelConfig& config) { config.norm = "layer"; }},
                            {"mamba", [](ModelConfig& config) { config.mlp_size = 32; }},
                            {"mamba",
                             [](ModelConfig& config) {
                               config.task = Task::kPredictNext;
                               config.input_size = config.output_size = 2;
                             }},
                            {"mlstm", [](ModelConfig& config) { config.norm_eps = 1e-3; }}};
  for (const auto& [layer, change] : changes) {
    INFO(layer);
    ModelConfig config = ModelConfig::for_layer(layer, 32, 1);
    CHECK(written(config).contains("architectures"));
    change(config);
    const json ours = written(config);
    CHECK(ours["model_type"] == std::string("rill_") + layer);
    CHECK_FALSE(ours.contains("architectures"));
    const ModelConfig read = parse_config(ours.dump());
    CHECK(to_json(read) == ours.dump(2) + "\n");
    CHECK(names_of(Model(read)) == names_of(Model(config)));
  }
}

TEST_CASE("published: keys that ask for another computation are refused, equal ones are not") {
  const std::vector<std::tuple<const char*, const char*, json>> refused = {
      {"mamba", "hidden_act", "gelu"},
      {"gla", "hidden_act", "relu"},
      {"gla", "feature_map", "elu"},
      {"gla", "num_kv_heads", 2},
      {"gla", "use_output_gate", false},
      {"gla", "use_short_conv", true},
      {"gla", "clamp_min", -1.0},
      {"gla", "elementwise_affine", false},
      {"gla", "attn", json::object()},
      {"retnet", "feature_map", "relu"},
      {"retnet", "num_kv_heads", 4},
      {"retnet", "use_short_conv", true},
      {"delta_net", "qk_activation", "relu"},
      {"delta_net", "qk_norm", "sum"},
      {"delta_net", "use_beta", false},
      {"delta_net", "use_gate", true},
      {"delta_net", "use_short_conv", false}};
  const auto config = [](const char* model_type, const char* key, const json& value) {
    json result = {{"model_type", model_type}, {"hidden_size", 64}, {"num_hidden_layers", 1}};
    result[key] = value;
    return result;
  };
  for (const auto& [model_type, key, value] : refused)
    CHECK_THAT(refusal(config(model_type, key, value)), Contains(key));
  CHECK_NOTHROW(parse_config(config("mamba", "hidden_act", "swish").dump()));
  CHECK_NOTHROW(parse_config(config("gla", "num_kv_heads", 4).dump()));  // GLAConfig's num_heads
  CHECK_NOTHROW(parse_config(config("gla", "num_kv_heads", nullptr).dump()));
  CHECK_NOTHROW(parse_config(config("gla", "hidden_act", "silu").dump()));
}

TEST_CASE("published: what a file leaves out is its library's default") {
  const auto bare = [](const char* model_type) {
    return parse_config(
        json({{"model_type", model_type}, {"hidden_size", 64}, {"num_hidden_layers", 1}}).dump());
  };
  CHECK(bare("mamba").vocab_size == 50280);
  CHECK(bare("gla").vocab_size == 32000);
  CHECK(std::get<std::int64_t>(bare("retnet").options.at("num_heads")) == 8);
  CHECK(std::get<std::int64_t>(bare("delta_net").options.at("num_heads")) == 16);
  CHECK(bare("retnet").mlp_size == 256);
  CHECK(bare("gla").norm_eps == 1e-6);
}
