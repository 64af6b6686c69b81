// Private: complex elements of arrays whose last axis is 2, read and written as double.
#pragma once

#include <complex>
#include <cstdint>

namespace rill {

template <class T>
std::complex<double> load_complex(const void* values, std::int64_t i) {
  const T* p = static_cast<const T*>(values) + 2 * i;
  return {static_cast<double>(p[0]), static_cast<double>(p[1])};
}

template <class T>
void store_complex(void* values, std::int64_t i, std::complex<double> z) {
  T* p = static_cast<T*>(values) + 2 * i;
  p[0] = static_cast<T>(z.real());
  p[1] = static_cast<T>(z.imag());
}

}  // namespace rill
