// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/activation_score.hpp"

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {
namespace {

/// score_c += sum over groups of rows of finish( sum_{t in group} |x_tc| ),
/// rows and groups in rising order.
template <class T, class F>
void add_group_scores(const ExecutionSpace& exec, const View2<const T>& x, index_t group_rows,
                      const View1<Accumulate<T>>& score, const F& finish) {
  const auto rows = static_cast<index_t>(x.extent(0));
  for_column_pieces(
      exec, "elastic::activation_score", static_cast<index_t>(x.extent(1)),
      KOKKOS_LAMBDA(const index_t begin, const index_t end) {
        Accumulate<T> sum[longest_piece];
        for (index_t first = 0; first < rows; first += group_rows) {
          for (index_t c = begin; c < end; ++c) sum[c - begin] = 0;
          for (index_t t = first; t < math::min(rows, first + group_rows); ++t) {
            const T* x_t = &x(t, 0);
            ELASTIC_SIMD
            for (index_t c = begin; c < end; ++c) sum[c - begin] += math::abs(widen(x_t[c]));
          }
          for (index_t c = begin; c < end; ++c) score(c) += finish(sum[c - begin]);
        }
      });
}

}  // namespace

template <class T>
void activation_score(const ExecutionSpace& exec, In2<T> x, index_t seq_length,
                      InOut1<Accumulate<T>> score) {
  const auto rows = static_cast<index_t>(x.extent(0));
  require_shape("activation_score", "score", score, static_cast<index_t>(x.extent(1)));
  ELASTIC_REQUIRE(seq_length > 0 && rows % seq_length == 0,
                  "activation_score: {} rows, sequences of {}", rows, seq_length);
  const Accumulate<T> factor = 1 / static_cast<Accumulate<T>>(seq_length);
  add_group_scores<T>(
      exec, x, seq_length, score,
      KOKKOS_LAMBDA(const Accumulate<T> sum) { return sum * factor * (sum * factor); });
}

template <class T>
void activation_sum(const ExecutionSpace& exec, In2<T> x, InOut1<Accumulate<T>> score) {
  require_shape("activation_sum", "score", score, static_cast<index_t>(x.extent(1)));
  add_group_scores<T>(
      exec, x, rows_per_block, score, KOKKOS_LAMBDA(const Accumulate<T> sum) { return sum; });
}

#define ELASTIC_INSTANTIATE(T)                                              \
  template void activation_score<T>(const ExecutionSpace&, In2<T>, index_t, \
                                    InOut1<Accumulate<T>>);                 \
  template void activation_sum<T>(const ExecutionSpace&, In2<T>, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
