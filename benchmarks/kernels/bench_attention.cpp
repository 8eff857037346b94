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
  const View1<Accumulate<T>> workspace(
      "elastic::bench",
      std::max(attention_forward_workspace_size<T>(s), attention_workspace_size<T>(s)));
  attention_forward<T>(products, s, {q, k, v}, {out, lse}, workspace);
  time_launches(state, 0, [&] {
    if (backward)
      attention_backward<T>(products, s, {q, k, v}, {out, lse}, q, {dq, dk, dv}, workspace);
    else
      attention_forward<T>(products, s, {q, k, v}, {out, lse}, workspace);
  });
}
/// Generation: one position of each sequence against a cache of all others.
template <class T>
void bench_step(benchmark::State& state, const AttentionShape& s) {
  const index_t tokens = s.batch * s.seq_length, inner = s.num_heads * s.head_dim,
                kv = s.num_groups * s.head_dim;
  const auto q = random_matrix<T>(s.batch, inner, 1), k = random_matrix<T>(tokens, kv, 2),
             v = random_matrix<T>(tokens, kv, 3), out = random_matrix<T>(s.batch, inner, 4);
  const double bytes = static_cast<double>(2 * tokens * kv) * sizeof(T);
  time_launches(state, bytes, [&] { attention_step<T>({}, s, s.seq_length, q, k, v, out); });
}
}  // namespace

template <class T>
void add_attention(const std::string& name, const AttentionShape& shape) {
  const auto add_as = [&](const char* kernel, const auto& body) {
    add(std::string(kernel) + suffix_of<T>() + "/" + name, body);
  };
  for (const bool backward : {false, true})
    add_as(backward ? "attention_backward" : "attention_forward",
           [=](benchmark::State& state) { bench_attention<T>(state, shape, backward); });
  add_as("attention_step", [=](benchmark::State& state) { bench_step<T>(state, shape); });
}
void add_attention_benchmarks() {
  for (const auto& e : all_extents()) {
    add_attention<float>(e.name, e.attention);
    add_attention<bfloat16>(e.name, e.attention);
  }
  add_attention<bfloat16>("nano12b_2048", {1, 2048, 40, 8, 128});  // in fp32 it takes seconds
}

}  // namespace elastic::bench
