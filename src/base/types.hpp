// SPDX-License-Identifier: Apache-2.0
// Scalars, execution space and View aliases used everywhere. Letter legend: base/shapes.hpp.
//
//   View2<float> c;   // [M, N] row-major; a prefix of a wider tensor has gaps between its rows
//   In2<T> a          // read-only argument of a template; takes View2<T> and View2<const T>
#pragma once
#include <cstdint>
#include <type_traits>

#include "base/bfloat16.hpp"
#include "base/kokkos_compat.hpp"

namespace elastic {

using index_t = std::int64_t;  ///< every extent and product of extents
using token_t = std::int32_t;  ///< token ids and segment (document) ids

using ExecutionSpace = Kokkos::DefaultExecutionSpace;
using MemorySpace = ExecutionSpace::memory_space;
using HostSpace = Kokkos::HostSpace;

template <class T>
using View1 = Kokkos::View<T*, Kokkos::LayoutRight, MemorySpace>;
template <class T>
using View2 = Kokkos::View<T**, Kokkos::LayoutRight, MemorySpace>;
template <class T>
using View3 = Kokkos::View<T***, Kokkos::LayoutRight, MemorySpace>;
template <class T>
using HostView1 = Kokkos::View<T*, Kokkos::LayoutRight, HostSpace>;

/// Accumulate<T> is the type in which sums of T are formed and kept: gradients of parameters,
/// statistics, masks, softmax, losses, optimizer state. Values and activations are T.
template <class T>
struct AccumulateType;
template <>
struct AccumulateType<bfloat16> {
  using type = float;
};
template <>
struct AccumulateType<float> {
  using type = float;
};
template <>
struct AccumulateType<double> {
  using type = double;
};
template <class T>
using Accumulate = typename AccumulateType<std::remove_const_t<T>>::type;
/// A stored value as a term of a sum. Sums are rounded back once, by static_cast<T>.
template <class T>
KOKKOS_INLINE_FUNCTION Accumulate<T> widen(T x) {
  return static_cast<Accumulate<T>>(x);
}

/// Sums of a run in either precision (<precision>/compute); and the stored values of what works on
/// files (verbs).
using Real = float;
static_assert(std::is_same_v<Accumulate<Real>, Accumulate<bfloat16>>);
/// Bytes of one sum: gradient, moment, mask, loss. For plans, messages and files; those of a stored
/// value depend on the deck (config/run_config.hpp).
inline constexpr double sum_bytes = sizeof(Accumulate<Real>);

/// Inputs of kernels. They are not deduced, so that a View of non-const elements converts.
/// An empty View means "absent".
template <class T>
using In1 = std::type_identity_t<View1<const T>>;
template <class T>
using In2 = std::type_identity_t<View2<const T>>;
template <class T>
using InOut1 = std::type_identity_t<View1<T>>;
template <class T>
using InOut2 = std::type_identity_t<View2<T>>;

using Range = Kokkos::pair<index_t, index_t>;

/// The first `rows` x `columns` of a matrix, with the leading dimension of the parent:
/// a width is an extent, not a copy.
template <class T>
View2<T> prefix(const View2<T>& parent, index_t rows, index_t columns) {
  return Kokkos::subview(parent, Range(0, rows), Range(0, columns));
}
template <class T>
View1<T> prefix(const View1<T>& parent, index_t count) {
  return Kokkos::subview(parent, Range(0, count));
}
/// Rows [begin, end) of a matrix.
template <class T>
View2<T> rows(const View2<T>& parent, index_t begin, index_t end) {
  return Kokkos::subview(parent, Range(begin, end), Kokkos::ALL);
}
/// The distance between two rows.
template <class T>
KOKKOS_INLINE_FUNCTION index_t leading_dimension(const View2<T>& a) {
  return static_cast<index_t>(a.stride(0));
}

}  // namespace elastic
