// SPDX-License-Identifier: Apache-2.0
// Kernels that compute each element of a matrix from those at the same place of one or two others:
//
//   to_tj = f(m_j, a_tj)   or   to_tj = f(m_j, a_tj, b_tj)
//
// with the factor m_j of a mask that may be absent. A host's thread takes rows, a device's lane
// eight neighbours.
#pragma once
#include "kernels/rows/pack.hpp"
#include "kernels/whole_vectors.hpp"

namespace elastic::kernels {

template <class F, class To, class A, class B>
struct RowMap {
  using Sum = Accumulate<To>;
  static constexpr bool binary = std::is_invocable_v<F, Sum, Sum, Sum>;
  F f;
  View1<const Sum> mask;
  View2<const A> a;
  View2<const B> b;
  View2<To> to;
  bool aligned;

  /// A host's piece of row t.
  KOKKOS_FUNCTION void operator()(const index_t t, const index_t begin, const index_t end) const {
    with_mask<Sum>(mask, [&](const auto& m) {
      if constexpr (binary)
        piece(f, m, begin, end, &a(t, 0), &b(t, 0), &to(t, 0));
      else
        piece(f, m, begin, end, &a(t, 0), &to(t, 0));
    });
  }
  /// A device's pack of row t.
  KOKKOS_FUNCTION void operator()(const index_t t, const index_t j, const int count) const {
    const Pack<Sum> m = load_mask(mask, j, count, aligned),
                    a_t = load_pack(&a(t, j), count, aligned);
    Pack<Sum> result;
    if constexpr (binary) {
      const Pack<Sum> b_t = load_pack(&b(t, j), count, aligned);
      for (int i = 0; i < pack_size; ++i) result[i] = f(m[i], a_t[i], b_t[i]);
    } else {
      for (int i = 0; i < pack_size; ++i) result[i] = f(m[i], a_t[i]);
    }
    store_pack(&to(t, j), result, count, aligned);
  }

 private:
  template <class M>
  ELASTIC_WHOLE_VECTORS static void piece(F element, M m, index_t begin, index_t end, const A* a_t,
                                          const B* b_t, To* to_t) {
    ELASTIC_SIMD
    for (index_t j = begin; j < end; ++j)
      store_rounded(to_t[j], element(m(j), widen(a_t[j]), widen(b_t[j])));
  }
  template <class M>
  ELASTIC_WHOLE_VECTORS static void piece(F element, M m, index_t begin, index_t end, const A* a_t,
                                          To* to_t) {
    ELASTIC_SIMD
    for (index_t j = begin; j < end; ++j) store_rounded(to_t[j], element(m(j), widen(a_t[j])));
  }
};

/// to = f(mask, a, b) as above; `to` may be the View a or b. A, B: To or Accumulate<To>.
template <class To, class A, class B, class F>
void map_rows(const ExecutionSpace& exec, const char* label, const F& f, In1<Accumulate<To>> mask,
              In2<A> a, In2<B> b, InOut2<To> to) {
  const auto rows = static_cast<index_t>(to.extent(0)),
             columns = static_cast<index_t>(to.extent(1));
  const RowMap<F, To, A, B> map{f, mask, a, b, to, packs_are_aligned(mask, a, b, to)};
  if constexpr (on_host)
    for_row_pieces(exec, label, rows, columns, map);
  else
    for_packs(exec, label, rows, columns, map);
}
/// to = f(mask, a).
template <class To, class A, class F>
void map_rows(const ExecutionSpace& exec, const char* label, const F& f, In1<Accumulate<To>> mask,
              In2<A> a, InOut2<To> to) {
  map_rows<To, A, A>(exec, label, f, mask, a, View2<const A>(), to);
}

}  // namespace elastic::kernels
