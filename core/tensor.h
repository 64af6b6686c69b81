// Tensor: a shared handle to a dense row-major array.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <rill/core/dtype.h>
#include <rill/core/memory.h>
#include <rill/core/shape.h>

namespace rill {

/// A block of memory that tensors share. `version` counts in-place changes (an optimiser's step, a
/// load), so that copies made of it, such as packed weights, know that they are out of date.
class Storage {
 public:
  Storage(std::size_t bytes, std::shared_ptr<MemoryPool> pool);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }
  Device device() const noexcept { return pool_->device(); }
  std::uint64_t version() const noexcept { return version_.load(std::memory_order_acquire); }
  void bump_version() noexcept { version_.fetch_add(1, std::memory_order_acq_rel); }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::shared_ptr<MemoryPool> pool_;
  std::atomic<std::uint64_t> version_{0};
};

/// A shared handle to memory with a shape and an element type; copying a Tensor copies the handle,
/// clone() the array. Always dense and row-major. The identity of the handle's target (id()) is
/// what a Tape knows a tensor by.
class Tensor {
 public:
  /// Holds nothing: defined() is false, the shape [] without an element, the dtype float32, the
  /// device the CPU. Functions that need elements throw Error(kShape) then.
  Tensor() = default;

  /// Not initialised; of the device's process pool, or of `pool`. Error(kDevice) where the device
  /// is absent.
  static Tensor empty(const Shape& shape, DType dtype, Device device = {});
  static Tensor empty(const Shape& shape, DType dtype, const std::shared_ptr<MemoryPool>& pool);
  static Tensor zeros(const Shape& shape, DType dtype, Device device = {});
  static Tensor full(const Shape& shape, DType dtype, double value);
  /// A copy of values on the host; Error(kShape) unless their number is the shape's.
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape);
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape) {
    return from(std::span<const T>(values), shape);
  }

  bool defined() const noexcept { return impl_ != nullptr; }
  const Shape& shape() const noexcept { return impl_ ? impl_->shape : kNoShape; }
  std::int64_t size(int axis) const noexcept { return shape()[axis]; }
  int rank() const noexcept { return shape().rank(); }
  std::int64_t numel() const noexcept { return impl_ ? impl_->shape.numel() : 0; }
  DType dtype() const noexcept { return impl_ ? impl_->dtype : DType::kFloat32; }
  Device device() const noexcept { return impl_ ? impl_->storage->device() : Device{}; }
  std::size_t bytes() const noexcept {
    return static_cast<std::size_t>(numel()) * size_of(dtype());
  }
  /// Null where the tensor holds nothing.
  const std::shared_ptr<Storage>& storage() const noexcept {
    return impl_ ? impl_->storage : kNoStorage;
  }
  const void* id() const noexcept { return impl_.get(); }

  /// The address of the first element, in the memory of device().
  void* raw() const noexcept {
    return impl_ ? static_cast<char*>(impl_->storage->data()) + impl_->offset : nullptr;
  }
  /// Typed pointer to the first element; Error(kDType) where T is not the element type.
  template <class T>
  T* data() const;
  /// The elements, to be read by the host: Error(kDevice) where they lie on a device (to()).
  template <class T>
  std::span<T> span() const {
    check_on_host();
    return {data<T>(), static_cast<std::size_t>(numel())};
  }

  /// A new array with the same elements; of a tensor that holds nothing, another such.
  Tensor clone() const;
  /// The same memory under another shape with as many elements; no node on a tape (see ops.h
  /// reshape). Error(kShape) for another number of elements.
  Tensor view(const Shape& shape) const;
  /// Rows [first, first + count) of the first axis, sharing memory; no node on a tape (see ops.h
  /// narrow). Error(kShape) for rows that are not there.
  Tensor rows(std::int64_t first, std::int64_t count) const;
  /// A converted copy (floating types among each other, integers among each other); the same handle
  /// where nothing changes. float64 becomes a 16-bit type by way of float32. Error(kDType) between
  /// a floating type and an integer. Of a device's array it goes by way of the host.
  Tensor to(DType dtype) const;
  /// A copy on another device, or the same handle; a copy to the host waits for the device's work.
  /// Error(kDevice) where the device is absent.
  Tensor to(Device device) const;
  /// Moves the array to another device: every handle to this tensor follows, views of it do not.
  void move_to(Device device) const;
  /// Overwrites this array with `source` (same shape; converted where the dtype differs) and bumps
  /// the version. Error(kShape), Error(kDType).
  void copy_from(const Tensor& source) const;

  /// True where another handle or view sees the same memory.
  bool shared() const noexcept {
    return impl_ && (impl_.use_count() > 1 || impl_->storage.use_count() > 1);
  }

  /// A parameter: a leaf whose gradient every Tape keeps.
  bool requires_grad() const noexcept { return impl_ && impl_->requires_grad; }
  /// Error(kShape) for a tensor that holds nothing.
  void set_requires_grad(bool value) const;

 private:
  struct Impl {
    std::shared_ptr<Storage> storage;
    std::size_t offset = 0;
    Shape shape;
    DType dtype = DType::kFloat32;
    bool requires_grad = false;
  };
  static constexpr Shape kNoShape{};
  static inline const std::shared_ptr<Storage> kNoStorage;
  void check_defined(const char* op) const;
  void check_on_host() const;

  std::shared_ptr<Impl> impl_;
};

}  // namespace rill
