// SPDX-License-Identifier: Apache-2.0
#include "layers/linear.hpp"

namespace elastic {
namespace {
using kernels::gemm;
constexpr auto as_is = kernels::Transpose::no, transposed = kernels::Transpose::yes;

template <class T>
View2<T> columns(const View2<T>& a, index_t begin, index_t end) {
  return Kokkos::subview(a, Kokkos::ALL, Range(begin, end));
}
/// W[rows of unit i, first D columns].
template <class T>
View2<T> unit_rows(const View2<T>& weight, const UnitRows& units, index_t i, index_t width) {
  return Kokkos::subview(weight, Range(i * units.unit, i * units.unit + units.active),
                         Range(0, width));
}
/// W[first D rows, columns of unit i].
template <class T>
View2<T> unit_columns(const View2<T>& weight, const UnitRows& units, index_t i, index_t height) {
  return Kokkos::subview(weight, Range(0, height),
                         Range(i * units.unit, i * units.unit + units.active));
}
}  // namespace

template <class T>
void linear_forward(const kernels::Products& products, View2<const T> x, const View2<T>& weight,
                    UnitRows out, const View2<T>& y) {
  const index_t width = x.extent_int(1);
  out = out.merged();
  for (index_t i = 0; i < out.count; ++i)
    gemm<T>(products, as_is, transposed, 1, x, unit_rows(weight, out, i, width), 0,
            columns(y, i * out.active, (i + 1) * out.active));
}

template <class T>
void linear_weight_gradient(const kernels::Products& products, View2<const T> dy, View2<const T> x,
                            const View2<Accumulate<T>>& dweight, UnitRows out) {
  const index_t width = x.extent_int(1);
  out = out.merged();
  for (index_t i = 0; i < out.count; ++i)
    gemm<T, Accumulate<T>>(products, transposed, as_is, 1,
                           columns(dy, i * out.active, (i + 1) * out.active), x, 1,
                           unit_rows(dweight, out, i, width));
}

template <class T>
void linear_units_input_backward(const kernels::Products& products, View2<const T> dy,
                                 View2<const T> x, const View2<T>& weight,
                                 const View2<Accumulate<T>>& dweight, UnitRows in,
                                 const View2<T>& dx) {
  const index_t height = dy.extent_int(1);
  in = in.merged();
  for (index_t i = 0; i < in.count; ++i) {
    const auto x_unit = columns(x, i * in.active, (i + 1) * in.active);
    gemm<T>(products, as_is, as_is, 1, dy, unit_columns(weight, in, i, height), 0,
            columns(dx, i * in.active, (i + 1) * in.active));
    gemm<T, Accumulate<T>>(products, transposed, as_is, 1, dy, x_unit, 1,
                           unit_columns(dweight, in, i, height));
  }
}

#define ELASTIC_INSTANTIATE(T)                                                                    \
  template void linear_forward<T>(const kernels::Products&, View2<const T>, const View2<T>&,      \
                                  UnitRows, const View2<T>&);                                     \
  template void linear_weight_gradient<T>(const kernels::Products&, View2<const T>,               \
                                          View2<const T>, const View2<Accumulate<T>>&, UnitRows); \
  template void linear_units_input_backward<T>(                                                   \
      const kernels::Products&, View2<const T>, View2<const T>, const View2<T>&,                  \
      const View2<Accumulate<T>>&, UnitRows, const View2<T>&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
