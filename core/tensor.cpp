#include <rill/core/check.h>
#include <rill/core/device_queue.h>
#include <rill/core/half.h>
#include <rill/core/tensor.h>

#include <algorithm>
#include <cstring>

namespace rill {
namespace {

template <class F>
void with_type(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kFloat32:
      return f(float{});
    case DType::kFloat64:
      return f(double{});
    case DType::kInt32:
      return f(std::int32_t{});
    case DType::kInt64:
      return f(std::int64_t{});
    case DType::kUInt8:
      return f(std::uint8_t{});
    case DType::kBFloat16:
      return f(BFloat16{});
    case DType::kFloat16:
      return f(Half{});
  }
}

template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<To, BFloat16> || std::is_same_v<To, Half>)
    return To::from_float(static_cast<float>(value));
  else
    return static_cast<To>(value);
}

void convert_elements(const Tensor& from, const Tensor& to) {
  with_type(from.dtype(), [&](auto source) {
    using From = decltype(source);
    with_type(to.dtype(), [&](auto target) {
      using To = decltype(target);
      const From* in = static_cast<const From*>(from.raw());
      To* out = static_cast<To*>(to.raw());
      const std::int64_t count = from.numel();
      for (std::int64_t i = 0; i < count; ++i) out[i] = convert<To>(in[i]);
    });
  });
}

}  // namespace

Storage::Storage(std::size_t bytes, std::shared_ptr<MemoryPool> pool)
    : data_(pool->allocate(bytes)), bytes_(bytes), pool_(std::move(pool)) {}

Storage::~Storage() { pool_->release(data_, bytes_); }

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  return empty(shape, dtype, MemoryPool::process_pool(device));
}

Tensor Tensor::empty(const Shape& shape, DType dtype, const std::shared_ptr<MemoryPool>& pool) {
  Tensor tensor;
  tensor.impl_ = std::make_shared<Impl>();
  tensor.impl_->shape = shape;
  tensor.impl_->dtype = dtype;
  tensor.impl_->storage =
      std::make_shared<Storage>(static_cast<std::size_t>(shape.numel()) * size_of(dtype), pool);
  return tensor;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor tensor = empty(shape, dtype, device);
  fill_bytes(device, tensor.raw(), 0, tensor.bytes());
  return tensor;
}

Tensor Tensor::full(const Shape& shape, DType dtype, double value) {
  Tensor tensor = empty(shape, dtype);
  with_type(dtype, [&](auto element) {
    using T = decltype(element);
    std::fill_n(static_cast<T*>(tensor.raw()), tensor.numel(), convert<T>(value));
  });
  return tensor;
}

template <class T>
Tensor Tensor::from(std::span<const T> values, const Shape& shape) {
  check(static_cast<std::int64_t>(values.size()) == shape.numel(), ErrorCode::kShape,
        "Tensor::from: the shape {} has {} elements, {} values came.", to_string(shape),
        shape.numel(), values.size());
  Tensor tensor = empty(shape, dtype_of<T>());
  std::copy(values.begin(), values.end(), static_cast<T*>(tensor.raw()));
  return tensor;
}
template Tensor Tensor::from(std::span<const float>, const Shape&);
template Tensor Tensor::from(std::span<const double>, const Shape&);
template Tensor Tensor::from(std::span<const std::int32_t>, const Shape&);
template Tensor Tensor::from(std::span<const std::int64_t>, const Shape&);
template Tensor Tensor::from(std::span<const std::uint8_t>, const Shape&);

void Tensor::check_defined(const char* op) const {
  check(defined(), ErrorCode::kShape, "Tensor::{}: the tensor holds nothing.", op);
}

void Tensor::check_on_host() const {
  check(device() == Device{}, ErrorCode::kDevice,
        "Tensor::span: the elements lie on {}; copy them with to(Device{{}}).",
        to_string(device()));
}

void Tensor::set_requires_grad(bool value) const {
  check_defined("set_requires_grad");
  impl_->requires_grad = value;
}

