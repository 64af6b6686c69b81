// ModelConfig: what a model is made of, read from and written to the ecosystem's config.json.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <rill/core/layer_type.h>

namespace rill {

/// What a model is for.
enum class Task {
  kLanguageModel,  // bytes in, logits of the next byte out
  kPredictNext,    // rows in, the next row out
  kClassify,       // rows in, logits of one class a sequence out (pooled)
  kRegress         // rows in, target columns at the same step out
};
/// "lm", "next", "classify", "regress".
const char* to_string(Task task) noexcept;
/// Error(kConfig) for another name.
Task task_from(const std::string& name);

/// Columns are seen by the model as (x - mean) / scale.
struct Scaling {
  std::vector<double> mean, scale;
};

/// Fields carry the names that Hugging Face's config.json uses; the layer's options lie beside them
/// under their own names ("state_size", "conv_kernel", "num_heads", ...), and what only Rill knows
/// in an object "rill". Keys that are none of these are kept and written again. A language model of
/// mLSTM blocks has NX-AI's keys instead ("embedding_dim", "num_blocks", "mlstm_block", ...).
///
/// Where the family's library (transformers, flash-linear-attention) computes the same from its own
/// configuration, the file has its model_type and architecture. Where it does not, as for another
/// task, another norm, an option that the library's configuration lacks, the model_type is "rill_"
/// and the layer's name, and no library takes the file for its own.
struct ModelConfig {
  std::string layer = "mamba";                 // registry name
  std::map<std::string, OptionValue> options;  // of the layer, those that are not at their default
  std::int64_t hidden_size = 128;              // D
  std::int64_t num_hidden_layers = 4;
  std::int64_t vocab_size = 256;  // of language models
  bool tie_word_embeddings = true;
  std::string norm = "rms";  // "rms" or "layer"
  double norm_eps = 1e-5;
  std::int64_t mlp_size = 0;  // hidden units of the block's gated MLP, 0: none
  double dropout = 0.0;
  Task task = Task::kLanguageModel;
  std::int64_t input_size = 0, output_size = 0;  // columns, of the other tasks
  std::string pooling = "mean";                  // of kClassify: "mean" or "last"
  Scaling input_scaling, output_scaling;         // of the other tasks; empty: none
  std::string data;                              // what it was trained on: "text:/absolute/path"
  std::vector<std::int64_t> target_columns;      // of kRegress
  std::string other_keys = "{}";                 // JSON object of keys that Rill keeps and ignores

  /// The defaults of a layer: what its published models look like (mamba: RMSNorm, no MLP; gla,
  /// retnet, deltanet: RMSNorm, a gated MLP and an untied head; mlstm: LayerNorm, no MLP and an
  /// untied head; others: RMSNorm and a gated MLP where the layer has no gate of its own).
  static ModelConfig for_layer(const std::string& layer, std::int64_t width, std::int64_t blocks);
  /// Error(kConfig) naming the field, what is legal and what came.
  void validate() const;
};

/// From the text of a config.json; Error(kConfig) for what is no JSON object, for missing, wrongly
/// typed, negative or absurd fields, and for values of the libraries' keys that ask for another
/// computation (feature maps, other activations, grouped keys, ...). A "model_type" of mamba, gla,
/// retnet or delta_net is read by its own keys and its library's defaults; NX-AI's configuration of
/// an xLSTMLMModel as it stands.
ModelConfig parse_config(const std::string& json);
/// The text of a config.json.
std::string to_json(const ModelConfig& config);

}  // namespace rill
