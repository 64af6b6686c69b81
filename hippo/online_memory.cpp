#include <cmath>

#include <rill/core/check.h>
#include <rill/hippo/legendre.h>
#include <rill/hippo/online_memory.h>
#include <rill/hippo/reconstruct.h>

namespace rill::hippo {

ScaleInvariantMemory::ScaleInvariantMemory(std::int64_t state_size,
                                           const ScaleInvariantOptions& options)
    : options_(options) {
  constexpr std::int64_t kMaxStateSize = 1 << 14;
  check(state_size >= 1 && state_size <= kMaxStateSize, ErrorCode::kConfig,
        "hippo::ScaleInvariantMemory: state_size must lie in 1 .. {}, but is {}.", kMaxStateSize,
        state_size);
  check(options.method != Discretization::kMamba, ErrorCode::kConfig,
        "hippo::ScaleInvariantMemory: method must be forward, bilinear, backward or zoh.");
  const auto size = static_cast<std::size_t>(state_size);
  c_.assign(size, 0.0);
  work_.assign(size + 1, 0.0);
  if (options.method != Discretization::kZoh) return;
  const Quadrature rule = gauss_legendre(size);
  nodes_ = rule.nodes;
  weighted_ = Matrix(state_size, state_size);
  for (std::int64_t q = 0; q < state_size; ++q) {
    shifted_legendre(rule.nodes[static_cast<std::size_t>(q)], weighted_.row(q));
    for (double& entry : weighted_.row(q)) entry *= rule.weights[static_cast<std::size_t>(q)];
  }
}

void ScaleInvariantMemory::reset() {
  time_ = 0;
  c_.assign(c_.size(), 0.0);
}

void ScaleInvariantMemory::update(double f) {
  if (options_.method == Discretization::kZoh || options_.first_sample == FirstSample::kFromZero ||
      time_ == 0) {
    update_until(f, time_ + 1);
    return;
  }
  step_gbt(f, 1 / time_, alpha_of(options_.method));
  time_ += 1;
}

void ScaleInvariantMemory::update_until(double f, double until) {
  check(until > time_ && std::isfinite(until), ErrorCode::kValue,
        "hippo::ScaleInvariantMemory::update_until: until must be later than {}, but is {}.", time_,
        until);
  if (time_ == 0 && options_.first_sample == FirstSample::kSets) {
    c_.assign(c_.size(), 0.0);
    c_[0] = f;
  } else if (options_.method == Discretization::kZoh) {
    step_zoh(f, time_ / until);
  } else {
    step_gbt(f, (until - time_) / until, alpha_of(options_.method));
  }
  time_ = until;
}

void ScaleInvariantMemory::step_gbt(double f, double d, double alpha) {
  // c = (I - alpha d A)^-1 ((I + (1 - alpha) d A) c + d B f).
  const std::span<double> product = std::span(work_).first(c_.size());
  legs_multiply(c_, product);
  for (std::size_t n = 0; n < c_.size(); ++n) {
    const double b = std::sqrt(2.0 * static_cast<double>(n) + 1.0);
    c_[n] += (1 - alpha) * d * product[n] + d * b * f;
  }
  legs_solve(alpha * d, c_, c_);
}

void ScaleInvariantMemory::step_zoh(double f, double r) {
  // The past g on [0, 1] shrinks to [0, r], and f fills [r, 1]: the new coefficients are
  //   r int_0^1 p_n(r y) g(y) dy + f int_r^1 p_n(x) dx,
  // the first by quadrature (exact: the degree is at most 2N - 2), the second in closed form.
  const std::size_t size = c_.size();
  const Vector past = multiply(weighted_, c_);  // [N] w_q g(y_q)
  Vector next(size, 0.0);
  const std::span<double> p = std::span(work_).first(size);
  for (std::size_t q = 0; q < size; ++q) {
    shifted_legendre(r * nodes_[q], p);
    for (std::size_t n = 0; n < size; ++n) next[n] += r * past[q] * p[n];
  }
  legendre(2 * r - 1, work_);  // P_0 .. P_N at the seam
  next[0] += (1 - r) * f;
  for (std::size_t n = 1; n < size; ++n)
    next[n] +=
        f * (work_[n - 1] - work_[n + 1]) / (2 * std::sqrt(2.0 * static_cast<double>(n) + 1.0));
  c_ = std::move(next);
}

Vector ScaleInvariantMemory::reconstruct(std::span<const double> positions) const {
  return reconstruct_history(c_, positions);
}

TimeInvariantMemory::TimeInvariantMemory(Measure measure, std::int64_t state_size, double dt,
                                         const TimeInvariantOptions& options)
    : measure_(measure), options_(options), dt_(dt) {
  check(dt > 0 && std::isfinite(dt), ErrorCode::kConfig,
        "hippo::TimeInvariantMemory: dt must be positive and finite, but is {}.", dt);
  const bool linear_solve = !std::isnan(alpha_of(options.method));
  if (has_structure(measure) && linear_solve)
    structured_.emplace(measure, state_size, options.transition);
  else
    dense_ = transition(measure, state_size, options.transition);
  c_.assign(static_cast<std::size_t>(state_size), 0.0);
  work_.assign(2 * c_.size(), 0.0);
}

void TimeInvariantMemory::reset() { c_.assign(c_.size(), 0.0); }

void TimeInvariantMemory::update_after(double f, double dt) {
  check(dt > 0 && std::isfinite(dt), ErrorCode::kValue,
        "hippo::TimeInvariantMemory::update_after: dt must be positive and finite, but is {}.", dt);
  const std::size_t size = c_.size();
  if (structured_) {
    const double alpha = alpha_of(options_.method);
    const std::span<double> scratch = std::span(work_).first(2 * size);
    structured_->forward_mult((1 - alpha) * dt, c_, c_, scratch);
    const std::span<const double> B = structured_->B();
    for (std::size_t n = 0; n < size; ++n) c_[n] += dt * B[n] * f;
    structured_->inverse_mult(alpha * dt, c_, c_, scratch);
    return;
  }
  if (dt != discrete_dt_) {
    discrete_ = discretize(dense_.A, dense_.B, dt, options_.method);
    discrete_dt_ = dt;
  }
  c_ = multiply(discrete_.A, c_);
  for (std::size_t n = 0; n < size; ++n) c_[n] += discrete_.B[n] * f;
}

Vector TimeInvariantMemory::reconstruct(std::span<const double> ages) const {
  return hippo::reconstruct(measure_, c_, ages, options_.transition.window);
}

}  // namespace rill::hippo
