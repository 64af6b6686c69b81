// SequenceLayer: the one interface of all sequence layers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <rill/core/exec.h>
#include <rill/core/parameter.h>
#include <rill/core/sequence.h>
#include <rill/core/state.h>
#include <rill/core/stepper.h>

namespace rill {

/// A function of an input sequence and the state it arrives with, which returns an output sequence
/// and the state it leaves with. Objects are immutable while used: one layer serves many streams
/// and threads, each with its own Exec and State. forward over T steps, T calls of forward over one
/// and T steps of a Stepper give the same.
class SequenceLayer {
 public:
  virtual ~SequenceLayer() = default;

  /// Parallel mode: x [B, T, D_in] -> y [B, T, D_out] for any T >= 0; `state` holds the initial
  /// state on entry and the final one on return. With a tape in `exec`, gradients of x, the
  /// parameters and the initial state are recorded and the state's fields are rebound; without one
  /// they are overwritten in place. Errors (shape, dtype, state, segments) are thrown before
  /// anything has changed.
  Tensor forward(Exec& exec, const Tensor& x, State& state,
                 const Segments* segments = nullptr) const;

  /// Recurrent mode for `batch` streams: x [batch, D_in] -> y [batch, D_out]. Error(kShape) for a
  /// batch below 1, Error(kDType) where the Exec computes in another dtype than the layer,
  /// Error(kDevice) where it works elsewhere. On a device the Stepper is a graph of its kernels.
  Stepper prepare_step(Exec& exec, std::int64_t batch) const;

  /// A fresh state of `batch` rows. Error(kShape) for a negative batch.
  State initial_state(Exec& exec, std::int64_t batch) const;

  /// What one sequence carries.
  virtual StateSpec state_spec() const = 0;
  virtual std::int64_t input_size() const = 0;
  virtual std::int64_t output_size() const = 0;
  virtual DType dtype() const = 0;
  /// Floating-point operations of one step of one stream (a multiply-add counts 2).
  virtual double flops_per_token() const = 0;
  /// Name, value and group of every parameter, always in the same order.
  virtual void visit_parameters(const ParameterVisitor& visitor) const = 0;

  /// Moves all parameters to another device, in place: handles to them follow. Error(kDevice) where
  /// it is absent. Not while the layer is in use.
  void to(Device device);
  /// Where the parameters lie.
  Device device() const noexcept { return device_; }

  /// What the layer computes with besides its parameters, and what follows it to a device: tables
  /// that its configuration determines. None by default.
  virtual void visit_buffers(const std::function<void(const Tensor&)>& visitor) const;

  /// Handles to all parameters, in the order of visit_parameters.
  std::vector<Tensor> parameters() const;
  std::int64_t parameter_count() const;

  /// For composites (stacks, models): the layer's ops on checked arguments. x is [B, T, D_in]
  /// (packed: [1, total, D_in]); `state` holds this layer's fields, in the order of the spec. An op
  /// that carries state overwrites the field in place without a tape and rebinds it with one.
  Tensor apply(Exec& exec, const Tensor& x, std::span<Tensor> state,
               const Sequence& sequence) const {
    return compute(exec, x, state, sequence);
  }

 private:
  virtual Tensor compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                         const Sequence& sequence) const = 0;

  Device device_;
};

}  // namespace rill
