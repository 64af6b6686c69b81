#include <rill/core/kernels.h>
#include <rill/core/op_checks.h>
#include <rill/core/ops.h>

namespace rill {
namespace {

void check_count(double count, const char* op) {
  check(count > 0.0, ErrorCode::kValue, "{}: a count above 0 was expected, {} came.", op, count);
}

// Of targets on the host; on a device one out of range gives a loss of NaN.
void check_labels(const Tensor& targets, std::int64_t classes) {
  if (targets.device() != Device{}) return;
  const auto labels = targets.span<std::int64_t>();
  for (std::size_t t = 0; t < labels.size(); ++t)
    check(labels[t] < classes, ErrorCode::kValue,
          "cross_entropy: targets below {} were expected, target {} is {}.", classes, t, labels[t]);
}

Tensor partial_sums(Exec& exec, std::int64_t count) {
  return exec.empty({(count + kSumTile - 1) / kSumTile});
}

}  // namespace

Tensor cross_entropy(Exec& exec, const Tensor& logits, const Tensor& given, double count,
                     Tensor per_token) {
  check_activation(exec, logits, "cross_entropy", "logits");
  const std::int64_t classes = last_axis(logits, "cross_entropy", "logits"),
                     tokens = tokens_of(logits);
  check(classes >= 1, ErrorCode::kShape,
        "cross_entropy: logits over at least one class were expected, {} came.",
        to_string(logits.shape()));
  check(given.defined() && given.dtype() == DType::kInt64 && given.numel() == tokens,
        ErrorCode::kShape, "cross_entropy: {} int64 targets were expected, {} {} came.", tokens,
        given.defined() ? given.numel() : 0, given.defined() ? name_of(given.dtype()) : "");
  check_count(count, "cross_entropy");
  check_labels(given, classes);
  const Tensor targets = exec.upload(given);
  if (per_token.defined()) {
    check_activation(exec, per_token, "cross_entropy", "per_token");
    check(per_token.numel() == tokens, ErrorCode::kShape,
          "cross_entropy: per_token of {} elements was expected, {} came.", tokens,
          per_token.numel());
  } else {
    per_token = exec.empty({tokens});
  }
  const Tensor stats = exec.empty({tokens, 2});
  Tensor loss = exec.empty({1});
  enqueue(exec, core_kernels(exec).cross_entropy,
          {.logits = logits.raw(),
           .targets = targets.data<std::int64_t>(),
           .per_token = per_token.raw(),
           .stats = stats.raw(),
           .loss = loss.raw(),
           .tokens = tokens,
           .classes = classes,
           .scale = 1.0 / count},
          "cross_entropy");
  if (!tracked(exec, {&logits})) return loss;
  exec.tape()->record({loss}, [=](Exec& ex, Gradients& gradients) {
    Tensor dlogits = ex.empty(logits.shape());
    enqueue(ex, core_kernels(ex).cross_entropy_backward,
            {.logits = logits.raw(),
             .targets = targets.data<std::int64_t>(),
             .stats = stats.raw(),
             .dloss = gradients.find(loss).raw(),
             .dlogits = dlogits.raw(),
             .tokens = tokens,
             .classes = classes,
             .scale = 1.0 / count},
            "cross_entropy backward");
    gradients.add(ex, logits, dlogits);
  });
  return loss;
}

Tensor squared_error(Exec& exec, const Tensor& x, const Tensor& given, double count) {
  check_activation(exec, x, "squared_error", "x");
  check(given.defined(), ErrorCode::kShape, "squared_error: a target was expected, nothing came.");
  const Tensor target = exec.upload(given);
  check_activation(exec, target, "squared_error", "target");
  check_shape(target, x.shape(), "squared_error", "target");
  check_count(count, "squared_error");
  const Tensor partial = partial_sums(exec, x.numel());
  Tensor loss = exec.empty({1});
  enqueue(exec, core_kernels(exec).sum,
          {.x = x.raw(),
           .target = target.raw(),
           .partial = partial.raw(),
           .result = loss.raw(),
           .count = x.numel(),
           .scale = 1.0 / count},
          "squared_error");
  if (!tracked(exec, {&x})) return loss;
  exec.tape()->record({loss}, [=](Exec& ex, Gradients& gradients) {
    Tensor dx = ex.empty(x.shape());
    enqueue(ex, core_kernels(ex).squared_error_backward,
            {.x = x.raw(),
             .target = target.raw(),
             .dresult = gradients.find(loss).raw(),
             .dx = dx.raw(),
             .count = x.numel(),
             .scale = 1.0 / count},
            "squared_error backward");
    gradients.add(ex, x, dx);
  });
  return loss;
}

Tensor sum(Exec& exec, const Tensor& x) {
  check_activation(exec, x, "sum", "x");
  const Tensor partial = partial_sums(exec, x.numel());
  Tensor result = exec.empty({1});
  enqueue(exec, core_kernels(exec).sum,
          {.x = x.raw(), .partial = partial.raw(), .result = result.raw(), .count = x.numel()},
          "sum");
  if (!tracked(exec, {&x})) return result;
  exec.tape()->record({result}, [=](Exec& ex, Gradients& gradients) {
    Tensor dx = ex.empty(x.shape());
    enqueue(
        ex, core_kernels(ex).fill,
        {.value = gradients.find(result).raw(), .y = dx.raw(), .scale = 1.0, .count = x.numel()},
        "sum backward");
    gradients.add(ex, x, dx);
  });
  return result;
}

}  // namespace rill
