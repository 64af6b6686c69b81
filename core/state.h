// State: what a layer carries from one call to the next, as a value.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <rill/core/archive.h>
#include <rill/core/exec.h>
#include <rill/core/tensor.h>

namespace rill {

/// One field of a state: what one sequence carries.
struct FieldSpec {
  std::string name;
  Shape shape;  // of one row: a State of batch B holds [B, ...shape]
  // float32 (float64 in a float64 layer, and where a sum runs over all steps), int64 for positions
  DType dtype = DType::kFloat32;
  double fresh = 0.0;  // what every element of a fresh state holds (max-stabilised ones: -infinity)
};

/// What one sequence carries through a layer, and whose it is.
struct StateSpec {
  std::string layer;  // registry name, or "stack" for several
  std::vector<FieldSpec> fields;

  std::size_t bytes() const;  // of one row
  /// Appends another spec's fields with a prefix to their names.
  void append(const StateSpec& other, const std::string& prefix);
};

/// A value: copying copies the arrays. Fields are in the order of the spec. On a tape, forward()
/// rebinds the fields; without one it, and a Stepper always, overwrite them in place.
class State {
 public:
  State() = default;
  State(const State& other);
  State& operator=(const State& other);
  State(State&&) noexcept = default;
  State& operator=(State&&) noexcept = default;

  /// A fresh state of `batch` rows. Error(kShape) for a negative batch.
  static State fresh(const StateSpec& spec, std::int64_t batch);

  const StateSpec& spec() const noexcept { return spec_; }
  std::int64_t batch() const noexcept { return batch_; }
  std::size_t bytes() const;
  /// Where the fields lie; the CPU where there are none.
  Device device() const noexcept { return fields_.empty() ? Device{} : fields_[0].device(); }
  std::span<Tensor> fields() noexcept { return fields_; }
  std::span<const Tensor> fields() const noexcept { return fields_; }
  /// Error(kState) where there is no field of that name.
  const Tensor& at(std::string_view name) const;

  State clone() const { return *this; }
  /// The rows of the given numbers, in that order, repeats allowed. Error(kState) for a number
  /// outside of [0, batch). Stays on the device.
  State select(std::span<const std::int64_t> rows) const;
  /// Rows of several states of one spec, one after the other. Error(kState) where the specs or the
  /// devices differ.
  static State gather(std::span<const State> states);
  /// A copy on another device; Error(kDevice) where that is absent.
  State to(Device device) const;
  /// Error(kState) unless this state has the fields, dtypes and batch of `spec`.
  void check_fits(const StateSpec& spec, std::int64_t batch, std::string_view op) const;

  /// Error(kDevice) unless the fields lie on that device.
  void check_on(Device device, std::string_view op) const;

  /// Writes fields "PREFIXname" and a description of the spec.
  void save(TensorWriter& writer, const std::string& prefix = "state.") const;
  /// Reads what save() wrote; Error(kState) unless it belongs to `spec` (layer, names and no others
  /// behind the prefix, shapes, dtypes, batch, version), is free of NaN and counts from 0.
  static State load(const TensorReader& reader, const StateSpec& spec,
                    const std::string& prefix = "state.");

 private:
  static State empty(const StateSpec& spec, std::int64_t batch, Device device);

  StateSpec spec_;
  std::int64_t batch_ = 0;
  std::vector<Tensor> fields_;
};

}  // namespace rill
