// Products and solves with HiPPO matrices in O(N). Needed are y = (I + d A) x and y = (I - d A)^-1
// x, from which every generalised bilinear discretisation is made (discretize.h). Sources: Gu et
// al., "HiPPO" (2020), appendix E; Gu et al., "Combining Recurrent, Convolutional, and
// Continuous-time Models with Linear State-Space Layers" (LSSL, 2021), appendix E.
//
// y and x may be the same array in every function here.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <variant>

#include <rill/hippo/matrix.h>
#include <rill/hippo/transition.h>

namespace rill::hippo {

/// y = A x for legs: (A x)_n = -(r_n sum_{k<n} r_k x_k + (n + 1) x_n), r_n = sqrt(2n + 1): a prefix
/// sum. All arrays are [N]; throws Error (kShape) where their sizes differ, as the other functions
/// here do.
void legs_multiply(std::span<const double> x, std::span<double> y);

/// y = (I - d A)^-1 x for legs, by forward substitution. d >= 0.
void legs_solve(double d, std::span<const double> x, std::span<double> y);

/// y = A x for legt (window 2): prefix sums of r_n x_n and of (-1)^n r_n x_n.
void legt_multiply(std::span<const double> x, std::span<double> y);

/// y = (I - d A)^-1 x for legt (window 2), by one tridiagonal solve. scratch is [2 N].
void legt_solve(double d, std::span<const double> x, std::span<double> y,
                std::span<double> scratch);

/// A matrix A = -diag(pl) (T^-1 + diag(c)) diag(pr), T tridiagonal, and B = pl * b: the trainable
/// families of LSSL, which keep the O(N) products for all values of their vectors.
struct LsslFamily {
  Vector pl, pr;  // [N]
  Vector c;       // [N]
  Vector lower;   // [N] T(n, n - 1), entry 0 unused
  Vector main;    // [N] T(n, n)
  Vector upper;   // [N] T(n, n + 1), entry N - 1 unused
  double b = 1.0;

  std::int64_t state_size() const noexcept { return static_cast<std::int64_t>(pl.size()); }

  /// y = (I + d A) x. scratch is [2 N]. T must be invertible without pivoting.
  void forward_mult(double d, std::span<const double> x, std::span<double> y,
                    std::span<double> scratch) const;
  /// y = (I - d A)^-1 x by Thomas's algorithm; T itself may be singular. scratch is [2 N].
  void inverse_mult(double d, std::span<const double> x, std::span<double> y,
                    std::span<double> scratch) const;
  /// A x alone. scratch is [2 N].
  void multiply(std::span<const double> x, std::span<double> y, std::span<double> scratch) const;

  /// A and B as dense arrays.
  Transition dense() const;
};

/// The families "legt" (window 1), "lagt", "legs", "jac", "cheb1", "cheb2". The diagonals of T of
/// the two Chebyshev families are drawn (1e-3 normal, from `seed`): their skew T is singular for
/// odd N. Throws Error (kConfig) for another name and for a state_size
/// outside 1 .. 2^20; dense() as transition().
LsslFamily lssl_family(std::string_view name, std::int64_t state_size, std::uint64_t seed = 0);

/// A block-diagonal rotation with decay, less a rank-one term: A = S - decay I - coupling b b^T.
struct FourierFamily {
  double frequency = 0;  // of the pair j: j * frequency
  double decay = 0;
  double coupling = 0;
  Vector b;  // [N]

  /// y = A x and y = (I - d A)^-1 x; x and y are [N], N even.
  void multiply(std::span<const double> x, std::span<double> y) const;
  void inverse_mult(double d, std::span<const double> x, std::span<double> y) const;
};

/// The matrix A of a measure as an operator in O(N). Copies are values; const calls share nothing.
class StructuredTransition {
 public:
  /// Throws Error (kConfig) for a measure without O(N) form (see has_structure), and as
  /// transition() does.
  StructuredTransition(Measure measure, std::int64_t state_size,
                       const TransitionOptions& options = {});

  std::int64_t state_size() const noexcept { return static_cast<std::int64_t>(B_.size()); }
  std::span<const double> B() const noexcept { return B_; }
  std::int64_t scratch_size() const noexcept { return 2 * state_size(); }

  /// y = A x, y = (I + d A) x and y = (I - d A)^-1 x; x and y are [N], scratch [scratch_size()].
  void multiply(std::span<const double> x, std::span<double> y, std::span<double> scratch) const;
  void forward_mult(double d, std::span<const double> x, std::span<double> y,
                    std::span<double> scratch) const;
  void inverse_mult(double d, std::span<const double> x, std::span<double> y,
                    std::span<double> scratch) const;

 private:
  std::variant<LsslFamily, FourierFamily> family_;
  Vector B_;
};

/// True for all measures but legsd, random and diagonal.
bool has_structure(Measure measure);

}  // namespace rill::hippo
