// SPDX-License-Identifier: Apache-2.0
// The four steps one after the other, and the plain recurrence.
#include "kernels/scan/ssd.hpp"

#include "base/region.hpp"
#include "base/shapes.hpp"
#include "kernels/rows/row_loops.hpp"
#include "kernels/scan/ssd_batched.hpp"
#include "kernels/scan/ssd_chunk.hpp"
#include "kernels/scan/ssd_chunk_cumsum.hpp"
#include "kernels/scan/ssd_chunk_scan.hpp"
#include "kernels/scan/ssd_chunk_state.hpp"
#include "kernels/scan/ssd_state_passing.hpp"

namespace elastic::kernels {
namespace {
/// Elements of SsdWorkspace that both routes need.
template <class T>
index_t shared_size(const SsdShape& shape) {
  const index_t states = shape.num_states() * shape.head_dim * shape.state_dim,
                heads = 2 * shape.num_tokens() + 4 * shape.batch * shape.num_chunks(),
                rows = shape.num_heads * shape.head_dim + shape.num_groups * shape.state_dim;
  return states + heads * shape.num_heads +
         (std::is_same_v<T, Accumulate<T>> ? 0 : shape.num_tokens() * rows);
}
}  // namespace

template <class T>
index_t ssd_workspace_size(const SsdShape& shape) {
  return shared_size<T>(shape) + (ssd_by_products ? ssd_products_backward_size<T>(shape) : 0);
}
template <class T>
index_t ssd_forward_workspace_size(const SsdShape& shape) {
  return ssd_by_products ? ssd_products_forward_size<T>(shape) : 0;
}

template <class T>
SsdWorkspace<T>::SsdWorkspace(const SsdShape& shape, const View1<Accumulate<T>>& memory) {
  ELASTIC_REQUIRE(static_cast<index_t>(memory.extent(0)) >= ssd_workspace_size<T>(shape),
                  "ssd_backward: workspace has {} of {} elements", memory.extent(0),
                  ssd_workspace_size<T>(shape));
  Accumulate<T>* next = memory.data();
  const auto take = [&](index_t rows, index_t columns) {
    const View2<Accumulate<T>> part(next, rows, columns);
    next += rows * columns;
    return part;
  };
  const index_t chunks = shape.batch * shape.num_chunks(), heads = shape.num_heads;
  dstates = take(shape.num_states(), shape.head_dim * shape.state_dim);
  ddt = take(shape.num_tokens(), heads);
  ddA = take(shape.num_tokens(), heads);
  of_skip = take(chunks, heads);
  of_heads = take(3 * chunks, heads);
  if constexpr (!std::is_same_v<T, Accumulate<T>>) {
    dx = take(shape.num_tokens(), heads * shape.head_dim);
    dssm_B = take(shape.num_tokens(), shape.num_groups * shape.state_dim);
  }
  for_products = View1<Accumulate<T>>(next, ssd_workspace_size<T>(shape) - shared_size<T>(shape));
}

template <class T>
void ssd_forward_states(const Products& products, const SsdShape& shape, const SsdInputs<T>& in,
                        const SsdSaved<T>& saved, InOut1<Accumulate<T>> workspace) {
  ssd_chunk_cumsum_forward<T>(products.exec, shape, in, saved);
  if constexpr (ssd_by_products)
    ssd_products_state_forward<T>(products, shape, in, saved, workspace);
  else
    ssd_chunk_state_forward<T>(products.exec, shape, in, saved);
}
template <class T>
void ssd_forward_passing(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                         const SsdSaved<T>& saved) {
  ssd_state_passing_forward<T>(exec, shape, in, saved);
}
template <class T>
void ssd_forward_outputs(const Products& products, const SsdShape& shape, const SsdInputs<T>& in,
                         const SsdSaved<T>& saved, InOut2<T> y, InOut1<Accumulate<T>> workspace) {
  if constexpr (ssd_by_products)
    ssd_products_scan_forward<T>(products, shape, in, saved, y, workspace);
  else
    ssd_chunk_scan_forward<T>(products.exec, shape, in, saved, y);
}
template <class T>
void ssd_forward_total(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                       const SsdSaved<T>& saved, InOut2<Accumulate<T>> total,
                       InOut1<Accumulate<T>> decay) {
  ssd_state_passing_total<T>(exec, shape, Direction::forward, in, saved, saved.states, total,
                             decay);
}
template <class T>
void ssd_forward(const Products& products, const SsdShape& shape, const SsdInputs<T>& in,
                 const SsdSaved<T>& saved, InOut2<T> y, InOut1<Accumulate<T>> workspace) {
  ssd_forward_states<T>(products, shape, in, saved, workspace);
  ssd_forward_passing<T>(products.exec, shape, in, saved);
  ssd_forward_outputs<T>(products, shape, in, saved, y, workspace);
}

template <class T>
void ssd_backward_outputs(const Products& products, const SsdShape& shape, const SsdInputs<T>& in,
                          const SsdSaved<T>& saved, In2<T> dy, const SsdGradients<T>& gradients,
                          InOut1<Accumulate<T>> workspace) {
  const SsdWorkspace<T> work(shape, workspace);
  if constexpr (ssd_by_products)
    ssd_products_scan_backward<T>(products, shape, in, saved, dy, work, gradients);
  else
    ssd_chunk_scan_backward<T>(products.exec, shape, in, saved, dy, work, gradients);
}
template <class T>
void ssd_backward_passing(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                          const SsdSaved<T>& saved, const SsdGradients<T>& gradients,
                          InOut1<Accumulate<T>> workspace) {
  ssd_state_passing_backward<T>(exec, shape, in, saved, {shape, workspace}, gradients);
}
template <class T>
void ssd_backward_states(const Products& products, const SsdShape& shape, const SsdInputs<T>& in,
                         const SsdSaved<T>& saved, const SsdGradients<T>& gradients,
                         InOut1<Accumulate<T>> workspace) {
  const SsdWorkspace<T> work(shape, workspace);
  if constexpr (ssd_by_products)
    ssd_products_state_backward<T>(products, shape, in, saved, work, gradients);
  else
    ssd_chunk_state_backward<T>(products.exec, shape, in, saved, work, gradients);
  ssd_chunk_cumsum_backward<T>(products.exec, shape, in, saved, work, gradients);
}
template <class T>
void ssd_backward_total(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                        const SsdSaved<T>& saved, InOut1<Accumulate<T>> workspace,
                        InOut2<Accumulate<T>> total, InOut1<Accumulate<T>> decay) {
  ssd_state_passing_total<T>(exec, shape, Direction::backward, in, saved,
                             SsdWorkspace<T>(shape, workspace).dstates, total, decay);
}
template <class T>
void ssd_backward(const Products& products, const SsdShape& shape, const SsdInputs<T>& in,
                  const SsdSaved<T>& saved, In2<T> dy, const SsdGradients<T>& gradients,
                  InOut1<Accumulate<T>> workspace) {
  ssd_backward_outputs<T>(products, shape, in, saved, dy, gradients, workspace);
  ssd_backward_passing<T>(products.exec, shape, in, saved, gradients, workspace);
  ssd_backward_states<T>(products, shape, in, saved, gradients, workspace);
}

template <class T>
void ssd_step(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
              In2<Accumulate<T>> before, InOut2<Accumulate<T>> after, InOut2<T> y) {
  const char* name = "ssd_step";
  require_ssd_shape(name, shape);
  const index_t batch = shape.batch, H = shape.num_heads, P = shape.head_dim, G = shape.num_groups,
                N = shape.state_dim;
  require_shape(name, "x", in.x, batch, H * P);
  require_shape(name, "ssm_B", in.ssm_B, batch, G * N);
  require_shape(name, "ssm_C", in.ssm_C, batch, G * N);
  require_shape(name, "dt_raw", in.dt_raw, batch, H);
  require_shape(name, "A_log", in.A_log, H);
  require_shape(name, "dt_bias", in.dt_bias, H);
  require_shape(name, "ssm_D", in.ssm_D, H);
  require_shape_or_empty(name, "dt_mask", in.dt_mask, H);
  ELASTIC_REQUIRE(in.segment.extent(0) == 0, "{}: one position has no segments", name);
  require_shape(name, "before", before, batch * H, P * N);
  require_shape(name, "after", after, batch * H, P * N);
  require_shape(name, "y", y, batch, H * P);
  using A = Accumulate<T>;
  const index_t rows = on_host ? P : 1;  // of a state that one work item advances
  Kokkos::parallel_for(
      "elastic::ssd_step", LinearPolicy(exec, 0, batch * H * P / rows),
      KOKKOS_LAMBDA(const index_t item) {
        const index_t first = item * rows, b = first / (H * P), h = first / P % H, g = h % G;
        const A m = in.dt_mask.extent(0) == 0 ? A(1) : in.dt_mask(h);
        const A delta = softplus(m * widen(in.dt_raw(b, h)) + in.dt_bias(h));
        const A decay = decay_of(-delta * math::exp(in.A_log(h)));
        const T *B = &in.ssm_B(b, g * N), *C = &in.ssm_C(b, g * N);
        for (index_t p = first % P; p < first % P + rows; ++p) {
          const A x = widen(in.x(b, h * P + p)), scaled = delta * x;
          const A* old = &before(b * H + h, p * N);
          A* row = &after(b * H + h, p * N);
          A sum = 0;
          ELASTIC_SIMD_SUM(sum)
          for (index_t n = 0; n < N; ++n) {
            row[n] = decay * old[n] + scaled * widen(B[n]);
            sum += row[n] * widen(C[n]);
          }
          y(b, h * P + p) = static_cast<T>(sum + in.ssm_D(h) * x);
        }
      });
  add_flops(4.0 * batch * H * P * N);
}

#define ELASTIC_INSTANTIATE(T)                                                                     \
  template struct SsdWorkspace<T>;                                                                 \
  template index_t ssd_workspace_size<T>(const SsdShape&);                                         \
  template index_t ssd_forward_workspace_size<T>(const SsdShape&);                                 \
  template void ssd_forward<T>(const Products&, const SsdShape&, const SsdInputs<T>&,              \
                               const SsdSaved<T>&, InOut2<T>, InOut1<Accumulate<T>>);              \
  template void ssd_forward_states<T>(const Products&, const SsdShape&, const SsdInputs<T>&,       \
                                      const SsdSaved<T>&, InOut1<Accumulate<T>>);                  \
  template void ssd_forward_passing<T>(const ExecutionSpace&, const SsdShape&,                     \
                                       const SsdInputs<T>&, const SsdSaved<T>&);                   \
  template void ssd_forward_outputs<T>(const Products&, const SsdShape&, const SsdInputs<T>&,      \
                                       const SsdSaved<T>&, InOut2<T>, InOut1<Accumulate<T>>);      \
  template void ssd_forward_total<T>(const ExecutionSpace&, const SsdShape&, const SsdInputs<T>&,  \
                                     const SsdSaved<T>&, InOut2<Accumulate<T>>,                    \
                                     InOut1<Accumulate<T>>);                                       \
  template void ssd_backward<T>(const Products&, const SsdShape&, const SsdInputs<T>&,             \
                                const SsdSaved<T>&, In2<T>, const SsdGradients<T>&,                \
                                InOut1<Accumulate<T>>);                                            \
  template void ssd_backward_outputs<T>(const Products&, const SsdShape&, const SsdInputs<T>&,     \
                                        const SsdSaved<T>&, In2<T>, const SsdGradients<T>&,        \
                                        InOut1<Accumulate<T>>);                                    \
  template void ssd_backward_passing<T>(const ExecutionSpace&, const SsdShape&,                    \
                                        const SsdInputs<T>&, const SsdSaved<T>&,                   \
                                        const SsdGradients<T>&, InOut1<Accumulate<T>>);            \
  template void ssd_backward_states<T>(const Products&, const SsdShape&, const SsdInputs<T>&,      \
                                       const SsdSaved<T>&, const SsdGradients<T>&,                 \
                                       InOut1<Accumulate<T>>);                                     \
  template void ssd_backward_total<T>(const ExecutionSpace&, const SsdShape&, const SsdInputs<T>&, \
                                      const SsdSaved<T>&, InOut1<Accumulate<T>>,                   \
                                      InOut2<Accumulate<T>>, InOut1<Accumulate<T>>);               \
  template void ssd_step<T>(const ExecutionSpace&, const SsdShape&, const SsdInputs<T>&,           \
                            In2<Accumulate<T>>, InOut2<Accumulate<T>>, InOut2<T>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
