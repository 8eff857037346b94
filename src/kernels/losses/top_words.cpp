// SPDX-License-Identifier: Apache-2.0
// The k-th largest logit of a row is found bit by bit, by counting; what lies above it is taken,
// and of its equals as many as are missing.
#include "kernels/losses/top_words.hpp"

#include "kernels/losses/row_softmax.hpp"

namespace elastic::kernels {
namespace {

/// Integers in the order of the numbers.
KOKKOS_INLINE_FUNCTION std::uint32_t order_of(float x) {
  const auto bits = math::bit_cast<std::uint32_t>(x);
  return bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
}
KOKKOS_INLINE_FUNCTION float number_at(std::uint32_t order) {
  return math::bit_cast<float>((order >> 31) != 0 ? order ^ 0x80000000u : ~order);
}

/// How many of some columns lie at `least` or above: a host's count.
template <class T>
ELASTIC_WHOLE_VECTORS index_t count_stripe(const T* z, index_t columns, std::uint32_t least) {
  std::uint32_t count = 0;
  ELASTIC_SIMD_SUM(count)
  for (index_t v = 0; v < columns; ++v) count += order_of(widen(z[v])) >= least ? 1u : 0u;
  return count;
}
/// How many columns lie at `least` or above.
template <class T>
KOKKOS_INLINE_FUNCTION index_t count_from(const RowTeam& team, const T* z, index_t columns,
                                          std::uint32_t least) {
  index_t count = 0;
  if constexpr (on_host) {
    constexpr index_t stripe = 2048;
    Kokkos::parallel_reduce(
        Kokkos::TeamThreadRange(team, (columns + stripe - 1) / stripe),
        [&](index_t i, index_t& sum) {
          sum += count_stripe(z + i * stripe, math::min(stripe, columns - i * stripe), least);
        },
        count);
  } else {
    Kokkos::parallel_reduce(
        Kokkos::TeamThreadRange(team, columns),
        [&](index_t v, index_t& sum) { sum += order_of(widen(z[v])) >= least ? 1 : 0; }, count);
  }
  return count;
}
/// The k-th largest column. The low half of a widened bfloat16 is 0 above zero and ~0 below.
template <class T>
KOKKOS_INLINE_FUNCTION std::uint32_t kth_largest(const RowTeam& team, const T* z, index_t columns,
                                                 index_t k) {
  std::uint32_t least = 0;
  constexpr int last_bit = std::is_same_v<T, bfloat16> ? 16 : 0;
  for (int bit = 31; bit >= last_bit; --bit) {
    const std::uint32_t higher = least | (1u << bit);
    if (count_from(team, z, columns, higher) >= k) least = higher;
  }
  if (last_bit > 0 && (least >> 31) == 0) least |= 0xffffu;
  return least;
}

/// Teams without lanes, with scratch for two sums.
template <class T>
TeamPolicy selection_policy(const ExecutionSpace& exec, index_t rows) {
  TeamPolicy policy = on_host ? TeamPolicy(exec, static_cast<int>(rows), Kokkos::AUTO)
                              : thread_teams(exec, rows, static_cast<int>(chains_of_class));
  const auto bytes = static_cast<int>(2 * most_chains * sizeof(Accumulate<T>));
  policy.set_scratch_size(0, Kokkos::PerTeam(bytes + 64));
  return policy;
}

template <class T>
struct Selection {
  using A = Accumulate<T>;
  View2<const T> logits;
  A scale;  ///< 1 / temperature
  TopWordsOut out;
  index_t chains;

  KOKKOS_INLINE_FUNCTION void operator()(const RowTeam& team) const {
    const index_t t = team.league_rank(), V = static_cast<index_t>(logits.extent(1)),
                  k = static_cast<index_t>(out.ids.extent(1));
    const T* const z = row_of(logits, t);
    const A maximum = row_maximum(team, z, V), factor = scale;
    const std::uint32_t least = kth_largest(team, z, V, k);
    const index_t above = least == ~0u ? 0 : count_from(team, z, V, least + 1),
                  equal = count_from(team, z, V, least) - above, missing = k - above;
    const ColumnSums<A, 2> sums(team, chains);
    sums.add_up(
        team, V,
        [=](A* sum, bool counts, A x) {
          const A e = softmax_exp<T>((x - maximum) * factor);
          sum[0] += counts ? e : A(0);
          sum[sum_distance] += counts && order_of(x) < least ? e : A(0);
        },
        z);
    const A rest = sums[1] + static_cast<A>(equal - missing) *
                                 softmax_exp<T>((number_at(least) - maximum) * scale);
    const RowSoftmax<A> softmax{scale, maximum, math::log(sums[0])};
    Kokkos::single(Kokkos::PerTeam(team), [&]() {
      const A log_rest = math::log(rest) - softmax.log_sum;
      out.log_rest(t) = static_cast<bfloat16>(log_rest > 0 ? A(0) : log_rest);
    });
    take(team, t, z, softmax, least, static_cast<std::uint64_t>(missing));
  }

  /// Writes what lies above `least`, and the first `missing` that equal it, in the order of words.
  KOKKOS_INLINE_FUNCTION void take(const RowTeam& team, index_t t, const T* z,
                                   const RowSoftmax<A>& softmax, std::uint32_t least,
                                   std::uint64_t missing) const {
    // The low half counts those above, the high half the equals.
    Kokkos::parallel_scan(
        Kokkos::TeamThreadRange(team, static_cast<index_t>(logits.extent(1))),
        [&](index_t v, std::uint64_t& before, const bool final) {
          const A x = widen(z[v]);
          const std::uint32_t order = order_of(x);
          const bool is_above = order > least, is_equal = order == least;
          const std::uint64_t equals = before >> 32;
          if (final && (is_above || (is_equal && equals < missing))) {
            const auto place = static_cast<index_t>((before & 0xffffffffu) +
                                                    (equals < missing ? equals : missing));
            const A log_p = softmax.log_probability(x);
            out.ids(t, place) = static_cast<token_t>(v);
            out.log_p(t, place) = static_cast<bfloat16>(log_p > 0 ? A(0) : log_p);
          }
          before += is_above ? std::uint64_t(1) : is_equal ? std::uint64_t(1) << 32 : 0;
        });
  }
};

}  // namespace

template <class T>
void top_words(const ExecutionSpace& exec, In2<T> logits, double temperature,
               const TopWordsOut& out) {
  const auto tokens = static_cast<index_t>(logits.extent(0)),
             V = static_cast<index_t>(logits.extent(1)),
             k = static_cast<index_t>(out.ids.extent(1));
  ELASTIC_REQUIRE(k >= 1 && k <= V, "top_words: {} of {} words", k, V);
  ELASTIC_REQUIRE(temperature > 0, "top_words: temperature {}", temperature);
  require_shape("top_words", "ids", out.ids, tokens, k);
  require_shape("top_words", "log_p", out.log_p, tokens, k);
  require_shape("top_words", "log_rest", out.log_rest, tokens);
  if (tokens == 0) return;
  Kokkos::parallel_for(
      "elastic::top_words", selection_policy<T>(exec, tokens),
      Selection<T>{logits, static_cast<Accumulate<T>>(1 / temperature), out, num_chains({})});
}

#define ELASTIC_INSTANTIATE(T) \
  template void top_words<T>(const ExecutionSpace&, In2<T>, double, const TopWordsOut&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
