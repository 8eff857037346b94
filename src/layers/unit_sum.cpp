// SPDX-License-Identifier: Apache-2.0
#include "layers/unit_sum.hpp"

#include "kernels/rows/residual_add.hpp"

namespace elastic {

using kernels::Transpose;

template <class T>
UnitSum<T>::UnitSum(const LayerContext& context, const Shard& shard,
                    const View2<Accumulate<T>>& out)
    : m_context(context), m_parts{out} {
  if (!context.deterministic) return;
  ELASTIC_REQUIRE(sum_classes % shard.size == 0, "deterministic sums over {} ranks", shard.size);
  for (int j = 1; j < sum_classes / shard.size; ++j)
    m_parts.push_back(context.arena->matrix<Accumulate<T>>(out.extent_int(0), out.extent_int(1)));
}

template <class T>
void UnitSum<T>::add_columns(View2<const T> x, const View2<T>& weight, UnitRows units) {
  add(Transpose::yes, x, prefix(weight, m_parts[0].extent_int(1), weight.extent_int(1)), units);
}

template <class T>
void UnitSum<T>::add_rows(View2<const T> dy, const View2<T>& weight, UnitRows units) {
  add(Transpose::no, dy, prefix(weight, weight.extent_int(0), m_parts[0].extent_int(1)), units);
}

template <class T>
void UnitSum<T>::add(Transpose transpose_b, View2<const T> a, const View2<T>& b, UnitRows units) {
  if (m_context.deterministic) return add_classes(transpose_b, a, b, units);
  units = units.merged();
  for (index_t i = 0; i < units.count; ++i) {
    const auto a_unit =
        Kokkos::subview(a, Kokkos::ALL, Range(i * units.active, (i + 1) * units.active));
    const Range kept(i * units.unit, i * units.unit + units.active);
    const View2<T> b_unit = transpose_b == Transpose::yes
                                ? View2<T>(Kokkos::subview(b, Kokkos::ALL, kept))
                                : View2<T>(Kokkos::subview(b, kept, Kokkos::ALL));
    kernels::gemm<T, Accumulate<T>>(m_context.products(), Transpose::no, transpose_b, 1, a_unit,
                                    b_unit, m_empty ? 0 : 1, m_parts[0]);
    m_empty = false;
  }
}

template <class T>
void UnitSum<T>::add_classes(Transpose transpose_b, View2<const T> a, const View2<T>& b,
                             const UnitRows& units) {
  const auto classes = static_cast<index_t>(m_parts.size());
  for (index_t j = 0; j < classes; ++j)
    kernels::gemm_of_units<T, Accumulate<T>>(m_context.exec, transpose_b, a, b,
                                             {units.unit, j, classes}, units.active,
                                             m_empty ? 0 : 1, m_parts[static_cast<std::size_t>(j)]);
  m_empty = false;
}

template <class T>
void UnitSum<T>::finish() {
  ELASTIC_REQUIRE(!m_empty, "a sum without terms");
  for (std::size_t half = m_parts.size() / 2; half > 0; half /= 2)
    for (std::size_t j = 0; j < half; ++j)
      kernels::residual_add_forward<Accumulate<T>>(m_context.exec, m_parts[j + half], {}, 1,
                                                   m_parts[j]);
}

template class UnitSum<bfloat16>;
template class UnitSum<float>;
template class UnitSum<double>;

}  // namespace elastic
