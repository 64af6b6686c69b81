// Coefficients of the diagonal recurrence in the order that its lanes read
// (diagonal_ssm_plain-inl.h).
#include <rill/scan/cpu/families.h>
#include <rill/scan/diagonal_args.h>

namespace rill {
namespace {

template <class T>
void pack(const DiagonalPackArgs& args, const KernelContext&) {
  const std::int64_t width = args.width, padded = args.padded_width;
  for (std::int64_t c = 0; c < args.channels; ++c) {
    const T* a = static_cast<const T*>(args.a) + c * width;
    const T* w = static_cast<const T*>(args.w) + c * width;
    T* p = static_cast<T*>(args.coefficients) + c * 3 * padded;
    T* q = p + padded;
    T* r = q + padded;
    for (std::int64_t j = 0; j < padded; ++j) {
      const bool inside = j < width;
      if (args.complex) {
        const std::int64_t re = j & ~std::int64_t{1};
        p[j] = inside ? a[re] : T(0);
        q[j] = inside ? (j == re ? -a[re + 1] : a[re + 1]) : T(0);
        r[j] = inside ? (j == re ? T(2) * w[re] : T(-2) * w[re + 1]) : T(0);
      } else {
        p[j] = inside ? a[j] : T(0);
        q[j] = T(0);
        r[j] = inside ? w[j] : T(0);
      }
    }
  }
}

template <class T>
void unpack(const DiagonalUnpackArgs& args, const KernelContext&) {
  const std::int64_t width = args.width, padded = args.padded_width;
  for (std::int64_t c = 0; c < args.channels; ++c) {
    T* da = static_cast<T*>(args.da) + c * width;
    T* dw = static_cast<T*>(args.dw) + c * width;
    const T* dp = static_cast<const T*>(args.dcoefficients) + c * 3 * padded;
    const T* dq = dp + padded;
    const T* dr = dq + padded;
    for (std::int64_t j = 0; j < width; ++j) {
      if (!args.complex) {
        da[j] = dp[j];
        dw[j] = dr[j];
      } else if (j % 2 == 0) {
        da[j] = dp[j] + dp[j + 1];
        dw[j] = T(2) * dr[j];
      } else {
        da[j] = dq[j] - dq[j - 1];
        dw[j] = T(-2) * dr[j];
      }
    }
  }
}

}  // namespace

void fill_diagonal_pack(ScanKernels& f32, ScanKernels& f64) {
  f32.diagonal_pack = pack<float>;
  f64.diagonal_pack = pack<double>;
  f32.diagonal_unpack = unpack<float>;
  f64.diagonal_unpack = unpack<double>;
}

}  // namespace rill
