// SPDX-License-Identifier: Apache-2.0
// What each chunk adds to the state, by batched products.
#include "kernels/rows/convert.hpp"
#include "kernels/scan/ssd_batched_buffers.hpp"

namespace elastic::kernels {
namespace {
/// A row (chunk, token, head): to_end Delta x.
template <class T>
struct ScaleInputs : BatchKernel {
  using A = Accumulate<T>;
  View2<const T> x;
  HeadFactors<A> factors;
  T* scaled_x;

  KOKKOS_FUNCTION void operator()(const Team& team, index_t row) const {
    const auto at = BatchRow::by_item(row, heads, batch.tokens);
    const index_t P = shape.head_dim, t = batch.first_token(at.chunk) + at.item,
                  h = head(at.head_of_group), of_position = h * factors.tokens + t;
    const A factor = factors.to_end[of_position] * factors.delta[of_position];
    const T* from = &x(t, h * P);
    T* target = scaled_x + (at.chunk * rows + at.item) * channels() + at.head_of_group * P;
    for_lanes(team, P,
              [&](const index_t p) { target[p] = static_cast<T>(factor * widen(from[p])); });
  }
};

/// A row (chunk, head, channel): dZ as T, and its part of <S, dZ>.
template <class T>
struct NarrowStateGradient : BatchKernel {
  using A = Accumulate<T>;
  View2<const A> states, dstates;
  T* dZ;
  A* of_decay;

  KOKKOS_FUNCTION void operator()(const Team& team, index_t row) const {
    const auto at = BatchRow::by_head(row, heads, shape.head_dim);
    const index_t N = shape.state_dim,
                  of_all = batch.chunk_row(at.chunk) * shape.num_heads + head(at.head_of_group);
    const A *state = &states(of_all, at.item * N), *gradient = &dstates(of_all, at.item * N);
    T* target = dZ + row * N;
    const A dot = sum_of_lanes<A>(team, N, [&](const index_t m) {
      target[m] = static_cast<T>(gradient[m]);
      return state[m] * gradient[m];
    });
    Kokkos::single(Kokkos::PerThread(team), [&]() { of_decay[row] = dot; });
  }
};

/// A row (chunk, token, head): x_j through the state at the end of the chunk.
template <class T>
struct ThroughState : BatchKernel {
  using A = Accumulate<T>;
  View2<const T> x;
  View2<A> sums;  ///< by x so far
  View2<T> dx;
  HeadFactors<A> factors;
  const A* of_x;
  A* of_step;

  KOKKOS_FUNCTION void operator()(const Team& team, index_t row) const {
    const auto at = BatchRow::by_item(row, heads, batch.tokens);
    const index_t P = shape.head_dim, t = batch.first_token(at.chunk) + at.item,
                  h = head(at.head_of_group), of_position = h * factors.tokens + t;
    const A to_end = factors.to_end[of_position], delta = factors.delta[of_position];
    const A* by_input = of_x + (at.chunk * rows + at.item) * channels() + at.head_of_group * P;
    const A dot = sum_of_lanes<A>(team, P, [&](const index_t p) {
      const A gradient = to_end * by_input[p];
      dx(t, h * P + p) = static_cast<T>(sums(t, h * P + p) + delta * gradient);
      return widen(x(t, h * P + p)) * gradient;
    });
    Kokkos::single(Kokkos::PerThread(team), [&]() {
      of_step[(at.chunk * heads + at.head_of_group) * rows + at.item] = dot;
    });
  }
};

/// A row (chunk, head, token t): the gradients by Delta_t and by Delta_t A, which scales what comes
/// in, d_k S_k, and what the positions before t add.
template <class T>
struct FinishSteps : BatchKernel {
  using A = Accumulate<T>;
  HeadFactors<A> factors;
  const A *of_decay, *of_step;
  View2<A> ddt, ddA;

