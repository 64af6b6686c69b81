// The affine scan and its adjoint in one pass: every input is read once, every output written once.
//
// A block owns 32 channels (lanes) and kChunk steps of one row: its warps hold kSteps steps each in
// registers, fold them to one map h -> A h + B, and meet in shared memory. The state that comes in
// is the one that the block of the steps before hands on: it waits for a flag. Blocks take their
// places by tickets, chunks outermost, so that whoever waits waits for a block that runs already;
// carries pass in the order of time, so that results do not depend on who comes when. The adjoint
// is the same scan from the other end, over the gradient. In a table of 16 bits b, h and their
// gradients are of that type and a is not, being a decay; in log space all of them are logarithms
// and none is.
#include <rill/scan/cuda/instantiate.h>
#include <rill/scan/cuda/launch_scan.h>
#include <rill/scan/cuda/row_walk.h>

namespace rill {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarpSize;
constexpr int kSteps = 8;  // of a warp
constexpr std::int64_t kChunk = kWarps * kSteps;

// ---- the maps h -> A h + B; compose(earlier, later). A = 0 forgets h, whatever it is.

template <class C>
struct RealMap {
  using Element = C;
  C a, b;
  RILL_DEVICE static RealMap identity() { return {C(1), C(0)}; }
  RILL_DEVICE static C zero() { return C(0); }
  RILL_DEVICE static C fresh() { return C(0); }
  RILL_DEVICE C apply(C h) const { return a == C(0) ? b : a * h + b; }
  RILL_DEVICE RealMap then(const RealMap& later) const {
    return {later.a == C(0) ? C(0) : later.a * a, later.apply(b)};
  }
  RILL_DEVICE static C forgets() { return C(0); }
};

template <class C>
struct Complex {
  C re, im;
};
template <class C>
RILL_DEVICE Complex<C> multiply(Complex<C> x, Complex<C> y) {
  return {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re};
}
template <class C>
RILL_DEVICE Complex<C> conjugate(Complex<C> x) {
  return {x.re, -x.im};
}

template <class C>
struct ComplexMap {
  using Element = Complex<C>;
  Element a, b;
  RILL_DEVICE static ComplexMap identity() { return {{C(1), C(0)}, {C(0), C(0)}}; }
  RILL_DEVICE static Element zero() { return {C(0), C(0)}; }
  RILL_DEVICE static Element fresh() { return zero(); }
  RILL_DEVICE static Element forgets() { return zero(); }
  RILL_DEVICE static bool is_zero(Element x) { return x.re == C(0) && x.im == C(0); }
  RILL_DEVICE Element apply(Element h) const {
    if (is_zero(a)) return b;
    const Element m = multiply(a, h);
    return {m.re + b.re, m.im + b.im};
  }
  RILL_DEVICE ComplexMap then(const ComplexMap& later) const {
    return {is_zero(later.a) ? zero() : multiply(later.a, a), later.apply(b)};
  }
};

template <class C>
RILL_DEVICE C minus_infinity() {
  return C(-INFINITY);
}
template <class C>
RILL_DEVICE C log_add_exp(C x, C y) {
  const C high = x > y ? x : y, low = x > y ? y : x;
  if (low == minus_infinity<C>()) return high;
  return high + log1p(exp(low - high));
}

/// h, a and b are logarithms.
template <class C>
struct LogMap {
  using Element = C;
  C a, b;
  RILL_DEVICE static LogMap identity() { return {C(0), minus_infinity<C>()}; }
  RILL_DEVICE static C zero() { return C(0); }
  RILL_DEVICE static C fresh() { return minus_infinity<C>(); }
  RILL_DEVICE static C forgets() { return minus_infinity<C>(); }
  RILL_DEVICE C apply(C h) const { return a == minus_infinity<C>() ? b : log_add_exp(a + h, b); }
  RILL_DEVICE LogMap then(const LogMap& later) const {
    return {later.a == minus_infinity<C>() ? later.a : later.a + a, later.apply(b)};
  }
};

// ---- storage

template <class S, class E>
struct Io {  // real elements
  RILL_DEVICE static E get(const void* p, std::int64_t i) { return load<S>(p, i); }
  RILL_DEVICE static void put(void* p, std::int64_t i, E value) { store<S>(p, i, value); }
};
template <class S, class C>
struct Io<S, Complex<C>> {
  RILL_DEVICE static Complex<C> get(const void* p, std::int64_t i) {
    return {load<S>(p, 2 * i), load<S>(p, 2 * i + 1)};
  }
  RILL_DEVICE static void put(void* p, std::int64_t i, Complex<C> value) {
    store<S>(p, 2 * i, value.re);
    store<S>(p, 2 * i + 1, value.im);
  }
};

// ---- what is scanned

/// h_i = a_i h_{i-1} + b_i.
template <class S, class M>
struct ForwardScan {
  using Map = M;
  using E = typename M::Element;
  using IoS = Io<S, E>;
  using IoC = Io<Compute<S>, E>;  // states
  AffineScanArgs p;

