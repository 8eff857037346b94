// SPDX-License-Identifier: Apache-2.0
// Linear maps without bias on prefixes of a weight matrix W [out, in]: y = x W^T.
//
// The rows (columns) of a weight belong to units: heads, groups, neurons, words. A product takes
// the first `active` rows of each of the first units: the kept channels of a head, or all rows of
// the unit. Whole units are one product; cut units are one product each. Nothing is copied. Sums
// over units that are sharded over ranks: unit_sum.hpp.
#pragma once
#include "kernels/products/gemm.hpp"

namespace elastic {

/// Which rows (columns) of a weight are used.
struct UnitRows {
  index_t count = 1;   ///< units used
  index_t unit = 0;    ///< rows of a unit in the parent
  index_t active = 0;  ///< rows used of each
  /// The first n rows as one unit.
  static UnitRows prefix(index_t n) { return {1, n, n}; }
  /// The first n units of `size` rows.
  static UnitRows units(index_t n, index_t size = 1) { return {n, size, size}; }
  index_t size() const { return count * active; }
  /// These rows in as few units as possible.
  UnitRows merged() const { return active == unit ? prefix(count * unit) : *this; }
};

/// Output rows in units: y [T, out.size()] = x [T, D] W[out, :D]^T.
template <class T>
void linear_forward(const kernels::Products& products, View2<const T> x, const View2<T>& weight,
                    UnitRows out, const View2<T>& y);
/// Weight gradient of linear_forward: dW[out, :D] += dy^T x.
template <class T>
void linear_weight_gradient(const kernels::Products& products, View2<const T> dy, View2<const T> x,
                            const View2<Accumulate<T>>& dweight, UnitRows out);
/// Input columns in units (the forward pass is UnitSum::add_columns):
/// dx [T, in.size()] = dy W, dW[:D, in] += dy^T x.
template <class T>
void linear_units_input_backward(const kernels::Products& products, View2<const T> dy,
                                 View2<const T> x, const View2<T>& weight,
                                 const View2<Accumulate<T>>& dweight, UnitRows in,
                                 const View2<T>& dx);

}  // namespace elastic
