// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/attention.hpp"

#include "support/shapes.hpp"
#include "support/timing.hpp"

namespace elastic::bench {
namespace {
using namespace kernels;

template <class T>
void bench_attention(benchmark::State& state, const AttentionShape& s, bool backward) {
  const Products products;
  const index_t tokens = s.batch * s.seq_length, inner = s.num_heads * s.head_dim,
                kv = s.num_groups * s.head_dim;
  const auto q = random_matrix<T>(tokens, inner, 1), k = random_matrix<T>(tokens, kv, 2),
             v = random_matrix<T>(tokens, kv, 3);
  const auto out = random_matrix<T>(tokens, inner, 4);
  const auto lse = random_matrix<Accumulate<T>>(tokens, s.num_heads, 5);
  const auto dq = random_matrix<T>(tokens, inner, 6), dk = random_matrix<T>(tokens, kv, 7),
             dv = random_matrix<T>(tokens, kv, 8);
  const View1<Accumulate<T>> workspace("elastic::bench", attention_workspace_size<T>(s));
  attention_forward<T>(products, s, {q, k, v}, {out, lse}, workspace);
  time_launches(state, 0, [&] {
    if (backward)
      attention_backward<T>(products, s, {q, k, v}, {out, lse}, q, {dq, dk, dv}, workspace);
    else
      attention_forward<T>(products, s, {q, k, v}, {out, lse}, workspace);
  });
}
}  // namespace

template <class T>
void add_attention() {
  for (const auto& e : all_extents())
    for (const bool backward : {false, true})
      add(std::string(backward ? "attention_backward" : "attention_forward") + suffix_of<T>() +
              "/" + e.name,
          [=](benchmark::State& state) { bench_attention<T>(state, e.attention, backward); });
}
void add_attention_benchmarks() {
  add_attention<float>();
  add_attention<bfloat16>();
}

}  // namespace elastic::bench
