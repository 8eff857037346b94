// SPDX-License-Identifier: Apache-2.0
#include "kernels/products/gemm.hpp"

#include "support/shapes.hpp"
#include "support/timing.hpp"

namespace elastic::bench {
namespace {
using kernels::Transpose;

/// Adds the product C [m, n] = op(A) op(B) over k.
void add_product(const std::string& name, bool deterministic, Transpose ta, Transpose tb, index_t m,
                 index_t n, index_t k) {
  add(name, [=](benchmark::State& state) {
    const auto a = ta == Transpose::no ? random_matrix(m, k, 1) : random_matrix(k, m, 1);
    const auto b = tb == Transpose::no ? random_matrix(k, n, 2) : random_matrix(n, k, 2);
    const View2<float> c("elastic::bench", m, n);
    time_launches(state, 0, [&] {
      kernels::gemm<float>({.deterministic = deterministic}, ta, tb, 1, a, b, 0, c);
    });
  });
}
}  // namespace

void add_gemm_benchmarks() {
  for (const auto& e : all_extents()) {
    const index_t tokens = e.batch * e.seq_length;
    for (const bool deterministic : {false, true}) {
      const std::string route = deterministic ? "gemm_deterministic" : "gemm";
      // The three products of a linear layer: y = x W^T, dx = dy W, dW = dy^T x.
      add_product(route + "_forward/" + e.name, deterministic, Transpose::no, Transpose::yes,
                  tokens, e.ffn, e.hidden);
      add_product(route + "_input/" + e.name, deterministic, Transpose::no, Transpose::no, tokens,
                  e.hidden, e.ffn);
      add_product(route + "_weight/" + e.name, deterministic, Transpose::yes, Transpose::no, e.ffn,
                  e.hidden, tokens);
    }
  }
}

}  // namespace elastic::bench
