// SPDX-License-Identifier: Apache-2.0
// A sum over units that are sharded over tensor-parallel ranks: heads, groups, neurons, words.
//
//   UnitSum<T> y(context, store.shard(), out);       // out [T, D]: this rank's part of the sum
//   y.add_columns(x, weight, units);                 // += x W[:D, units]^T
//   y.finish();
//
// Terms are products of values of T; the sum is Accumulate<T> until ranks have added theirs to it.
//
// In deterministic mode the sum has equal bits on 1, 2, 4 or 8 ranks: one chain of additions per
// residue class of the (global) unit number modulo 8, and a fixed tree over the classes.
// Each of t ranks holds 8/t of the classes and adds the levels between these; the levels that are
// left pair ranks (comm/collectives).
#pragma once
#include "base/shard.hpp"
#include "layers/layer.hpp"
#include "kernels/products/gemm.hpp"
#include "layers/linear.hpp"

namespace elastic {

/// This rank's part of one sum.
template <class T>
class UnitSum {
 public:
  /// Partial sums are taken from the arena and belong to the caller's scope.
  UnitSum(const LayerContext& context, const Shard& shard, const View2<Accumulate<T>>& out);
  /// += x [T, units.size()] W[:D, units]^T
  void add_columns(View2<const T> x, const View2<T>& weight, UnitRows units);
  /// += dy [T, units.size()] W[units, :D]
  void add_rows(View2<const T> dy, const View2<T>& weight, UnitRows units);
  /// Puts the sum into `out`.
  void finish();

 private:
  void add(kernels::Transpose transpose_b, View2<const T> a, const View2<T>& b, UnitRows units);
  void add_classes(kernels::Transpose transpose_b, View2<const T> a, const View2<T>& b,
                   const UnitRows& units);

  const LayerContext& m_context;
  std::vector<View2<Accumulate<T>>> m_parts;  // one per class; the first is `out`
  bool m_empty = true;
};

/// This rank's part of y [T, D] = x [T, units.size()] W[:D, units]^T.
template <class T>
void linear_of_units(const LayerContext& context, const Shard& shard, View2<const T> x,
                     const View2<T>& weight, UnitRows units, const View2<Accumulate<T>>& y) {
  const Arena::Scope scope(*context.arena);
  UnitSum<T> sum(context, shard, y);
  sum.add_columns(x, weight, units);
  sum.finish();
}

}  // namespace elastic
