// SPDX-License-Identifier: Apache-2.0
#include "parallel/spans.hpp"

#include "base/region.hpp"
#include "base/shapes.hpp"
#include "comm/collectives.hpp"
#include "comm/split_collectives.hpp"
#include "kernels/rows/residual_add.hpp"
#include "kernels/rows/convert.hpp"
#include "kernels/scan/ssd_span_passing.hpp"

namespace elastic {
namespace {
using kernels::Direction;

template <class T>
View1<T> uploaded(const ExecutionSpace& exec, const std::vector<T>& values, View1<T> to = {}) {
  if (to.extent(0) != values.size())
    to = View1<T>(Kokkos::view_alloc("elastic::spans", Kokkos::WithoutInitializing), values.size());
  Kokkos::deep_copy(exec, to, HostView1<const T>(values.data(), values.size()));
  return to;
}
}  // namespace

index_t SpanLayout::place(index_t span) const {
  const index_t ranks = rank.size;
  if (in_turn) return span % ranks * num_here() + span / ranks;
  return span < ranks ? span * num_here() : (num_spans - 1 - span) * num_here() + 1;
}

Spans::Spans(const Communicator& group, const SpanLayout& layout, index_t halo)
    : m_group(group), m_layout(layout), m_halo(halo) {
  ELASTIC_REQUIRE(layout.rank.size == group.size() && layout.num_spans % group.size() == 0,
                  "{} spans for {} of {} ranks", layout.num_spans, layout.rank.size, group.size());
  std::vector<index_t> places;
  for (index_t i = 0; i < layout.num_spans; ++i) places.push_back(layout.place(i));
  const ExecutionSpace exec;
  m_places = uploaded(exec, places);
  fence(exec, "elastic::span_layout");
}

/// Calls action(number of the span here, sequence, first token of the span in its sequence).
template <class Action>
void Spans::for_each_piece(index_t batch, index_t length, const Action& action) const {
  for (index_t slot = 0; slot < num_here(); ++slot)
    for (index_t b = 0; b < batch; ++b) action(slot, b, m_layout.span(slot) * length);
}

template <class T>
std::vector<T> Spans::rows_here(const std::vector<T>& whole, index_t batch) const {
  const index_t length = static_cast<index_t>(whole.size()) / batch,
                span = length / m_layout.num_spans;
  ELASTIC_REQUIRE(span * m_layout.num_spans == length && (length == 0 || span >= m_halo),
                  "{} spans of at least {} tokens in sequences of {}", m_layout.num_spans, m_halo,
                  length);
  std::vector<T> here;
  for_each_piece(batch, span, [&](index_t, index_t b, index_t first) {
    const auto begin = whole.begin() + b * length + first;
    here.insert(here.end(), begin, begin + span);
  });
  return here;
}

void Spans::set_segments(const ExecutionSpace& exec, index_t batch,
                         const std::vector<token_t>& whole) {
  m_batch = batch;
  const index_t length = static_cast<index_t>(whole.size()) / batch,
                span = length / m_layout.num_spans;
  const auto here = rows_here(whole, batch);
  std::vector<token_t> before, past, future;
  // Documents of the positions [begin, end) of sequence b.
  const auto append = [&](std::vector<token_t>& to, index_t b, index_t begin, index_t end) {
    for (index_t t = begin; t < end; ++t)
      to.push_back(0 <= t && t < length ? whole[static_cast<std::size_t>(b * length + t)] : -1);
  };
  if (length > 0)
    for_each_piece(batch, span, [&](index_t, index_t b, index_t first) {
      append(before, b, first - 1, first);
      append(past, b, first - m_halo, first);
      append(future, b, first + span, first + span + m_halo);
    });
  m_whole = uploaded(exec, whole, m_whole);
  m_here = uploaded(exec, here, m_here);
  m_before = uploaded(exec, before, m_before);
  m_past = uploaded(exec, past, m_past);
  m_future = uploaded(exec, future, m_future);
  fence(exec, "elastic::segments_uploaded");
}

/// The rows of all ranks, rank by rank.
template <class T>
View2<T> Spans::all_ranks(Arena& arena, const View2<T>& mine) const {
  if (m_group.size() == 1) return mine;
  const auto all = arena.matrix<T>(mine.extent_int(0) * m_group.size(), mine.extent_int(1));
  all_gather_rows(m_group, mine, all);
  return all;
}

template <class T>
View2<T> Spans::neighbours(Arena& arena, const View2<T>& mine, index_t step) const {
  const Region region("context_parallel", Fenced::no);
  const ExecutionSpace exec;
  const auto result = arena.matrix<T>(mine.extent_int(0), mine.extent_int(1));
  const Arena::Scope scope(arena);
  const auto all = all_ranks(arena, mine);
  for (index_t slot = 0; slot < num_here(); ++slot) {
    const index_t span = m_layout.span(slot) + step;
    const auto to = TokenBlock{slot, num_here()}.of(result);
    if (span < 0 || span >= m_layout.num_spans)
      Kokkos::deep_copy(exec, to, T(0));
    else
      Kokkos::deep_copy(exec, to, TokenBlock{m_layout.place(span), m_layout.num_spans}.of(all));
  }
  return result;
}
template <class T>
View2<T> Spans::from_before(Arena& arena, const View2<T>& mine) const {
  return neighbours(arena, mine, -1);
}
template <class T>
View2<T> Spans::from_behind(Arena& arena, const View2<T>& mine) const {
  return neighbours(arena, mine, 1);
}

template <class T>
View2<T> Spans::whole(Arena& arena, const View2<T>& mine) const {
  const Region region("context_parallel", Fenced::no);
  const ExecutionSpace exec;
  const auto result = arena.matrix<T>(mine.extent_int(0) * m_group.size(), mine.extent_int(1));
  const Arena::Scope scope(arena);
  const auto all = all_ranks(arena, mine);
  for (index_t i = 0; i < m_layout.num_spans; ++i)
    for (index_t b = 0; b < m_batch; ++b)
      Kokkos::deep_copy(
          exec, TokenBlock{b * m_layout.num_spans + i, m_batch * m_layout.num_spans}.of(result),
          TokenBlock{m_layout.place(i) * m_batch + b, m_batch * m_layout.num_spans}.of(all));
  return result;
}

template <class T>
void Spans::add_parts(Arena& arena, const std::vector<View2<T>>& parts,
                      const View2<T>& mine) const {
  const ExecutionSpace exec;
  for (std::size_t half = parts.size() / 2; half > 0; half /= 2)
    for (std::size_t j = 0; j < half; ++j)
      kernels::residual_add_forward<T>(exec, parts[j + half], {}, T(1), parts[j]);
  const auto& sum = parts[0];
  const Arena::Scope scope(arena);
  const auto all = arena.matrix<T>(sum.extent_int(0), sum.extent_int(1));
  for (index_t i = 0; i < m_layout.num_spans; ++i)
    for (index_t b = 0; b < m_batch; ++b)
      Kokkos::deep_copy(
          exec, TokenBlock{m_layout.place(i) * m_batch + b, m_batch * m_layout.num_spans}.of(all),
          TokenBlock{b * m_layout.num_spans + i, m_batch * m_layout.num_spans}.of(sum));
  reduce_scatter_rows(m_group, all, mine);
}

template <class T>
void Spans::sum_parts(Arena& arena, const std::vector<View2<Accumulate<T>>>& parts,
                      const View2<T>& mine) const {
  const Region region("context_parallel", Fenced::no);
  if constexpr (std::is_same_v<T, Accumulate<T>>) {
    add_parts(arena, parts, mine);
  } else {
    const Arena::Scope scope(arena);
    const auto sum = arena.matrix<Accumulate<T>>(mine.extent_int(0), mine.extent_int(1));
    add_parts(arena, parts, sum);
    kernels::convert<T, Accumulate<T>>(ExecutionSpace(), sum, mine);
  }
}

template <class T>
void Spans::carry(Arena& arena, Direction direction, const View2<T>& total, const View1<T>& decay,
                  const View2<T>& in) const {
  const Region region("context_parallel", Fenced::no);
  const ExecutionSpace exec;
  const Arena::Scope scope(arena);
  const auto all = all_ranks(arena, total);
  const auto decays = all_ranks(arena, View2<T>(decay.data(), decay.extent(0), 1));
  kernels::ssd_span_passing<T>(exec, direction, m_places, View1<T>(decays.data(), decays.extent(0)),
                               all);
  Kokkos::deep_copy(exec, in, TokenBlock{m_group.rank(), m_group.size()}.of(all));
}

bool Spans::is_first(Direction direction, index_t slot) const {
  return m_layout.span(slot) == (direction == Direction::forward ? 0 : m_layout.num_spans - 1);
}

template <class T>
void Spans::receive_in_turn(Direction direction, const TokenBlock& slot, const View2<T>& out,
                            const View2<T>& into) const {
  const Region region("context_parallel", Fenced::no);
  const ExecutionSpace exec;
  const bool forward = direction == Direction::forward;
  const int ranks = m_group.size(), before = (m_group.rank() + (forward ? ranks - 1 : 1)) % ranks;
  if (is_first(direction, slot.number))
    Kokkos::deep_copy(exec, into, T(0));
  else if (ranks == 1)
    Kokkos::deep_copy(exec, into, TokenBlock{slot.number + (forward ? -1 : 1), slot.count}.of(out));
  else
    send_receive(m_group, View2<T>(), no_rank, into, before);
}

template <class T>
void Spans::send_in_turn(Direction direction, const TokenBlock& slot, const View2<T>& from) const {
  const bool forward = direction == Direction::forward;
  const int ranks = m_group.size(), next = (m_group.rank() + (forward ? 1 : ranks - 1)) % ranks;
  const Direction other = forward ? Direction::backward : Direction::forward;
  if (ranks == 1 || is_first(other, slot.number)) return;
  const Region region("context_parallel", Fenced::no);
  send_receive(m_group, from, next, View2<T>(), no_rank);
}

// States and gradients of convolutions are sums; so these are not instantiated for bfloat16.
#define ELASTIC_INSTANTIATE_VALUES(T)                                                 \
  template View2<T> Spans::from_before<T>(Arena&, const View2<T>&) const;             \
  template View2<T> Spans::whole<T>(Arena&, const View2<T>&) const;                   \
  template void Spans::sum_parts<T>(Arena&, const std::vector<View2<Accumulate<T>>>&, \
                                    const View2<T>&) const;
#define ELASTIC_INSTANTIATE_SUMS(T)                                                      \
  template View2<T> Spans::from_behind<T>(Arena&, const View2<T>&) const;                \
  template void Spans::carry<T>(Arena&, Direction, const View2<T>&, const View1<T>&,     \
                                const View2<T>&) const;                                  \
  template void Spans::receive_in_turn<T>(Direction, const TokenBlock&, const View2<T>&, \
                                          const View2<T>&) const;                        \
  template void Spans::send_in_turn<T>(Direction, const TokenBlock&, const View2<T>&) const;
ELASTIC_INSTANTIATE_VALUES(bfloat16)
ELASTIC_INSTANTIATE_VALUES(float)
ELASTIC_INSTANTIATE_VALUES(double)
ELASTIC_INSTANTIATE_SUMS(float)
ELASTIC_INSTANTIATE_SUMS(double)
#undef ELASTIC_INSTANTIATE_VALUES
#undef ELASTIC_INSTANTIATE_SUMS
template std::vector<token_t> Spans::rows_here(const std::vector<token_t>&, index_t) const;
template std::vector<bfloat16> Spans::rows_here(const std::vector<bfloat16>&, index_t) const;
template std::vector<float> Spans::rows_here(const std::vector<float>&, index_t) const;
template std::vector<double> Spans::rows_here(const std::vector<double>&, index_t) const;

}  // namespace elastic
