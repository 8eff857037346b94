// SPDX-License-Identifier: Apache-2.0
// A team works on one row of scores; its threads are neighbours in memory. With products on the
// deterministic route, heads are multiplied one by one: each element is one sum over rising rows,
// zeros among them, so that its bits depend neither on blocks and their room nor on gaps.
#include "kernels/attention/attention_batched.hpp"

#include "kernels/attention/attention_tiles.hpp"
#include "kernels/rows/convert.hpp"

namespace elastic::kernels {
namespace {

/// A block of queries of some sequences, and the heads whose scores are in memory together.
struct ScoreGroup {
  index_t query, queries;    ///< of each sequence
  index_t keys;              ///< up to the last query
  index_t batch, sequences;  ///< the first, and how many
  index_t kv, kv_heads;      ///< the first, and how many
  index_t head, heads;       ///< of the query heads of each KV head
  index_t row;               ///< elements from one row of scores to the next

  KOKKOS_INLINE_FUNCTION index_t rows() const { return queries * heads; }
  BatchCount count() const { return {sequences, kv_heads}; }
};

/// `count` in as few parts of at most `most` as can be, all of about one size.
index_t even_part(index_t count, index_t most) {
  const index_t parts = (count + most - 1) / most;
  return (count + parts - 1) / parts;
}

/// Calls f(group) for all groups with `heads` heads of each KV head at a time.
template <class F>
void for_each_group(const AttentionShape& shape, const ScoreBlocks& blocks, index_t head,
                    index_t heads, const F& f) {
  const index_t L = shape.seq_length, B = shape.batch, R = shape.num_groups;
  for (index_t query = 0; query < L; query += blocks.queries) {
    const index_t queries = math::min(blocks.queries, L - query),
                  keys = shape.q_begin + query + queries;
    const index_t fit = math::max<index_t>(blocks.scores / (queries * heads * score_row(keys)), 1);
    const index_t kv_heads = even_part(R, math::min(fit, R)),
                  sequences = kv_heads == R ? even_part(B, math::min(fit / R, B)) : 1;
    for (index_t b = 0; b < B; b += sequences)
      for (index_t r = 0; r < R; r += kv_heads)
        f(ScoreGroup{query, queries, keys, b, math::min(sequences, B - b), r,
                     math::min(kv_heads, R - r), head, heads, score_row(keys)});
  }
}
/// Calls f(group) for all groups: with all heads of a KV head where their rows are evenly spaced in
/// all matrices [B*L, A*C], else head by head.
template <class F, class... Matrices>
void for_each_group(const Products& products, const AttentionShape& shape,
                    const ScoreBlocks& blocks, const F& f, const Matrices&... matrices) {
  const index_t heads = shape.num_heads / shape.num_groups;
  const bool together = !products.deterministic && (rows_are_even(shape, matrices) && ...);
  if (together) return for_each_group(shape, blocks, 0, heads, f);
  for (index_t head = 0; head < heads; ++head) for_each_group(shape, blocks, head, 1, f);
}

/// Rows (query, head) of each (sequence, KV head) of a matrix [B*L, A*C].
template <class V>
MatrixBatch<V> queries_of(const View2<V>& matrix, const AttentionShape& shape,
                          const ScoreGroup& group) {
  const index_t ld = leading_dimension(matrix), C = shape.head_dim;
  const index_t step = group.heads == 1 ? ld : shape.num_groups * C;
  V* const first = matrix.data() + (group.batch * shape.seq_length + group.query) * ld +
                   (group.head * shape.num_groups + group.kv) * C;
  return {prefix(View2<V>(first, group.rows(), step), group.rows(), C), {shape.seq_length * ld, C}};
}
/// The keys of each (sequence, KV head) of a matrix [B*L', R*C].
template <class V>
MatrixBatch<V> keys_of(const View2<V>& matrix, const AttentionShape& shape,
                       const ScoreGroup& group) {
  const index_t ld = leading_dimension(matrix), C = shape.head_dim;
  V* const first = matrix.data() + group.batch * shape.num_keys() * ld + group.kv * C;
  return {prefix(View2<V>(first, group.keys, ld), group.keys, C), {shape.num_keys() * ld, C}};
}
/// Scores of each (sequence, KV head), or the probabilities that lie over them: [rows, keys].
template <class V, class A>
MatrixBatch<V> scores_of(A* scores, const ScoreGroup& group) {
  const index_t ld = group.row * static_cast<index_t>(sizeof(A) / sizeof(V));
  const index_t rows = group.rows();
  return {prefix(View2<V>(reinterpret_cast<V*>(scores), rows, ld), rows, group.keys),
          {group.kv_heads * rows * ld, rows * ld}};
}

/// Where a row of scores belongs, and the keys that it sees.
struct ScoreRow {
  index_t token;       ///< row of q
  index_t head;        ///< a
  index_t begin, end;  ///< of its visible keys

