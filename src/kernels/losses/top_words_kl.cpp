// SPDX-License-Identifier: Apache-2.0
#include "kernels/losses/top_words_kl.hpp"

#include "kernels/losses/row_softmax.hpp"

namespace elastic::kernels {
namespace {

template <class A>
constexpr A nothing = -std::numeric_limits<A>::infinity();

/// What a row of the teacher says, as probabilities that sum to 1.
template <class A>
struct TeacherRow {
  const token_t* ids;
  const bfloat16* log_p;
  index_t k;
  A log_sum;   ///< of the stored numbers: of their rounding
  A log_rest;  ///< -inf: nothing is left

  KOKKOS_INLINE_FUNCTION A log_probability(index_t i) const {
    return static_cast<A>(log_p[i]) - log_sum;
  }
  KOKKOS_INLINE_FUNCTION A probability(index_t i) const { return vector_exp(log_probability(i)); }
  KOKKOS_INLINE_FUNCTION A rest() const {
    return log_rest == nothing<A> ? A(0) : vector_exp(log_rest);
  }
};

template <class A>
KOKKOS_INLINE_FUNCTION TeacherRow<A> teacher_row(const RowTeam& team, const TopWords& words,
                                                 index_t t) {
  TeacherRow<A> row{&words.ids(t, 0), &words.log_p(t, 0), static_cast<index_t>(words.ids.extent(1)),
                    A(0), static_cast<A>(words.log_rest(t))};
  A sum = 0;
  Kokkos::parallel_reduce(
      Kokkos::TeamVectorRange(team, row.k),
      [&](index_t i, A& part) { part += vector_exp(static_cast<A>(row.log_p[i])); }, sum);
  row.log_sum = math::log(sum + row.rest());
  row.log_rest -= row.log_sum;
  return row;
}

/// The words of this rank.
struct Mine {
  int rank, size;
  KOKKOS_INLINE_FUNCTION bool has(token_t id) const { return id % size == rank; }
  KOKKOS_INLINE_FUNCTION index_t column(token_t id) const { return id / size; }
};
Mine mine_of(const Shard& shard) { return {shard.rank, shard.size}; }

/// Sums over known words in as many chains as there are classes of words on a rank.
template <class A>
class ClassSums {
 public:
  static constexpr index_t scratch = 2 * sum_classes;
  KOKKOS_INLINE_FUNCTION ClassSums(const RowTeam& team, int classes)
      : m_sum(static_cast<A*>(team.team_scratch(0).get_shmem_aligned(scratch * sizeof(A), 64))),
        m_classes(classes) {}
  /// term(i, sums of two) for all words i of this rank.
  template <class Term>
  KOKKOS_INLINE_FUNCTION void add_up(const RowTeam& team, const TeacherRow<A>& row,
                                     const Mine& mine, const Term& term) const {
    A* const sum = m_sum;
    const int classes = m_classes;
    Kokkos::parallel_for(Kokkos::TeamVectorRange(team, classes), [&](const int c) {
      A own[2] = {0, 0};
      for (index_t i = 0; i < row.k; ++i)
        if (mine.has(row.ids[i]) && mine.column(row.ids[i]) % classes == c) term(i, own);
      sum[c] = own[0];
      sum[sum_classes + c] = own[1];
    });
    team.team_barrier();
    Kokkos::single(Kokkos::PerTeam(team), [&]() {
      for (int half = classes / 2; half > 0; half /= 2)
        for (int c = 0; c < half; ++c) {
          sum[c] += sum[c + half];
          sum[sum_classes + c] += sum[sum_classes + c + half];
        }
    });
    team.team_barrier();
  }
  KOKKOS_INLINE_FUNCTION A operator[](int i) const { return m_sum[i * sum_classes]; }

