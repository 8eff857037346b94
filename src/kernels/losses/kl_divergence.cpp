// SPDX-License-Identifier: Apache-2.0
// Forward KL of a chunk of logits: both softmaxes, loss and gradient of a row while it
// is in cache, or one after the other.
#include "kernels/losses/kl_divergence.hpp"

#include "kernels/losses/row_softmax.hpp"

namespace elastic::kernels {
namespace {

/// Numbers of a row: maxima of teacher and student, and the sums of e^a, e^b, e^a (a - b).
template <class T>
struct RowMaxima {
  T teacher, student;
};
template <class T>
struct RowSums {
  T teacher, student, difference;
};

template <class T>
KOKKOS_INLINE_FUNCTION RowMaxima<Accumulate<T>> maxima_of_row(const RowTeam& team, const T* s_p,
                                                              const T* s_q, index_t columns) {
  return {row_maximum(team, s_p, columns), row_maximum(team, s_q, columns)};
}

template <class T>
KOKKOS_INLINE_FUNCTION RowSums<Accumulate<T>> sum_row(const RowTeam& team, const T* s_p,
                                                      const T* s_q, index_t columns,
                                                      const RowMaxima<Accumulate<T>>& maxima,
                                                      Accumulate<T> scale, index_t chains) {
  using A = Accumulate<T>;
  const ColumnSums<A, 3> sums(team, chains);
  sums.add_up(
      team, columns,
      [=](A* sum, bool counts, A z_p, A z_q) {
        const A a = (z_p - maxima.teacher) * scale, b = (z_q - maxima.student) * scale;
        const A p = softmax_exp<T>(a), q = softmax_exp<T>(b), difference = p * (a - b);
        sum[0] += counts ? p : A(0);
        sum[sum_distance] += counts ? q : A(0);
        sum[2 * sum_distance] += counts ? difference : A(0);
      },
      s_p, s_q);
  return {sums[0], sums[1], sums[2]};
}

/// Loss and gradient of rows, once the sums of all ranks are known.
template <class T>
struct Finish {
  using A = Accumulate<T>;
  View2<const T> teacher;
  View1<const float> weight;
  A scale;  ///< 1 / temperature
  bool gradient;
  A factor;
  View2<T> student;
  View1<A> row_loss;

  KOKKOS_INLINE_FUNCTION void operator()(const RowTeam& team, index_t t, const RowMaxima<A>& maxima,
                                         const RowSums<A>& sums) const {
    const A w = weight(t), step = factor * w * scale;
    const RowSoftmax<A> p{scale, maxima.teacher, math::log(sums.teacher)},
        q{scale, maxima.student, math::log(sums.student)};
    Kokkos::single(Kokkos::PerTeam(team), [&]() {
      row_loss(t) = w * (sums.difference / sums.teacher - (p.log_sum - q.log_sum));
    });
    if (!gradient) return;
    T* const s_q = row_of(student, t);
    const A share = step / sums.student, ratio = sums.student / sums.teacher;
    transform_columns(
        team, static_cast<index_t>(student.extent(1)),
        [=](A z_p, A z_q) {
          if constexpr (std::is_same_v<T, A>)
            return step * (q.probability(z_q) - p.probability(z_p));
          else  // exactly zero where both are equal
            return share * (softmax_exp<T>((z_q - q.maximum) * q.scale) -
                            ratio * softmax_exp<T>((z_p - p.maximum) * p.scale));
        },
        s_q, row_of(teacher, t), static_cast<const T*>(s_q));
  }
  /// Writes a row that does not count.
  KOKKOS_INLINE_FUNCTION void clear(const RowTeam& team, index_t t) const {
    Kokkos::single(Kokkos::PerTeam(team), [&]() { row_loss(t) = 0; });
    if (gradient) zero_row(team, row_of(student, t), static_cast<index_t>(student.extent(1)));
  }
};

template <class T>
void require_rows(const char* function, const KlDivergenceRows<T>& rows,
                  const View2<const T>& student) {
  const auto tokens = static_cast<index_t>(student.extent(0));
  require_shape(function, "teacher", rows.teacher, tokens, static_cast<index_t>(student.extent(1)));
  require_shape(function, "weight", rows.weight, tokens);
  ELASTIC_REQUIRE(rows.temperature > 0, "{}: temperature {}", function, rows.temperature);
}
template <class T>
Accumulate<T> inverse_temperature(const KlDivergenceRows<T>& rows) {
  return static_cast<Accumulate<T>>(1 / rows.temperature);
}
}  // namespace

template <class T>
void kl_divergence(const ExecutionSpace& exec, const KlDivergenceRows<T>& rows, bool gradient,
                   Accumulate<T> factor, InOut2<T> student, InOut1<Accumulate<T>> row_loss) {
  const auto tokens = static_cast<index_t>(student.extent(0)),
             V = static_cast<index_t>(student.extent(1));
  require_rows<T>("kl_divergence", rows, student);
  require_shape("kl_divergence", "row_loss", row_loss, tokens);
  if (tokens == 0) return;
  const Finish<T> finish{rows.teacher, rows.weight, inverse_temperature(rows), gradient, factor,
                         student,      row_loss};
  const index_t chains = num_chains({});
  Kokkos::parallel_for(
      "elastic::kl_divergence", row_policy<T>(exec, tokens, 3), KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        if (rows.weight(t) == 0) return finish.clear(team, t);
        const T *const s_p = row_of(rows.teacher, t), *const s_q = row_of(student, t);
        const auto maxima = maxima_of_row(team, s_p, s_q, V);
        finish(team, t, maxima, sum_row<T>(team, s_p, s_q, V, maxima, finish.scale, chains));
      });
}