template <class T>
T* Tensor::data() const {
  check_defined("data");
  check(dtype() == dtype_of<T>(), ErrorCode::kDType,
        "Tensor::data: {} was asked for, the tensor holds {}.", name_of(dtype_of<T>()),
        name_of(dtype()));
  return static_cast<T*>(raw());
}
template float* Tensor::data<float>() const;
template double* Tensor::data<double>() const;
template std::int32_t* Tensor::data<std::int32_t>() const;
template std::int64_t* Tensor::data<std::int64_t>() const;
template std::uint8_t* Tensor::data<std::uint8_t>() const;

Tensor Tensor::clone() const {
  if (!defined()) return {};
  Tensor copy = empty(shape(), dtype(), device());
  copy_bytes(device(), copy.raw(), device(), raw(), bytes());
  return copy;
}

Tensor Tensor::view(const Shape& shape) const {
  check_defined("view");
  check(shape.numel() == numel(), ErrorCode::kShape,
        "Tensor::view: {} elements cannot be seen as {}.", numel(), to_string(shape));
  Tensor tensor;
  tensor.impl_ = std::make_shared<Impl>(*impl_);
  tensor.impl_->shape = shape;
  tensor.impl_->requires_grad = false;
  return tensor;
}

Tensor Tensor::rows(std::int64_t first, std::int64_t count) const {
  check_defined("rows");
  check(rank() >= 1 && first >= 0 && count >= 0 && first <= size(0) - count, ErrorCode::kShape,
        "Tensor::rows: {} rows from {} on were asked for, the shape is {}.", count, first,
        to_string(shape()));
  Tensor tensor;
  tensor.impl_ = std::make_shared<Impl>(*impl_);
  tensor.impl_->requires_grad = false;
  std::array<std::int64_t, Shape::kMaxRank> extents{};
  std::ranges::copy(shape().extents(), extents.begin());
  extents[0] = count;
  tensor.impl_->shape =
      Shape(std::span<const std::int64_t>(extents.data(), static_cast<std::size_t>(rank())));
  const std::int64_t row = size(0) == 0 ? 0 : numel() / size(0);
  tensor.impl_->offset += static_cast<std::size_t>(first * row) * size_of(dtype());
  return tensor;
}

Tensor Tensor::to(DType target) const {
  check_defined("to");
  if (target == dtype()) return *this;
  check(is_floating(target) == is_floating(dtype()), ErrorCode::kDType,
        "Tensor::to: {} does not become {}.", name_of(dtype()), name_of(target));
  Tensor result = empty(shape(), target);
  convert_elements(to(Device{}), result);
  return result.to(device());
}

Tensor Tensor::to(Device target) const {
  check_defined("to");
  if (target == device()) return *this;
  if (target != Device{} && device() != Device{}) return to(Device{}).to(target);
  Tensor result = empty(shape(), dtype(), target);
  copy_bytes(target, result.raw(), device(), raw(), bytes());
  return result;
}

void Tensor::move_to(Device target) const {
  check_defined("move_to");
  if (target == device()) return;
  const Tensor moved = to(target);
  impl_->storage = moved.impl_->storage;
  impl_->offset = moved.impl_->offset;
}

void Tensor::copy_from(const Tensor& source) const {
  check_defined("copy_from");
  check(source.defined() && source.shape() == shape(), ErrorCode::kShape,
        "Tensor::copy_from: the target is {}, the source {}.", to_string(shape()),
        source.defined() ? to_string(source.shape()) : "undefined");
  if (source.dtype() == dtype()) {
    const bool far = device() != Device{} && source.device() != Device{};
    const Tensor near = far && source.device() != device() ? source.to(Device{}) : source;
    copy_bytes(device(), raw(), near.device(), near.raw(), bytes());
  } else if (device() != Device{}) {
    return copy_from(source.to(Device{}).to(dtype()));
  } else {
    check(is_floating(source.dtype()) == is_floating(dtype()), ErrorCode::kDType,
          "Tensor::copy_from: {} does not become {}.", name_of(source.dtype()), name_of(dtype()));
    convert_elements(source.to(Device{}), *this);
  }
  impl_->storage->bump_version();
}

}  // namespace rill
