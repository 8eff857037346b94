// SPDX-License-Identifier: Apache-2.0
// One work item owns one chunk and `lanes` heads, and walks along the chunk.
#include "kernels/scan/ssd_chunk_cumsum.hpp"

#include "base/shapes.hpp"
#include "kernels/scan/ssd_chunk.hpp"

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
  SsdShape shape;
  View2<const T> dt_raw;
  View1<const T> A_log, dt_bias, dt_mask;
  View1<const token_t> segment;
  View2<T> dt, dA_cumsum;

  KOKKOS_FUNCTION void operator()(const index_t item) const {
    const index_t across = (shape.num_heads + heads_of_item - 1) / heads_of_item;
    const Chunk chunk(shape, segment, item / across);
    const index_t head = item % across * heads_of_item,
                  count = math::min(heads_of_item, shape.num_heads - head);
    T A[heads_of_item], sum[heads_of_item] = {};
    for (index_t h = 0; h < count; ++h) A[h] = -math::exp(A_log(head + h));
    for (index_t t = chunk.first; t < chunk.first + chunk.tokens; ++t) {
      const bool begins = segment.extent(0) != 0 && t > chunk.first && segment(t) != segment(t - 1);
      for (index_t h = 0; h < count; ++h) {
        const T m = dt_mask.extent(0) == 0 ? T(1) : dt_mask(head + h);
        const T delta = softplus(m * dt_raw(t, head + h) + dt_bias(head + h));
        sum[h] = (begins ? T(0) : sum[h]) + delta * A[h];
        dt(t, head + h) = delta;
        dA_cumsum(t, head + h) = sum[h];
      }
    }
  }
};

/// Partial sums of chunk `row` in rows 3 row, 3 row + 1, 3 row + 2: dA_log, ddt_bias, ddt_mask.
template <class T>
struct Backward {
  SsdShape shape;
  View2<const T> ddt, ddA_cumsum, dt, dt_raw;
  View1<const T> A_log, dt_bias, dt_mask;
  View1<const token_t> segment;
  View2<T> ddt_raw, partial;

  KOKKOS_FUNCTION void operator()(const index_t item) const {
    const index_t across = (shape.num_heads + heads_of_item - 1) / heads_of_item;
    const Chunk chunk(shape, segment, item / across);
    const index_t head = item % across * heads_of_item,
                  count = math::min(heads_of_item, shape.num_heads - head);
    T A[heads_of_item],
        sum[heads_of_item] =
            {};  // sum: gradient by Delta_t A, over the later positions of the document
    T dA[heads_of_item] = {}, dbias[heads_of_item] = {}, dmask[heads_of_item] = {};
    for (index_t h = 0; h < count; ++h) A[h] = -math::exp(A_log(head + h));
    for (index_t t = chunk.first + chunk.tokens - 1; t >= chunk.first; --t) {
      const bool ends = segment.extent(0) != 0 && t + 1 < chunk.first + chunk.tokens &&
                        segment(t) != segment(t + 1);
      for (index_t h = 0; h < count; ++h) {
        sum[h] = (ends ? T(0) : sum[h]) + ddA_cumsum(t, head + h);
        dA[h] += dt(t, head + h) * sum[h];
        const T m = dt_mask.extent(0) == 0 ? T(1) : dt_mask(head + h), raw = dt_raw(t, head + h);
        const T before =
            (ddt(t, head + h) + A[h] * sum[h]) * vector_sigmoid(m * raw + dt_bias(head + h));
        dbias[h] += before;
        dmask[h] += before * raw;
        ddt_raw(t, head + h) = before * m;
      }
    }
    for (index_t h = 0; h < count; ++h) {
      partial(3 * chunk.row, head + h) = A[h] * dA[h];
      partial(3 * chunk.row + 1, head + h) = dbias[h];
      partial(3 * chunk.row + 2, head + h) = dmask[h];
    }
  }
};
}  // namespace

