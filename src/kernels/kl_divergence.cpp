// SPDX-License-Identifier: Apache-2.0
// Forward KL of a chunk of logits: both softmaxes, loss and gradient of a row while it is in cache,
// or one after the other.
#include "kernels/kl_divergence.hpp"

#include "kernels/row_softmax.hpp"

namespace elastic::kernels {
namespace {

/// Of a row: maxima of teacher and student, and the sums of e^a, e^b, e^a (a - b).
template <class S>
struct RowMaxima {
  S teacher, student;
};
template <class S>
struct RowSums {
  S teacher, student, difference;
};

template <class S>
KOKKOS_INLINE_FUNCTION RowMaxima<S> maxima_of_row(const RowTeam& team, const S* s_p, const S* s_q,
                                                  index_t columns) {
  return {row_maximum(team, s_p, columns), row_maximum(team, s_q, columns)};
}

template <class S>
KOKKOS_INLINE_FUNCTION RowSums<S> sum_row(const RowTeam& team, const S* s_p, const S* s_q,
                                          index_t columns, const RowMaxima<S>& maxima, S scale,
                                          index_t chains) {
  const ColumnSums<S, 3> sums(team, chains);
  sums.add_up(
      team, columns,
      [=](S* sum, bool counts, S z_p, S z_q) {
        const S a = (z_p - maxima.teacher) * scale, b = (z_q - maxima.student) * scale;
        const S p = vector_exp(a), q = vector_exp(b), difference = p * (a - b);
        sum[0] += counts ? p : S(0);
        sum[most_chains] += counts ? q : S(0);
        sum[2 * most_chains] += counts ? difference : S(0);
      },
      s_p, s_q);
  return {sums[0], sums[1], sums[2]};
}

/// Loss and gradient of rows, once the sums of all ranks are known.
template <class S>
struct Finish {
  View2<const S> teacher;
  View1<const float> weight;
  S scale;  ///< 1 / temperature
  bool gradient;
  S factor;
  View2<S> student;
  View1<S> row_loss;

  KOKKOS_INLINE_FUNCTION void operator()(const RowTeam& team, index_t t, const RowMaxima<S>& maxima,
                                         const RowSums<S>& sums) const {
    const S w = weight(t), step = factor * w * scale;
    const RowSoftmax<S> p{scale, maxima.teacher, math::log(sums.teacher)},
        q{scale, maxima.student, math::log(sums.student)};
    Kokkos::single(Kokkos::PerTeam(team), [&]() {
      row_loss(t) = w * (sums.difference / sums.teacher - (p.log_sum - q.log_sum));
    });
    if (!gradient) return;
    S* const s_q = row_of(student, t);
    transform_columns(
        team, static_cast<index_t>(student.extent(1)),
        [=](S z_p, S z_q) { return step * (q.probability(z_q) - p.probability(z_p)); }, s_q,
        row_of(teacher, t), static_cast<const S*>(s_q));
  }
  /// Of a row that does not count.
  KOKKOS_INLINE_FUNCTION void clear(const RowTeam& team, index_t t) const {
    Kokkos::single(Kokkos::PerTeam(team), [&]() { row_loss(t) = 0; });
    if (gradient) zero_row(team, row_of(student, t), static_cast<index_t>(student.extent(1)));
  }
};

template <class S>
Finish<S> checked_finish(const char* function, const View2<const S>& teacher,
                         const View1<const float>& weight, double temperature, bool gradient,
                         S factor, const View2<S>& student, const View1<S>& row_loss) {
  const auto T = static_cast<index_t>(student.extent(0));
  require_shape(function, "teacher", teacher, T, static_cast<index_t>(student.extent(1)));
  require_shape(function, "weight", weight, T);
  require_shape(function, "row_loss", row_loss, T);
  ELASTIC_REQUIRE(temperature > 0, "{}: temperature {}", function, temperature);
  return {teacher, weight, static_cast<S>(1 / temperature), gradient, factor, student, row_loss};
}
}  // namespace

template <class S>
void kl_divergence(const ExecutionSpace& exec, In2<S> teacher, In1<float> weight,
                   double temperature, bool gradient, std::type_identity_t<S> factor,
                   InOut2<S> student, InOut1<S> row_loss) {
  const auto T = static_cast<index_t>(student.extent(0)),
             V = static_cast<index_t>(student.extent(1));
  const auto finish = checked_finish<S>("kl_divergence", teacher, weight, temperature, gradient,
                                        factor, student, row_loss);
  if (T == 0) return;
  const index_t chains = num_chains({});
  Kokkos::parallel_for(
      "elastic::kl_divergence", row_policy<S>(exec, T, 3), KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        if (weight(t) == 0) return finish.clear(team, t);
        const S *const s_p = row_of(teacher, t), *const s_q = row_of(student, t);
        const auto maxima = maxima_of_row(team, s_p, s_q, V);
        finish(team, t, maxima, sum_row<S>(team, s_p, s_q, V, maxima, finish.scale, chains));
      });
}

