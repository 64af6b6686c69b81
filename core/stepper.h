// Stepper: recurrent mode as a type.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <rill/core/exec.h>
#include <rill/core/parameter.h>
#include <rill/core/state.h>

namespace rill {

enum class StepStatus {
  kOk,
  kEmpty,   // a moved-from or default stepper
  kInput,   // x is not [batch, D_in] of the stepper's dtype
  kState,   // the state has other fields or another batch
  kOutput,  // y is not [batch, D_out] of the stepper's dtype
  kDevice   // the device failed (Stepper::error); the state may be half a step further
};

/// A sentence for a status.
const char* to_string(StepStatus status) noexcept;

/// One step of a layer or model for `batch` streams: it keeps the parameters alive, owns its
/// scratch and what could be computed ahead, and steps without allocating, locking or throwing, on
/// the calling thread. Made by SequenceLayer::prepare_step. Movable; one Stepper serves one thread,
/// many serve one layer. Parameters that change after it was made are not seen.
///
/// Of an Exec on a device it works on that Exec's stream: a step with x, state and y on the device
/// is handed over and returns at once (Exec::synchronize waits); x or y on the host cost a copy,
/// and y there waits for the step. The kernels are one CUDA graph, made anew where the state lies
/// in other memory than in the steps before; a few such graphs are kept.
class Stepper {
 public:
  Stepper() noexcept;
  Stepper(Stepper&&) noexcept;
  Stepper& operator=(Stepper&&) noexcept;
  ~Stepper();

  /// x [batch, D_in] (or token numbers [batch]), y [batch, D_out], each on the host or the Exec's
  /// device, the state on the device; its fields are overwritten in place. On a mismatch a code
  /// comes back and nothing has changed.
  [[nodiscard]] StepStatus step(const Tensor& x, State& state, const Tensor& y) noexcept;
  /// The same on plain memory of the host, of the stepper's input and output types; sizes are
  /// checked in bytes.
  [[nodiscard]] StepStatus step(std::span<const std::byte> x, State& state,
                                std::span<std::byte> y) noexcept;

  // Of an empty stepper: 0, [], [], no fields, 0.
  std::int64_t batch() const noexcept;
  const Shape& input_shape() const noexcept;   // [batch, D_in] or [batch]
  const Shape& output_shape() const noexcept;  // [batch, D_out]
  const StateSpec& state_spec() const noexcept;
  /// Scratch and precomputed memory, parameters not counted.
  std::size_t bytes() const noexcept;
  /// The first failure of the device; empty where there was none.
  const std::string& error() const noexcept;

  /// One step as ops: x [batch, 1, D_in] and the state's fields in, [batch, 1, D_out] out.
  using StepFunction = std::function<Tensor(Exec&, const Tensor& x, std::span<Tensor> state)>;
  /// Records `function` once. `input` is the shape of x with its time axis of 1, `parameters` are
  /// kept alive.
  static Stepper record(Exec& exec, const Shape& input, DType input_dtype, const StateSpec& spec,
                        std::vector<Tensor> parameters, const StepFunction& function);

 private:
  struct Program;
  struct Place;
  StepStatus step_between(const Place& x, State& state, const Place& y) noexcept;
  std::unique_ptr<Program> program_;
};

}  // namespace rill
