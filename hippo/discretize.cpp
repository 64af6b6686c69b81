#include <array>

#include <rill/core/check.h>
#include <rill/hippo/discretize.h>
#include <rill/hippo/linear_algebra.h>

namespace rill::hippo {
namespace {

void check_system(const Matrix& A, std::span<const double> B, double dt) {
  check(
      A.rows() == A.cols() && A.rows() == static_cast<std::int64_t>(B.size()), ErrorCode::kShape,
      "hippo::discretize: A must be square and B have an entry for each row, but A is [{}, {}] and "
      "B is [{}].",
      A.rows(), A.cols(), B.size());
  check(dt >= 0 && std::isfinite(dt), ErrorCode::kConfig,
        "hippo::discretize: dt must be finite and not negative, but is {}.", dt);
}

}  // namespace

Discretization discretization_from_name(std::string_view name) {
  struct Name {
    std::string_view name;
    Discretization method;
  };
  constexpr std::array kNames = {
      Name{"forward", Discretization::kForwardEuler},
      Name{"euler", Discretization::kForwardEuler},
      Name{"forward_diff", Discretization::kForwardEuler},
      Name{"bilinear", Discretization::kBilinear},
      Name{"tustin", Discretization::kBilinear},
      Name{"trapezoid", Discretization::kBilinear},
      Name{"backward", Discretization::kBackwardEuler},
      Name{"backward_diff", Discretization::kBackwardEuler},
      Name{"zoh", Discretization::kZoh},
      Name{"mamba", Discretization::kMamba},
  };
  for (const Name& candidate : kNames)
    if (candidate.name == name) return candidate.method;
  fail(ErrorCode::kConfig,
       "hippo::discretization_from_name: \"{}\" is no discretisation; expected forward, bilinear, "
       "backward, zoh or mamba.",
       name);
}

double alpha_of(Discretization method) {
  switch (method) {
    case Discretization::kForwardEuler:
      return 0.0;
    case Discretization::kBilinear:
      return 0.5;
    case Discretization::kBackwardEuler:
      return 1.0;
    default:
      return std::numeric_limits<double>::quiet_NaN();
  }
}

Discrete gbt(const Matrix& A, std::span<const double> B, double dt, double alpha) {
  check_system(A, B, dt);
  check(alpha >= 0 && alpha <= 1, ErrorCode::kConfig,
        "hippo::gbt: alpha must lie in 0 .. 1, but is {}.", alpha);
  const std::int64_t size = A.rows();
  Matrix left = Matrix::identity(size);
  Matrix right(size, size + 1);  // [I + (1 - alpha) dt A, dt B]: one factorisation for both
  for (std::int64_t i = 0; i < size; ++i) {
    for (std::int64_t j = 0; j < size; ++j) {
      left(i, j) -= alpha * dt * A(i, j);
      right(i, j) = (i == j ? 1.0 : 0.0) + (1 - alpha) * dt * A(i, j);
    }
    right(i, size) = dt * B[static_cast<std::size_t>(i)];
  }
  const Matrix both = solve(left, right, "I - alpha dt A");
  Discrete result{Matrix(size, size), Vector(B.size())};
  for (std::int64_t i = 0; i < size; ++i) {
    for (std::int64_t j = 0; j < size; ++j) result.A(i, j) = both(i, j);
    result.B[static_cast<std::size_t>(i)] = both(i, size);
  }
  return result;
}

Discrete zoh(const Matrix& A, std::span<const double> B, double dt) {
  check_system(A, B, dt);
  const std::int64_t size = A.rows();
  Matrix block(size + 1, size + 1);
  for (std::int64_t i = 0; i < size; ++i) {
    for (std::int64_t j = 0; j < size; ++j) block(i, j) = dt * A(i, j);
    block(i, size) = dt * B[static_cast<std::size_t>(i)];
  }
  const Matrix exponential = matrix_exponential(block);
  Discrete result{Matrix(size, size), Vector(B.size())};
  for (std::int64_t i = 0; i < size; ++i) {
    for (std::int64_t j = 0; j < size; ++j) result.A(i, j) = exponential(i, j);
    result.B[static_cast<std::size_t>(i)] = exponential(i, size);
  }
  return result;
}

Discrete discretize(const Matrix& A, std::span<const double> B, double dt, Discretization method) {
  if (method == Discretization::kZoh) return zoh(A, B, dt);
  if (method == Discretization::kMamba) {
    Discrete result = zoh(A, B, dt);
    for (std::size_t i = 0; i < B.size(); ++i) result.B[i] = dt * B[i];
    return result;
  }
  return gbt(A, B, dt, alpha_of(method));
}

}  // namespace rill::hippo
