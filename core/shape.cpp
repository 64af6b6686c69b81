#include <rill/core/check.h>
#include <rill/core/dtype.h>
#include <rill/core/shape.h>

#include <algorithm>

#include <charconv>

namespace rill {

Shape::Shape(std::span<const std::int64_t> extents) {
  check(extents.size() <= kMaxRank, ErrorCode::kShape,
        "Shape: at most {} axes are possible, {} came.", kMaxRank, extents.size());
  std::int64_t product = 1;
  for (const std::int64_t extent : extents) {
    check(extent >= 0, ErrorCode::kShape, "Shape: extents are >= 0, {} came.", extent);
    check(extent == 0 || product <= kMaxElements / extent, ErrorCode::kShape,
          "Shape: at most 2^59 elements are possible, {} times {} came.", product, extent);
    if (extent > 0) product *= extent;
    extents_[rank_++] = extent;
  }
}

std::int64_t Shape::numel() const noexcept {
  std::int64_t product = 1;
  for (int i = 0; i < rank_; ++i) product *= extents_[i];
  return product;
}

Shape Shape::prepend(std::int64_t extent) const {
  std::array<std::int64_t, kMaxRank + 1> all{extent};
  std::copy_n(extents_.begin(), rank_, all.begin() + 1);
  return Shape(std::span<const std::int64_t>(all.data(), rank_ + 1));
}

Shape Shape::append(std::int64_t extent) const {
  std::array<std::int64_t, kMaxRank + 1> all{};
  std::copy_n(extents_.begin(), rank_, all.begin());
  all[rank_] = extent;
  return Shape(std::span<const std::int64_t>(all.data(), rank_ + 1));
}

Shape Shape::with_last(std::int64_t extent) const {
  check(rank_ > 0, ErrorCode::kShape, "Shape: a scalar has no last axis.");
  std::array<std::int64_t, kMaxRank> all = extents_;
  all[rank_ - 1] = extent;
  return Shape(std::span<const std::int64_t>(all.data(), rank_));
}

bool operator==(const Shape& a, const Shape& b) noexcept {
  return std::ranges::equal(a.extents(), b.extents());
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (int i = 0; i < shape.rank(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

Device device_from(std::string_view text) {
  constexpr std::string_view kCuda = "cuda";
  if (text == "cpu") return {};
  Device device{Device::Type::kCuda, 0};
  if (text == kCuda) return device;
  const std::string_view number =
      text.starts_with("cuda:") ? text.substr(kCuda.size() + 1) : std::string_view();
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), device.index);
  check(!number.empty() && error == std::errc{} && end == number.data() + number.size() &&
            device.index >= 0,
        ErrorCode::kConfig, "A device is cpu, cuda or cuda:N; '{}' came.", text);
  return device;
}

std::string to_string(Device device) {
  return device.type == Device::Type::kCpu ? "cpu" : formatted("cuda:{}", device.index);
}

}  // namespace rill
