// SPDX-License-Identifier: Apache-2.0
#include "kernels/scan/ssd_batches.hpp"

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {
namespace {
/// Weights of the heads of a group, in elements, that a batch has at most: 32 MiB in bfloat16,
/// which the second cache of a device holds from the kernel that writes them to the product.
constexpr index_t most_weights = index_t(1) << 24;

/// The chunk of position t of [T].
KOKKOS_INLINE_FUNCTION index_t chunk_row_of(const SsdShape& shape, index_t t) {
  const index_t K = (shape.seq_length + shape.chunk_size - 1) / shape.chunk_size;
  return t / shape.seq_length * K + t % shape.seq_length / shape.chunk_size;
}

void count_runs(const ExecutionSpace& exec, const SsdShape& shape,
                const View1<const token_t>& segment, int* run) {
  Kokkos::parallel_for(
      "elastic::ssd_count_runs", LinearPolicy(exec, 0, shape.num_tokens()),
      KOKKOS_LAMBDA(const index_t t) {
        int count = 0;
        if (segment.extent(0) != 0)
          for (index_t s = Chunk(shape, segment, chunk_row_of(shape, t)).first; s < t; ++s)
            count += segment(s) != segment(s + 1);
        run[t] = count;
      });
}
}  // namespace

BatchExtents::BatchExtents(const SsdShape& shape)
    : chunks(0),
      rows(math::min(shape.chunk_size, shape.seq_length)),
      group_heads(shape.num_heads / shape.num_groups),
      head_dim(shape.head_dim),
      state_dim(shape.state_dim) {
  const index_t weights = group_heads * rows * (rows + state_dim);
  chunks =
      math::min(shape.batch * shape.num_chunks(), math::max<index_t>(1, most_weights / weights));
}

template <class T>
void spread_factors(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                    const SsdSaved<T>& saved, const SsdBefore& before,
                    const HeadFactors<Accumulate<T>>& factors) {
  using A = Accumulate<T>;
  count_runs(exec, shape, in.segment, factors.run);
  const auto segment = in.segment;
  const auto dt = saved.dt, sums = saved.dA_cumsum;
  const index_t tokens = shape.num_tokens(), heads = shape.num_heads;
  Kokkos::parallel_for(
      "elastic::ssd_spread_factors", LinearPolicy(exec, 0, heads * tokens),
      KOKKOS_LAMBDA(const index_t item) {
        const index_t h = item / tokens, t = item % tokens;
        const Chunk chunk(shape, segment, chunk_row_of(shape, t), before);
        const index_t last = chunk.first + chunk.tokens - 1;
        const A high = sums(t, h), low = sums(t, heads + h),
                left = (sums(last, h) - high) + (sums(last, heads + h) - low);
        const bool sees = chunk.continues && factors.run[t] == 0 && high >= smallest_exponent<A>;
        const bool reaches = factors.run[t] == factors.run[last] && left >= smallest_exponent<A>;
        factors.high[item] = high;
        factors.low[item] = low;
        factors.delta[item] = dt(t, h);
        factors.from_start[item] = sees ? vector_exp(high) : A(0);
        factors.to_end[item] = reaches ? vector_exp(left) : A(0);
      });
}

namespace {
template <class A>
struct ChunkSums {
  View2<const A> parts;
  RowsOf rows;
  View1<A> total;

  KOKKOS_FUNCTION void operator()(const Team& team, index_t h) const {
    const A sum = sum_of_lanes<A>(
        team, rows.count, [&](const index_t k) { return parts(rows.first + k * rows.step, h); });
    Kokkos::single(Kokkos::PerThread(team), [&]() { total(h) += sum; });
  }
};
}  // namespace

template <class A>
void add_chunk_sums(const char* label, const ExecutionSpace& exec, const View2<const A>& parts,
                    RowsOf rows, const View1<A>& total) {
  const auto heads = static_cast<index_t>(total.extent(0));
  if constexpr (on_host)
    Kokkos::parallel_for(
        label, LinearPolicy(exec, 0, heads), KOKKOS_LAMBDA(const index_t h) {
          A sum = 0;
          for (index_t k = 0; k < rows.count; ++k) sum += parts(rows.first + k * rows.step, h);
          total(h) += sum;
        });
  else
    for_rows_in_teams(label, exec, heads, ChunkSums<A>{parts, rows, total});
}

template void add_chunk_sums<float>(const char*, const ExecutionSpace&, const View2<const float>&,
                                    RowsOf, const View1<float>&);
template void add_chunk_sums<double>(const char*, const ExecutionSpace&, const View2<const double>&,
                                     RowsOf, const View1<double>&);

#define ELASTIC_INSTANTIATE(T)                                                                 \
  template void spread_factors<T>(const ExecutionSpace&, const SsdShape&, const SsdInputs<T>&, \
                                  const SsdSaved<T>&, const SsdBefore&,                        \
                                  const HeadFactors<Accumulate<T>>&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
