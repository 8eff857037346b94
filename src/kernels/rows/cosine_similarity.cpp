// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/cosine_similarity.hpp"

#include "kernels/rows/pack.hpp"

namespace elastic::kernels {
namespace {

/// Sums over a row.
template <class A>
struct RowSums {
  A product, a_square, b_square;

  KOKKOS_INLINE_FUNCTION A cosine() const {
    const A lengths = math::sqrt(a_square) * math::sqrt(b_square);
    const bool both_zero = a_square == 0 && b_square == 0;
    return lengths == 0 ? A(both_zero) : product / lengths;
  }
};

template <class T>
struct Rows {
  using A = Accumulate<T>;
  static constexpr int threads = 4;
  View2<const T> a, b;
  View1<A> cosine;
  bool aligned;

  /// A host's row.
  KOKKOS_FUNCTION void operator()(const index_t t) const {
    RowSums<A> sums = {0, 0, 0};
    for (index_t c = 0; c < static_cast<index_t>(a.extent(1)); ++c) {
      const A x = widen(a(t, c)), y = widen(b(t, c));
      sums.product += x * y;
      sums.a_square += x * x;
      sums.b_square += y * y;
    }
    cosine(t) = sums.cosine();
  }
  /// A device's team.
  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const index_t t = team.league_rank();
    const RowSums<A> sums = {row_product(team, a, b), row_product(team, a, a),
                             row_product(team, b, b)};
    Kokkos::single(Kokkos::PerTeam(team), [&]() { cosine(t) = sums.cosine(); });
  }

 private:
  KOKKOS_INLINE_FUNCTION A row_product(const Team& team, const View2<const T>& x,
                                       const View2<const T>& y) const {
    const T *const x_t = &x(team.league_rank(), 0), *const y_t = &y(team.league_rank(), 0);
    return sum_row_packs<A>(team, static_cast<index_t>(x.extent(1)),
                            [&](index_t c, int count, A& sum) {
                              const Pack<A> p = load_pack(x_t + c, count, aligned),
                                            q = load_pack(y_t + c, count, aligned);
                              for (int i = 0; i < pack_size; ++i) sum += p[i] * q[i];
                            });
  }
};

}  // namespace

template <class T>
void cosine_similarity(const ExecutionSpace& exec, In2<T> a, In2<T> b,
                       InOut1<Accumulate<T>> cosine) {
  const auto rows = static_cast<index_t>(a.extent(0)), columns = static_cast<index_t>(a.extent(1));
  require_shape("cosine_similarity", "b", b, rows, columns);
  require_shape("cosine_similarity", "cosine", cosine, rows);
  const char* label = "elastic::cosine_similarity";
  const Rows<T> kernel{a, b, cosine, packs_are_aligned(a, b)};
  if constexpr (on_host)
    Kokkos::parallel_for(label, LinearPolicy(exec, 0, rows), kernel);
  else if (rows > 0)
    Kokkos::parallel_for(label, device_teams(exec, rows, Rows<T>::threads), kernel);
}

#define ELASTIC_INSTANTIATE(T) \
  template void cosine_similarity<T>(const ExecutionSpace&, In2<T>, In2<T>, InOut1<Accumulate<T>>);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
