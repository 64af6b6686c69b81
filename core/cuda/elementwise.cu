// Element-wise kernels of core: one thread an element (or a pack of 16 bytes where addresses
// allow), grid-strided. They are bound by memory.
#include <rill/core/cuda/activation.h>
#include <rill/core/cuda/launch.h>
#include <rill/core/cuda/philox.h>

namespace rill {
namespace {

constexpr int kThreads = 256;

/// N elements that are loaded and stored in one access.
template <class S, int N>
struct alignas(sizeof(S) * N) Pack {
  S value[N];
};

bool aligned16(const void* address) { return reinterpret_cast<std::uintptr_t>(address) % 16 == 0; }

template <class S, int N>
RILL_KERNEL(kThreads)
void unary_kernel(UnaryArgs p) {
  const auto kind = static_cast<Unary>(p.kind);
  for (std::int64_t i = grid_thread() * N; i < p.count; i += grid_threads() * N) {
    auto pack = load_vector<Pack<S, N>>(static_cast<const S*>(p.x) + i);
    RILL_UNROLL
    for (int j = 0; j < N; ++j)
      pack.value[j] = from_compute<S>(activate(kind, to_compute(pack.value[j])));
    store_vector(static_cast<S*>(p.y) + i, pack);
  }
}

template <class S, int N>
RILL_KERNEL(kThreads)
void unary_backward_kernel(UnaryBackwardArgs p) {
  const auto kind = static_cast<Unary>(p.kind);
  for (std::int64_t i = grid_thread() * N; i < p.count; i += grid_threads() * N) {
    const auto x = load_vector<Pack<S, N>>(static_cast<const S*>(p.x) + i);
    const auto y = load_vector<Pack<S, N>>(static_cast<const S*>(p.y) + i);
    auto dy = load_vector<Pack<S, N>>(static_cast<const S*>(p.dy) + i);
    RILL_UNROLL
    for (int j = 0; j < N; ++j)
      dy.value[j] =
          from_compute<S>(to_compute(dy.value[j]) *
                          derivative(kind, to_compute(x.value[j]), to_compute(y.value[j])));
    store_vector(static_cast<S*>(p.dx) + i, dy);
  }
}

template <class S>
RILL_KERNEL(kThreads)
void binary_kernel(BinaryArgs p) {
  const std::int64_t count = p.tokens * p.channels;
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const auto a = load<S>(p.a, i), b = load<S>(p.b, p.b_rows == 1 ? i % p.channels : i);
    auto y = a + b;
    if (static_cast<Binary>(p.kind) == Binary::kSubtract) y = a - b;
    if (static_cast<Binary>(p.kind) == Binary::kMultiply) y = a * b;
    store<S>(p.y, i, y);
  }
}

template <class S>
RILL_KERNEL(kThreads)
void affine_kernel(AffineArgs p) {
  using C = Compute<S>;
  for (std::int64_t i = grid_thread(); i < p.count; i += grid_threads())
    store<S>(p.y, i, C(p.scale) * load<S>(p.x, i) + C(p.shift));
}

template <class S>
RILL_KERNEL(kThreads)
void gated_kernel(GatedArgs p) {
  const std::int64_t count = p.tokens * p.channels;
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const std::int64_t t = i / p.channels, c = i % p.channels;
    store<S>(p.y, i,
             activate(static_cast<Unary>(p.kind), load<S>(p.gate, t * p.gate_row + c)) *
                 load<S>(p.x, t * p.x_row + c));
  }
}

template <class S>
RILL_KERNEL(kThreads)
void gated_backward_kernel(GatedBackwardArgs p) {
  const auto kind = static_cast<Unary>(p.kind);
  const std::int64_t count = p.tokens * p.channels;
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const std::int64_t t = i / p.channels, c = i % p.channels;
    const auto x = load<S>(p.x, t * p.x_row + c), gate = load<S>(p.gate, t * p.gate_row + c);
    const auto dy = load<S>(p.dy, i), a = activate(kind, gate);
    store<S>(p.dx, t * p.x_row + c, dy * a);
    store<S>(p.dgate, t * p.gate_row + c, dy * x * derivative(kind, gate, a));
  }
}

