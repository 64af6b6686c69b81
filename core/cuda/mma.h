// Warp-level tile products on the tensor cores: D = A B + C with A [16, 16], B [16, 8] of bfloat16
// or half (m16n8k16), or A [16, 8], B [8, 8] of TF32 (m16n8k8); C and D [16, 8] in float. Every
// lane of a warp holds a part of each, a fragment, as PTX lays it out ("Matrix fragments for mma"):
//
//   with g = lane / 4, t = lane % 4
//   C      element e:            row g + 8 (e / 2),  column 2 t + e % 2
//   A      register r, half h:   row g + 8 (r % 2),  column 2 t + h + 8 (r / 2)
//   B      register r, half h:   row 2 t + h + 8 r,  column g
//   A32    element r:            row g + 8 (r % 2),  column t + 4 (r / 2)
//   B32    element r:            row t + 4 r,        column g
//
// In the execution model the same registers go through a warp exchange, and each lane adds up its
// own elements from those of the others: a fragment put together wrongly gives wrong products there
// as on the card. All 32 lanes take part in every call.
#pragma once

#include <bit>
#include <type_traits>

#include <rill/core/cuda/device.h>

namespace rill {

struct FragmentA {
  unsigned x[4];
};
struct FragmentB {
  unsigned x[2];
};
struct FragmentC {
  float x[4];
};
struct FragmentA32 {
  float x[4];
};
struct FragmentB32 {
  float x[2];
};

RILL_DEVICE int fragment_c_row(int e) { return lane_index() / 4 + 8 * (e / 2); }
RILL_DEVICE int fragment_c_column(int e) { return 2 * (lane_index() % 4) + e % 2; }
RILL_DEVICE int fragment_a_row(int r) { return lane_index() / 4 + 8 * (r % 2); }
RILL_DEVICE int fragment_a_column(int r) { return 2 * (lane_index() % 4) + 8 * (r / 2); }
RILL_DEVICE int fragment_b_row(int r) { return 2 * (lane_index() % 4) + 8 * r; }
RILL_DEVICE int fragment_b_column() { return lane_index() / 4; }

/// Eight elements, 16 bytes: what one access moves.
template <class S>
struct alignas(16) Eight {
  S x[8];
};

#if defined(__CUDACC__)

template <class S>
RILL_DEVICE unsigned pack_pair(float low, float high) {
  if constexpr (std::is_same_v<S, Half>) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const unsigned*>(&pair);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const unsigned*>(&pair);
  }
}

/// x rounded to TF32's 10 bits of fraction, nearest, ties away from zero.
RILL_DEVICE float to_tf32(float x) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return __uint_as_float(bits);
}

template <class S>
RILL_DEVICE void multiply_add(FragmentC& c, const FragmentA& a, const FragmentB& b) {
  if constexpr (std::is_same_v<S, Half>)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c.x[0]), "+f"(c.x[1]), "+f"(c.x[2]), "+f"(c.x[3])
        : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c.x[0]), "+f"(c.x[1]), "+f"(c.x[2]), "+f"(c.x[3])
        : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
}

RILL_DEVICE void multiply_add(FragmentC& c, const FragmentA32& a, const FragmentB32& b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c.x[0]), "+f"(c.x[1]), "+f"(c.x[2]), "+f"(c.x[3])
      : "r"(__float_as_uint(a.x[0])), "r"(__float_as_uint(a.x[1])), "r"(__float_as_uint(a.x[2])),
        "r"(__float_as_uint(a.x[3])), "r"(__float_as_uint(b.x[0])), "r"(__float_as_uint(b.x[1])));
}

// The 8x8 matrices of ldmatrix: lane l gives the address of row l % 8 of matrix l / 8.
template <bool kTransposed>
RILL_DEVICE void load_matrices(FragmentA& a, const void* row) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(a.x[0]), "=r"(a.x[1]), "=r"(a.x[2]), "=r"(a.x[3])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(a.x[0]), "=r"(a.x[1]), "=r"(a.x[2]), "=r"(a.x[3])
                 : "r"(address)
                 : "memory");
}
template <bool kTransposed>
RILL_DEVICE void load_matrices(FragmentB& b, const void* row) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(b.x[0]), "=r"(b.x[1])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(b.x[0]), "=r"(b.x[1])
                 : "r"(address)
                 : "memory");
}

