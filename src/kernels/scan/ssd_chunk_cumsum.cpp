// SPDX-License-Identifier: Apache-2.0
// One work item owns one chunk and `lanes` heads, and walks along the chunk.
#include "kernels/scan/ssd_chunk_cumsum.hpp"

#include "base/shapes.hpp"
#include "kernels/scan/ssd_chunk.hpp"
#include "kernels/rows/store_rounded.hpp"

namespace elastic::kernels {
namespace {
constexpr index_t heads_of_item = on_host ? lanes : 1;

using Policy = Kokkos::RangePolicy<ExecutionSpace, Kokkos::IndexType<index_t>>;
Policy chunk_heads(const ExecutionSpace& exec, const SsdShape& shape) {
  const index_t across = (shape.num_heads + heads_of_item - 1) / heads_of_item;
  return Policy(exec, 0, shape.batch * shape.num_chunks() * across);
}

template <class T>
struct Forward {
  using A = Accumulate<T>;

  SsdShape shape;
  SsdInputs<T> in;
  SsdSaved<T> saved;

  KOKKOS_FUNCTION void operator()(const index_t item) const {
    const index_t across = (shape.num_heads + heads_of_item - 1) / heads_of_item;
    const Chunk chunk(shape, in.segment, item / across);
    const index_t head = item % across * heads_of_item,
                  count = math::min(heads_of_item, shape.num_heads - head);
    A rate[heads_of_item] = {}, delta[heads_of_item] = {}, high[heads_of_item] = {},
      low[heads_of_item] = {};
    for (index_t h = 0; h < count; ++h) rate[h] = -math::exp(in.A_log(head + h));
    for (index_t t = chunk.first; t < chunk.first + chunk.tokens; ++t) {
      const bool begins =
          in.segment.extent(0) != 0 && t > chunk.first && in.segment(t) != in.segment(t - 1);
      for (index_t h = 0; h < count; ++h) {
        const A m = in.dt_mask.extent(0) == 0 ? A(1) : in.dt_mask(head + h);
        delta[h] = softplus(m * widen(in.dt_raw(t, head + h)) + in.dt_bias(head + h));
      }
      ELASTIC_SIMD
      for (index_t h = 0; h < heads_of_item; ++h) {
        TwoWords<A> sum{begins ? A(0) : high[h], begins ? A(0) : low[h]};
        sum.add(step_exponent(delta[h], rate[h]));
        high[h] = sum.high;
        low[h] = sum.low;
      }
      for (index_t h = 0; h < count; ++h) {
        saved.dt(t, head + h) = delta[h];
        saved.dA_cumsum(t, head + h) = high[h];
        saved.dA_cumsum(t, shape.num_heads + head + h) = low[h];
      }
    }
  }
};

/// Partial sums of chunk `row` in rows 3 row, 3 row + 1, 3 row + 2: dA_log, ddt_bias, ddt_mask.
template <class T>
struct Backward {
  using A = Accumulate<T>;

  SsdShape shape;
  SsdInputs<T> in;
  SsdSaved<T> saved;
  SsdWorkspace<T> work;
  View2<T> ddt_raw;