template <class S>
void kl_divergence_maxima(const ExecutionSpace& exec, In2<S> teacher, In1<float> weight,
                          In2<S> student, InOut2<S> maxima) {
  const auto T = static_cast<index_t>(student.extent(0)),
             V = static_cast<index_t>(student.extent(1));
  const char* name = "kl_divergence_maxima";
  require_shape(name, "teacher", teacher, T, V);
  require_shape(name, "weight", weight, T);
  require_shape(name, "maxima", maxima, T, 2);
  if (T == 0) return;
  Kokkos::parallel_for(
      "elastic::kl_divergence_maxima", row_policy<S>(exec, T, 0),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        RowMaxima<S> row = {0, 0};
        if (weight(t) != 0) row = maxima_of_row(team, row_of(teacher, t), row_of(student, t), V);
        Kokkos::single(Kokkos::PerTeam(team), [&]() {
          maxima(t, 0) = row.teacher;
          maxima(t, 1) = row.student;
        });
      });
}

template <class S>
void kl_divergence_sums(const ExecutionSpace& exec, In2<S> teacher, In1<float> weight,
                        const Shard& shard, double temperature, In2<S> student, In2<S> maxima,
                        InOut2<S> sums) {
  const auto T = static_cast<index_t>(student.extent(0)),
             V = static_cast<index_t>(student.extent(1));
  const char* name = "kl_divergence_sums";
  require_shape(name, "teacher", teacher, T, V);
  require_shape(name, "weight", weight, T);
  require_shape(name, "maxima", maxima, T, 2);
  require_shape(name, "sums", sums, T, 3);
  ELASTIC_REQUIRE(temperature > 0, "{}: temperature {}", name, temperature);
  if (T == 0) return;
  const index_t chains = num_chains(shard);
  const S scale = static_cast<S>(1 / temperature);
  Kokkos::parallel_for(
      "elastic::kl_divergence_sums", row_policy<S>(exec, T, 3), KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        RowSums<S> row = {0, 0, 0};
        if (weight(t) != 0)
          row = sum_row<S>(team, row_of(teacher, t), row_of(student, t), V,
                           {maxima(t, 0), maxima(t, 1)}, scale, chains);
        Kokkos::single(Kokkos::PerTeam(team), [&]() {
          sums(t, 0) = row.teacher;
          sums(t, 1) = row.student;
          sums(t, 2) = row.difference;
        });
      });
}

template <class S>
void kl_divergence_finish(const ExecutionSpace& exec, In2<S> teacher, In1<float> weight,
                          double temperature, In2<S> maxima, In2<S> sums, bool gradient,
                          std::type_identity_t<S> factor, InOut2<S> student, InOut1<S> row_loss) {
  const char* name = "kl_divergence_finish";
  const auto T = static_cast<index_t>(student.extent(0));
  const auto finish =
      checked_finish<S>(name, teacher, weight, temperature, gradient, factor, student, row_loss);
  require_shape(name, "maxima", maxima, T, 2);
  require_shape(name, "sums", sums, T, 3);
  if (T == 0) return;
  Kokkos::parallel_for(
      "elastic::kl_divergence_finish", row_policy<S>(exec, T, 0),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        if (weight(t) == 0) return finish.clear(team, t);
        finish(team, t, {maxima(t, 0), maxima(t, 1)}, {sums(t, 0), sums(t, 1), sums(t, 2)});
      });
}

#define ELASTIC_INSTANTIATE(S)                                                                     \
  template void kl_divergence<S>(const ExecutionSpace&, In2<S>, In1<float>, double, bool,          \
                                 std::type_identity_t<S>, InOut2<S>, InOut1<S>);                   \
  template void kl_divergence_maxima<S>(const ExecutionSpace&, In2<S>, In1<float>, In2<S>,         \
                                        InOut2<S>);                                                \
  template void kl_divergence_sums<S>(const ExecutionSpace&, In2<S>, In1<float>, const Shard&,     \
                                      double, In2<S>, In2<S>, InOut2<S>);                          \
  template void kl_divergence_finish<S>(const ExecutionSpace&, In2<S>, In1<float>, double, In2<S>, \
                                        In2<S>, bool, std::type_identity_t<S>, InOut2<S>,          \
                                        InOut1<S>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