  KOKKOS_INLINE_FUNCTION ScoreRow(const AttentionShape& shape, const ScoreGroup& group,
                                  const View1<const token_t>& segments, int row) {
    const int heads = static_cast<int>(group.heads), queries = static_cast<int>(group.queries),
              kv_heads = static_cast<int>(group.kv_heads);
    const int j = row % heads, i = row / heads % queries, product = row / heads / queries;
    const index_t batch = group.batch + product / kv_heads, query = group.query + i;
    token = batch * shape.seq_length + query;
    head = (group.head + j) * shape.num_groups + group.kv + product % kv_heads;
    begin = 0;
    end = shape.q_begin + query + 1;
    if (segments.extent(0) == 0) return;
    const token_t* const segment = segments.data() + batch * shape.num_keys();
    const token_t own = segment[end - 1];
    index_t last =
        segment[0] == own ? 0 : end - 1;  // the first key of the segment is in [begin, last]
    while (begin < last) {
      const index_t middle = (begin + last) / 2;
      if (segment[middle] < own)
        begin = middle + 1;
      else
        last = middle;
    }
  }
  KOKKOS_INLINE_FUNCTION bool sees(index_t key) const { return key >= begin && key < end; }
};

constexpr int at_once = 4;  ///< scores that a thread has in flight
constexpr int softmax_threads = 128;

/// A team for each row of scores.
TeamPolicy row_teams(const ExecutionSpace& exec, const ScoreGroup& group) {
  return thread_teams(exec, group.sequences * group.kv_heads * group.rows(), softmax_threads);
}

/// Calls read(u, key), then, when all threads have read, write(u, key), for the keys of a row, a
/// few at a time: what is written may lie over what was read if it is not wider.
template <class Read, class Write>
KOKKOS_INLINE_FUNCTION void replace_row(const Team& team, index_t keys, const Read& read,
                                        const Write& write) {
  const index_t size = team.team_size(), rank = team.team_rank();
  for (index_t first = 0; first < keys; first += size * at_once) {
    for (int u = 0; u < at_once; ++u) read(u, first + u * size + rank);
    team.team_barrier();
    for (int u = 0; u < at_once; ++u) {
      const index_t key = first + u * size + rank;
      if (key < keys) write(u, key);
    }
  }
}

/// Scores become probabilities, rounded to T.
template <class T>
struct SoftmaxRow {
  using A = Accumulate<T>;
  AttentionShape shape;
  ScoreGroup group;
  View1<const token_t> segment;
  View2<A> lse;
  A* scores;

  KOKKOS_INLINE_FUNCTION void operator()(const Team& team) const {
    const ScoreRow row(shape, group, segment, team.league_rank());
    A* const s = scores + team.league_rank() * group.row;
    const A scale = attention_scale<A>(shape);
    A maximum = no_score<A>, total = 0;
    add_exponentials(team, row, s, scale, maximum, total);
    const A own = maximum, own_total = total;
    each_thread(
        team, [&](A& all) { all = math::max(all, own); }, Kokkos::Max<A>(maximum));
    const A factor = own_total * vector_exp(own - maximum);
    each_thread(
        team, [&](A& all) { all += factor; }, Kokkos::Sum<A>(total));
    Kokkos::single(Kokkos::PerTeam(team),
                   [&] { lse(row.token, row.head) = maximum + math::log(total); });
    const A inverse = A(1) / total;
    T* const p = reinterpret_cast<T*>(s);
    A x[at_once];
    replace_row(
        team, group.keys,
        [&](int u, index_t key) { x[u] = row.sees(key) ? scale * s[key] - maximum : no_score<A>; },
        [&](int u, index_t key) {
          store_rounded(p[key], x[u] < smallest_score<A> ? A(0) : inverse * vector_exp(x[u]));
        });
  }

