// Block-diagonal products (block_linear.h). Forward: a thread an output channel, neighbours beside
// each other, with its few weights in registers while it goes through a tile of tokens. Gradient of
// the weights: a thread an element of them, parts of the tokens side by side where the workspace
// holds their sums, which are added in the order of parts.
#include <rill/core/cuda/launch.h>
#include <rill/scan/cuda/instantiate.h>
#include <rill/scan/cuda/launch.h>

namespace rill {
namespace {

constexpr int kThreads = 256;
constexpr int kTokens = 32;          // a block's tile
constexpr int kFewInputs = 8;        // weights that stay in registers
constexpr std::int64_t kPart = 256;  // tokens of one part of the weights' gradient, at least

// Block (x, y): channels [256 x, 256 x + 256), tokens [32 y, 32 y + 32) and so on.
template <class S, bool kFew>
RILL_KERNEL(kThreads)
void block_linear_kernel(BlockLinearArgs p) {
  using C = Compute<S>;
  const std::int64_t width = p.groups * p.outputs, c = grid_thread();
  if (c >= width) return;
  const std::int64_t first = c / p.outputs * p.inputs;
  C weight[kFewInputs] = {};
  if (kFew) RILL_UNROLL
  for (int i = 0; i < kFewInputs; ++i)
    if (i < p.inputs) weight[i] = load<C>(p.weight, i * width + c);
  for (std::int64_t tile = block_index_y() * kTokens; tile < p.tokens; tile += 65535 * kTokens) {
    const std::int64_t last = tile + kTokens < p.tokens ? tile + kTokens : p.tokens;
    for (std::int64_t t = tile; t < last; ++t) {
      const std::int64_t x = t * p.groups * p.inputs + first;
      C sum = C(0);
      if (kFew) {
        RILL_UNROLL
        for (int i = 0; i < kFewInputs; ++i)
          if (i < p.inputs) sum += weight[i] * load<S>(p.x, x + i);
      } else {
        for (std::int64_t i = 0; i < p.inputs; ++i)
          sum += load<C>(p.weight, i * width + c) * load<S>(p.x, x + i);
      }
      store<S>(p.y, t * width + c, sum);
    }
  }
}

// Block (x, y): elements [256 x, 256 x + 256) of the weights, tokens of part y; `parts` [parts,
// elements], or null: added to dweight.
template <class S>
RILL_KERNEL(kThreads)
void weight_parts_kernel(BlockLinearWeightArgs p, std::int64_t tokens_a_part, void* parts) {
  using C = Compute<S>;
  const std::int64_t elements = p.groups * p.outputs * p.inputs, w = grid_thread();
  if (w >= elements) return;
  const std::int64_t i = w % p.inputs, o = w / p.inputs % p.outputs;
  const std::int64_t g = w / p.inputs / p.outputs;
  const std::int64_t first = block_index_y() * tokens_a_part;
  const std::int64_t last = first + tokens_a_part < p.tokens ? first + tokens_a_part : p.tokens;
  C sum = C(0);
  for (std::int64_t t = first; t < last; ++t)
    sum += load<S>(p.dy, (t * p.groups + g) * p.outputs + o) *
           load<S>(p.x, (t * p.groups + g) * p.inputs + i);
  if (parts)
    static_cast<C*>(parts)[block_index_y() * elements + w] = sum;
  else
    store<C>(p.dweight, w, load<C>(p.dweight, w) + sum);
}

template <class C>
RILL_KERNEL(kThreads)
void add_weight_parts_kernel(const void* parts, void* dweight, std::int64_t elements,
                             std::int64_t count) {
  for (std::int64_t w = grid_thread(); w < elements; w += grid_threads()) {
    C sum = C(0);
    for (std::int64_t i = 0; i < count; ++i) sum += static_cast<const C*>(parts)[i * elements + w];
    store<C>(dweight, w, load<C>(dweight, w) + sum);
  }
}

template <class S>
RILL_KERNEL(kThreads)
void block_pack_kernel(BlockPackArgs p) {
  const std::int64_t count = p.groups * p.outputs * p.inputs;
  for (std::int64_t n = grid_thread(); n < count; n += grid_threads()) {
    std::int64_t g, o, i;  // in the order of `packed`, so that stores lie beside each other
    if (p.transposed) {
      i = n % p.inputs, g = n / p.inputs % p.groups, o = n / p.inputs / p.groups;
    } else {
      o = n % p.outputs, g = n / p.outputs % p.groups, i = n / p.outputs / p.groups;
    }
    store<S>(p.packed, n, load<S>(p.weight, (g * p.outputs + o) * p.inputs + i));
  }
}

}  // namespace

template <class S>
DeviceStatus launch_block_linear(const BlockLinearArgs& p, const DeviceLaunch& on) {
  const std::int64_t width = p.groups * p.outputs;
  if (p.tokens * width == 0) return 0;
  const std::int64_t tiles = (p.tokens + kTokens - 1) / kTokens;
  const Grid grid{(width + kThreads - 1) / kThreads, tiles > 65535 ? 65535 : tiles, 1};
  if (p.inputs <= kFewInputs)
    return RILL_LAUNCH((block_linear_kernel<S, true>), grid, kThreads, 0, on.stream, p);
  return RILL_LAUNCH((block_linear_kernel<S, false>), grid, kThreads, 0, on.stream, p);
}

template <class S>
DeviceStatus launch_block_linear_weight(const BlockLinearWeightArgs& p, const DeviceLaunch& on) {
  const std::int64_t elements = p.groups * p.outputs * p.inputs;
  if (p.tokens * elements == 0) return 0;
  const std::int64_t blocks = (elements + kThreads - 1) / kThreads;
  // Enough blocks for the card, as many parts as the workspace holds; a function of sizes alone.
  const std::int64_t room =
      static_cast<std::int64_t>(on.workspace_bytes / sizeof(Compute<S>)) / elements;
  const std::int64_t wanted = (1024 + blocks - 1) / blocks;
  std::int64_t parts = (p.tokens + kPart - 1) / kPart;
  parts = parts > wanted ? wanted : parts;
  parts = parts > room ? room : parts;
  if (parts < 1) parts = 1;
  const std::int64_t tokens_a_part = (p.tokens + parts - 1) / parts;
  RILL_LAUNCH_OR_RETURN(weight_parts_kernel<S>, (Grid{blocks, parts, 1}), kThreads, 0, on.stream, p,
                        tokens_a_part, parts > 1 ? on.workspace : nullptr);
  if (parts == 1) return 0;
  return RILL_LAUNCH(add_weight_parts_kernel<Compute<S>>, grid_for(elements, kThreads), kThreads, 0,
                     on.stream, on.workspace, p.dweight, elements, parts);
}

template <class S>
DeviceStatus launch_block_pack(const BlockPackArgs& p, const DeviceLaunch& on) {
  const std::int64_t count = p.groups * p.outputs * p.inputs;
  if (count == 0) return 0;
  return RILL_LAUNCH(block_pack_kernel<S>, grid_for(count, kThreads), kThreads, 0, on.stream, p);
}

RILL_INSTANTIATE_ACTIVATIONS(launch_block_linear, BlockLinearArgs)
RILL_INSTANTIATE_ACTIVATIONS(launch_block_linear_weight, BlockLinearWeightArgs)
RILL_INSTANTIATE(launch_block_pack, BlockPackArgs)

}  // namespace rill
