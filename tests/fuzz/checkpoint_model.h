// The model whose checkpoints the fuzz target reads: RetNet's state has a matrix and a position.
// The corpus's came of
//   rill train --config FILE --data csv:TWO_COLUMNS --batch 1 --length 4 --steps 2 --out ...
// with this text in FILE.
#pragma once

#include <rill/model/config.h>

namespace rill {

inline ModelConfig checkpoint_model() {
  return parse_config(R"({"hidden_size": 8, "num_hidden_layers": 1, "model_type": "rill_retnet",
    "num_heads": 1, "expand_v": 1, "intermediate_size": 0,
    "rill": {"layer": "retnet", "task": "next", "input_size": 2, "output_size": 2, "mlp_size": 0}})");
}

}  // namespace rill