  RILL_DEVICE const SeqArgs& sequence() const { return p.sequence; }
  RILL_DEVICE std::int64_t channels() const { return p.channels; }
  RILL_DEVICE DeviceRow row_of(std::int64_t row) const {
    return DeviceRow::of(p.sequence, row, p.reverse != 0);
  }
  RILL_DEVICE Map map(const DeviceRow& walk, std::int64_t, std::int64_t c, std::int64_t i) const {
    const std::int64_t at = walk.token(i) * p.channels + c;
    return {walk.fresh(i) ? Map::forgets() : IoC::get(p.a, at), IoS::get(p.b, at)};
  }
  RILL_DEVICE void out(const DeviceRow& walk, std::int64_t, std::int64_t c, std::int64_t i,
                       E h) const {
    IoS::put(p.h, walk.token(i) * p.channels + c, h);
  }
  RILL_DEVICE E start(const DeviceRow&, std::int64_t row, std::int64_t c) const {
    return IoC::get(p.initial, row * p.channels + c);
  }
  RILL_DEVICE void end(const DeviceRow& walk, std::int64_t row, std::int64_t c, E h) const {
    IoC::put(p.final_state, row * p.channels + c, walk.cut_out() ? Map::fresh() : h);
  }
};

// What hands a gradient on from step i to i - 1, and what a and b get of it.
template <class C>
struct RealBack {
  using Map = RealMap<C>;
  RILL_DEVICE static C weight(C a, C, C, C) { return a; }
  RILL_DEVICE static C to_a(C g, C, C, C before, C) { return g * before; }
  RILL_DEVICE static C to_b(C g, C, C, C, C) { return g; }
};
template <class C>
struct ComplexBack {
  using Map = ComplexMap<C>;
  using E = Complex<C>;
  RILL_DEVICE static E weight(E a, E, E, E) { return conjugate(a); }
  RILL_DEVICE static E to_a(E g, E, E, E before, E) { return multiply(conjugate(before), g); }
  RILL_DEVICE static E to_b(E g, E, E, E, E) { return g; }
};
/// The weights of both terms in e^h, each at most 1; a state of 0 passes no gradient.
template <class C>
struct LogBack {
  using Map = RealMap<C>;
  RILL_DEVICE static C weight(C a, C, C before, C h) {
    return h == minus_infinity<C>() ? C(0) : exp(a + before - h);
  }
  RILL_DEVICE static C to_a(C g, C a, C b, C before, C h) { return g * weight(a, b, before, h); }
  RILL_DEVICE static C to_b(C g, C, C b, C, C h) {
    return h == minus_infinity<C>() ? C(0) : g * exp(b - h);
  }
};

/// g_i = dh_i + weight_{i+1} g_{i+1}, walked from the last step: number j is step length - 1 - j.
template <class S, class Back>
struct BackwardScan {
  using Map = typename Back::Map;
  using E = typename Map::Element;
  using IoS = Io<S, E>;
  using IoC = Io<Compute<S>, E>;
  AffineScanBackwardArgs p;

