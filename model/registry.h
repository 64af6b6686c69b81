// The registry: every layer by its name. It feeds tests, benchmarks, the program and models.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <rill/core/layer_type.h>

namespace rill {

/// All kinds of layers, in a fixed order. (One explicit table: static registrars vanish from static
/// libraries.)
const std::vector<LayerType>& layer_types();

/// Error(kConfig) naming what there is where no layer has that name.
const LayerType& find_layer_type(std::string_view name);

/// A layer by name: `width` inputs and outputs, options by name. Error(kConfig) as in Options::set
/// and LayerType::create.
std::unique_ptr<SequenceLayer> make_layer(
    std::string_view name, std::int64_t width,
    const std::vector<std::pair<std::string, OptionValue>>& options = {},
    DType dtype = DType::kFloat32, std::uint64_t seed = 0);

}  // namespace rill
