// What the registry knows of a kind of layer. Each layer's file has one function that returns its
// LayerType.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <rill/core/layer.h>
#include <rill/core/options.h>

namespace rill {

/// What a layer can do; asking for what a flag denies is Error(kUnsupported).
struct LayerFlags {
  bool stepper = true;    // has a recurrent mode
  bool chunkable = true;  // may be cut anywhere in time
  bool resets = true;     // takes Segments
  bool sequential =
      true;  // the default CPU form is the sequential recurrence: steps equal forward bit for bit
};

struct LayerType {
  std::string name;    // registry name: "mamba"
  std::string family;  // "ssm", "rnn" or "linear_attention"
  LayerFlags flags;
  std::vector<OptionSpec> options;
  /// A layer of `width` inputs and outputs with initialised parameters. Parameters are drawn in
  /// double from (seed, name), then rounded: the float32 and the float64 layer of one seed hold the
  /// same values. Error(kConfig) where options contradict each other or the width.
  std::unique_ptr<SequenceLayer> (*create)(std::int64_t width, const Options& options, DType dtype,
                                           std::uint64_t seed);
};

}  // namespace rill