/// A [16, 16] from shared memory, element (i, k) at tile[i * stride + k]. The tile begins at a
/// multiple of 8 elements, the stride is one, here and below.
template <class S>
RILL_DEVICE void load_a(FragmentA& a, Shared<S> tile, int stride) {
  const int l = lane_index();
  load_matrices<false>(a, tile + (l % 16) * stride + 8 * (l / 16));
}
/// Element (i, k) at tile[k * stride + i].
template <class S>
RILL_DEVICE void load_a_transposed(FragmentA& a, Shared<S> tile, int stride) {
  const int l = lane_index();
  load_matrices<true>(a, tile + (l % 8 + 8 * (l / 16)) * stride + 8 * (l / 8 % 2));
}
/// B [16, 8], element (k, j) at tile[k * stride + j].
template <class S>
RILL_DEVICE void load_b(FragmentB& b, Shared<S> tile, int stride) {
  load_matrices<true>(b, tile + (lane_index() % 16) * stride);
}
/// Element (k, j) at tile[j * stride + k].
template <class S>
RILL_DEVICE void load_b_transposed(FragmentB& b, Shared<S> tile, int stride) {
  const int l = lane_index();
  load_matrices<false>(b, tile + (l % 8) * stride + 8 * (l / 8 % 2));
}

/// B [16, 16] as two fragments of eight columns, in one access: as load_b().
template <class S>
RILL_DEVICE void load_b_pair(FragmentB& low, FragmentB& high, Shared<S> tile, int stride) {
  const int l = lane_index();
  FragmentA both;
  load_matrices<true>(both, tile + (l % 16) * stride + 8 * (l / 16));
  low = {{both.x[0], both.x[1]}};
  high = {{both.x[2], both.x[3]}};
}
/// As load_b_transposed().
template <class S>
RILL_DEVICE void load_b_pair_transposed(FragmentB& low, FragmentB& high, Shared<S> tile,
                                        int stride) {
  const int l = lane_index();
  FragmentA both;
  load_matrices<false>(both, tile + (l % 8 + 8 * (l / 16)) * stride + 8 * (l / 8 % 2));
  low = {{both.x[0], both.x[1]}};
  high = {{both.x[2], both.x[3]}};
}

/// To an address in shared memory that is a multiple of 16 bytes.
template <class S>
RILL_DEVICE void store_eight(Shared<S> to, const Eight<S>& value) {
  *reinterpret_cast<Eight<S>*>(to) = value;
}

#else  // the execution model

template <class S>
unsigned pack_pair(float low, float high) {
  return S::from_float(low).bits | static_cast<unsigned>(S::from_float(high).bits) << 16;
}

inline float to_tf32(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) return x;
  return std::bit_cast<float>((bits + 0x1000u) & ~0x1fffu);
}

namespace device_model {

/// The 16-bit number in half h of a register.
template <class S>
float unpack(unsigned word, int h) {
  return S{static_cast<std::uint16_t>(h == 0 ? word : word >> 16)};
}
/// What the tensor core reads of a float as TF32: the low 13 bits are not there.
inline float as_tf32(float x) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) & ~0x1fffu);
}

/// Another lane's part of an exchange.
template <class T>
T of_lane(const std::byte* lanes, int lane) {
  T value;
  std::memcpy(&value, lanes + static_cast<std::size_t>(lane) * kExchangeBytes, sizeof(T));
  return value;
}

template <class S>
void check_tile(Shared<S> tile, int stride) {
  if (stride % 8 != 0 || !tile.aligned(16))
    fail_launch("a row of a tile in shared memory does not begin at a multiple of 16 bytes");
}

}  // namespace device_model

