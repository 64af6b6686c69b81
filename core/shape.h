// The extents of an array, kept without heap memory.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace rill {

/// Extents of a row-major array, at most kMaxRank of them, each >= 0.
class Shape {
 public:
  static constexpr int kMaxRank = 8;
  /// So that the bytes of an array of any dtype fit into an int64.
  static constexpr std::int64_t kMaxElements = std::int64_t{1} << 59;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents)
      : Shape(std::span(extents.begin(), extents.size())) {}
  /// Error(kShape) for more than kMaxRank extents, a negative one, or a product past
  /// kMaxElements (axes of 0 not counted).
  explicit Shape(std::span<const std::int64_t> extents);

  int rank() const noexcept { return rank_; }
  /// Extent of an axis; negative axes count from the last.
  std::int64_t operator[](int axis) const noexcept {
    return extents_[axis < 0 ? axis + rank_ : axis];
  }
  std::int64_t numel() const noexcept;
  /// This shape with one more axis at the front / at the end; errors as above.
  Shape prepend(std::int64_t extent) const;
  Shape append(std::int64_t extent) const;
  /// This shape with the last axis replaced; errors as above, and for a scalar.
  Shape with_last(std::int64_t extent) const;
  std::span<const std::int64_t> extents() const noexcept {
    return {extents_.data(), static_cast<std::size_t>(rank_)};
  }
  friend bool operator==(const Shape& a, const Shape& b) noexcept;

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

/// "[8, 128, 64]".
std::string to_string(const Shape& shape);

}  // namespace rill
