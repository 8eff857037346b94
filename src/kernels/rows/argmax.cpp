// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/argmax.hpp"

#include "base/kokkos_compat.hpp"
#include "kernels/rows/pack.hpp"

namespace elastic::kernels {
namespace {

template <class T>
struct HostRows {
  View2<const T> logits;
  View1<token_t> index;

  KOKKOS_FUNCTION void operator()(const index_t r) const {
    index_t best = 0;
    bool finite = true;
    for (index_t v = 0; v < static_cast<index_t>(logits.extent(1)); ++v) {
      finite = finite && math::isfinite(widen(logits(r, v)));
      if (widen(logits(r, v)) > widen(logits(r, best))) best = v;
    }
    index(r) = static_cast<token_t>(finite ? best : -1);
  }
};

/// On a device, a team per row: the largest logit, then the first column that has it, or -1 if some
/// column is not finite.
template <class T>
struct TeamRows {
  using A = Accumulate<T>;
  static constexpr int threads = 16;
  View2<const T> logits;
  View1<token_t> index;

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const index_t r = team.league_rank(), columns = static_cast<index_t>(logits.extent(1));
    const T* const row = &logits(r, 0);
    A largest = 0;
    Kokkos::parallel_reduce(
        Kokkos::TeamVectorRange(team, columns),
        [&](const index_t v, A& best) { best = best < widen(row[v]) ? widen(row[v]) : best; },
        Kokkos::Max<A>(largest));
    index_t first = 0;
    Kokkos::parallel_reduce(
        Kokkos::TeamVectorRange(team, columns),
        [&](const index_t v, index_t& found) {
          const index_t here = math::isfinite(widen(row[v])) ? v : -1;
          found = here < found && (here < 0 || widen(row[v]) == largest) ? here : found;
        },
        Kokkos::Min<index_t>(first));
    Kokkos::single(Kokkos::PerTeam(team), [&]() { index(r) = static_cast<token_t>(first); });
  }
};

}  // namespace

template <class T>
void argmax_rows(const ExecutionSpace& exec, In2<T> logits, InOut1<token_t> index) {
  const auto rows = static_cast<index_t>(logits.extent(0)),
             columns = static_cast<index_t>(logits.extent(1));
  require_shape("argmax_rows", "index", index, rows);
  ELASTIC_REQUIRE(columns > 0, "argmax_rows: logits have no columns");
  const char* label = "elastic::argmax_rows";
  if constexpr (on_host)
    Kokkos::parallel_for(label, LinearPolicy(exec, 0, rows), HostRows<T>{logits, index});
  else if (rows > 0)
    Kokkos::parallel_for(label, device_teams(exec, rows, TeamRows<T>::threads),
                         TeamRows<T>{logits, index});
}

template void argmax_rows<bfloat16>(const ExecutionSpace&, In2<bfloat16>, InOut1<token_t>);
template void argmax_rows<float>(const ExecutionSpace&, In2<float>, InOut1<token_t>);
template void argmax_rows<double>(const ExecutionSpace&, In2<double>, InOut1<token_t>);

}  // namespace elastic::kernels
