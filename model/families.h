// Private: what the libraries of published models can say about a model, and in which keys.
#pragma once

#include <cstdint>
#include <string>

#include <rill/core/options.h>
#include <rill/model/config.h>
#include <rill/model/config_fields.h>

namespace rill {

/// A library's kind of model. What a published file leaves out is the library's default, not
/// Rill's.
struct Family {
  const char* model_type;    // in config.json; "" where the library has none (NX-AI/xlstm)
  const char* layer;         // registry name
  const char* architecture;  // the class
  std::int64_t vocab_size;   // default
  std::int64_t num_heads;    // default; 0: the family has none
};

/// Null where no library has the layer, or the model_type.
const Family* family_of_layer(const std::string& layer);
const Family* family_of_model_type(const std::string& model_type);
/// flash-linear-attention's models: a gated MLP whose size follows from the width, an untied head,
/// one epsilon for all norms.
bool is_fla(const std::string& layer);
/// 2/3 of ratio * width, up to a multiple of 256.
std::int64_t fla_mlp_size(std::int64_t width, std::int64_t ratio);
/// The key of the norms' epsilon.
const char* eps_key(const std::string& layer);

/// Whether the family's library computes the same from its own configuration. Otherwise the file is
/// Rill's own: model_type "rill_" and the layer's name.
bool is_expressible(const ModelConfig& config, const Options& options);
/// Options that the library's layer has and its model's configuration has not.
bool is_beyond_library(const std::string& layer, const std::string& option);

/// Error(kConfig) where a key of the library asks for another computation than Rill's. Null is a
/// value here.
void check_mathematics(const Fields& fields, const std::string& layer, std::int64_t num_heads);

/// The keys of NX-AI's xLSTMLMModelConfig: "embedding_dim", "num_blocks", "mlstm_block", ...
bool is_nxai(const Json& root);
/// The same model in Rill's keys; those that are none of its own are kept. Error(kConfig) for
/// sLSTM blocks and what else Rill has not.
Json from_nxai(const Json& root);
void write_nxai(Json& root, const ModelConfig& config, const Options& options);

}  // namespace rill
