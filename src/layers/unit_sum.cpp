// SPDX-License-Identifier: Apache-2.0
#include "layers/unit_sum.hpp"

#include "kernels/residual_add.hpp"

namespace elastic {
namespace {
using kernels::Transpose;

/// The first D columns, or rows, of a weight.
template <class S>
View2<S> with_columns(const View2<S>& weight, index_t count) {
  return prefix(weight, weight.extent_int(0), count);
}
template <class S>
View2<S> with_rows(const View2<S>& weight, index_t count) {
  return prefix(weight, count, weight.extent_int(1));
}
}  // namespace

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
  const auto& out = m_parts[0];
  const auto height = static_cast<index_t>(out.extent(1));
  if (kernels::deterministic_gemm())
    return add_classes(Transpose::yes, x, with_rows(weight, height), units);
  units = units.merged();
  for (index_t b = 0; b < units.count; ++b) {
    const auto x_block =
        Kokkos::subview(x, Kokkos::ALL, Range(b * units.active, (b + 1) * units.active));
    const auto w_block = Kokkos::subview(weight, Range(0, height),
                                         Range(b * units.block, b * units.block + units.active));
    kernels::gemm<S>(m_context.exec, Transpose::no, Transpose::yes, 1, x_block, w_block,
                     m_empty ? 0 : 1, out);
    m_empty = false;
  }
}

template <class S>
void UnitSum<S>::add_rows(View2<const S> dy, const View2<S>& weight, Blocks units) {
  const auto& out = m_parts[0];
  const auto width = static_cast<index_t>(out.extent(1));
  if (kernels::deterministic_gemm())
    return add_classes(Transpose::no, dy, with_columns(weight, width), units);
  units = units.merged();
  for (index_t b = 0; b < units.count; ++b) {
    const auto dy_block =
        Kokkos::subview(dy, Kokkos::ALL, Range(b * units.active, (b + 1) * units.active));
    const auto w_block = Kokkos::subview(
        weight, Range(b * units.block, b * units.block + units.active), Range(0, width));
    kernels::gemm<S>(m_context.exec, Transpose::no, Transpose::no, 1, dy_block, w_block,
                     m_empty ? 0 : 1, out);
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