  /// The maximum of the scores that this thread reads, and the sum of exp(score - maximum).
  KOKKOS_INLINE_FUNCTION void add_exponentials(const Team& team, const ScoreRow& row, const A* s,
                                               A scale, A& maximum, A& total) const {
    const index_t size = team.team_size();
    for (index_t first = row.begin + team.team_rank(); first < row.end; first += size * at_once) {
      A x[at_once], new_maximum = maximum;
      for (int u = 0; u < at_once; ++u) {
        const index_t key = first + u * size;
        x[u] = key < row.end ? scale * s[key] : no_score<A>;
        new_maximum = math::max(new_maximum, x[u]);
      }
      total *= vector_exp(maximum - new_maximum);
      for (int u = 0; u < at_once; ++u)
        if (first + u * size < row.end) total += vector_exp(x[u] - new_maximum);
      maximum = new_maximum;
    }
  }
  /// A reduction with one term of each thread.
  template <class F, class Reducer>
  KOKKOS_INLINE_FUNCTION void each_thread(const Team& team, const F& term,
                                          const Reducer& reducer) const {
    Kokkos::parallel_reduce(
        Kokkos::TeamThreadRange(team, team.team_size()), [&](const int, A& all) { term(all); },
        reducer);
  }
};

/// Scores and products dout v^T become probabilities and gradients by the scores, rounded to T.
template <class T>
struct SoftmaxGradientRow {
  using A = Accumulate<T>;
  AttentionShape shape;
  ScoreGroup group;
  View1<const token_t> segment;
  View2<const A> lse;
  View2<const T> out, dout;
  A *scores, *gradients;