  KOKKOS_FUNCTION void operator()(const index_t item) const {
    const index_t across = (shape.num_heads + heads_of_item - 1) / heads_of_item;
    const Chunk chunk(shape, in.segment, item / across);
    const index_t head = item % across * heads_of_item,
                  count = math::min(heads_of_item, shape.num_heads - head);
    A rate[heads_of_item], dA[heads_of_item] = {}, dbias[heads_of_item] = {},
                           dmask[heads_of_item] = {};
    for (index_t h = 0; h < count; ++h) rate[h] = -math::exp(in.A_log(head + h));
    for (index_t t = chunk.first + chunk.tokens - 1; t >= chunk.first; --t) {
      for (index_t h = 0; h < count; ++h) {
        const A of_exponent = work.ddA(t, head + h);
        dA[h] += saved.dt(t, head + h) * of_exponent;
        const A m = in.dt_mask.extent(0) == 0 ? A(1) : in.dt_mask(head + h),
                raw = widen(in.dt_raw(t, head + h));
        const A before = (work.ddt(t, head + h) + rate[h] * of_exponent) *
                         vector_sigmoid(m * raw + in.dt_bias(head + h));
        dbias[h] += before;
        dmask[h] += before * raw;
        store_rounded(ddt_raw(t, head + h), before * m);
      }
    }
    for (index_t h = 0; h < count; ++h) {
      work.of_heads(3 * chunk.row, head + h) = rate[h] * dA[h];
      work.of_heads(3 * chunk.row + 1, head + h) = dbias[h];
      work.of_heads(3 * chunk.row + 2, head + h) = dmask[h];
    }
  }
};
template <class T>
void require_inputs(const char* name, const SsdShape& shape, const SsdInputs<T>& in,
                    const SsdSaved<T>& saved) {
  require_ssd_shape(name, shape);
  require_shape(name, "dt_raw", in.dt_raw, shape.num_tokens(), shape.num_heads);
  require_shape(name, "A_log", in.A_log, shape.num_heads);
  require_shape(name, "dt_bias", in.dt_bias, shape.num_heads);
  require_shape_or_empty(name, "dt_mask", in.dt_mask, shape.num_heads);
  require_shape_or_empty(name, "segment", in.segment, shape.num_tokens());
  require_shape(name, "dt", saved.dt, shape.num_tokens(), shape.num_heads);
  require_shape(name, "dA_cumsum", saved.dA_cumsum, shape.num_tokens(), 2 * shape.num_heads);
}
}  // namespace

template <class T>
void ssd_chunk_cumsum_forward(const ExecutionSpace& exec, const SsdShape& shape,
                              const SsdInputs<T>& in, const SsdSaved<T>& saved) {
  require_inputs("ssd_chunk_cumsum_forward", shape, in, saved);
  Kokkos::parallel_for("elastic::ssd_chunk_cumsum_forward", chunk_heads(exec, shape),
                       Forward<T>{shape, in, saved});
}

template <class T>
void ssd_chunk_cumsum_backward(const ExecutionSpace& exec, const SsdShape& shape,
                               const SsdInputs<T>& in, const SsdSaved<T>& saved,
                               const SsdWorkspace<T>& work, const SsdGradients<T>& gradients) {
  const char* name = "ssd_chunk_cumsum_backward";
  require_inputs(name, shape, in, saved);
  const index_t chunks = shape.batch * shape.num_chunks(), heads = shape.num_heads;
  require_shape(name, "ddt_raw", gradients.ddt_raw, shape.num_tokens(), heads);
  require_shape(name, "dA_log", gradients.dA_log, heads);
  require_shape(name, "ddt_bias", gradients.ddt_bias, heads);
  require_shape_or_empty(name, "ddt_mask", gradients.ddt_mask, heads);
  Kokkos::parallel_for("elastic::ssd_chunk_cumsum_backward", chunk_heads(exec, shape),
                       Backward<T>{shape, in, saved, work, gradients.ddt_raw});
  const bool with_mask = gradients.ddt_mask.extent(0) != 0;
  Kokkos::parallel_for(
      "elastic::ssd_chunk_cumsum_parameters", Policy(exec, 0, heads),
      KOKKOS_LAMBDA(const index_t h) {
        Accumulate<T> dA = 0, dbias = 0, dmask = 0;
        for (index_t row = 0; row < chunks; ++row) {
          dA += work.of_heads(3 * row, h);
          dbias += work.of_heads(3 * row + 1, h);
          dmask += work.of_heads(3 * row + 2, h);
        }
        gradients.dA_log(h) += dA;
        gradients.ddt_bias(h) += dbias;
        if (with_mask) gradients.ddt_mask(h) += dmask;
      });
}

#define ELASTIC_INSTANTIATE(T)                                                        \
  template void ssd_chunk_cumsum_forward<T>(const ExecutionSpace&, const SsdShape&,   \
                                            const SsdInputs<T>&, const SsdSaved<T>&); \
  template void ssd_chunk_cumsum_backward<T>(const ExecutionSpace&, const SsdShape&,  \
                                             const SsdInputs<T>&, const SsdSaved<T>&, \
                                             const SsdWorkspace<T>&, const SsdGradients<T>&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
