// SPDX-License-Identifier: Apache-2.0
// Operands, results and gradients of one attention, for the tests of kernels/attention.
#pragma once
#include "base/error.hpp"
#include "kernels/attention/attention.hpp"
#include "unit_tests/kernels/spans.hpp"
#include "unit_tests/support/fixture.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/kernels/attention/reference_attention.hpp"

namespace elastic::test {

using kernels::AttentionShape;

/// Fills the scratch memory that teams will find with NaN: they may read only what they wrote.
inline void spoil_scratch() {
  constexpr std::size_t bytes = std::size_t{1} << 19;
  kernels::TeamPolicy policy(ExecutionSpace(), ExecutionSpace().concurrency(), 1);
  policy.set_scratch_size(1, Kokkos::PerTeam(static_cast<int>(bytes)));
  Kokkos::parallel_for(
      "elastic::test::spoil_scratch", policy, KOKKOS_LAMBDA(const kernels::Team& team) {
        auto* const memory = static_cast<unsigned char*>(team.team_scratch(1).get_shmem(bytes));
        for (std::size_t i = 0; memory != nullptr && i < bytes; ++i) memory[i] = 0xff;
      });
}

template <class T>
struct Attention {
  AttentionShape shape;
  kernels::Products products = {};
  View2<T> q, k, v, dout;
  View1<token_t> segment;
  View2<T> out;
  View2<Accumulate<T>> lse;
  View2<T> dq, dk, dv;

  explicit Attention(const AttentionShape& s, std::uint32_t seed = 1) : shape(s) {
    const index_t tokens = s.batch * s.seq_length, q_columns = s.num_heads * s.head_dim,
                  kv_columns = s.num_groups * s.head_dim;
    q = random_matrix<T>(tokens, q_columns, seed, -2, 2);
    k = random_matrix<T>(tokens, kv_columns, seed + 1, -2, 2);
    v = random_matrix<T>(tokens, kv_columns, seed + 2);
    dout = random_matrix<T>(tokens, q_columns, seed + 3);
    allocate();
  }
  void allocate() {
    out = filled<T>(q.extent(0), q.extent(1));
    dq = filled<T>(q.extent(0), q.extent(1));
    dk = filled<T>(k.extent(0), k.extent(1));
    dv = filled<T>(k.extent(0), k.extent(1));
    lse = filled<Accumulate<T>>(q.extent(0), shape.num_heads);
  }
  template <class U>
  static View2<U> filled(index_t rows, index_t columns) {
    const View2<U> view("elastic::test::filled", rows, columns);
    Kokkos::deep_copy(view, static_cast<U>(std::numeric_limits<float>::quiet_NaN()));
    return view;
  }
  void forward() const {
    spoil_scratch();
    const auto workspace = spoiled(kernels::attention_forward_workspace_size<T>(shape));
    kernels::attention_forward<T>(products, shape, {q, k, v, segment}, {out, lse}, workspace);
  }
  void backward() const { backward(workspace()); }
  View1<Accumulate<T>> workspace() const {
    return spoiled(kernels::attention_workspace_size<T>(shape));
  }
  static View1<Accumulate<T>> spoiled(index_t count) {
    const View1<Accumulate<T>> memory("elastic::test::workspace", count);
    Kokkos::deep_copy(memory, std::numeric_limits<Accumulate<T>>::quiet_NaN());
    return memory;
  }
  void backward(const View1<Accumulate<T>>& workspace) const {
    spoil_scratch();
    kernels::attention_backward<T>(products, shape, {q, k, v, segment}, {out, lse}, dout,
                                   {dq, dk, dv}, workspace);
  }
  void run() const {
    forward();
    backward();
  }
  /// After forward(). Where outputs are stored rounded, that is what the gradients are those of.
  ReferenceAttention reference() const {
    ReferenceAttention r{shape, to_double(q), to_double(k), to_double(v), to_host(segment)};
    r.forward();
    const auto exact = r.out;
    if (!std::is_same_v<T, Accumulate<T>>) r.out = to_double(out);
    r.backward(to_double(dout));
    r.out = exact;
    return r;
  }
};

/// Tolerance of attention, which rounds probabilities and their gradients to T before they are
/// multiplied.
template <class T>
double attention_tolerance(index_t terms) {
  return tolerance<T>(terms) + (std::is_same_v<T, Accumulate<T>> ? 0 : 1.0 / 128);
}

/// Runs of random length, non-decreasing inside each sequence.
inline std::vector<token_t> random_segments(index_t batch, index_t length, index_t mean_run) {
  std::vector<token_t> segment(batch * length, 0);
  for (index_t t = 0; t < batch * length; ++t) {
    const bool first = t % length == 0;
    const bool next = random_below({17, RandomPurpose::test}, t, mean_run) == 0;
    segment[t] = first ? 3 : segment[t - 1] + (next ? 2 : 0);
  }
  return segment;
}

/// Queries [begin, end) of a problem against the first `keys` keys.
template <class T>
Attention<T> span_of(const Attention<T>& whole, index_t begin, index_t end, index_t keys) {
  const index_t B = whole.shape.batch;
  Attention<T> span = whole;
  span.shape.seq_length = end - begin;
  span.shape.q_begin = begin;
  span.shape.kv_length = keys;
  span.q = rows_of_sequences(whole.q, B, begin, end);
  span.dout = rows_of_sequences(whole.dout, B, begin, end);
  span.k = rows_of_sequences(whole.k, B, 0, keys);
  span.v = rows_of_sequences(whole.v, B, 0, keys);
  span.segment = rows_of_sequences(whole.segment, B, 0, keys);
  span.allocate();
  return span;
}

}  // namespace elastic::test