template <class T>
void ssd_chunk_cumsum_forward(const ExecutionSpace& exec, const SsdShape& shape, In2<T> dt_raw,
                              In1<T> A_log, In1<T> dt_bias, In1<T> dt_mask, In1<token_t> segment,
                              InOut2<T> dt, InOut2<T> dA_cumsum) {
  const char* name = "ssd_chunk_cumsum_forward";
  require_ssd_shape(name, shape);
  require_shape(name, "dt_raw", dt_raw, shape.num_tokens(), shape.num_heads);
  require_shape(name, "A_log", A_log, shape.num_heads);
  require_shape(name, "dt_bias", dt_bias, shape.num_heads);
  require_shape_or_empty(name, "dt_mask", dt_mask, shape.num_heads);
  require_shape_or_empty(name, "segment", segment, shape.num_tokens());
  require_shape(name, "dt", dt, shape.num_tokens(), shape.num_heads);
  require_shape(name, "dA_cumsum", dA_cumsum, shape.num_tokens(), shape.num_heads);
  Kokkos::parallel_for("elastic::ssd_chunk_cumsum_forward", chunk_heads(exec, shape),
                       Forward<T>{shape, dt_raw, A_log, dt_bias, dt_mask, segment, dt, dA_cumsum});
}

template <class T>
void ssd_chunk_cumsum_backward(const ExecutionSpace& exec, const SsdShape& shape, In2<T> ddt,
                               In2<T> ddA_cumsum, In2<T> dt, In2<T> dt_raw, In1<T> A_log,
                               In1<T> dt_bias, In1<T> dt_mask, In1<token_t> segment,
                               InOut2<T> ddt_raw, InOut1<T> dA_log, InOut1<T> ddt_bias,
                               InOut1<T> ddt_mask, InOut1<T> workspace) {
  const char* name = "ssd_chunk_cumsum_backward";
  require_ssd_shape(name, shape);
  const index_t chunks = shape.batch * shape.num_chunks(), heads = shape.num_heads;
  require_shape(name, "ddt", ddt, shape.num_tokens(), heads);
  require_shape(name, "ddA_cumsum", ddA_cumsum, shape.num_tokens(), heads);
  require_shape(name, "ddt_raw", ddt_raw, shape.num_tokens(), heads);
  require_shape(name, "dA_log", dA_log, heads);
  require_shape(name, "ddt_bias", ddt_bias, heads);
  require_shape_or_empty(name, "ddt_mask", ddt_mask, heads);
  ELASTIC_REQUIRE(
      static_cast<index_t>(workspace.extent(0)) >= ssd_chunk_cumsum_workspace_size(shape),
      "{}: workspace has {} of {} elements", name, workspace.extent(0),
      ssd_chunk_cumsum_workspace_size(shape));
  const View2<T> partial(workspace.data(), 3 * chunks, heads);
  Kokkos::parallel_for("elastic::ssd_chunk_cumsum_backward", chunk_heads(exec, shape),
                       Backward<T>{shape, ddt, ddA_cumsum, dt, dt_raw, A_log, dt_bias, dt_mask,
                                   segment, ddt_raw, partial});
  const bool with_mask = ddt_mask.extent(0) != 0;
  Kokkos::parallel_for(
      "elastic::ssd_chunk_cumsum_parameters", Policy(exec, 0, heads),
      KOKKOS_LAMBDA(const index_t h) {
        T dA = 0, dbias = 0, dmask = 0;
        for (index_t row = 0; row < chunks; ++row) {
          dA += partial(3 * row, h);
          dbias += partial(3 * row + 1, h);
          dmask += partial(3 * row + 2, h);
        }
        dA_log(h) += dA;
        ddt_bias(h) += dbias;
        if (with_mask) ddt_mask(h) += dmask;
      });
}

index_t ssd_chunk_cumsum_workspace_size(const SsdShape& shape) {
  return 3 * shape.batch * shape.num_chunks() * shape.num_heads;
}

#define ELASTIC_INSTANTIATE(T)                                                                \
  template void ssd_chunk_cumsum_forward<T>(const ExecutionSpace&, const SsdShape&, In2<T>,   \
                                            In1<T>, In1<T>, In1<T>, In1<token_t>, InOut2<T>,  \
                                            InOut2<T>);                                       \
  template void ssd_chunk_cumsum_backward<T>(                                                 \
      const ExecutionSpace&, const SsdShape&, In2<T>, In2<T>, In2<T>, In2<T>, In1<T>, In1<T>, \
      In1<T>, In1<token_t>, InOut2<T>, InOut1<T>, InOut1<T>, InOut1<T>, InOut1<T>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
