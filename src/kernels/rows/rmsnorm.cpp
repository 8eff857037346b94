// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/rmsnorm.hpp"

#include "kernels/rows/norm_factor.hpp"
#include "kernels/rows/norm_gradients.hpp"

namespace elastic::kernels {
namespace {

template <class T, class M>
KOKKOS_INLINE_FUNCTION void forward_row(index_t width, const T* x, const T* w, const M& m,
                                        const NormFactor& norm, T* y, T* rstd) {
  const T squares = lane_sum<T>(width, [=](index_t j) { return m(j) * x[j] * (m(j) * x[j]); });
  const double r = norm.rstd(static_cast<double>(squares));
  const T factor = static_cast<T>(norm.scale * r);
  *rstd = static_cast<T>(r);
  ELASTIC_SIMD
  for (index_t j = 0; j < width; ++j) y[j] = factor * (m(j) * x[j]) * w[j];
}

/// One row of the backward. dot = sum_j dy_j w_j m_j x_j.
template <class T, class M>
KOKKOS_INLINE_FUNCTION void backward_row(index_t width, const T* dy, const T* x, const T* w,
                                         const M& m, T r, T scale, T inverse_width, T* dx,
                                         const NormGradients<T>& sums) {
  const T dot = lane_sum<T>(width, [=](index_t j) { return dy[j] * w[j] * (m(j) * x[j]); });
  const T factor = scale * r, back = factor * r * r * inverse_width * dot;
  *sums.scale += r * dot;
  ELASTIC_SIMD
  for (index_t j = 0; j < width; ++j) {
    const T v = m(j) * x[j];
    const T dv = factor * (dy[j] * w[j]) - back * v;
    dx[j] += m(j) * dv;
    sums.mask[j] += x[j] * dv;
    sums.weight[j] += factor * v * dy[j];
  }
}

}  // namespace

index_t rmsnorm_workspace_size(index_t tokens, index_t width) {
  return norm_gradients_size(tokens, width);
}

template <class T>
void rmsnorm_forward(const ExecutionSpace& exec, In2<T> x, In1<T> weight, In1<T> mask,
                     const RmsNormParams& params, InOut2<T> y, InOut1<T> rstd) {
  const auto tokens = static_cast<index_t>(x.extent(0)), width = static_cast<index_t>(x.extent(1));
  require_shape("rmsnorm_forward", "weight", weight, width);
  require_shape_or_empty("rmsnorm_forward", "mask", mask, width);
  require_shape("rmsnorm_forward", "y", y, tokens, width);
  require_shape("rmsnorm_forward", "rstd", rstd, tokens);
  ELASTIC_REQUIRE(params.mean_width > 0, "rmsnorm_forward: mean_width is {}", params.mean_width);
  const NormFactor norm = norm_factor(params);
  Kokkos::parallel_for(
      "elastic::rmsnorm_forward", LinearPolicy(exec, 0, tokens), KOKKOS_LAMBDA(const index_t t) {
        with_mask<T>(mask, [&](const auto& m) {
          forward_row(width, &x(t, 0), weight.data(), m, norm, &y(t, 0), &rstd(t));
        });
      });
}

template <class T>
void rmsnorm_backward(const ExecutionSpace& exec, In2<T> dy, In2<T> x, In1<T> weight, In1<T> mask,
                      In1<T> rstd, const RmsNormParams& params, InOut2<T> dx, InOut1<T> dweight,
                      InOut1<T> dmask, InOut1<T> dscale, InOut1<T> workspace) {
  const auto tokens = static_cast<index_t>(x.extent(0)), width = static_cast<index_t>(x.extent(1));
  require_shape("rmsnorm_backward", "dy", dy, tokens, width);
  require_shape("rmsnorm_backward", "weight", weight, width);
  require_shape_or_empty("rmsnorm_backward", "mask", mask, width);
  require_shape("rmsnorm_backward", "rstd", rstd, tokens);
  require_shape("rmsnorm_backward", "dx", dx, tokens, width);
  require_shape_or_empty("rmsnorm_backward", "dweight", dweight, width);
  require_shape_or_empty("rmsnorm_backward", "dmask", dmask, width);
  require_shape_or_empty("rmsnorm_backward", "dscale", dscale, 1);
  const index_t needed = rmsnorm_workspace_size(tokens, width), blocks = num_row_blocks(tokens);
  ELASTIC_REQUIRE(static_cast<index_t>(workspace.extent(0)) >= needed,
                  "rmsnorm_backward: workspace of {} needs {}", workspace.extent(0), needed);
  ELASTIC_REQUIRE(params.mean_width > 0, "rmsnorm_backward: mean_width is {}", params.mean_width);
  const T inverse_width = static_cast<T>(1 / params.mean_width),
          scale = static_cast<T>(params.scale);
  Kokkos::parallel_for(
      "elastic::rmsnorm_backward", LinearPolicy(exec, 0, blocks),
      KOKKOS_LAMBDA(const index_t block) {
        const NormGradients<T> sums(workspace.data(), block, width, 1);
        sums.clear();
        const index_t end = math::min(tokens, (block + 1) * rows_per_block);
        for (index_t t = block * rows_per_block; t < end; ++t)
          with_mask<T>(mask, [&](const auto& m) {
            backward_row(width, &dy(t, 0), &x(t, 0), weight.data(), m, rstd(t), scale,
                         inverse_width, &dx(t, 0), sums);
          });
      });
  add_norm_gradients<T>(exec, workspace, blocks, width, dweight, dmask, dscale);
}

#define ELASTIC_INSTANTIATE(T)                                                                     \
  template void rmsnorm_forward<T>(const ExecutionSpace&, In2<T>, In1<T>, In1<T>,                  \
                                   const RmsNormParams&, InOut2<T>, InOut1<T>);                    \
  template void rmsnorm_backward<T>(const ExecutionSpace&, In2<T>, In2<T>, In1<T>, In1<T>, In1<T>, \
                                    const RmsNormParams&, InOut2<T>, InOut1<T>, InOut1<T>,         \
                                    InOut1<T>, InOut1<T>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)

}  // namespace elastic::kernels
