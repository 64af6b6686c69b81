// What the tests of scan/algorithms.h share: rings in which every result is exact, edge lengths,
// and runs that use their freedom.
#pragma once

#include <rill/core/thread_pool.h>
#include <rill/scan/algorithms.h>

#include <algorithm>
#include <array>
#include <complex>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

namespace rill::scan {

inline constexpr std::uint64_t kPrime = 1000003;

// 2x2 matrices over Z_p; combine(earlier, later) = later * earlier.
struct MatrixProduct {
  using Element = std::array<std::uint64_t, 4>;
  Element identity() const { return {1, 0, 0, 1}; }
  Element combine(const Element& e, const Element& l) const {
    return {(l[0] * e[0] + l[1] * e[2]) % kPrime, (l[0] * e[1] + l[1] * e[3]) % kPrime,
            (l[2] * e[0] + l[3] * e[2]) % kPrime, (l[2] * e[1] + l[3] * e[3]) % kPrime};
  }
};

// Integers modulo p, for affine maps over them.
struct Mod {
  std::uint64_t v = 0;
  constexpr Mod() = default;
  constexpr explicit Mod(std::uint64_t value) : v(value % kPrime) {}
  friend Mod operator*(Mod a, Mod b) { return Mod(a.v * b.v); }
  friend Mod operator+(Mod a, Mod b) { return Mod(a.v + b.v); }
  friend Mod operator-(Mod a, Mod b) { return Mod(a.v + kPrime - b.v); }
  friend bool operator==(Mod, Mod) = default;
};

// Gaussian integers modulo p.
struct Gauss {
  Mod re, im;
  constexpr Gauss() = default;
  constexpr explicit Gauss(std::uint64_t value) : re(value) {}
  constexpr Gauss(Mod real, Mod imaginary) : re(real), im(imaginary) {}
  friend Gauss operator*(Gauss a, Gauss b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
  }
  friend Gauss operator+(Gauss a, Gauss b) { return {a.re + b.re, a.im + b.im}; }
  friend Gauss conj(Gauss a) { return {a.re, Mod() - a.im}; }
  friend bool operator==(Gauss, Gauss) = default;
};

inline constexpr std::size_t kLengths[] = {0,  1,  2,  3,  4,  5,  7,  8,   9,   13,  15, 16,
                                           17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 257};

/// Tasks in some other order.
struct RunShuffled {
  template <class Task>
  void operator()(std::int64_t tasks, const Task& task) const {
    std::vector<std::int64_t> order(static_cast<std::size_t>(tasks));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::shuffle(order.begin(), order.end(), std::mt19937_64(static_cast<std::uint64_t>(tasks)));
    for (const std::int64_t i : order) task(i);
  }
};

/// Tasks at once.
struct RunOnPool {
  ThreadPool* pool;
  template <class Task>
  void operator()(std::int64_t tasks, const Task& task) const {
    pool->parallel_for(tasks, task);
  }
};

}  // namespace rill::scan