template <class S>
void multiply_add(FragmentC& c, const FragmentA& a, const FragmentB& b) {
  struct Both {
    FragmentA a;
    FragmentB b;
  } mine{a, b};
  const std::byte* lanes = device_model::warp_exchange(&mine, sizeof(Both));
  for (int r = 0; r < 2; ++r) {    // rows g and g + 8
    for (int t = 0; t < 4; ++t) {  // the lanes that hold the row, and the column, at 2 t
      const auto left = device_model::of_lane<Both>(lanes, fragment_a_row(0) * 4 + t);
      for (int j = 0; j < 2; ++j) {
        const auto right = device_model::of_lane<Both>(lanes, fragment_c_column(j) * 4 + t);
        for (int k = 0; k < 2; ++k)  // columns below 8, and from 8 on
          for (int h = 0; h < 2; ++h)
            c.x[2 * r + j] += device_model::unpack<S>(left.a.x[r + 2 * k], h) *
                              device_model::unpack<S>(right.b.x[k], h);
      }
    }
  }
}

inline void multiply_add(FragmentC& c, const FragmentA32& a, const FragmentB32& b) {
  struct Both {
    FragmentA32 a;
    FragmentB32 b;
  } mine{a, b};
  const std::byte* lanes = device_model::warp_exchange(&mine, sizeof(Both));
  for (int r = 0; r < 2; ++r)
    for (int t = 0; t < 4; ++t) {
      const auto left = device_model::of_lane<Both>(lanes, fragment_a_row(0) * 4 + t);
      for (int j = 0; j < 2; ++j) {
        const auto right = device_model::of_lane<Both>(lanes, fragment_c_column(j) * 4 + t);
        for (int k = 0; k < 2; ++k)
          c.x[2 * r + j] +=
              device_model::as_tf32(left.a.x[r + 2 * k]) * device_model::as_tf32(right.b.x[k]);
      }
    }
}

template <class S>
void load_a(FragmentA& a, Shared<S> tile, int stride) {
  device_model::check_tile(tile, stride);
  for (int r = 0; r < 4; ++r) {
    const std::int64_t at = fragment_a_row(r) * stride + fragment_a_column(r);
    a.x[r] = pack_pair<S>(S(tile[at]), S(tile[at + 1]));
  }
}
template <class S>
void load_a_transposed(FragmentA& a, Shared<S> tile, int stride) {
  device_model::check_tile(tile, stride);
  for (int r = 0; r < 4; ++r) {
    const std::int64_t at = fragment_a_column(r) * stride + fragment_a_row(r);
    a.x[r] = pack_pair<S>(S(tile[at]), S(tile[at + stride]));
  }
}
template <class S>
void load_b(FragmentB& b, Shared<S> tile, int stride) {
  device_model::check_tile(tile, stride);
  for (int r = 0; r < 2; ++r) {
    const std::int64_t at = fragment_b_row(r) * stride + fragment_b_column();
    b.x[r] = pack_pair<S>(S(tile[at]), S(tile[at + stride]));
  }
}
template <class S>
void load_b_transposed(FragmentB& b, Shared<S> tile, int stride) {
  device_model::check_tile(tile, stride);
  for (int r = 0; r < 2; ++r) {
    const std::int64_t at = fragment_b_column() * stride + fragment_b_row(r);
    b.x[r] = pack_pair<S>(S(tile[at]), S(tile[at + 1]));
  }
}

template <class S>
void load_b_pair(FragmentB& low, FragmentB& high, Shared<S> tile, int stride) {
  load_b(low, tile, stride);
  load_b(high, tile + 8, stride);
}
template <class S>
void load_b_pair_transposed(FragmentB& low, FragmentB& high, Shared<S> tile, int stride) {
  load_b_transposed(low, tile, stride);
  load_b_transposed(high, tile + 8 * stride, stride);
}

template <class S>
void store_eight(Shared<S> to, const Eight<S>& value) {
  device_model::check_tile(to, 8);
  for (int i = 0; i < 8; ++i) to[i] = value.x[i];
}

#endif

}  // namespace rill
