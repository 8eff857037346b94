// SPDX-License-Identifier: Apache-2.0
// Eight neighbouring values of a row, what one lane of a device treats at a time: one access of 16
// bytes in bfloat16, two in float, four in double. Rows that do not begin at multiples of 16 bytes,
// and the last values of a row, are accessed one by one; results are the same.
#pragma once
#include <cstdint>

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {

inline constexpr int pack_size = 8;
KOKKOS_INLINE_FUNCTION index_t num_packs(index_t columns) {
  return (columns + pack_size - 1) / pack_size;
}

/// Values widened to sums.
template <class A>
struct Pack {
  A value[pack_size];
  KOKKOS_INLINE_FUNCTION A& operator[](int i) { return value[i]; }
  KOKKOS_INLINE_FUNCTION A operator[](int i) const { return value[i]; }
};
/// Values as they stand in memory.
template <class T>
struct alignas(16) StoredPack {
  T value[pack_size];
};

/// The rows of a matrix without its extents: launches of more than 512 bytes of arguments wait for
/// one another, and a View has 40.
template <class T>
struct RowsOf {
  T* first;
  index_t distance;

  RowsOf(const View2<T>& matrix) : first(matrix.data()), distance(leading_dimension(matrix)) {}
  KOKKOS_INLINE_FUNCTION T* at(index_t t, index_t j) const { return first + t * distance + j; }
};

/// Whether packs of all rows of these Views begin at multiples of 16 bytes. An empty one does.
template <class... View>
bool packs_are_aligned(const View&... views) {
  const auto aligned = [](const auto& view) {
    if (view.size() == 0) return true;
    const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(view.data()),
                         row = view.rank == 1 ? 0 : view.stride(0) * sizeof(*view.data());
    return first % 16 == 0 && row % 16 == 0;
  };
  return (aligned(views) && ...);
}

/// The first `own` of a pack as they stand, or `count` if that is less, and zeros.
template <int own = pack_size, class T>
KOKKOS_INLINE_FUNCTION StoredPack<T> load_stored(const T* from, index_t count, bool aligned) {
  if (own == pack_size && aligned && count >= pack_size)
    return *reinterpret_cast<const StoredPack<T>*>(from);
  StoredPack<T> stored;
  for (int i = 0; i < pack_size; ++i) stored.value[i] = i < own && i < count ? from[i] : T(0);
  return stored;
}
/// The `count` <= pack_size values from `from` on, and zeros.
template <class T>
KOKKOS_INLINE_FUNCTION Pack<Accumulate<T>> load_pack(const T* from, int count, bool aligned) {
  const StoredPack<T> stored = load_stored(from, count, aligned);
  Pack<Accumulate<T>> pack;
  for (int i = 0; i < pack_size; ++i) pack[i] = widen(stored.value[i]);
  return pack;
}
/// The factors of columns [j, j + count): those of a mask that may be absent.
template <class A>
KOKKOS_INLINE_FUNCTION Pack<A> load_mask(const View1<const A>& mask, index_t j, int count,
                                         bool aligned) {
  if (mask.extent(0) != 0) return load_pack(mask.data() + j, count, aligned);
  Pack<A> ones;
  for (int i = 0; i < pack_size; ++i) ones[i] = A(1);
  return ones;
}
/// Stores the first `count` values, each rounded once.
template <class T>
KOKKOS_INLINE_FUNCTION void store_pack(T* to, const Pack<Accumulate<T>>& pack, int count,
                                       bool aligned) {
  if (aligned && count == pack_size) {
    StoredPack<T> stored;
    for (int i = 0; i < pack_size; ++i) store_rounded(stored.value[i], pack[i]);
    *reinterpret_cast<StoredPack<T>*>(to) = stored;
  } else {
    for (int i = 0; i < pack_size; ++i)
      if (i < count) store_rounded(to[i], pack[i]);
  }
}

/// Calls body(t, j, count) for columns [j, j + count) of row t, every element once; a lane each.
template <class F>
void for_packs(const ExecutionSpace& exec, const char* label, index_t rows, index_t columns,
               const F& body) {
  const index_t packs = num_packs(columns);
  Kokkos::parallel_for(
      label, LinearPolicy(exec, 0, rows * packs), KOKKOS_LAMBDA(const index_t i) {
        const index_t j = i % packs * pack_size;
        body(i / packs, j, static_cast<int>(math::min<index_t>(pack_size, columns - j)));
      });
}
/// Calls body(j, count) for all packs of a row; the lanes of a team take them in turn.
template <class F>
KOKKOS_INLINE_FUNCTION void for_row_packs(const Team& team, index_t columns, const F& body) {
  Kokkos::parallel_for(Kokkos::TeamVectorRange(team, num_packs(columns)), [&](const index_t p) {
    const index_t j = p * pack_size;
    body(j, static_cast<int>(math::min<index_t>(pack_size, columns - j)));
  });
}
/// The sum over a row; add(j, count, sum) adds the terms of a pack. Pack p belongs to lane p mod
/// 128 whatever the width, and lanes are joined by a tree: zeros at the end change no bit.
/// All threads get the sum.
template <class A, class F>
KOKKOS_INLINE_FUNCTION A sum_row_packs(const Team& team, index_t columns, const F& add) {
  constexpr int lanes = 128;
  A total = 0;
  Kokkos::parallel_reduce(
      Kokkos::TeamVectorRange(team, int(lanes)),
      [&](const int lane, A& sum) {
        for (index_t j = lane * pack_size; j < columns; j += lanes * pack_size)
          add(j, static_cast<int>(math::min<index_t>(pack_size, columns - j)), sum);
      },
      total);
  return total;
}

}  // namespace elastic::kernels
