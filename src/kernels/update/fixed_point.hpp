// SPDX-License-Identifier: Apache-2.0
// Sums as integers, in multiples of a fixed unit: they can be added in any order and grouping with
// equal bits. Deterministic runs sum gradients and losses over sequences and ranks so.
//
//   // once per sequence
//   accumulate_fixed_point<T>(exec, gradient, fixed_point_limit(ranks), sum, overflow);
//   // once per step
//   all_reduce_sum(comm, sum);
//   add_fixed_point<T>(exec, sum, gradient);
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// The unit of gradients is 2^-40: a sum over n terms is wrong by at most n 2^-41, plus
/// the rounding of the result to T.
inline constexpr int fixed_point_bits = 40;
/// |sum| on one rank must stay below this, so that the sum over `ranks` ranks cannot overflow.
constexpr double fixed_point_limit(int ranks) { return 0x1p22 / ranks; }

/// sum_i += round(2^40 x_i), halves away from zero, and x_i = 0: what was added has moved.
///
/// Where x_i is not finite, or |x_i| or the new |sum_i| 2^-40 is not below `limit`, overflow(0)
/// becomes 1, sum_i is left as it is and x_i becomes NaN, which tells where it was; the caller
/// stops with a NumericsError. overflow(0) is never set to 0 here.
/// [in, out] x [n], sum [n], overflow [1]
template <class T>
void accumulate_fixed_point(const ExecutionSpace& exec, InOut1<T> x, double limit,
                            InOut1<index_t> sum, InOut1<index_t> overflow);

/// x_i += 2^-40 sum_i, so that what was refused stays NaN.
/// [in] sum [n]
/// [in, out] x [n]
template <class T>
void add_fixed_point(const ExecutionSpace& exec, In1<index_t> sum, InOut1<T> x);

/// A sum on the host (losses), in multiples of 2^-30.
/// Both members can be added over up to 32 ranks.
struct FixedPointSum {
  index_t units = 0;
  index_t invalid = 0;  ///< terms that were not finite or would have made |sum| reach 2^28

  /// Adds x, rounded to a multiple of the unit, or counts it as invalid.
  void add(double x);
  /// NaN if a term was invalid.
  double value() const;
};

}  // namespace elastic::kernels
