#include <rill/core/check.h>
#include <rill/model/registry.h>
#include <rill/rnn/rnn.h>
#include <rill/ssm/ssm.h>

namespace rill {

const std::vector<LayerType>& layer_types() {
  static const std::vector<LayerType> types = {
      s4d_layer_type(), mamba_layer_type(),  lstm_layer_type(),
      gru_layer_type(), mingru_layer_type(), retnet_layer_type(),
      gla_layer_type(), mlstm_layer_type(),  deltanet_layer_type(),
  };
  return types;
}

const LayerType& find_layer_type(std::string_view name) {
  std::string names;
  for (const LayerType& type : layer_types()) {
    if (type.name == name) return type;
    names += (names.empty() ? "" : ", ") + type.name;
  }
  fail(ErrorCode::kConfig, "There is no layer '{}'; there is: {}.", name, names);
}

std::unique_ptr<SequenceLayer> make_layer(
    std::string_view name, std::int64_t width,
    const std::vector<std::pair<std::string, OptionValue>>& options, DType dtype,
    std::uint64_t seed) {
  const LayerType& type = find_layer_type(name);
  check(width >= 1 && width <= (1 << 20), ErrorCode::kConfig,
        "{}: a width between 1 and 2^20 was expected, {} came.", name, width);
  check(dtype == DType::kFloat32 || dtype == DType::kFloat64, ErrorCode::kDType,
        "{}: layers compute in float32 or float64, {} came.", name, name_of(dtype));
  Options values(type.options);
  for (const auto& [key, value] : options) values.set(key, value);
  return type.create(width, values, dtype, seed);
}

}  // namespace rill
