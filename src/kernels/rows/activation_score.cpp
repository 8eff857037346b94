// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/activation_score.hpp"

#include "kernels/rows/column_sums.hpp"

namespace elastic::kernels {
namespace {

template <class A>
KOKKOS_INLINE_FUNCTION A magnitude(A x) {
  return math::abs(x);
}
/// What the terms of a row are multiplied by.
struct One {
  KOKKOS_INLINE_FUNCTION float operator()(index_t) const { return 1; }
};
struct OfRow {
  View1<const float> weight;
  KOKKOS_INLINE_FUNCTION float operator()(index_t t) const { return weight(t); }
};
/// The pieces of columns of a host.
template <class T, class W, class F>
struct ScorePieces {
  using A = Accumulate<T>;
  View2<const T> x;
  index_t group_rows;
  W weight;
  View1<A> score;
  F finish;

  KOKKOS_FUNCTION void operator()(const index_t begin, const index_t end) const {
    const auto rows = static_cast<index_t>(x.extent(0));
    A sum[longest_piece];
    for (index_t first = 0; first < rows; first += group_rows) {
      for (index_t c = begin; c < end; ++c) sum[c - begin] = 0;
      for (index_t t = first; t < math::min(rows, first + group_rows); ++t) {
        const T* x_t = &x(t, 0);
        const A w = weight(t);
        ELASTIC_SIMD
        for (index_t c = begin; c < end; ++c) sum[c - begin] += w * magnitude(widen(x_t[c]));
      }
      for (index_t c = begin; c < end; ++c) score(c) += finish(sum[c - begin]);
    }
  }
};
/// The packs of a device.
template <class T, class W>
struct Magnitudes {
  View2<const T> x;
  bool aligned;
  W weight;
  KOKKOS_FUNCTION void operator()(const index_t t, const index_t c, const int count,
                                  Pack<Accumulate<T>>& sum) const {
    const auto x_t = load_pack(&x(t, c), count, aligned);
    const Accumulate<T> w = weight(t);
    for (int i = 0; i < pack_size; ++i) sum[i] += w * magnitude(x_t[i]);
  }
};
/// score_c += sum over groups of rows of finish( sum_{t in group} weight_t |x_tc| ),
/// on a host with rows and groups in rising order.
template <class T, class W, class F>
void add_group_scores(const ExecutionSpace& exec, const View2<const T>& x, index_t group_rows,
                      const W& weight, const View1<Accumulate<T>>& score, const F& finish) {
  const char* label = "elastic::activation_score";
  if constexpr (on_host)
    for_column_pieces(exec, label, static_cast<index_t>(x.extent(1)),
                      ScorePieces<T, W, F>{x, group_rows, weight, score, finish});
  else
    add_column_sums<Accumulate<T>>(exec, label, static_cast<index_t>(x.extent(0)), group_rows,
                                   Magnitudes<T, W>{x, packs_are_aligned(x), weight}, finish,
                                   score);
}

template <class A>
struct SquaredMean {
  A factor;
  KOKKOS_INLINE_FUNCTION A operator()(A sum) const { return sum * factor * (sum * factor); }
};

}  // namespace

template <class T>
void activation_score(const ExecutionSpace& exec, In2<T> x, index_t seq_length,
                      InOut1<Accumulate<T>> score, In1<float> share) {
  const auto rows = static_cast<index_t>(x.extent(0));
  require_shape("activation_score", "score", score, static_cast<index_t>(x.extent(1)));
  ELASTIC_REQUIRE(seq_length > 0 && rows % seq_length == 0,
                  "activation_score: {} rows, sequences of {}", rows, seq_length);
  using Finish = SquaredMean<Accumulate<T>>;
  if (share.size() == 0) {
    const Accumulate<T> factor = 1 / static_cast<Accumulate<T>>(seq_length);
    return add_group_scores<T>(exec, x, seq_length, One{}, score, Finish{factor});
  }
  require_shape("activation_score", "share", share, rows);
  add_group_scores<T>(exec, x, seq_length, OfRow{share}, score, Finish{1});
}

template <class T>
void activation_sum(const ExecutionSpace& exec, In2<T> x, InOut1<Accumulate<T>> score,
                    In1<float> weight) {
  require_shape("activation_sum", "score", score, static_cast<index_t>(x.extent(1)));
  const index_t group_rows = on_host ? rows_per_block : static_cast<index_t>(x.extent(0));
  const Unchanged<Accumulate<T>> as_it_is;
  if (weight.size() == 0) return add_group_scores<T>(exec, x, group_rows, One{}, score, as_it_is);
  require_shape("activation_sum", "weight", weight, static_cast<index_t>(x.extent(0)));
  add_group_scores<T>(exec, x, group_rows, OfRow{weight}, score, as_it_is);
}

#define ELASTIC_INSTANTIATE(T)                                                                     \
  template void activation_score<T>(const ExecutionSpace&, In2<T>, index_t, InOut1<Accumulate<T>>, \
                                    In1<float>);                                                   \
  template void activation_sum<T>(const ExecutionSpace&, In2<T>, InOut1<Accumulate<T>>, In1<float>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
