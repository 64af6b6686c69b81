// Configurations survive their file: what a layer's options share with the model's keys does not
// mix.
#include <rill/model/config.h>
#include <rill/model/registry.h>
#include <rill/tests/support/catch.h>

#include <rill/core/error.h>

#include <string>

namespace {

using namespace rill;

double number_of(const ModelConfig& config, const std::string& name) {
  return std::get<double>(config.options.at(name));
}

}  // namespace

TEST_CASE("config.json of every layer is read as it was written") {
  for (const LayerType& type : layer_types()) {
    INFO(type.name);
    const std::string text = to_json(ModelConfig::for_layer(type.name, 48, 2));
    const ModelConfig read = parse_config(text);
    CHECK(read.layer == type.name);
    CHECK(read.hidden_size == 48);
    CHECK(to_json(read) == text);
  }
}

TEST_CASE("a layer's hidden_size is not the model's") {
  ModelConfig config = ModelConfig::for_layer("lstm", 32, 1);
  config.options["hidden_size"] = std::int64_t{64};
  const ModelConfig read = parse_config(to_json(config));
  CHECK(read.hidden_size == 32);
  CHECK(std::get<std::int64_t>(read.options.at("hidden_size")) == 64);
}

TEST_CASE("models of flash-linear-attention hand norm_eps to the layer, unless it has its own") {
  for (const char* eps : {"1e-4", "1e-5"}) {  // gla's own default is 1e-5
    const ModelConfig published =
        parse_config(R"({"model_type": "gla", "hidden_size": 32, "num_hidden_layers": 1, )"
                     R"("norm_eps": )" +
                     std::string(eps) + "}");
    Options values(find_layer_type("gla").options);
    for (const auto& [name, value] : published.options) values.set(name, value);
    CHECK(published.norm_eps == std::stod(eps));
    CHECK(values.number("norm_eps") == std::stod(eps));
  }
  ModelConfig config = ModelConfig::for_layer("retnet", 32, 1);
  CHECK(number_of(config, "norm_eps") == 1e-6);
  config.options["norm_eps"] = 1e-3;
  const ModelConfig read = parse_config(to_json(config));
  CHECK(read.norm_eps == 1e-6);
  CHECK(number_of(read, "norm_eps") == 1e-3);
}

TEST_CASE("rill.options holds options of the layer alone") {
  CHECK_THROWS_AS(parse_config(R"({"hidden_size": 8, "num_hidden_layers": 1,
                                   "rill": {"layer": "gru", "options": {"hiden_size": 3}}})"),
                  Error);
}

TEST_CASE("values nested without end are refused") {
  const auto nested = [](std::size_t depth) {
    return R"({"model_type": "mamba", "hidden_size": 16, "num_hidden_layers": 1, "other": )" +
           std::string(depth, '[') + std::string(depth, ']') + "}";
  };
  CHECK(parse_config(nested(32)).other_keys.size() > 64);
  CHECK_THROWS_AS(parse_config(nested(100)), Error);
  CHECK_THROWS_AS(parse_config(nested(1 << 20)), Error);  // deeper than the stack
}
