// SPDX-License-Identifier: Apache-2.0
// Sums over whole buffers that decide about a step: the sum of squares (gradient norm) and plain
// sums (losses) in a fixed order; and a sum of squares that has equal bits in any order.
//
// All but block_sums return to the host and wait for exec. The caller gives them workspace
// [norm_workspace(n)]; without one they allocate. n is the length of x, or of all parts together.
#pragma once
#include <vector>

#include "base/types.hpp"

namespace elastic::kernels {

/// Pieces of one buffer, or several buffers.
template <class T>
using Parts = std::type_identity_t<std::vector<View1<const T>>>;

/// Numbers of workspace for `parts` with n elements altogether.
constexpr index_t norm_workspace(index_t n, index_t parts = 1) { return 2 * (n / 4096 + parts); }

/// sum_i x_i^2 over all parts, in double over blocks of fixed size.
/// The order depends on the lengths of the parts only.
template <class T>
double sum_of_squares(const ExecutionSpace& exec, const Parts<T>& parts,
                      const View1<double>& workspace = {});
/// sum_i x_i of one buffer, in double over blocks of fixed size.
template <class T>
double sum(const ExecutionSpace& exec, In1<T> x, const View1<double>& workspace = {});
/// The terms of sum(x), which adds them in their order: for a caller that reads many results at
/// once. Does not wait.
/// [out] out [num_block_sums(n)]
template <class T>
void block_sums(const ExecutionSpace& exec, In1<T> x, InOut1<double> out);
index_t num_block_sums(index_t n);

/// max_i x_i^2 in double; infinite if any x_i is not finite; 0 for nothing.
template <class T>
double largest_square(const ExecutionSpace& exec, const Parts<T>& parts,
                      const View1<double>& workspace = {});

/// A sum of squares in units of 2^(e - 28) and 2^(e - 56), where 2^e is the first even power of two
/// above the largest square. Members are added over parts and ranks, in any order.
struct FixedSquares {
  index_t high = 0, low = 0;
  index_t count = 0;  ///< squares in the sum: at most 2^35

  /// The sum, wrong by at most count * 2^-55 * largest and one rounding.
  /// Throws ContractError for more than 2^35 squares.
  double value(double largest) const;
};
/// sum_i x_i^2, each rounded to the units of `largest`. That must be finite, at least all x_i^2,
/// and equal on all ranks (largest_square, then its maximum over ranks).
template <class T>
FixedSquares sum_of_squares_fixed(const ExecutionSpace& exec, const Parts<T>& parts, double largest,
                                  const View1<double>& workspace = {});

}  // namespace elastic::kernels
