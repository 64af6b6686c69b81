// Private: numbers for the bench's inputs, drawn on the card.
#pragma once

#include <cstdint>

#include <rill/core/device_launch.h>
#include <rill/core/dtype.h>

namespace rill::bench {

/// data[i] from [low, high), a function of i and seed alone.
DeviceStatus fill_uniform(void* data, std::int64_t count, DType dtype, double low, double high,
                          std::uint64_t seed, DeviceStream stream);

}  // namespace rill::bench
