// SPDX-License-Identifier: Apache-2.0
#include "layers/unit_sum.hpp"

#include "kernels/residual_add.hpp"

namespace elastic {

using kernels::Transpose;

template <class S>
UnitSum<S>::UnitSum(const LayerContext& context, const Shard& shard, const View2<S>& out)
    : m_context(context), m_parts{out} {
  if (!kernels::deterministic_gemm()) return;
  ELASTIC_REQUIRE(sum_classes % shard.size == 0, "deterministic sums over {} ranks", shard.size);
  for (int j = 1; j < sum_classes / shard.size; ++j)
    m_parts.push_back(context.arena->matrix<S>(out.extent_int(0), out.extent_int(1)));
}

template <class S>
void UnitSum<S>::add_columns(View2<const S> x, const View2<S>& weight, Blocks units) {
  add(Transpose::yes, x, prefix(weight, m_parts[0].extent_int(1), weight.extent_int(1)), units);
}

template <class S>
void UnitSum<S>::add_rows(View2<const S> dy, const View2<S>& weight, Blocks units) {
  add(Transpose::no, dy, prefix(weight, weight.extent_int(0), m_parts[0].extent_int(1)), units);
}

template <class S>
void UnitSum<S>::add(Transpose transpose_b, View2<const S> a, const View2<S>& b, Blocks units) {
  if (kernels::deterministic_gemm()) return add_classes(transpose_b, a, b, units);
  units = units.merged();
  for (index_t i = 0; i < units.count; ++i) {
    const auto a_block =
        Kokkos::subview(a, Kokkos::ALL, Range(i * units.active, (i + 1) * units.active));
    const Range kept(i * units.block, i * units.block + units.active);
    const View2<S> b_block = transpose_b == Transpose::yes
                                 ? View2<S>(Kokkos::subview(b, Kokkos::ALL, kept))
                                 : View2<S>(Kokkos::subview(b, kept, Kokkos::ALL));
    kernels::gemm<S>(m_context.exec, Transpose::no, transpose_b, 1, a_block, b_block,
                     m_empty ? 0 : 1, m_parts[0]);
    m_empty = false;
  }
}

template <class S>
void UnitSum<S>::add_classes(Transpose transpose_b, View2<const S> a, const View2<S>& b,
                             const Blocks& units) {
  const auto classes = static_cast<index_t>(m_parts.size());
  for (index_t j = 0; j < classes; ++j)
    kernels::gemm_of_units<S>(m_context.exec, transpose_b, a, b, {units.block, j, classes},
                              units.active, m_empty ? 0 : 1, m_parts[static_cast<std::size_t>(j)]);
  m_empty = false;
}

template <class S>
void UnitSum<S>::finish() {
  ELASTIC_REQUIRE(!m_empty, "a sum without terms");
  for (std::size_t half = m_parts.size() / 2; half > 0; half /= 2)
    for (std::size_t j = 0; j < half; ++j)
      kernels::residual_add_forward<S>(m_context.exec, m_parts[j + half], {}, S(1), m_parts[j]);
}

template class UnitSum<float>;
template class UnitSum<double>;

}  // namespace elastic
