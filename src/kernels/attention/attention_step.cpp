// SPDX-License-Identifier: Apache-2.0
// Attention of one new position of each sequence against its cache: one team per (sequence, head)
// reads keys and values once, with an online softmax over tiles of keys.
#include "base/region.hpp"
#include "kernels/attention/attention_tiles.hpp"

namespace elastic::kernels {
namespace {

template <class T>
struct StepTeam {
  using A = Accumulate<T>;
  AttentionShape shape;
  index_t length;
  View2<const T> q, k_cache, v_cache;
  View2<T> out;
  TeamScratch memory;

  KOKKOS_INLINE_FUNCTION void operator()(const Team& team) const {
    const index_t C = shape.head_dim, batch = team.league_rank() / shape.num_heads;
    const AttentionHead head(shape, {}, batch, team.league_rank() % shape.num_heads);
    ScratchCarver carver = memory.carver(team);
    A* const scores = carver.take<A>(attention_tile);
    A* const sum = carver.take<A>(C);
    for_each_row(team, C, [&](index_t c) { sum[c] = 0; });
    A maximum = no_score<A>, total = 0;
    for (index_t key = 0; key < length; key += attention_tile) {
      const index_t keys = math::min(attention_tile, length - key);
      const A new_maximum = score(team, head, batch, key, keys, maximum, scores);
      const A correction = vector_exp(maximum - new_maximum);
      maximum = new_maximum;
      soften(team, keys, maximum, scores);
      A part = 0;  // every thread of the team sums the same
      for (index_t j = 0; j < keys; ++j) part += scores[j];
      total = total * correction + part;
      const T* const v0 = &v_cache(head.first_key + key, head.kv_column);
      const index_t stride = leading_dimension(v_cache);
      constexpr index_t width = on_host ? lanes : 1;
      for_each_row(team, (C + width - 1) / width, [&](index_t block) {
        const index_t begin = block * width, end = math::min(C, begin + width);
        ELASTIC_SIMD
        for (index_t c = begin; c < end; ++c) sum[c] *= correction;
        for (index_t j = 0; j < keys; ++j) {
          const A p = scores[j];
          ELASTIC_SIMD
          for (index_t c = begin; c < end; ++c) sum[c] += p * widen(v0[j * stride + c]);
        }
      });
    }
    const A inverse = A(1) / total;
    for_each_row(team, C, [&](index_t c) {
      out(batch, head.q_column + c) = static_cast<T>(inverse * sum[c]);
    });
  }

  /// scores[j] = exp(scores[j] - maximum), which all channels of v take.
  KOKKOS_INLINE_FUNCTION void soften(const Team& team, index_t keys, A maximum, A* scores) const {
    constexpr index_t width = on_host ? lanes : 1;
    team.team_barrier();  // until each thread has found the maximum
    for_each_row(team, (keys + width - 1) / width, [&](index_t block) {
      const index_t end = math::min(keys, (block + 1) * width);
      ELASTIC_SIMD
      for (index_t j = block * width; j < end; ++j) scores[j] = vector_exp(scores[j] - maximum);
    });
  }
  /// scores[j] = scale q . k_j; returns the new maximum.
  KOKKOS_INLINE_FUNCTION A score(const Team& team, const AttentionHead& head, index_t batch,
                                 index_t key, index_t keys, A maximum, A* scores) const {
    const index_t C = shape.head_dim;
    const A scale = attention_scale<A>(shape);
    const T* const q0 = &q(batch, head.q_column);
    for_each_row(team, keys, [&](index_t j) {
      const T* const k_row = &k_cache(head.first_key + key + j, head.kv_column);
      A dot = 0;
      ELASTIC_SIMD_SUM(dot)
      for (index_t c = 0; c < C; ++c) dot += widen(q0[c]) * widen(k_row[c]);
      scores[j] = scale * dot;
    });
    for (index_t j = 0; j < keys; ++j) maximum = math::max(maximum, scores[j]);
    return maximum;
  }
};

}  // namespace

template <class T>
void attention_step(const ExecutionSpace& exec, const AttentionShape& shape, index_t length,
                    In2<T> q, In2<T> k_cache, In2<T> v_cache, InOut2<T> out) {
  require_attention_shapes<T>("attention_step", shape, shape.batch, {q, k_cache, v_cache}, out);
  ELASTIC_REQUIRE(length > 0 && length <= shape.seq_length, "attention_step: length {} of {}",
                  length, shape.seq_length);
  const index_t teams = shape.batch * shape.num_heads;
  if (teams == 0) return;
  ScratchCarver counter(nullptr);
  counter.take<Accumulate<T>>(attention_tile);
  counter.take<Accumulate<T>>(shape.head_dim);
  const StepTeam<T> body{shape, length, q, k_cache, v_cache, out, TeamScratch(counter.bytes())};
  Kokkos::parallel_for("elastic::attention_step", body.memory.policy(exec, teams), body);
  add_flops(4.0 * static_cast<double>(teams * shape.head_dim * length));
}

#define ELASTIC_INSTANTIATE(T)                                                                   \
  template void attention_step<T>(const ExecutionSpace&, const AttentionShape&, index_t, In2<T>, \
                                  In2<T>, In2<T>, InOut2<T>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
