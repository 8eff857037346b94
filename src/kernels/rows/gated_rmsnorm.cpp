// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/gated_rmsnorm.hpp"

#include "kernels/rows/norm_factor.hpp"
#include "kernels/rows/norm_gradients.hpp"
#include "kernels/rows/row_scratch.hpp"
#include "kernels/rows/vector_exp.hpp"
#include "kernels/rows/store_rounded.hpp"

namespace elastic::kernels {
namespace {

/// Extents and factors of one norm.
template <class A>
struct Shape {
  index_t width, head_dim, num_heads, num_groups;
  A inverse_width, scale;  ///< of the backward
  NormFactor norm;

  Shape(const char* function, index_t width_, const GatedRmsNormParams& params)
      : width(width_),
        head_dim(params.head_dim),
        num_heads(params.head_dim > 0 ? width_ / params.head_dim : 0),
        num_groups(params.num_groups),
        inverse_width(static_cast<A>(1 / params.mean_width)),
        scale(static_cast<A>(params.scale)),
        norm(norm_factor(params)) {
    ELASTIC_REQUIRE(head_dim > 0 && num_groups > 0 && num_heads * head_dim == width &&
                        num_heads % num_groups == 0,
                    "{}: {} channels, heads of {}, {} groups", function, width, head_dim,
                    num_groups);
    ELASTIC_REQUIRE(params.mean_width > 0, "{}: mean_width is {}", function, params.mean_width);
  }
  /// Sum of term(e) over the channels of a group, head by head.
  template <class F>
  KOKKOS_INLINE_FUNCTION A group_sum(index_t group, const F& term) const {
    A sum = 0;
    for (index_t h = group; h < num_heads; h += num_groups) {
      const index_t first = h * head_dim;
      sum += lane_sum<A>(head_dim, [=](index_t p) { return term(first + p); });
    }
    return sum;
  }
};

/// Where a row of T keeps sums between its passes: in the row itself if T can hold them, else in
/// scratch.
template <class T>
inline constexpr index_t scratch_rows = std::is_same_v<T, Accumulate<T>> ? 0 : 1;
template <class T>
KOKKOS_INLINE_FUNCTION Accumulate<T>* row_of_sums(T* row, [[maybe_unused]] Accumulate<T>* scratch,
                                                  [[maybe_unused]] index_t begin = 0) {
  if constexpr (scratch_rows<T> == 0)
    return row;
  else
    return scratch + begin;
}

/// Until the last loop `gated` (which may be `out`) holds y silu(u), u = m z.
template <class T, class M>
KOKKOS_INLINE_FUNCTION void forward_row(const Shape<Accumulate<T>>& shape, const T* y, const T* z,
                                        const T* w, const M& m, Accumulate<T>* gated, T* out,
                                        Accumulate<T>* rstd) {
  using A = Accumulate<T>;
  ELASTIC_SIMD
  for (index_t e = 0; e < shape.width; ++e) {
    const A u = m(e) * widen(z[e]);
    gated[e] = widen(y[e]) * (u * vector_sigmoid(u));
  }
  for (index_t group = 0; group < shape.num_groups; ++group) {
    const A squares = shape.group_sum(group, [=](index_t e) { return gated[e] * gated[e]; });
    const double r = shape.norm.rstd(static_cast<double>(squares));
    const A factor = static_cast<A>(shape.norm.scale * r);
    rstd[group] = static_cast<A>(r);
    for (index_t h = group; h < shape.num_heads; h += shape.num_groups) {
      ELASTIC_SIMD
      for (index_t e = h * shape.head_dim; e < (h + 1) * shape.head_dim; ++e)
        store_rounded(out[e], factor * gated[e] * widen(w[e]));
    }
  }
}

/// Sigmoid and silu of u = m z until the last loop: two rows, which may be dz and dy.
template <class A>
struct GateRows {
  A *sigmoid, *silu;
};
template <class T, class M>
KOKKOS_INLINE_FUNCTION void backward_row(const Shape<Accumulate<T>>& shape, const T* dout,
                                         const T* y, const T* z, const T* w, const M& m,
                                         const Accumulate<T>* rstd,
                                         const GateRows<Accumulate<T>>& gate, T* dy, T* dz,
                                         const NormGradients<Accumulate<T>>& sums) {
  using A = Accumulate<T>;
  ELASTIC_SIMD
  for (index_t e = 0; e < shape.width; ++e) {
    const A u = m(e) * widen(z[e]), sigmoid = vector_sigmoid(u);
    gate.sigmoid[e] = sigmoid;
    gate.silu[e] = u * sigmoid;
  }
  for (index_t group = 0; group < shape.num_groups; ++group) {
    const A dot = shape.group_sum(group, [=](index_t e) {
      return widen(dout[e]) * widen(w[e]) * (widen(y[e]) * gate.silu[e]);
    });
    const A r = rstd[group], factor = shape.scale * r,
            back = factor * r * r * shape.inverse_width * dot;
    sums.scale[group] += r * dot;
    for (index_t h = group; h < shape.num_heads; h += shape.num_groups) {
      ELASTIC_SIMD
      for (index_t e = h * shape.head_dim; e < (h + 1) * shape.head_dim; ++e) {
        const A sigmoid = gate.sigmoid[e], silu = gate.silu[e], gated = widen(y[e]) * silu;
        const A dgated = factor * (widen(dout[e]) * widen(w[e])) - back * gated;
        const A du = dgated * widen(y[e]) * (sigmoid + silu * (A(1) - sigmoid));
        store_rounded(dy[e], dgated * silu);
        store_rounded(dz[e], m(e) * du);
        sums.mask[e] += widen(z[e]) * du;
        sums.weight[e] += factor * gated * widen(dout[e]);
      }
    }
  }
}

}  // namespace

index_t gated_rmsnorm_workspace_size(index_t tokens, index_t width, index_t groups) {
  return norm_gradients_size(tokens, width, groups);
}

namespace {
template <class T>
void require_inputs(const char* name, const GatedRmsNormInputs<T>& in,
                    const GatedRmsNormParams& params, const View2<const Accumulate<T>>& rstd) {
  const auto tokens = static_cast<index_t>(in.y.extent(0)),
             width = static_cast<index_t>(in.y.extent(1));
  require_shape(name, "z", in.z, tokens, width);
  require_shape(name, "weight", in.weight, width);
  require_shape_or_empty(name, "mask", in.mask, width);
  require_shape(name, "rstd", rstd, tokens, params.num_groups);
}
}  // namespace

template <class T>
void gated_rmsnorm_forward(const ExecutionSpace& exec, const GatedRmsNormInputs<T>& in,
                           const GatedRmsNormParams& params, InOut2<T> out,
                           InOut2<Accumulate<T>> rstd) {
  const char* name = "gated_rmsnorm_forward";
  const auto tokens = static_cast<index_t>(in.y.extent(0)),
             width = static_cast<index_t>(in.y.extent(1));
  require_inputs<T>(name, in, params, rstd);
  require_shape(name, "out", out, tokens, width);
  const Shape<Accumulate<T>> shape(name, width, params);
  for_each_with_scratch<Accumulate<T>>(
      exec, "elastic::gated_rmsnorm_forward", tokens, scratch_rows<T> * width,
      KOKKOS_LAMBDA(const index_t t, Accumulate<T>* scratch) {
        with_mask<Accumulate<T>>(in.mask, [&](const auto& m) {
          forward_row(shape, &in.y(t, 0), &in.z(t, 0), in.weight.data(), m,
                      row_of_sums(&out(t, 0), scratch), &out(t, 0), &rstd(t, 0));
        });
      });
}

template <class T>
void gated_rmsnorm_backward(const ExecutionSpace& exec, const GatedRmsNormInputs<T>& in,
                            const GatedRmsNormParams& params, In2<Accumulate<T>> rstd, In2<T> dout,
                            const GatedRmsNormGradients<T>& gradients,
                            InOut1<Accumulate<T>> workspace) {
  const char* name = "gated_rmsnorm_backward";
  const auto tokens = static_cast<index_t>(in.y.extent(0)),
             width = static_cast<index_t>(in.y.extent(1));
  require_inputs<T>(name, in, params, rstd);
  require_shape(name, "dout", dout, tokens, width);
  require_shape(name, "dy", gradients.dy, tokens, width);
  require_shape(name, "dz", gradients.dz, tokens, width);
  require_shape_or_empty(name, "dweight", gradients.dweight, width);
  require_shape_or_empty(name, "dmask", gradients.dmask, width);
  require_shape_or_empty(name, "dscale", gradients.dscale, params.num_groups);
  const index_t needed = gated_rmsnorm_workspace_size(tokens, width, params.num_groups),
                blocks = num_row_blocks(tokens);
  ELASTIC_REQUIRE(static_cast<index_t>(workspace.extent(0)) >= needed,
                  "{}: workspace has {} of {} elements", name, workspace.extent(0), needed);
  const Shape<Accumulate<T>> shape(name, width, params);
  const View2<T> dy = gradients.dy, dz = gradients.dz;
  for_each_with_scratch<Accumulate<T>>(
      exec, "elastic::gated_rmsnorm_backward", blocks, 2 * scratch_rows<T> * width,
      KOKKOS_LAMBDA(const index_t block, Accumulate<T>* scratch) {
        const NormGradients<Accumulate<T>> sums(workspace.data(), block, width, shape.num_groups);
        sums.clear();
        const index_t end = math::min(tokens, (block + 1) * rows_per_block);
        for (index_t t = block * rows_per_block; t < end; ++t)
          with_mask<Accumulate<T>>(in.mask, [&](const auto& m) {
            const GateRows<Accumulate<T>> gate{row_of_sums(&dz(t, 0), scratch),
                                               row_of_sums(&dy(t, 0), scratch, width)};
            backward_row(shape, &dout(t, 0), &in.y(t, 0), &in.z(t, 0), in.weight.data(), m,
                         &rstd(t, 0), gate, &dy(t, 0), &dz(t, 0), sums);
          });
      });
  add_norm_gradients<Accumulate<T>>(exec, workspace, blocks, width, gradients, params.num_groups);
}

#define ELASTIC_INSTANTIATE(T)                                                                   \
  template void gated_rmsnorm_forward<T>(const ExecutionSpace&, const GatedRmsNormInputs<T>&,    \
                                         const GatedRmsNormParams&, InOut2<T>,                   \
                                         InOut2<Accumulate<T>>);                                 \
  template void gated_rmsnorm_backward<T>(const ExecutionSpace&, const GatedRmsNormInputs<T>&,   \
                                          const GatedRmsNormParams&, In2<Accumulate<T>>, In2<T>, \
                                          const GatedRmsNormGradients<T>&, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