 private:
  A* m_sum;
  int m_classes;
};

/// The larger of the maxima of known and other words.
template <class A>
KOKKOS_INLINE_FUNCTION A larger(A a, A b) {
  return a < b ? b : a;
}

template <class T>
void require_rows(const char* function, const TopWordsRows& rows, const View2<const T>& student,
                  const View2<const Accumulate<T>>& known) {
  const auto tokens = static_cast<index_t>(student.extent(0)),
             k = static_cast<index_t>(rows.teacher.ids.extent(1));
  ELASTIC_REQUIRE(k > 0, "{}: no word is known", function);
  ELASTIC_REQUIRE(rows.temperature > 0, "{}: temperature {}", function, rows.temperature);
  require_shape(function, "ids", rows.teacher.ids, tokens, k);
  require_shape(function, "log_p", rows.teacher.log_p, tokens, k);
  require_shape(function, "log_rest", rows.teacher.log_rest, tokens);
  require_shape(function, "weight", rows.weight, tokens);
  require_shape(function, "known", known, tokens, k);
}

/// Loss and gradient of a row, once the sums of all ranks are known.
template <class T>
struct Finish {
  using A = Accumulate<T>;
  TopWords words;
  View1<const float> weight;
  A scale;  ///< 1 / temperature
  Mine mine;
  TopWordsKlSaved<T> saved;
  A factor;
  View2<T> student;
  View1<A> row_loss;

  KOKKOS_INLINE_FUNCTION void operator()(const RowTeam& team) const {
    const index_t t = team.league_rank(), columns = static_cast<index_t>(student.extent(1));
    T* const s = row_of(student, t);
    if (weight(t) == 0) {
      Kokkos::single(Kokkos::PerTeam(team), [&]() { row_loss(t) = 0; });
      return zero_row(team, s, columns);
    }
    const TeacherRow<A> row = teacher_row<A>(team, words, t);
    const A w = weight(t), step = factor * w * scale, r = row.rest();
    const A others_maximum = saved.maxima(t, 1), others = saved.sums(t, 1),
            maximum = larger(saved.maxima(t, 0), others_maximum),
            distance = (others_maximum - maximum) * scale,
            left = others > 0 ? others * vector_exp(distance) : A(0), all = saved.sums(t, 0) + left;
    const RowSoftmax<A> q{scale, maximum, math::log(all)};
    Kokkos::single(Kokkos::PerTeam(team), [&]() {
      A loss = saved.sums(t, 2) + q.log_sum;
      if (r > 0) loss += r * (row.log_rest - (distance + math::log(others)));
      row_loss(t) = w * loss;
    });
    const A excess = others > 0 ? step * (left / all - r) / others : A(0), factor_ = scale;
    transform_columns(
        team, columns, [=](A z) { return excess * softmax_exp<T>((z - others_maximum) * factor_); },
        s, static_cast<const T*>(s));
    const View2<const A> known = saved.known;
    const Mine here = mine;
    Kokkos::parallel_for(Kokkos::TeamVectorRange(team, row.k), [&](const index_t i) {
      if (!here.has(row.ids[i])) return;
      s[here.column(row.ids[i])] =
          static_cast<T>(step * (q.probability(known(t, i)) - row.probability(i)));
    });
  }
};

}  // namespace

template <class T>
void top_words_kl_maxima(const ExecutionSpace& exec, const TopWordsRows& rows, InOut2<T> student,
                         InOut2<Accumulate<T>> known, InOut2<Accumulate<T>> maxima) {
  using A = Accumulate<T>;
  const auto tokens = static_cast<index_t>(student.extent(0)),
             V = static_cast<index_t>(student.extent(1)),
             k = static_cast<index_t>(rows.teacher.ids.extent(1));
  require_rows<T>("top_words_kl_maxima", rows, student, known);
  require_shape("top_words_kl_maxima", "maxima", maxima, tokens, 2);
  if (tokens == 0) return;
  const Mine mine = mine_of(rows.shard);
  const auto weight = rows.weight;
  const auto ids = rows.teacher.ids;
  Kokkos::parallel_for(
      "elastic::top_words_kl_maxima", row_policy<T>(exec, tokens, 0),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        A largest = 0, others = 0;
        if (weight(t) != 0) {
          T* const s = row_of(student, t);
          Kokkos::parallel_reduce(
              Kokkos::TeamVectorRange(team, k),
              [&](index_t i, A& best) {
                const token_t id = ids(t, i);
                A z = nothing<A>;
                if (mine.has(id)) {
                  z = widen(s[mine.column(id)]);
                  s[mine.column(id)] = static_cast<T>(nothing<A>);
                }
                known(t, i) = z;
                best = best < z ? z : best;
              },
              Kokkos::Max<A>(largest));
          team.team_barrier();
          others = row_maximum(team, s, V);
        }
        Kokkos::single(Kokkos::PerTeam(team), [&]() {
          maxima(t, 0) = largest;
          maxima(t, 1) = others;
        });
      });
}

