// SPDX-License-Identifier: Apache-2.0
// Products of training in fp32 and bfloat16, single ones and batches, on both routes. Elements of
// each result are compared with sums in double before it is timed.
#include <fmt/format.h>

#include "kernels/products/gemm.hpp"
#include "support/shapes.hpp"
#include "support/timing.hpp"

namespace elastic::bench {
namespace {
using kernels::BatchCount;
using kernels::MatrixBatch;
using kernels::Products;
using kernels::Transpose;

/// What one product computes: C [m, n] = op(A) op(B) over k.
struct Extents3 {
  index_t m, n, k;
  bool ta, tb;
};

/// Empty, or what is wrong with some elements of product (p, q).
template <class T, class C>
std::string first_fault(const Extents3& e, const MatrixBatch<T>& a, const MatrixBatch<T>& b,
                        const MatrixBatch<C>& c, index_t p, index_t q) {
  const auto matrix = [&](const auto& batch) {
    auto copy = Kokkos::create_mirror_view_and_copy(
        HostSpace(),
        View1<std::remove_pointer_t<decltype(batch.first.data())>>(
            batch.first.data() + p * batch.stride.outer + q * batch.stride.inner,
            leading_dimension(batch.first) * (batch.first.extent(0) - 1) + batch.first.extent(1)));
    return [copy, ld = leading_dimension(batch.first)](index_t i, index_t j) {
      return static_cast<double>(copy(i * ld + j));
    };
  };
  const auto x = matrix(a), y = matrix(b);
  const auto z = matrix(c);
  const double sums = 1e-5 * std::sqrt(static_cast<double>(e.k)),
               rounding = sizeof(C) == 2 ? 0x1p-8 : 0;
  for (index_t sample = 0; sample < 32; ++sample) {
    const index_t i = sample * 7919 % e.m, j = sample * 104729 % e.n;
    double sum = 0;
    for (index_t k = 0; k < e.k; ++k)
      sum += (e.ta ? x(k, i) : x(i, k)) * (e.tb ? y(j, k) : y(k, j));
    if (!(std::abs(z(i, j) - sum) <= sums + rounding * (std::abs(sum) + sums)))
      return fmt::format("element ({}, {}) is {}, expected {}", i, j, z(i, j), sum);
  }
  return {};
}

Transpose flag(bool yes) { return yes ? Transpose::yes : Transpose::no; }

/// How the matrices of a batch lie: one for each (outer, inner), each a block of its own.
struct Batch {
  BatchCount count = {};
  bool share_a = false, share_b = false;  ///< one matrix for all `inner`
};
template <class T>
MatrixBatch<T> random_batch(const BatchCount& count, bool share, index_t rows, index_t columns,
                            std::uint64_t stream) {
  const index_t inner = share ? 1 : count.inner, size = rows * columns;
  const auto all = random_matrix<T>(count.outer * inner * rows, columns, stream);
  return {prefix(all, rows, columns), {inner * size, share ? 0 : size}};
}

template <class T, class C>
void add_product(const std::string& name, bool deterministic, const Extents3& e,
                 const Batch& batch = {}) {
  add(name, [=](benchmark::State& state) {
    const Products products = {.deterministic = deterministic};
    const auto a = random_batch<T>(batch.count, batch.share_a, e.ta ? e.k : e.m, e.ta ? e.m : e.k,
                                   1),
               b = random_batch<T>(batch.count, batch.share_b, e.tb ? e.n : e.k, e.tb ? e.k : e.n,
                                   2);
    const auto c = random_batch<C>(batch.count, false, e.m, e.n, 3);
    const auto multiply = [&] {
      if (batch.count.products() == 1)
        kernels::gemm<T, C>(products, flag(e.ta), flag(e.tb), 1, a.first, b.first, 0, c.first);
      else
        kernels::gemm_batched<T, C>(products, batch.count, flag(e.ta), flag(e.tb),
                                    {a.first, a.stride}, {b.first, b.stride}, 0, c);
    };
    multiply();
    fence(products.exec, "elastic::bench_check");
    const std::string fault =
        first_fault<T, C>(e, a, b, c, batch.count.outer - 1, batch.count.inner - 1);
    if (!fault.empty()) return state.SkipWithError(fault.c_str());
    time_launches(state, 0, multiply);
  });
}

/// The three products of a linear layer: y = x W^T, dx = dy W, dW = dy^T x. Gradients of weights
/// are kept in the type of sums.
template <class T>
void add_linear(const std::string& route, bool deterministic, const Extents& e) {
  const index_t tokens = e.batch * e.seq_length;
  add_product<T, T>(route + "_forward/" + e.name, deterministic,
                    {tokens, e.ffn, e.hidden, false, true});
  add_product<T, T>(route + "_input/" + e.name, deterministic,
                    {tokens, e.hidden, e.ffn, false, false});
  add_product<T, Accumulate<T>>(route + "_weight/" + e.name, deterministic,
                                {e.ffn, e.hidden, tokens, true, false});
}

/// Products of the chunks of a scan: scores C B^T per group, (L o C B^T) X, states X^T B, and C S^T
/// per head, whose B and C are those of its group.
template <class T>
void add_chunks(const std::string& route, bool deterministic, const Extents& e) {
  const auto& s = e.scan;
  const index_t chunks = s.batch * s.num_chunks(), in_group = s.num_heads / s.num_groups;
  const BatchCount groups = {chunks, s.num_groups}, heads = {chunks * s.num_groups, in_group};
  add_product<T, Accumulate<T>>(route + "_scores/" + e.name, deterministic,
                                {s.chunk_size, s.chunk_size, s.state_dim, false, true}, {groups});
  add_product<T, Accumulate<T>>(route + "_chunk/" + e.name, deterministic,
                                {s.chunk_size, s.head_dim, s.chunk_size, false, false}, {heads});
  add_product<T, Accumulate<T>>(route + "_states/" + e.name, deterministic,
                                {s.head_dim, s.state_dim, s.chunk_size, true, false},
                                {heads, false, true});
  add_product<T, Accumulate<T>>(route + "_carried/" + e.name, deterministic,
                                {s.chunk_size, s.head_dim, s.state_dim, false, true},
                                {heads, true, false});
}
}  // namespace

void add_gemm_benchmarks() {
  for (const auto& e : all_extents())
    for (const bool deterministic : {false, true}) {
      const std::string route = deterministic ? "_deterministic" : "";
      add_linear<float>("gemm" + route, deterministic, e);
      add_linear<bfloat16>("gemm_bf16" + route, deterministic, e);
      add_chunks<float>("gemm_batched" + route, deterministic, e);
      add_chunks<bfloat16>("gemm_batched_bf16" + route, deterministic, e);
    }
}

}  // namespace elastic::bench
