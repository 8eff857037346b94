// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/gated_rmsnorm.hpp"

#include "kernels/rows/norm_factor.hpp"
#include "kernels/rows/norm_gradients.hpp"
#include "kernels/rows/vector_exp.hpp"
#include "kernels/whole_vectors.hpp"

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
  /// Whether every pack of a head begins at a multiple of its size.
  bool packs_are_whole() const { return head_dim % pack_size == 0; }
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
  /// body(column, count) for all packs of a group, on the lane `lane` of a thread: four packs of a
  /// head next to each other, times eight heads. Which lane has a channel depends neither on the
  /// number of heads nor on head_dim.
  template <class F>
  KOKKOS_INLINE_FUNCTION void for_lane_packs(index_t group, int lane, const F& body) const {
    constexpr int across = 4, heads = device_lanes / across;
    for (index_t h = group + lane / across * num_groups; h < num_heads; h += heads * num_groups)
      for (index_t p = lane % across * pack_size; p < head_dim; p += across * pack_size)
        body(h * head_dim + p, static_cast<int>(math::min<index_t>(pack_size, head_dim - p)));
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

/// u = m z and what follows from it.
template <class A>
struct Gate {
  A sigmoid, silu;
  KOKKOS_INLINE_FUNCTION explicit Gate(A u) : sigmoid(vector_sigmoid(u)), silu(u * sigmoid) {}
  KOKKOS_INLINE_FUNCTION Gate(A sigmoid_, A silu_) : sigmoid(sigmoid_), silu(silu_) {}
};
template <class A>
KOKKOS_INLINE_FUNCTION A gated_value(A y, A z, A m) {
  return y * Gate<A>(m * z).silu;
}
/// What an element's gradients need of its row, group and column: factor = scale r, and
/// back = factor r^2 dot / mean_width with dot = sum of dout w g over the group.
template <class A>
struct ElementTerms {
  A factor, back, w, m;
};
/// The gradients by y and z of one element; adds its part of those by mask and weight.
template <class A>
KOKKOS_INLINE_FUNCTION void add_gradients(const ElementTerms<A>& e, const Gate<A>& gate, A dout,
                                          A y, A z, A& dy, A& dz, A& dmask, A& dweight) {
  const A gated = y * gate.silu;
  const A dgated = e.factor * (dout * e.w) - e.back * gated;
  const A du = dgated * y * (gate.sigmoid + gate.silu * (A(1) - gate.sigmoid));
  dy = dgated * gate.silu;
  dz = e.m * du;
  dmask += z * du;
  dweight += e.factor * gated * dout;
}

/// Until the last loop `gated` (which may be `out`) holds y silu(u), u = m z.
template <class T, class M>
ELASTIC_WHOLE_VECTORS void forward_row(Shape<Accumulate<T>> shape, const T* y, const T* z,
                                       const T* w, M m, Accumulate<T>* gated, T* out,
                                       Accumulate<T>* rstd) {
  using A = Accumulate<T>;
  ELASTIC_SIMD
  for (index_t e = 0; e < shape.width; ++e) gated[e] = gated_value(widen(y[e]), widen(z[e]), m(e));
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
ELASTIC_WHOLE_VECTORS void backward_row(Shape<Accumulate<T>> shape, const T* dout, const T* y,
                                        const T* z, const T* w, M m, const Accumulate<T>* rstd,
                                        GateRows<Accumulate<T>> rows, T* dy, T* dz,
                                        NormGradients<Accumulate<T>> sums) {
  using A = Accumulate<T>;
  ELASTIC_SIMD
  for (index_t e = 0; e < shape.width; ++e) {
    const Gate<A> gate(m(e) * widen(z[e]));
    rows.sigmoid[e] = gate.sigmoid;
    rows.silu[e] = gate.silu;
  }
  for (index_t group = 0; group < shape.num_groups; ++group) {
    const A dot = shape.group_sum(group, [=](index_t e) {
      return widen(dout[e]) * widen(w[e]) * (widen(y[e]) * rows.silu[e]);
    });
    const A r = rstd[group], factor = shape.scale * r,
            back = factor * r * r * shape.inverse_width * dot;
    sums.scale[group] += r * dot;
    for (index_t h = group; h < shape.num_heads; h += shape.num_groups) {
      ELASTIC_SIMD
      for (index_t e = h * shape.head_dim; e < (h + 1) * shape.head_dim; ++e) {
        A gradient_y, gradient_z;
        add_gradients(ElementTerms<A>{factor, back, widen(w[e]), m(e)},
                      Gate<A>(rows.sigmoid[e], rows.silu[e]), widen(dout[e]), widen(y[e]),
                      widen(z[e]), gradient_y, gradient_z, sums.mask[e], sums.weight[e]);
        store_rounded(dy[e], gradient_y);
        store_rounded(dz[e], gradient_z);
      }
    }
  }
}

/// The forward on a host: one row.
template <class T>
struct ForwardRows {
  using A = Accumulate<T>;
  Shape<A> shape;
  GatedRmsNormInputs<T> in;
  View2<T> out;
  View2<A> rstd;

  KOKKOS_FUNCTION void operator()(const index_t t, A* scratch) const {
    with_mask<A>(in.mask, [&](const auto& m) {
      forward_row(shape, &in.y(t, 0), &in.z(t, 0), in.weight.data(), m,
                  row_of_sums(&out(t, 0), scratch), &out(t, 0), &rstd(t, 0));
    });
  }
};
/// The backward on a host: one block of rows.
template <class T>
struct BackwardBlocks {
  using A = Accumulate<T>;
  Shape<A> shape;
  GatedRmsNormInputs<T> in;
  View2<const A> rstd;
  View2<const T> dout;
  View2<T> dy, dz;
  View1<A> workspace;

  KOKKOS_FUNCTION void operator()(const index_t block, A* scratch) const {
    const auto tokens = static_cast<index_t>(dout.extent(0));
    const NormGradients<A> sums(workspace.data(), block, shape.width, shape.num_groups);
    sums.clear();
    const index_t end = math::min(tokens, (block + 1) * rows_per_block);
    for (index_t t = block * rows_per_block; t < end; ++t)
      with_mask<A>(in.mask, [&](const auto& m) {
        const GateRows<A> rows{row_of_sums(&dz(t, 0), scratch),
                               row_of_sums(&dy(t, 0), scratch, shape.width)};
        backward_row(shape, &dout(t, 0), &in.y(t, 0), &in.z(t, 0), in.weight.data(), m, &rstd(t, 0),
                     rows, &dy(t, 0), &dz(t, 0), sums);
      });
  }
};

/// On a device a thread with its lanes takes one group of one row, the first of `tasks`.
template <class F>
KOKKOS_INLINE_FUNCTION void for_row_group(const Team& team, index_t tasks, index_t groups,
                                          const F& body) {
  const index_t first = static_cast<index_t>(team.league_rank()) * row_threads;
  Kokkos::parallel_for(Kokkos::TeamThreadRange(team, row_threads), [&](const int i) {
    if (first + i < tasks) body((first + i) / groups, (first + i) % groups);
  });
}
inline TeamPolicy row_group_teams(const ExecutionSpace& exec, index_t tasks) {
  return device_teams(exec, (tasks + row_threads - 1) / row_threads, row_threads);
}

/// The forward on a device. The gated values of the second pass are computed anew: y and z are in
/// cache.
template <class T>
struct ForwardTeams {
  using A = Accumulate<T>;
  Shape<A> shape;
  GatedRmsNormInputs<T> in;
  View2<T> out;
  View2<A> rstd;
  bool aligned;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const index_t tasks = static_cast<index_t>(out.extent(0)) * shape.num_groups;
    for_row_group(team, tasks, shape.num_groups, [&](const index_t t, const index_t group) {
      A squares = 0;
      Kokkos::parallel_reduce(
          Kokkos::ThreadVectorRange(team, device_lanes),
          [&](const int lane, A& sum) {
            shape.for_lane_packs(group, lane, [&](index_t e, int count) {
              const Pack<A> g = gated(t, e, count);
              for (int i = 0; i < pack_size; ++i) sum += g[i] * g[i];
            });
          },
          squares);
      const double r = shape.norm.rstd(static_cast<double>(squares));
      const A factor = static_cast<A>(shape.norm.scale * r);
      Kokkos::single(Kokkos::PerThread(team), [&]() { rstd(t, group) = static_cast<A>(r); });
      Kokkos::parallel_for(Kokkos::ThreadVectorRange(team, device_lanes), [&](const int lane) {
        shape.for_lane_packs(group, lane, [&](index_t e, int count) {
          const Pack<A> g = gated(t, e, count), w = load_pack(&in.weight(e), count, aligned);
          Pack<A> result;
          for (int i = 0; i < pack_size; ++i) result[i] = factor * g[i] * w[i];
          store_pack(&out(t, e), result, count, aligned);
        });
      });
    });
  }

 private:
  KOKKOS_INLINE_FUNCTION Pack<A> gated(index_t t, index_t e, int count) const {
    const Pack<A> y = load_pack(&in.y(t, e), count, aligned),
                  z = load_pack(&in.z(t, e), count, aligned),
                  m = load_mask(in.mask, e, count, aligned);
    Pack<A> g;
    for (int i = 0; i < pack_size; ++i) g[i] = gated_value(y[i], z[i], m[i]);
    return g;
  }
};

/// First launch of the backward on a device: dot of every row and group.
template <class T>
struct DotTeams {
  using A = Accumulate<T>;
  Shape<A> shape;
  GatedRmsNormInputs<T> in;
  View2<const T> dout;
  A* dot;
  bool aligned;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const index_t tasks = static_cast<index_t>(dout.extent(0)) * shape.num_groups;
    for_row_group(team, tasks, shape.num_groups, [&](const index_t t, const index_t group) {
      A total = 0;
      Kokkos::parallel_reduce(
          Kokkos::ThreadVectorRange(team, device_lanes),
          [&](const int lane, A& sum) {
            shape.for_lane_packs(group, lane,
                                 [&](index_t e, int count) { add_terms(t, e, count, sum); });
          },
          total);
      Kokkos::single(Kokkos::PerThread(team), [&]() { dot[t * shape.num_groups + group] = total; });
    });
  }

 private:
  KOKKOS_INLINE_FUNCTION void add_terms(index_t t, index_t e, int count, A& sum) const {
    const Pack<A> y = load_pack(&in.y(t, e), count, aligned),
                  z = load_pack(&in.z(t, e), count, aligned),
                  d = load_pack(&dout(t, e), count, aligned),
                  w = load_pack(&in.weight(e), count, aligned),
                  m = load_mask(in.mask, e, count, aligned);
    for (int i = 0; i < pack_size; ++i) sum += d[i] * w[i] * gated_value(y[i], z[i], m[i]);
  }
};
/// Second launch: the body of NormTiles.
template <class T>
struct BackwardTiles {
  using A = Accumulate<T>;
  RowsOf<const T> y, z, dout;
  View1<const T> weight;
  View1<const A> mask;
  RowsOf<const A> rstd;
  RowsOf<T> dy, dz;
  index_t groups;
  A scale, inverse_width;
  const A* dot;
  bool aligned;

