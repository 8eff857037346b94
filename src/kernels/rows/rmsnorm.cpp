// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/rmsnorm.hpp"

#include "kernels/rows/norm_factor.hpp"
#include "kernels/rows/norm_gradients.hpp"
#include "kernels/rows/store_rounded.hpp"
#include "kernels/whole_vectors.hpp"

namespace elastic::kernels {
namespace {

constexpr int norm_threads = 4;  // of a team per row: 128 lanes, each with 5 packs of a 12B's row

template <class A>
KOKKOS_INLINE_FUNCTION A normed(A factor, A m, A x, A w) {
  return factor * (m * x) * w;
}
template <class T, class M>
ELASTIC_WHOLE_VECTORS void forward_row(index_t width, const T* x, const T* w, M m,
                                       const NormFactor& norm, T* y, Accumulate<T>* rstd) {
  using A = Accumulate<T>;
  const A squares =
      lane_sum<A>(width, [=](index_t j) { return m(j) * widen(x[j]) * (m(j) * widen(x[j])); });
  const double r = norm.rstd(static_cast<double>(squares));
  const A factor = static_cast<A>(norm.scale * r);
  *rstd = static_cast<A>(r);
  ELASTIC_SIMD
  for (index_t j = 0; j < width; ++j)
    store_rounded(y[j], normed(factor, m(j), widen(x[j]), widen(w[j])));
}

template <class T>
struct ForwardRows {
  RmsNormInputs<T> in;
  NormFactor norm;
  View2<T> y;
  View1<Accumulate<T>> rstd;

  KOKKOS_FUNCTION void operator()(const index_t t) const {
    with_mask<Accumulate<T>>(in.mask, [&](const auto& m) {
      forward_row(static_cast<index_t>(in.x.extent(1)), &in.x(t, 0), in.weight.data(), m, norm,
                  &y(t, 0), &rstd(t));
    });
  }
};

/// The forward on a device: a team per row.
template <class T>
struct ForwardTeams {
  using A = Accumulate<T>;
  RmsNormInputs<T> in;
  NormFactor norm;
  View2<T> y;
  View1<A> rstd;
  bool aligned;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const index_t t = team.league_rank(), width = static_cast<index_t>(in.x.extent(1));
    const T* const x_t = &in.x(t, 0);
    const A squares = sum_row_packs<A>(team, width, [&](index_t j, int count, A& sum) {
      const Pack<A> x = load_pack(x_t + j, count, aligned),
                    m = load_mask(in.mask, j, count, aligned);
      for (int i = 0; i < pack_size; ++i) sum += m[i] * x[i] * (m[i] * x[i]);
    });
    const double r = norm.rstd(static_cast<double>(squares));
    const A factor = static_cast<A>(norm.scale * r);
    Kokkos::single(Kokkos::PerTeam(team), [&]() { rstd(t) = static_cast<A>(r); });
    T* const y_t = &y(t, 0);
    for_row_packs(team, width, [&](index_t j, int count) {
      const Pack<A> x = load_pack(x_t + j, count, aligned),
                    m = load_mask(in.mask, j, count, aligned),
                    w = load_pack(in.weight.data() + j, count, aligned);
      Pack<A> result;
      for (int i = 0; i < pack_size; ++i) result[i] = normed(factor, m[i], x[i], w[i]);
      store_pack(y_t + j, result, count, aligned);
    });
  }
};

/// What the backward of a row knows of the norm: rstd, and scale and 1 / mean_width of its params.
template <class A>
struct RowFactors {
  A r, scale, inverse_width;
};
template <class A>
struct RowTerms {
  A factor, back;
};
/// Adds what one element contributes to the gradients. dot = sum_j dy_j w_j m_j x_j of the row;
/// factor = scale r, back = factor r^2 dot / mean_width.
template <class A>
KOKKOS_INLINE_FUNCTION void add_gradients(const RowTerms<A>& row, A dy, A x, A w, A m, A& dx,
                                          A& dmask, A& dweight) {
  const A v = m * x;
  const A dv = row.factor * (dy * w) - row.back * v;
  dx += m * dv;
  dmask += x * dv;
  dweight += row.factor * v * dy;
}
template <class T, class M>
ELASTIC_WHOLE_VECTORS void backward_row(index_t width, const T* dy, const T* x, const T* w, M m,
                                        RowFactors<Accumulate<T>> row, T* dx,
                                        NormGradients<Accumulate<T>> sums) {
  using A = Accumulate<T>;
  const A r = row.r;
  const A dot = lane_sum<A>(
      width, [=](index_t j) { return widen(dy[j]) * widen(w[j]) * (m(j) * widen(x[j])); });
  const A factor = row.scale * r, back = factor * r * r * row.inverse_width * dot;
  const RowTerms<A> terms{factor, back};
  *sums.scale += r * dot;
  ELASTIC_SIMD
  for (index_t j = 0; j < width; ++j) {
    A sum = widen(dx[j]);
    add_gradients(terms, widen(dy[j]), widen(x[j]), widen(w[j]), m(j), sum, sums.mask[j],
                  sums.weight[j]);
    store_rounded(dx[j], sum);
  }
}

/// One block of tokens of the backward on a host.
template <class T>
struct BackwardBlocks {
  using A = Accumulate<T>;
  RmsNormInputs<T> in;
  View1<const A> rstd;
  View2<const T> dy;
  View2<T> dx;
  A scale, inverse_width;
  View1<A> workspace;

