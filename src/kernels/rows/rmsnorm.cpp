// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/rmsnorm.hpp"

#include "kernels/rows/norm_factor.hpp"
#include "kernels/rows/norm_gradients.hpp"
#include "kernels/rows/store_rounded.hpp"

namespace elastic::kernels {
namespace {

template <class T, class M>
KOKKOS_INLINE_FUNCTION void forward_row(index_t width, const T* x, const T* w, const M& m,
                                        const NormFactor& norm, T* y, Accumulate<T>* rstd) {
  using A = Accumulate<T>;
  const A squares =
      lane_sum<A>(width, [=](index_t j) { return m(j) * widen(x[j]) * (m(j) * widen(x[j])); });
  const double r = norm.rstd(static_cast<double>(squares));
  const A factor = static_cast<A>(norm.scale * r);
  *rstd = static_cast<A>(r);
  ELASTIC_SIMD
  for (index_t j = 0; j < width; ++j)
    store_rounded(y[j], factor * (m(j) * widen(x[j])) * widen(w[j]));
}

/// What the backward of a row knows of the norm: rstd, and scale and 1 / mean_width of its params.
template <class A>
struct RowFactors {
  A r, scale, inverse_width;
};
/// One row of the backward. dot = sum_j dy_j w_j m_j x_j.
template <class T, class M>
KOKKOS_INLINE_FUNCTION void backward_row(index_t width, const T* dy, const T* x, const T* w,
                                         const M& m, const RowFactors<Accumulate<T>>& row, T* dx,
                                         const NormGradients<Accumulate<T>>& sums) {
  using A = Accumulate<T>;
  const A r = row.r;
  const A dot = lane_sum<A>(
      width, [=](index_t j) { return widen(dy[j]) * widen(w[j]) * (m(j) * widen(x[j])); });
  const A factor = row.scale * r, back = factor * r * r * row.inverse_width * dot;
  *sums.scale += r * dot;
  ELASTIC_SIMD
  for (index_t j = 0; j < width; ++j) {
    const A v = m(j) * widen(x[j]);
    const A dv = factor * (widen(dy[j]) * widen(w[j])) - back * v;
    store_rounded(dx[j], widen(dx[j]) + m(j) * dv);
    sums.mask[j] += widen(x[j]) * dv;
    sums.weight[j] += factor * v * widen(dy[j]);
  }
}

}  // namespace

index_t rmsnorm_workspace_size(index_t tokens, index_t width) {
  return norm_gradients_size(tokens, width);
}

namespace {
template <class T>
void require_inputs(const char* name, const RmsNormInputs<T>& in, const RmsNormParams& params,
                    const View1<const Accumulate<T>>& rstd) {
  const auto width = static_cast<index_t>(in.x.extent(1));
  require_shape(name, "weight", in.weight, width);
  require_shape_or_empty(name, "mask", in.mask, width);
  require_shape(name, "rstd", rstd, static_cast<index_t>(in.x.extent(0)));
  ELASTIC_REQUIRE(params.mean_width > 0, "{}: mean_width is {}", name, params.mean_width);
}
}  // namespace

template <class T>
void rmsnorm_forward(const ExecutionSpace& exec, const RmsNormInputs<T>& in,
                     const RmsNormParams& params, InOut2<T> y, InOut1<Accumulate<T>> rstd) {
  const auto tokens = static_cast<index_t>(in.x.extent(0)),
             width = static_cast<index_t>(in.x.extent(1));
  require_inputs<T>("rmsnorm_forward", in, params, rstd);
  require_shape("rmsnorm_forward", "y", y, tokens, width);
  const NormFactor norm = norm_factor(params);
  Kokkos::parallel_for(
      "elastic::rmsnorm_forward", LinearPolicy(exec, 0, tokens), KOKKOS_LAMBDA(const index_t t) {
        with_mask<Accumulate<T>>(in.mask, [&](const auto& m) {
          forward_row(width, &in.x(t, 0), in.weight.data(), m, norm, &y(t, 0), &rstd(t));
        });
      });
}

template <class T>
void rmsnorm_backward(const ExecutionSpace& exec, const RmsNormInputs<T>& in,
                      const RmsNormParams& params, In1<Accumulate<T>> rstd, In2<T> dy,
                      const RmsNormGradients<T>& gradients, InOut1<Accumulate<T>> workspace) {
  const char* name = "rmsnorm_backward";
  const auto tokens = static_cast<index_t>(in.x.extent(0)),
             width = static_cast<index_t>(in.x.extent(1));
  require_inputs<T>(name, in, params, rstd);
  require_shape(name, "dy", dy, tokens, width);
  require_shape(name, "dx", gradients.dx, tokens, width);
  require_shape_or_empty(name, "dweight", gradients.dweight, width);
  require_shape_or_empty(name, "dmask", gradients.dmask, width);
  require_shape_or_empty(name, "dscale", gradients.dscale, 1);
  const index_t needed = rmsnorm_workspace_size(tokens, width), blocks = num_row_blocks(tokens);
  ELASTIC_REQUIRE(static_cast<index_t>(workspace.extent(0)) >= needed,
                  "{}: workspace has {} of {} elements", name, workspace.extent(0), needed);
  using A = Accumulate<T>;
  const A inverse_width = static_cast<A>(1 / params.mean_width),
          scale = static_cast<A>(params.scale);
  const View2<T> dx = gradients.dx;
  Kokkos::parallel_for(
      "elastic::rmsnorm_backward", LinearPolicy(exec, 0, blocks),
      KOKKOS_LAMBDA(const index_t block) {
        const NormGradients<A> sums(workspace.data(), block, width, 1);
        sums.clear();
        const index_t end = math::min(tokens, (block + 1) * rows_per_block);
        for (index_t t = block * rows_per_block; t < end; ++t)
          with_mask<Accumulate<T>>(in.mask, [&](const auto& m) {
            backward_row(width, &dy(t, 0), &in.x(t, 0), in.weight.data(), m,
                         RowFactors<A>{rstd(t), scale, inverse_width}, &dx(t, 0), sums);
          });
      });
  add_norm_gradients<A>(exec, workspace, blocks, width, gradients);
}

#define ELASTIC_INSTANTIATE(T)                                                              \
  template void rmsnorm_forward<T>(const ExecutionSpace&, const RmsNormInputs<T>&,          \
                                   const RmsNormParams&, InOut2<T>, InOut1<Accumulate<T>>); \
  template void rmsnorm_backward<T>(const ExecutionSpace&, const RmsNormInputs<T>&,         \
                                    const RmsNormParams&, In1<Accumulate<T>>, In2<T>,       \
                                    const RmsNormGradients<T>&, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