template <class S>
RILL_KERNEL(kThreads)
void add_rows_kernel(AddRowsArgs p) {
  const std::int64_t count = p.rows * p.columns;
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const std::int64_t r = i / p.columns, c = i % p.columns, at = r * p.target_stride + c;
    store<S>(p.target, at, load<S>(p.target, at) + load<S>(p.source, r * p.source_stride + c));
  }
}

template <class S>
RILL_KERNEL(kThreads)
void fill_kernel(FillArgs p) {
  using C = Compute<S>;
  const C value = C(p.scale) * (p.value ? load<S>(p.value, 0) : C(1));
  for (std::int64_t i = grid_thread(); i < p.count; i += grid_threads()) store<S>(p.y, i, value);
}

// A thread draws four channels of a token at once, as the CPU does: the same mask.
template <class S>
RILL_KERNEL(kThreads)
void dropout_kernel(DropoutArgs p) {
  using C = Compute<S>;
  const C scale = static_cast<C>(1.0 / (1.0 - p.p));
  const auto threshold = static_cast<std::uint32_t>(p.p * 4294967296.0);
  const std::int64_t fours = (p.channels + 3) / 4, count = p.batch * p.length * fours;
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const std::int64_t token = i / fours, four = i % fours;
    const auto t = static_cast<std::uint64_t>(p.time + token % p.length);
    const PhiloxWords words = philox_words(
        {{static_cast<std::uint32_t>(four), static_cast<std::uint32_t>(t),
          static_cast<std::uint32_t>(t >> 32), static_cast<std::uint32_t>(token / p.length)}},
        static_cast<std::uint32_t>(p.key), static_cast<std::uint32_t>(p.key >> 32));
    for (int j = 0; j < 4 && four * 4 + j < p.channels; ++j) {
      const std::int64_t at = token * p.channels + four * 4 + j;
      store<S>(p.y, at, words.word[j] < threshold ? C(0) : load<S>(p.x, at) * scale);
    }
  }
}

// V: 16 bytes, or 1 where sizes, strides or addresses are odd.
template <class V>
RILL_KERNEL(kThreads)
void copy_kernel(CopyArgs p) {
  const std::int64_t row = p.bytes / static_cast<std::int64_t>(sizeof(V)), count = p.rows * row;
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const std::int64_t r = i / row, at = i % row * static_cast<std::int64_t>(sizeof(V));
    store_vector(static_cast<char*>(p.target) + r * p.target_stride + at,
                 load_vector<V>(static_cast<const char*>(p.source) + r * p.source_stride + at));
  }
}

}  // namespace

template <class S>
DeviceStatus launch_unary(const UnaryArgs& p, const DeviceLaunch& on) {
  constexpr int kPack = 16 / sizeof(S);
  if (p.count == 0) return 0;
  if (p.count % kPack == 0 && aligned16(p.x) && aligned16(p.y))
    return RILL_LAUNCH((unary_kernel<S, kPack>), grid_for(p.count / kPack, kThreads), kThreads, 0,
                       on.stream, p);
  return RILL_LAUNCH((unary_kernel<S, 1>), grid_for(p.count, kThreads), kThreads, 0, on.stream, p);
}

template <class S>
DeviceStatus launch_unary_backward(const UnaryBackwardArgs& p, const DeviceLaunch& on) {
  constexpr int kPack = 16 / sizeof(S);
  if (p.count == 0) return 0;
  if (p.count % kPack == 0 && aligned16(p.x) && aligned16(p.y) && aligned16(p.dy) &&
      aligned16(p.dx))
    return RILL_LAUNCH((unary_backward_kernel<S, kPack>), grid_for(p.count / kPack, kThreads),
                       kThreads, 0, on.stream, p);
  return RILL_LAUNCH((unary_backward_kernel<S, 1>), grid_for(p.count, kThreads), kThreads, 0,
                     on.stream, p);
}

