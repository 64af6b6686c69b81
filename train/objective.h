// The loss of a batch and its gradients, over the whole sequence at once or in time chunks.
#pragma once

#include <cstdint>

#include <rill/core/state.h>
#include <rill/core/tape.h>
#include <rill/model/model.h>
#include <rill/train/dataset.h>

namespace rill {

/// Mean loss of `batch` (nats a token or sequence; squared error a value) from `state`, which then
/// holds the final one. Gradients, times `scale`, are added to those of the parameters on `tape`.
///
/// The Exec trains meanwhile: dropout drops, and draws the same masks in every pass.
///
/// With 0 < time_chunk < T the gradients are those of the whole sequence, but activations of one
/// chunk alone are kept: a first pass keeps the states at the cuts; then each chunk, from the last
/// to the first, runs again from its state with a tape, and hands the gradient of its initial state
/// to the chunk before.
double loss_and_gradients(Exec& exec, const Model& model, const Batch& batch, State& state,
                          std::int64_t time_chunk, Tape& tape, double scale = 1.0);

/// The part of steps [first, first + count) of a batch [B, T].
Batch slice_time(const Batch& batch, std::int64_t first, std::int64_t count, Task task);

/// Mean loss of outputs against targets [1], on the tape where there is one; the sum is divided by
/// `count`.
Tensor loss_of(Exec& exec, Task task, const Tensor& output, const Tensor& target, double count);

}  // namespace rill