  KOKKOS_FUNCTION void operator()(const Team& team, index_t row) const {
    const auto at = BatchRow::by_head(row, heads, batch.tokens);
    const index_t P = shape.head_dim, first = batch.first_token(at.chunk), i = at.item,
                  h = head(at.head_of_group), of_chunk = at.chunk * heads + at.head_of_group;
    const A decay = factors.from_start[h * factors.tokens + first + batch.tokens - 1];
    const A *delta = factors.delta + h * factors.tokens + first, *dot = of_step + of_chunk * rows;
    const A sum = sum_of_lanes<A>(team, math::max(P, i), [&](const index_t k) {
      const A of_state = k < P && decay != A(0) ? decay * of_decay[of_chunk * P + k] : A(0);
      return k < i ? of_state + delta[k] * dot[k] : of_state;
    });
    Kokkos::single(Kokkos::PerThread(team), [&]() {
      ddt(first + i, h) += dot[i];
      ddA(first + i, h) += sum;
    });
  }
};
}  // namespace

template <class T>
void scale_inputs(const ExecutionSpace& exec, const SsdShape& shape, const ChunkBatch& batch,
                  const View2<const T>& x, const HeadFactors<Accumulate<T>>& factors, T* scaled_x) {
  for_rows_in_teams("elastic::ssd_scale_inputs", exec,
                    batch.count * batch.tokens * (shape.num_heads / shape.num_groups),
                    ScaleInputs<T>{{shape, batch}, x, factors, scaled_x});
}

template <class T>
void ssd_products_state_forward(const Products& products, const SsdShape& shape,
                                const SsdInputs<T>& in, const SsdSaved<T>& saved,
                                InOut1<Accumulate<T>> workspace) {
  const char* name = "ssd_products_state_forward";
  require_chunk_operands(name, shape, in, saved);
  ScratchCarver carver(aligned_memory(name, workspace, ssd_products_forward_size<T>(shape)));
  const StateBuffers<T> buffers(carver, shape);
  const BatchExtents e(shape);
  spread_factors<T>(products.exec, shape, in, saved, {}, buffers.factors);
  for_each_batch(shape, [&](const ChunkBatch& batch) {
    const index_t P = shape.head_dim, N = shape.state_dim, width = e.channels();
    scale_inputs<T>(products.exec, shape, batch, in.x, buffers.factors, buffers.scaled_x);
    gemm_batched<T, Accumulate<T>>(
        products, {batch.count, e.group_heads}, Transpose::yes, Transpose::no,
        batch_of<const T>(buffers.scaled_x, batch.tokens, P, width, {e.rows * width, P}),
        chunks_of(in.ssm_B, batch, batch.group * N, N), 0, states_of(saved.states, shape, batch));
  });
}

template <class T>
void ssd_products_state_backward(const Products& products, const SsdShape& shape,
                                 const SsdInputs<T>& in, const SsdSaved<T>& saved,
                                 const SsdWorkspace<T>& work, const SsdGradients<T>& gradients) {
  using A = Accumulate<T>;
  const char* name = "ssd_products_state_backward";
  const ExecutionSpace& exec = products.exec;
  require_chunk_operands(name, shape, in, saved);
  const auto before = checked_before<T>(name, shape, in);
  require_shape(name, "dx", gradients.dx, shape.num_tokens(), shape.num_heads * shape.head_dim);
  require_shape(name, "dssm_B", gradients.dssm_B, shape.num_tokens(),
                shape.num_groups * shape.state_dim);
  ScratchCarver carver(
      aligned_memory(name, work.for_products, ssd_products_backward_size<T>(shape)));
  const StateGradientBuffers<T> buffers(carver, shape);
  const BatchExtents e(shape);
  const View2<A> dx = work.sum_of_dx(gradients), dssm_B = work.sum_of_dssm_B(gradients);
  spread_factors<T>(exec, shape, in, saved, before, buffers.factors);
  for_each_batch(shape, [&](const ChunkBatch& batch) {
    const index_t P = shape.head_dim, N = shape.state_dim, width = e.channels(),
                  per_head = batch.count * e.group_heads, column = batch.group * N;
    const auto chunks_and_rows = BatchStride{e.rows * width, 0};
    const BatchCount chunks = {batch.count, 1};
    for_rows_in_teams(
        "elastic::ssd_narrow_state_gradient", exec, per_head * P,
        NarrowStateGradient<T>{
            {shape, batch}, saved.states, work.dstates, buffers.dZ, buffers.of_decay});
    scale_inputs<T>(exec, shape, batch, in.x, buffers.factors, buffers.scaled_x);
    const auto dZ = batch_of<const T>(buffers.dZ, width, N, N, {width * N, 0});
    gemm_batched<T, A>(
        products, chunks, Transpose::no, Transpose::no,
        batch_of<const T>(buffers.scaled_x, batch.tokens, width, width, chunks_and_rows), dZ, 1,
        chunks_of(dssm_B, batch, column, N));
    gemm_batched<T, A>(products, chunks, Transpose::no, Transpose::yes,
                       chunks_of(in.ssm_B, batch, column, N), dZ, 0,
                       batch_of(buffers.of_x, batch.tokens, width, width, chunks_and_rows));
    for_rows_in_teams("elastic::ssd_through_state", exec, per_head * batch.tokens,
                      ThroughState<T>{{shape, batch},
                                      in.x,
                                      dx,
                                      gradients.dx,
                                      buffers.factors,
                                      buffers.of_x,
                                      buffers.of_step});
    for_rows_in_teams("elastic::ssd_finish_steps", exec, per_head * batch.tokens,
                      FinishSteps<T>{{shape, batch},
                                     buffers.factors,
                                     buffers.of_decay,
                                     buffers.of_step,
                                     work.ddt,
                                     work.ddA});
  });
  if constexpr (!std::is_same_v<T, A>) convert<T, A>(exec, dssm_B, gradients.dssm_B);
}

#define ELASTIC_INSTANTIATE(T)                                                                 \
  template void scale_inputs<T>(const ExecutionSpace&, const SsdShape&, const ChunkBatch&,     \
                                const View2<const T>&, const HeadFactors<Accumulate<T>>&, T*); \
  template void ssd_products_state_forward<T>(const Products&, const SsdShape&,                \
                                              const SsdInputs<T>&, const SsdSaved<T>&,         \
                                              InOut1<Accumulate<T>>);                          \
  template void ssd_products_state_backward<T>(const Products&, const SsdShape&,               \
                                               const SsdInputs<T>&, const SsdSaved<T>&,        \
                                               const SsdWorkspace<T>&, const SsdGradients<T>&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
