// Private: how the processor treats denormal numbers (below 1e-38 in float).
//
// Arithmetic on them takes some hundred cycles, and a state that only decays ends among them and
// stays: x * 0.97 rounds back to x at the smallest of them. A stream that falls silent would run
// fifty times slower for as long as the silence lasts. Kernels therefore read and write them as 0.
#pragma once

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace rill {

/// The calling thread's mode; 0 on processors where it is not set.
inline unsigned float_mode() noexcept {
#if defined(__SSE2__)
  return _mm_getcsr();
#else
  return 0;
#endif
}

inline void set_float_mode([[maybe_unused]] unsigned mode) noexcept {
#if defined(__SSE2__)
  _mm_setcsr(mode);
#endif
}

/// While alive, denormal numbers are 0 on the calling thread.
class DenormalsAreZero {
 public:
  DenormalsAreZero() noexcept : before_(float_mode()) { set_float_mode(before_ | kFlushAndZero); }
  ~DenormalsAreZero() { set_float_mode(before_); }
  DenormalsAreZero(const DenormalsAreZero&) = delete;
  DenormalsAreZero& operator=(const DenormalsAreZero&) = delete;

 private:
  static constexpr unsigned kFlushAndZero = 0x8040;  // results (bit 15) and operands (bit 6)
  unsigned before_;
};

}  // namespace rill