template <class T>
void kl_divergence_maxima(const ExecutionSpace& exec, const KlDivergenceRows<T>& rows,
                          In2<T> student, InOut2<Accumulate<T>> maxima) {
  const auto tokens = static_cast<index_t>(student.extent(0)),
             V = static_cast<index_t>(student.extent(1));
  require_rows<T>("kl_divergence_maxima", rows, student);
  require_shape("kl_divergence_maxima", "maxima", maxima, tokens, 2);
  if (tokens == 0) return;
  Kokkos::parallel_for(
      "elastic::kl_divergence_maxima", row_policy<T>(exec, tokens, 0),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        RowMaxima<Accumulate<T>> row = {0, 0};
        if (rows.weight(t) != 0)
          row = maxima_of_row(team, row_of(rows.teacher, t), row_of(student, t), V);
        Kokkos::single(Kokkos::PerTeam(team), [&]() {
          maxima(t, 0) = row.teacher;
          maxima(t, 1) = row.student;
        });
      });
}

template <class T>
void kl_divergence_sums(const ExecutionSpace& exec, const KlDivergenceRows<T>& rows, In2<T> student,
                        In2<Accumulate<T>> maxima, InOut2<Accumulate<T>> sums) {
  const auto tokens = static_cast<index_t>(student.extent(0)),
             V = static_cast<index_t>(student.extent(1));
  const char* name = "kl_divergence_sums";
  require_rows<T>(name, rows, student);
  require_shape(name, "maxima", maxima, tokens, 2);
  require_shape(name, "sums", sums, tokens, 3);
  if (tokens == 0) return;
  const index_t chains = num_chains(rows.shard);
  const Accumulate<T> scale = inverse_temperature(rows);
  Kokkos::parallel_for(
      "elastic::kl_divergence_sums", row_policy<T>(exec, tokens, 3),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        RowSums<Accumulate<T>> row = {0, 0, 0};
        if (rows.weight(t) != 0)
          row = sum_row<T>(team, row_of(rows.teacher, t), row_of(student, t), V,
                           {maxima(t, 0), maxima(t, 1)}, scale, chains);
        Kokkos::single(Kokkos::PerTeam(team), [&]() {
          sums(t, 0) = row.teacher;
          sums(t, 1) = row.student;
          sums(t, 2) = row.difference;
        });
      });
}

template <class T>
void kl_divergence_finish(const ExecutionSpace& exec, const KlDivergenceRows<T>& rows,
                          In2<Accumulate<T>> maxima, In2<Accumulate<T>> sums, bool gradient,
                          Accumulate<T> factor, InOut2<T> student, InOut1<Accumulate<T>> row_loss) {
  const char* name = "kl_divergence_finish";
  const auto tokens = static_cast<index_t>(student.extent(0));
  require_rows<T>(name, rows, student);
  require_shape(name, "row_loss", row_loss, tokens);
  require_shape(name, "maxima", maxima, tokens, 2);
  require_shape(name, "sums", sums, tokens, 3);
  if (tokens == 0) return;
  const Finish<T> finish{rows.teacher, rows.weight, inverse_temperature(rows), gradient, factor,
                         student,      row_loss};
  Kokkos::parallel_for(
      "elastic::kl_divergence_finish", row_policy<T>(exec, tokens, 0),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        if (rows.weight(t) == 0) return finish.clear(team, t);
        finish(team, t, {maxima(t, 0), maxima(t, 1)}, {sums(t, 0), sums(t, 1), sums(t, 2)});
      });
}

#define ELASTIC_INSTANTIATE(T)                                                                     \
  template void kl_divergence<T>(const ExecutionSpace&, const KlDivergenceRows<T>&, bool,          \
                                 Accumulate<T>, InOut2<T>, InOut1<Accumulate<T>>);                 \
  template void kl_divergence_maxima<T>(const ExecutionSpace&, const KlDivergenceRows<T>&, In2<T>, \
                                        InOut2<Accumulate<T>>);                                    \
  template void kl_divergence_sums<T>(const ExecutionSpace&, const KlDivergenceRows<T>&, In2<T>,   \
                                      In2<Accumulate<T>>, InOut2<Accumulate<T>>);                  \
  template void kl_divergence_finish<T>(const ExecutionSpace&, const KlDivergenceRows<T>&,         \
                                        In2<Accumulate<T>>, In2<Accumulate<T>>, bool,              \
                                        Accumulate<T>, InOut2<T>, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