  RILL_DEVICE const SeqArgs& sequence() const { return p.sequence; }
  RILL_DEVICE std::int64_t channels() const { return p.channels; }
  RILL_DEVICE DeviceRow row_of(std::int64_t row) const {
    return DeviceRow::of(p.sequence, row, p.reverse != 0);
  }
  RILL_DEVICE E before(const DeviceRow& walk, std::int64_t row, std::int64_t c,
                       std::int64_t i) const {
    return i > 0 ? IoS::get(p.h, walk.token(i - 1) * p.channels + c)
                 : IoC::get(p.initial, row * p.channels + c);
  }
  RILL_DEVICE E weight(const DeviceRow& walk, std::int64_t row, std::int64_t c,
                       std::int64_t i) const {
    if (walk.fresh(i)) return Map::zero();
    const std::int64_t at = walk.token(i) * p.channels + c;
    return Back::weight(IoC::get(p.a, at), E{}, before(walk, row, c, i), IoS::get(p.h, at));
  }
  RILL_DEVICE Map map(const DeviceRow& walk, std::int64_t row, std::int64_t c,
                      std::int64_t j) const {
    const std::int64_t i = walk.length - 1 - j;
    return {j == 0 ? Map::identity().a : weight(walk, row, c, i + 1),
            p.dh ? IoS::get(p.dh, walk.token(i) * p.channels + c) : Map::zero()};
  }
  RILL_DEVICE void out(const DeviceRow& walk, std::int64_t row, std::int64_t c, std::int64_t j,
                       E g) const {
    const std::int64_t i = walk.length - 1 - j, at = walk.token(i) * p.channels + c;
    if (walk.fresh(i)) {
      IoC::put(p.da, at, Map::zero());
      IoS::put(p.db, at, g);
      return;
    }
    const E a = IoC::get(p.a, at), b = p.b ? IoS::get(p.b, at) : Map::zero();
    const E h = IoS::get(p.h, at), h_before = before(walk, row, c, i);
    IoC::put(p.da, at, Back::to_a(g, a, b, h_before, h));
    IoS::put(p.db, at, Back::to_b(g, a, b, h_before, h));
  }
  RILL_DEVICE E start(const DeviceRow& walk, std::int64_t row, std::int64_t c) const {
    return p.dfinal && !walk.cut_out() ? IoC::get(p.dfinal, row * p.channels + c) : Map::zero();
  }
  RILL_DEVICE void end(const DeviceRow& walk, std::int64_t row, std::int64_t c, E g) const {
    if (walk.length > 0) g = Map{weight(walk, row, c, 0), Map::zero()}.apply(g);
    IoC::put(p.dinitial, row * p.channels + c, g);
  }
};

// ---- the scan

/// Between blocks: who comes next, how many chunks a chain has passed, and the state it left.
struct Chains {
  unsigned* ticket;
  unsigned* passed;  // [chains]
  void* carry;       // [chains, 32] elements
};

// Spills 4 bytes for sm_80 in the log form's way back: ptxas keeps to 48 registers, at which five
// blocks share a processor.
template <class Scan>
RILL_KERNEL(kThreads)
void scan_kernel(Scan scan, Chains chains, std::int64_t tiles) {
  using Map = typename Scan::Map;
  using E = typename Map::Element;
  RILL_SHARED(unsigned, place, 1);
  RILL_SHARED(Map, folded, kThreads);
  RILL_SHARED(E, carried, kWarpSize);
  if (thread_index() == 0) place[0] = atomic_ticket(chains.ticket);
  block_sync();
  const std::int64_t ticket = place[0], count = scan.sequence().rows * tiles;
  const std::int64_t chain = ticket % count, chunk = ticket / count;
  const std::int64_t row = chain / tiles, c = chain % tiles * kWarpSize + lane_index();
  const DeviceRow walk = scan.row_of(row);
  const std::int64_t first = chunk * kChunk;
  if (first >= walk.length && chunk > 0) return;  // nobody waits for it
  const bool here = c < scan.channels();
  const std::int64_t mine = first + warp_index() * kSteps;

  Map step[kSteps], fold = Map::identity();
  RILL_UNROLL
  for (int s = 0; s < kSteps; ++s) {
    step[s] = here && mine + s < walk.length ? scan.map(walk, row, c, mine + s) : Map::identity();
    fold = fold.then(step[s]);
  }
  folded[thread_index()] = fold;
  block_sync();
  E* const carry = static_cast<E*>(chains.carry) + chain * kWarpSize + lane_index();
  if (warp_index() == 0) {
    if (chunk > 0 && lane_index() == 0)
      while (load_acquire(chains.passed + chain) != static_cast<unsigned>(chunk)) spin_wait();
    warp_sync();
    E state = here ? (chunk > 0 ? *carry : scan.start(walk, row, c)) : Map::zero();
    carried[lane_index()] = state;
    Map all = folded[lane_index()];
    for (int w = 1; w < kWarps; ++w) all = all.then(folded[w * kWarpSize + lane_index()]);
    state = all.apply(state);
    *carry = state;
    warp_sync();
    // One lane's release hands on what all lanes wrote before the barrier.
    if (lane_index() == 0) {
      memory_fence();
      store_release(chains.passed + chain, static_cast<unsigned>(chunk + 1));
    }
    if (here && first + kChunk >= walk.length) scan.end(walk, row, c, state);
  }
  block_sync();
  E h = carried[lane_index()];
  for (int w = 0; w < warp_index(); ++w) h = Map(folded[w * kWarpSize + lane_index()]).apply(h);
  RILL_UNROLL
  for (int s = 0; s < kSteps; ++s) {
    h = step[s].apply(h);
    if (here && mine + s < walk.length) scan.out(walk, row, c, mine + s, h);
  }
}

RILL_KERNEL(kThreads) void clear_kernel(unsigned* words, std::int64_t count) {
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) words[i] = 0;
}