template <class S>
DeviceStatus launch_binary(const BinaryArgs& p, const DeviceLaunch& on) {
  if (p.tokens * p.channels == 0) return 0;
  return RILL_LAUNCH(binary_kernel<S>, grid_for(p.tokens * p.channels, kThreads), kThreads, 0,
                     on.stream, p);
}

template <class S>
DeviceStatus launch_affine(const AffineArgs& p, const DeviceLaunch& on) {
  if (p.count == 0) return 0;
  return RILL_LAUNCH(affine_kernel<S>, grid_for(p.count, kThreads), kThreads, 0, on.stream, p);
}

template <class S>
DeviceStatus launch_gated(const GatedArgs& p, const DeviceLaunch& on) {
  if (p.tokens * p.channels == 0) return 0;
  return RILL_LAUNCH(gated_kernel<S>, grid_for(p.tokens * p.channels, kThreads), kThreads, 0,
                     on.stream, p);
}

template <class S>
DeviceStatus launch_gated_backward(const GatedBackwardArgs& p, const DeviceLaunch& on) {
  if (p.tokens * p.channels == 0) return 0;
  return RILL_LAUNCH(gated_backward_kernel<S>, grid_for(p.tokens * p.channels, kThreads), kThreads,
                     0, on.stream, p);
}

template <class S>
DeviceStatus launch_add_rows(const AddRowsArgs& p, const DeviceLaunch& on) {
  if (p.rows * p.columns == 0) return 0;
  return RILL_LAUNCH(add_rows_kernel<S>, grid_for(p.rows * p.columns, kThreads), kThreads, 0,
                     on.stream, p);
}

template <class S>
DeviceStatus launch_fill(const FillArgs& p, const DeviceLaunch& on) {
  if (p.count == 0) return 0;
  return RILL_LAUNCH(fill_kernel<S>, grid_for(p.count, kThreads), kThreads, 0, on.stream, p);
}

template <class S>
DeviceStatus launch_dropout(const DropoutArgs& p, const DeviceLaunch& on) {
  const std::int64_t count = p.batch * p.length * ((p.channels + 3) / 4);
  if (count == 0) return 0;
  return RILL_LAUNCH(dropout_kernel<S>, grid_for(count, kThreads), kThreads, 0, on.stream, p);
}

DeviceStatus launch_copy(const CopyArgs& p, const DeviceLaunch& on) {
  if (p.rows * p.bytes == 0) return 0;
  const bool wide = p.bytes % 16 == 0 && p.source_stride % 16 == 0 && p.target_stride % 16 == 0 &&
                    aligned16(p.source) && aligned16(p.target);
  if (wide)
    return RILL_LAUNCH((copy_kernel<Pack<std::uint32_t, 4>>),
                       grid_for(p.rows * (p.bytes / 16), kThreads), kThreads, 0, on.stream, p);
  return RILL_LAUNCH(copy_kernel<std::uint8_t>, grid_for(p.rows * p.bytes, kThreads), kThreads, 0,
                     on.stream, p);
}

RILL_INSTANTIATE(launch_unary, UnaryArgs)
RILL_INSTANTIATE(launch_unary_backward, UnaryBackwardArgs)
RILL_INSTANTIATE(launch_binary, BinaryArgs)
RILL_INSTANTIATE(launch_affine, AffineArgs)
RILL_INSTANTIATE(launch_gated, GatedArgs)
RILL_INSTANTIATE(launch_gated_backward, GatedBackwardArgs)
RILL_INSTANTIATE(launch_add_rows, AddRowsArgs)
RILL_INSTANTIATE(launch_fill, FillArgs)
RILL_INSTANTIATE(launch_dropout, DropoutArgs)

}  // namespace rill