  KOKKOS_FUNCTION void operator()(const index_t block) const {
    const auto tokens = static_cast<index_t>(in.x.extent(0)),
               width = static_cast<index_t>(in.x.extent(1));
    const NormGradients<A> sums(workspace.data(), block, width, 1);
    sums.clear();
    const index_t end = math::min(tokens, (block + 1) * rows_per_block);
    for (index_t t = block * rows_per_block; t < end; ++t)
      with_mask<A>(in.mask, [&](const auto& m) {
        backward_row(width, &dy(t, 0), &in.x(t, 0), in.weight.data(), m,
                     RowFactors<A>{rstd(t), scale, inverse_width}, &dx(t, 0), sums);
      });
  }
};

/// First launch of the backward on a device, a team per row: dot_t = sum_j dy_j w_j m_j x_j.
template <class T>
struct DotTeams {
  using A = Accumulate<T>;
  RmsNormInputs<T> in;
  View2<const T> dy;
  A* dot;
  bool aligned;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const index_t t = team.league_rank();
    const T *const x_t = &in.x(t, 0), *const dy_t = &dy(t, 0);
    const auto width = static_cast<index_t>(in.x.extent(1));
    const A sum_t = sum_row_packs<A>(team, width, [&](index_t j, int count, A& sum) {
      const Pack<A> x = load_pack(x_t + j, count, aligned), d = load_pack(dy_t + j, count, aligned),
                    w = load_pack(in.weight.data() + j, count, aligned),
                    m = load_mask(in.mask, j, count, aligned);
      for (int i = 0; i < pack_size; ++i) sum += d[i] * w[i] * (m[i] * x[i]);
    });
    Kokkos::single(Kokkos::PerTeam(team), [&]() { dot[t] = sum_t; });
  }
};
/// Second launch: the body of NormTiles.
template <class T>
struct BackwardTiles {
  using A = Accumulate<T>;
  View2<const T> x, dy;
  View1<const T> weight;
  View1<const A> mask, rstd;
  View2<T> dx;
  A scale, inverse_width;
  const A* dot;
  bool aligned;

  struct Channels {
    index_t column;
    int count;
    Pack<A> weight, mask;
  };
  KOKKOS_INLINE_FUNCTION Channels channels(index_t column, int count, index_t) const {
    return {column, count, load_pack(weight.data() + column, count, aligned),
            load_mask(mask, column, count, aligned)};
  }
  KOKKOS_INLINE_FUNCTION void row(index_t t, const Channels& c, Pack<A>& weight_sum,
                                  Pack<A>& mask_sum) const {
    const Pack<A> x_t = load_pack(&x(t, c.column), c.count, aligned),
                  dy_t = load_pack(&dy(t, c.column), c.count, aligned);
    Pack<A> dx_t = load_pack(&dx(t, c.column), c.count, aligned);
    const A r = rstd(t), factor = scale * r, back = factor * r * r * inverse_width * dot[t];
    const RowTerms<A> terms{factor, back};
    for (int i = 0; i < pack_size; ++i)
      add_gradients(terms, dy_t[i], x_t[i], c.weight[i], c.mask[i], dx_t[i], mask_sum[i],
                    weight_sum[i]);
    store_pack(&dx(t, c.column), dx_t, c.count, aligned);
  }
  KOKKOS_INLINE_FUNCTION A scale_term(index_t t, index_t) const { return rstd(t) * dot[t]; }
};

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
  if constexpr (on_host) {
    Kokkos::parallel_for("elastic::rmsnorm_forward", LinearPolicy(exec, 0, tokens),
                         ForwardRows<T>{in, norm, y, rstd});
  } else if (tokens > 0) {
    const bool aligned = packs_are_aligned(in.x, in.weight, in.mask, y);
    Kokkos::parallel_for("elastic::rmsnorm_forward", device_teams(exec, tokens, norm_threads),
                         ForwardTeams<T>{in, norm, y, rstd, aligned});
  }
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
  if constexpr (on_host) {
    Kokkos::parallel_for(
        "elastic::rmsnorm_backward", LinearPolicy(exec, 0, blocks),
        BackwardBlocks<T>{in, rstd, dy, gradients.dx, scale, inverse_width, workspace});
  } else if (tokens > 0) {
    const bool aligned = packs_are_aligned(in.x, in.weight, in.mask, dy, gradients.dx);
    A* const dot = workspace.data() + blocks * (2 * width + 1);
    Kokkos::parallel_for("elastic::rmsnorm_backward_rows", device_teams(exec, tokens, norm_threads),
                         DotTeams<T>{in, dy, dot, aligned});
    const BackwardTiles<T> body{in.x,         dy,    in.weight,     in.mask, rstd,
                                gradients.dx, scale, inverse_width, dot,     aligned};
    for_norm_tiles<A, BackwardTiles<T>>(
        exec, "elastic::rmsnorm_backward",
        {body, HeadPacks(1, width), tokens, width, 1, workspace.data()});
  }
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