  KOKKOS_INLINE_FUNCTION void operator()(const Team& team) const {
    const ScoreRow row(shape, group, segment, team.league_rank());
    const index_t offset = team.league_rank() * group.row;
    A *const s = scores + offset, *const dp = gradients + offset;
    const A scale = attention_scale<A>(shape), lse_i = lse(row.token, row.head);
    const T *const o = &out(row.token, row.head * shape.head_dim), *const d = &dout(
                                                                       row.token,
                                                                       row.head * shape.head_dim);
    A delta = 0;
    Kokkos::parallel_reduce(
        Kokkos::TeamThreadRange(team, shape.head_dim),
        [&](const index_t c, A& sum) { sum += widen(d[c]) * widen(o[c]); }, Kokkos::Sum<A>(delta));
    T *const p = reinterpret_cast<T*>(s), *const ds = reinterpret_cast<T*>(dp);
    A x[at_once], y[at_once];
    replace_row(
        team, group.keys,
        [&](int u, index_t key) {
          const bool sees = row.sees(key);
          x[u] = sees ? scale * s[key] - lse_i : no_score<A>;
          y[u] = sees ? scale * (dp[key] - delta) : A(0);
        },
        [&](int u, index_t key) {
          const A e = x[u] < smallest_score<A> ? A(0) : vector_exp(x[u]);
          store_rounded(p[key], e);
          store_rounded(ds[key], e == A(0) ? A(0) : e * y[u]);
        });
  }
};

/// Where gradients are added up: in place, or in a workspace if they are rounded.
template <class A, class K>
View2<A> sums_of(const View2<K>& gradients, [[maybe_unused]] A* workspace) {
  if constexpr (std::is_same_v<A, K>)
    return gradients;
  else
    return View2<A>(workspace, gradients.extent(0), gradients.extent(1));
}

}  // namespace

template <class T>
void attention_batched_forward(const Products& products, const AttentionShape& shape,
                               const ScoreBlocks& blocks, const AttentionInputs<T>& in,
                               const AttentionSaved<T>& saved, InOut1<Accumulate<T>> workspace) {
  using A = Accumulate<T>;
  require_workspace("attention_batched_forward", workspace, blocks.scores);
  A* const scores = workspace.data();
  const auto attend = [&](const ScoreGroup& group) {
    gemm_batched<T, A>(products, group.count(), Transpose::no, Transpose::yes,
                       queries_of(in.q, shape, group), keys_of(in.k, shape, group), 0,
                       scores_of<A>(scores, group));
    Kokkos::parallel_for("elastic::attention_softmax", row_teams(products.exec, group),
                         SoftmaxRow<T>{shape, group, in.segment, saved.lse, scores});
    gemm_batched<T, T>(products, group.count(), Transpose::no, Transpose::no,
                       scores_of<const T>(scores, group), keys_of(in.v, shape, group), 0,
                       queries_of(saved.out, shape, group));
  };
  for_each_group(products, shape, blocks, attend, in.q, saved.out);
}

template <class T, class K>
void attention_batched_backward(const Products& products, const AttentionShape& shape,
                                const ScoreBlocks& blocks, const AttentionInputs<T>& in,
                                const AttentionSaved<T>& saved, In2<T> dout,
                                const AttentionGradients<T, K>& gradients,
                                InOut1<Accumulate<T>> workspace) {
  using A = Accumulate<T>;
  constexpr bool in_place = std::is_same_v<K, A>;
  constexpr auto N = Transpose::no, Y = Transpose::yes;
  const index_t all_keys = shape.batch * shape.num_keys(), kv = shape.num_groups * shape.head_dim;
  require_workspace("attention_batched_backward", workspace,
                    2 * blocks.scores + (in_place ? 0 : 2 * all_keys * kv));
  A *const scores = workspace.data(), *const dp = scores + blocks.scores;
  const View2<A> dk = sums_of<A>(gradients.dk, dp + blocks.scores),
                 dv = sums_of<A>(gradients.dv, dp + blocks.scores + all_keys * kv);
  Kokkos::deep_copy(products.exec, dk, A(0));
  Kokkos::deep_copy(products.exec, dv, A(0));
  const auto differentiate = [&](const ScoreGroup& group) {
    const auto multiply = [&]<class C>(Transpose ta, Transpose tb, MatrixBatch<const T> a,
                                       MatrixBatch<const T> b, MatrixBatch<C> c, A beta) {
      gemm_batched<T, C>(products, group.count(), ta, tb, a, b, beta, c);
    };
    const auto q = queries_of(in.q, shape, group), d = queries_of(dout, shape, group);
    const auto k = keys_of(in.k, shape, group);
    multiply(N, Y, q, k, scores_of<A>(scores, group), 0);
    multiply(N, Y, d, keys_of(in.v, shape, group), scores_of<A>(dp, group), 0);
    Kokkos::parallel_for(
        "elastic::attention_softmax_gradient", row_teams(products.exec, group),
        SoftmaxGradientRow<T>{shape, group, in.segment, saved.lse, saved.out, dout, scores, dp});
    const auto p = scores_of<const T>(scores, group), ds = scores_of<const T>(dp, group);
    multiply(N, N, ds, k, queries_of(gradients.dq, shape, group), 0);
    multiply(Y, N, ds, q, keys_of(dk, shape, group), 1);
    multiply(Y, N, p, d, keys_of(dv, shape, group), 1);
  };
  for_each_group(products, shape, blocks, differentiate, in.q, dout, gradients.dq);
  if constexpr (!in_place) {
    convert<K, A>(products.exec, dk, gradients.dk);
    convert<K, A>(products.exec, dv, gradients.dv);
  }
}

#define ELASTIC_INSTANTIATE(T)                                                              \
  template void attention_batched_forward<T>(const Products&, const AttentionShape&,        \
                                             const ScoreBlocks&, const AttentionInputs<T>&, \
                                             const AttentionSaved<T>&, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE
#define ELASTIC_INSTANTIATE(T, K)                                                            \
  template void attention_batched_backward<T, K>(                                            \
      const Products&, const AttentionShape&, const ScoreBlocks&, const AttentionInputs<T>&, \
      const AttentionSaved<T>&, In2<T>, const AttentionGradients<T, K>&, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16, bfloat16)
ELASTIC_INSTANTIATE(bfloat16, float)
ELASTIC_INSTANTIATE(float, float)
ELASTIC_INSTANTIATE(double, double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