  struct Channels {
    index_t column, group;
    int count;
    Pack<A> weight, mask;
  };
  KOKKOS_INLINE_FUNCTION Channels channels(index_t column, int count, index_t head) const {
    return {column, head % groups, count, load_pack(&weight(column), count, aligned),
            load_mask(mask, column, count, aligned)};
  }
  KOKKOS_INLINE_FUNCTION void row(index_t t, const Channels& c, Pack<A>& weight_sum,
                                  Pack<A>& mask_sum) const {
    const Pack<A> y_t = load_pack(y.at(t, c.column), c.count, aligned),
                  z_t = load_pack(z.at(t, c.column), c.count, aligned),
                  dout_t = load_pack(dout.at(t, c.column), c.count, aligned);
    const A r = *rstd.at(t, c.group), factor = scale * r,
            back = factor * r * r * inverse_width * dot[t * groups + c.group];
    Pack<A> dy_t, dz_t;
    for (int i = 0; i < pack_size; ++i)
      add_gradients(ElementTerms<A>{factor, back, c.weight[i], c.mask[i]},
                    Gate<A>(c.mask[i] * z_t[i]), dout_t[i], y_t[i], z_t[i], dy_t[i], dz_t[i],
                    mask_sum[i], weight_sum[i]);
    store_pack(dy.at(t, c.column), dy_t, c.count, aligned);
    store_pack(dz.at(t, c.column), dz_t, c.count, aligned);
  }
  KOKKOS_INLINE_FUNCTION A scale_term(index_t t, index_t group) const {
    return *rstd.at(t, group) * dot[t * groups + group];
  }
};

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
  if constexpr (on_host) {
    for_each_with_scratch<Accumulate<T>>(exec, "elastic::gated_rmsnorm_forward", tokens,
                                         scratch_rows<T> * width,
                                         ForwardRows<T>{shape, in, out, rstd});
  } else if (tokens > 0) {
    const bool aligned =
        shape.packs_are_whole() && packs_are_aligned(in.y, in.z, in.weight, in.mask, out);
    Kokkos::parallel_for("elastic::gated_rmsnorm_forward",
                         row_group_teams(exec, tokens * shape.num_groups),
                         ForwardTeams<T>{shape, in, out, rstd, aligned});
  }
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
  if constexpr (on_host) {
    for_each_with_scratch<Accumulate<T>>(
        exec, "elastic::gated_rmsnorm_backward", blocks, 2 * scratch_rows<T> * width,
        BackwardBlocks<T>{shape, in, rstd, dout, dy, dz, workspace});
  } else if (tokens > 0) {
    using A = Accumulate<T>;
    const bool aligned =
        shape.packs_are_whole() && packs_are_aligned(in.y, in.z, in.weight, in.mask, dout, dy, dz);
    A* const dot = workspace.data() + blocks * (2 * width + params.num_groups);
    Kokkos::parallel_for("elastic::gated_rmsnorm_backward_rows",
                         row_group_teams(exec, tokens * params.num_groups),
                         DotTeams<T>{shape, in, dout, dot, aligned});
    const BackwardTiles<T> body{in.y,
                                in.z,
                                dout,
                                in.weight,
                                in.mask,
                                rstd,
                                dy,
                                dz,
                                shape.num_groups,
                                shape.scale,
                                shape.inverse_width,
                                dot,
                                aligned};
    for_norm_tiles<A, BackwardTiles<T>>(exec, "elastic::gated_rmsnorm_backward",
                                        {body, HeadPacks(shape.num_heads, shape.head_dim), tokens,
                                         width, params.num_groups, workspace.data()});
  }
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
