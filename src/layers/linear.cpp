// SPDX-License-Identifier: Apache-2.0
#include "layers/linear.hpp"

#include "kernels/products/gemm.hpp"

namespace elastic {
namespace {
using kernels::gemm;
constexpr auto kNo = kernels::Transpose::no, kYes = kernels::Transpose::yes;

template <class T>
View2<T> columns(const View2<T>& a, index_t begin, index_t end) {
  return Kokkos::subview(a, Kokkos::ALL, Range(begin, end));
}
/// W[rows of block b, first D columns].
template <class T>
View2<T> row_block(const View2<T>& weight, const Blocks& blocks, index_t b, index_t width) {
  return Kokkos::subview(weight, Range(b * blocks.block, b * blocks.block + blocks.active),
                         Range(0, width));
}
/// W[first D rows, columns of block b].
template <class T>
View2<T> column_block(const View2<T>& weight, const Blocks& blocks, index_t b, index_t height) {
  return Kokkos::subview(weight, Range(0, height),
                         Range(b * blocks.block, b * blocks.block + blocks.active));
}
}  // namespace

template <class T>
void linear_forward(const ExecutionSpace& exec, View2<const T> x, const View2<T>& weight,
                    Blocks out, const View2<T>& y) {
  const index_t width = x.extent_int(1);
  out = out.merged();
  for (index_t b = 0; b < out.count; ++b)
    gemm<T>(exec, kNo, kYes, 1, x, row_block(weight, out, b, width), 0,
            columns(y, b * out.active, (b + 1) * out.active));
}

template <class T>
void linear_weight_gradient(const ExecutionSpace& exec, View2<const T> dy, View2<const T> x,
                            const View2<T>& dweight, Blocks out) {
  const index_t width = x.extent_int(1);
  out = out.merged();
  for (index_t b = 0; b < out.count; ++b)
    gemm<T>(exec, kYes, kNo, 1, columns(dy, b * out.active, (b + 1) * out.active), x, 1,
            row_block(dweight, out, b, width));
}

template <class T>
void linear_blocked_input_backward(const ExecutionSpace& exec, View2<const T> dy, View2<const T> x,
                                   const View2<T>& weight, const View2<T>& dweight, Blocks in,
                                   const View2<T>& dx) {
  const index_t height = dy.extent_int(1);
  in = in.merged();
  for (index_t b = 0; b < in.count; ++b) {
    const auto x_block = columns(x, b * in.active, (b + 1) * in.active);
    gemm<T>(exec, kNo, kNo, 1, dy, column_block(weight, in, b, height), 0,
            columns(dx, b * in.active, (b + 1) * in.active));
    gemm<T>(exec, kYes, kNo, 1, dy, x_block, 1, column_block(dweight, in, b, height));
  }
}

#define ELASTIC_INSTANTIATE(T)                                                                     \
  template void linear_forward<T>(const ExecutionSpace&, View2<const T>, const View2<T>&, Blocks,  \
                                  const View2<T>&);                                                \
  template void linear_weight_gradient<T>(const ExecutionSpace&, View2<const T>, View2<const T>,   \
                                          const View2<T>&, Blocks);                                \
  template void linear_blocked_input_backward<T>(const ExecutionSpace&, View2<const T>,            \
                                                 View2<const T>, const View2<T>&, const View2<T>&, \
                                                 Blocks, const View2<T>&);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
