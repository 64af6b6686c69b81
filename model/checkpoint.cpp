#include <rill/core/check.h>
#include <rill/io/atomic_file.h>
#include <rill/io/safetensors.h>
#include <rill/io/text_file.h>
#include <rill/model/model.h>

#include <filesystem>
#include <set>

namespace rill {

namespace {

// A config.json that asks for far more than the file holds is refused before anything of its size
// is allocated: less than every model of these sizes has.
void check_plausible(const ModelConfig& config, const SafetensorsReader& reader,
                     const std::string& directory) {
  double held = 0;
  for (const SafetensorsInfo& info : reader.infos()) {
    double elements = 1;
    for (const std::int64_t extent : info.shape) elements *= static_cast<double>(extent);
    held += elements;
  }
  const auto width = static_cast<double>(config.hidden_size);
  const auto blocks = static_cast<double>(config.num_hidden_layers);
  const double embedding =
      config.task == Task::kLanguageModel ? static_cast<double>(config.vocab_size) * width : 0.0;
  const double least =
      embedding + blocks * width * (1.0 + 3.0 * static_cast<double>(config.mlp_size));
  check(
      least <= held, ErrorCode::kFile,
      "load_model: config.json in {} asks for at least {:.0f} parameters, model.safetensors holds "
      "{:.0f} numbers.",
      directory, least, held);
}

// Published files call some tensors by another name: the gated norm of flash-linear-attention's
// layers where its configuration says fuse_norm false (or names the activation silu).
std::string stored_name(const TensorReader& reader, const std::string& name) {
  constexpr std::string_view kFused = "g_norm_swish_gate.weight";
  if (reader.has_tensor(name) || !name.ends_with(kFused)) return name;
  const std::string plain = name.substr(0, name.size() - kFused.size()) + "g_norm.weight";
  return reader.has_tensor(plain) ? plain : name;
}

}  // namespace

void save_model(const Model& model, const std::string& directory) {
  const std::filesystem::path folder(directory);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  check(!error, ErrorCode::kSystem, "save_model: the folder {} cannot be made: {}.", directory,
        error.message());
  SafetensorsWriter writer;
  writer.text("format", "pt");  // transformers refuses files without it
  model.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
    writer.tensor(name, value);
  });
  write_file_atomically(folder / "config.json", to_json(model.config()));
  writer.write(folder / "model.safetensors");
}

void load_parameters(const Model& model, const TensorReader& reader, const std::string& prefix) {
  // All is checked before the first parameter changes.
  std::vector<std::pair<Tensor, Tensor>> copies;
  model.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
    const std::string stored = stored_name(reader, prefix + name);
    check(reader.has_tensor(stored), ErrorCode::kFile, "load_model: the tensor {} {} is missing.",
          name, to_string(value.shape()));
    const Tensor source = reader.tensor(stored);
    check(source.shape() == value.shape() && is_floating(source.dtype()), ErrorCode::kShape,
          "load_model: {} is a floating-point tensor {}, {} {} came.", name,
          to_string(value.shape()), name_of(source.dtype()), to_string(source.shape()));
    copies.emplace_back(value, source);
  });
  for (const auto& [target, source] : copies) target.copy_from(source);
}

std::unique_ptr<Model> load_model(const std::string& directory, DType dtype) {
  const std::filesystem::path folder(directory);
  const ModelConfig config =
      parse_config(read_text_file(folder / "config.json", std::size_t{16} << 20));
  const SafetensorsReader reader = SafetensorsReader::open(folder);
  check_plausible(config, reader, directory);
  auto model = std::make_unique<Model>(config, dtype);
  load_parameters(*model, reader, "");
  std::set<std::string> names;
  model->visit_parameters([&](const std::string& name, const Tensor&, ParameterGroup) {
    names.insert(stored_name(reader, name));
  });
  for (const SafetensorsInfo& info : reader.infos()) {
    const bool tied_copy = info.name == "lm_head.weight" && config.tie_word_embeddings;
    check(names.contains(info.name) || tied_copy, ErrorCode::kFile,
          "load_model: {} holds the tensor {}, which a model of this config.json does not have.",
          directory, info.name);
  }
  model->check_finite();
  return model;
}

}  // namespace rill
