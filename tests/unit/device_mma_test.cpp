// Tile products of a warp in the execution model: known matrices through every way to load a
// fragment, and fragments that were put together wrongly.
#include "device_support.h"

#include <rill/core/cuda/mma.h>

#include <vector>

namespace {

using namespace rill;
using namespace rill::device_test;

enum class Way { kStraight, kTransposed, kByHand, kWrongRow, kWrongHalf };

struct ProductArgs {
  const float *a, *b, *c;  // [16, 16], [16, 8], [16, 8]
  float* y;                // [16, 8]
};

constexpr int kStride = 24;

// A and B in shared memory as they are, or transposed; or gathered element by element, with a
// planted fault.
template <class S, Way way>
RILL_KERNEL(32)
void product_kernel(ProductArgs p) {
  RILL_SHARED(S, a_tile, 16 * kStride);
  RILL_SHARED(S, b_tile, 16 * kStride);
  const Shared<S> a(a_tile), b(b_tile);
  constexpr bool kTransposed = way == Way::kTransposed;
  for (int i = lane_index(); i < 256; i += kWarpSize) {
    const int row = i / 16, k = i % 16;
    a[kTransposed ? k * kStride + row : row * kStride + k] = from_compute<S>(p.a[i]);
    if (i < 128)
      b[kTransposed ? i % 8 * kStride + i / 8 : i / 8 * kStride + i % 8] = from_compute<S>(p.b[i]);
  }
  block_sync();
  FragmentA left;
  FragmentB right;
  if constexpr (way == Way::kStraight) {
    load_a(left, a, kStride);
    load_b(right, b, kStride);
  } else if constexpr (way == Way::kTransposed) {
    load_a_transposed(left, a, kStride);
    load_b_transposed(right, b, kStride);
  } else {
    for (int r = 0; r < 4; ++r) {
      const int row = way == Way::kWrongRow ? fragment_a_row(r / 2) : fragment_a_row(r);
      const int at = row * 16 + fragment_a_column(r);
      left.x[r] = pack_pair<S>(p.a[at], p.a[at + 1]);
    }
    for (int r = 0; r < 2; ++r) {
      const int at = fragment_b_row(r) * 8 + fragment_b_column();
      right.x[r] = way == Way::kWrongHalf ? pack_pair<S>(p.b[at + 8], p.b[at])
                                          : pack_pair<S>(p.b[at], p.b[at + 8]);
    }
  }
  FragmentC sum;
  for (int e = 0; e < 4; ++e) sum.x[e] = p.c[fragment_c_row(e) * 8 + fragment_c_column(e)];
  multiply_add<S>(sum, left, right);
  for (int e = 0; e < 4; ++e) p.y[fragment_c_row(e) * 8 + fragment_c_column(e)] = sum.x[e];
}

// The same with eight columns of A in TF32.
template <bool kRounded>
RILL_KERNEL(32)
void product32_kernel(ProductArgs p) {
  const int g = lane_index() / 4, t = lane_index() % 4;
  FragmentA32 left;
  FragmentB32 right;
  for (int r = 0; r < 4; ++r) {
    const float x = p.a[(g + 8 * (r % 2)) * 8 + t + 4 * (r / 2)];
    left.x[r] = kRounded ? to_tf32(x) : x;
  }
  for (int r = 0; r < 2; ++r) {
    const float x = p.b[(t + 4 * r) * 8 + g];
    right.x[r] = kRounded ? to_tf32(x) : x;
  }
  FragmentC sum;
  for (int e = 0; e < 4; ++e) sum.x[e] = p.c[fragment_c_row(e) * 8 + fragment_c_column(e)];
  multiply_add(sum, left, right);
  for (int e = 0; e < 4; ++e) p.y[fragment_c_row(e) * 8 + fragment_c_column(e)] = sum.x[e];
}

std::vector<float> whole_numbers(std::int64_t count, unsigned seed) {
  auto x = as<float>(random_values(count, -8, 8, seed));
  for (float& v : x) v = std::round(v);
  return x;
}

struct Product {
  std::vector<float> a, b, c = whole_numbers(128, 3), y = unset<float>(128);
  int inner;

  explicit Product(int k) : a(whole_numbers(16 * k, 1)), b(whole_numbers(k * 8, 2)), inner(k) {}
  ProductArgs args() { return {a.data(), b.data(), c.data(), y.data()}; }
  // Whole numbers this small have exact products and sums in every type.
  bool right() const {
    for (int i = 0; i < 16; ++i)
      for (int j = 0; j < 8; ++j) {
        float sum = c[static_cast<std::size_t>(i * 8 + j)];
        for (int k = 0; k < inner; ++k)
          sum +=
              a[static_cast<std::size_t>(i * inner + k)] * b[static_cast<std::size_t>(k * 8 + j)];
        if (sum != y[static_cast<std::size_t>(i * 8 + j)]) return false;
      }
    return true;
  }
};

template <class S, Way way>
bool is_right() {
  Product product(16);
  const ProductArgs args = product.args();
  launched(RILL_LAUNCH((product_kernel<S, way>), Grid{1}, 32, 0, nullptr, args));
  return product.right();
}

}  // namespace

TEST_CASE("a warp multiplies tiles of bfloat16 and half, loaded as they lie or transposed") {
  CHECK(is_right<BFloat16, Way::kStraight>());
  CHECK(is_right<BFloat16, Way::kTransposed>());
  CHECK(is_right<BFloat16, Way::kByHand>());
  CHECK(is_right<Half, Way::kStraight>());
  CHECK(is_right<Half, Way::kTransposed>());
  CHECK(is_right<Half, Way::kByHand>());
}

TEST_CASE("a fragment that was put together wrongly gives a wrong product") {
  CHECK_FALSE(is_right<BFloat16, Way::kWrongRow>());
  CHECK_FALSE(is_right<BFloat16, Way::kWrongHalf>());
  CHECK_FALSE(is_right<Half, Way::kWrongRow>());
  CHECK_FALSE(is_right<Half, Way::kWrongHalf>());
}

TEST_CASE("a warp multiplies tiles in TF32, of which it reads ten bits of fraction") {
  Product product(8);
  ProductArgs args = product.args();
  launched(RILL_LAUNCH(product32_kernel<true>, Grid{1}, 32, 0, nullptr, args));
  CHECK(product.right());
  // 1 + 2^-11 lies between two numbers of TF32: it rounds up to 1 + 2^-10, and is cut to 1 where
  // nobody rounded it.
  CHECK(to_tf32(1.0f + 0x1p-11f) == 1.0f + 0x1p-10f);
  std::ranges::fill(product.a, 1.0f + 0x1p-11f);
  std::ranges::fill(product.b, 1.0f);
  std::ranges::fill(product.c, 0.0f);
  launched(RILL_LAUNCH(product32_kernel<true>, Grid{1}, 32, 0, nullptr, args));
  CHECK(product.y[0] == 8.0f + 8 * 0x1p-10f);
  launched(RILL_LAUNCH(product32_kernel<false>, Grid{1}, 32, 0, nullptr, args));
  CHECK(product.y[0] == 8.0f);
}