template <class T>
void top_words_kl_sums(const ExecutionSpace& exec, const TopWordsRows& rows, In2<T> student,
                       In2<Accumulate<T>> known, In2<Accumulate<T>> maxima,
                       InOut2<Accumulate<T>> sums) {
  using A = Accumulate<T>;
  const auto tokens = static_cast<index_t>(student.extent(0)),
             V = static_cast<index_t>(student.extent(1));
  const char* name = "top_words_kl_sums";
  require_rows<T>(name, rows, student, known);
  require_shape(name, "maxima", maxima, tokens, 2);
  require_shape(name, "sums", sums, tokens, 3);
  if (tokens == 0) return;
  const index_t chains = num_chains(rows.shard);
  const auto classes = static_cast<int>(chains / chains_of_class);
  const A scale = static_cast<A>(1 / rows.temperature);
  const Mine mine = mine_of(rows.shard);
  const auto weight = rows.weight;
  const TopWords words = rows.teacher;
  TeamPolicy policy = row_policy<T>(exec, tokens, 1);
  const auto bytes =
      static_cast<int>((most_chains + ClassSums<A>::scratch) * static_cast<index_t>(sizeof(A)));
  policy.set_scratch_size(0, Kokkos::PerTeam(bytes + 128));
  Kokkos::parallel_for(
      "elastic::top_words_kl_sums", policy, KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        if (weight(t) == 0) {
          Kokkos::single(Kokkos::PerTeam(team), [&]() {
            for (int i = 0; i < 3; ++i) sums(t, i) = 0;
          });
          return;
        }
        const A others_maximum = maxima(t, 1), maximum = larger(maxima(t, 0), others_maximum);
        const ColumnSums<A, 1> others(team, chains);
        others.add_up(
            team, V,
            [=](A* sum, bool counts, A z) {
              const A e = softmax_exp<T>((z - others_maximum) * scale);
              // A NaN counts, a word that was taken out does not.
              sum[0] += counts && !(z == nothing<A>) ? e : A(0);
            },
            row_of(student, t));
        const TeacherRow<A> row = teacher_row<A>(team, words, t);
        const ClassSums<A> class_sums(team, classes);
        class_sums.add_up(team, row, mine, [&](index_t i, A* sum) {
          const A b = (known(t, i) - maximum) * scale;
          sum[0] += vector_exp(b);
          sum[1] += row.probability(i) * (row.log_probability(i) - b);
        });
        Kokkos::single(Kokkos::PerTeam(team), [&]() {
          sums(t, 0) = class_sums[0];
          sums(t, 1) = others[0];
          sums(t, 2) = class_sums[1];
        });
      });
}

template <class T>
void top_words_kl_finish(const ExecutionSpace& exec, const TopWordsRows& rows,
                         const TopWordsKlSaved<T>& saved, Accumulate<T> factor, InOut2<T> student,
                         InOut1<Accumulate<T>> row_loss) {
  const char* name = "top_words_kl_finish";
  const auto tokens = static_cast<index_t>(student.extent(0));
  require_rows<T>(name, rows, student, saved.known);
  require_shape(name, "row_loss", row_loss, tokens);
  require_shape(name, "maxima", saved.maxima, tokens, 2);
  require_shape(name, "sums", saved.sums, tokens, 3);
  if (tokens == 0) return;
  const Finish<T> finish{rows.teacher,
                         rows.weight,
                         static_cast<Accumulate<T>>(1 / rows.temperature),
                         mine_of(rows.shard),
                         saved,
                         factor,
                         student,
                         row_loss};
  Kokkos::parallel_for("elastic::top_words_kl_finish", row_policy<T>(exec, tokens, 0), finish);
}

#define ELASTIC_INSTANTIATE(T)                                                                \
  template void top_words_kl_maxima<T>(const ExecutionSpace&, const TopWordsRows&, InOut2<T>, \
                                       InOut2<Accumulate<T>>, InOut2<Accumulate<T>>);         \
  template void top_words_kl_sums<T>(const ExecutionSpace&, const TopWordsRows&, In2<T>,      \
                                     In2<Accumulate<T>>, In2<Accumulate<T>>,                  \
                                     InOut2<Accumulate<T>>);                                  \
  template void top_words_kl_finish<T>(const ExecutionSpace&, const TopWordsRows&,            \
                                       const TopWordsKlSaved<T>&, Accumulate<T>, InOut2<T>,   \
                                       InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
