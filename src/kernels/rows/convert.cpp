// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/convert.hpp"

#include "kernels/rows/row_map.hpp"

namespace elastic::kernels {
namespace {
template <class A>
struct Same {
  KOKKOS_INLINE_FUNCTION A operator()(A, A x) const { return x; }
};
}  // namespace

template <class To, class From>
void convert(const ExecutionSpace& exec, In2<From> from, InOut2<To> to) {
  const auto m = static_cast<index_t>(from.extent(0)), n = static_cast<index_t>(from.extent(1));
  require_shape("convert", "to", to, m, n);
  map_rows<To, From>(exec, "elastic::convert", Same<Accumulate<To>>(), {}, from, to);
}

template void convert<float, float>(const ExecutionSpace&, In2<float>, InOut2<float>);
template void convert<double, double>(const ExecutionSpace&, In2<double>, InOut2<double>);
template void convert<bfloat16, float>(const ExecutionSpace&, In2<float>, InOut2<bfloat16>);
template void convert<float, bfloat16>(const ExecutionSpace&, In2<bfloat16>, InOut2<float>);

}  // namespace elastic::kernels