template <class Scan>
DeviceStatus run_scan(const Scan& scan, const SeqArgs& sequence, std::int64_t channels,
                      const DeviceLaunch& on) {
  using E = typename Scan::Map::Element;
  if (sequence.rows * channels == 0) return 0;
  const std::int64_t tiles = (channels + kWarpSize - 1) / kWarpSize;
  const std::int64_t count = sequence.rows * tiles;
  const std::int64_t words = (count + 1 + 31) / 32 * 32;
  const auto bytes = static_cast<std::size_t>(words) * sizeof(unsigned) +
                     static_cast<std::size_t>(count) * kWarpSize * sizeof(E);
  if (bytes > on.workspace_bytes) return kWorkspaceTooSmall;
  auto* const flags = static_cast<unsigned*>(on.workspace);
  RILL_LAUNCH_OR_RETURN(clear_kernel, grid_for(words, kThreads), kThreads, 0, on.stream, flags,
                        words);
  const std::int64_t chunks =
      sequence.max_length > 0 ? (sequence.max_length + kChunk - 1) / kChunk : 1;
  return RILL_LAUNCH(scan_kernel<Scan>, (Grid{count * chunks, 1, 1}), kThreads, 0, on.stream, scan,
                     (Chains{flags, flags + 1, flags + words}), tiles);
}

}  // namespace

template <class S>
DeviceStatus launch_affine_scan(const AffineScanArgs& p, const DeviceLaunch& on) {
  using C = Compute<S>;
  const std::int64_t width = p.channels * (p.complex ? 2 : 1);
  if (p.log_space) {
    if (const DeviceStatus status = zero_gaps<C>(p.sequence, p.h, width, on)) return status;
    return run_scan(ForwardScan<C, LogMap<C>>{p}, p.sequence, p.channels, on);
  }
  if (const DeviceStatus status = zero_gaps<S>(p.sequence, p.h, width, on)) return status;
  if (p.complex) return run_scan(ForwardScan<S, ComplexMap<C>>{p}, p.sequence, p.channels, on);
  return run_scan(ForwardScan<S, RealMap<C>>{p}, p.sequence, p.channels, on);
}

template <class S>
DeviceStatus launch_affine_scan_backward(const AffineScanBackwardArgs& p, const DeviceLaunch& on) {
  using C = Compute<S>;
  const std::int64_t width = p.channels * (p.complex ? 2 : 1);
  if (const DeviceStatus status = zero_gaps<C>(p.sequence, p.da, width, on)) return status;
  if (p.log_space) {
    if (const DeviceStatus status = zero_gaps<C>(p.sequence, p.db, width, on)) return status;
    return run_scan(BackwardScan<C, LogBack<C>>{p}, p.sequence, p.channels, on);
  }
  if (const DeviceStatus status = zero_gaps<S>(p.sequence, p.db, width, on)) return status;
  if (p.complex) return run_scan(BackwardScan<S, ComplexBack<C>>{p}, p.sequence, p.channels, on);
  return run_scan(BackwardScan<S, RealBack<C>>{p}, p.sequence, p.channels, on);
}

RILL_INSTANTIATE_ACTIVATIONS(launch_affine_scan, AffineScanArgs)
RILL_INSTANTIATE_ACTIVATIONS(launch_affine_scan_backward, AffineScanBackwardArgs)

}  // namespace rill
