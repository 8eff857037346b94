// SPDX-License-Identifier: Apache-2.0
// Context parallelism: sequences cut into spans of equal length that are shared among the ranks
// of a group, and what passes between spans.
//
// A rank holds some spans of every sequence of its micro-batch, one below the other:
//
//   rows of an activation   [spans here][B][tokens of a span]
//
// A span is then a contiguous block of rows, and for kernels each span of each sequence
// is a sequence of its own. Tokens meet in three places only:
//
//   convolution   needs the last inputs before a span
//   scan          needs the state before a span
//   attention     needs all keys and values before a query
#pragma once
#include <vector>

#include "base/arena.hpp"
#include "base/shard.hpp"
#include "comm/communicator.hpp"
#include "kernels/scan/ssd_state_passing.hpp"
#include "parallel/token_blocks.hpp"

namespace elastic {

/// Which spans a rank holds.
struct SpanLayout {
  Shard rank;             ///< in the context-parallel group
  index_t num_spans = 1;  ///< of a sequence
  /// True: span i belongs to rank i % ranks. False: a rank has one span of each half, rank 0 the
  /// first of the early half and the last of the late one.
  bool in_turn = false;

  /// Every rank gets two spans of each sequence, so that all have an equal
  /// share of causal attention.
  static SpanLayout balanced(const Shard& rank) { return {rank, index_t(2) * rank.size, false}; }
  /// As many spans on any number of ranks (1, 2, 4, 8), for sums that do not depend on that number.
  static SpanLayout fixed(const Shard& rank) { return {rank, sum_classes, true}; }

  index_t num_here() const { return num_spans / rank.size; }
  /// The slot-th span of a rank: its position in the sequence.
  index_t span(index_t slot, int of_rank) const {
    if (in_turn) return slot * rank.size + of_rank;
    return slot == 0 ? of_rank : num_spans - 1 - of_rank;
  }
  index_t span(index_t slot) const { return span(slot, rank.rank); }
  /// The number of a span among the spans of all ranks, counted rank by rank.
  index_t place(index_t span) const;
};

/// The spans of this rank, and the messages that pass between them.
class Spans {
 public:
  /// `halo`: tokens before a span that a convolution sees (W - 1); spans must not be shorter.
  /// `group` must outlive this object. Throws ContractError if the spans cannot be shared among it.
  Spans(const Communicator& group, const SpanLayout& layout, index_t halo);

  /// The rows that belong here of a matrix or vector of whole sequences [B*L],
  /// in order; for any data on the host.
  template <class T>
  std::vector<T> rows_here(const std::vector<T>& whole, index_t batch) const;
  /// Sets the documents of the sequences to come: one id per token [B*L], or nothing where each
  /// sequence is a single document.
  void set_segments(const ExecutionSpace& exec, index_t batch, const std::vector<token_t>& whole);

  const SpanLayout& layout() const { return m_layout; }
  index_t num_here() const { return m_layout.num_here(); }
  index_t halo() const { return m_halo; }
  /// Document ids; empty without documents.
  ///
  ///   whole_segment    all tokens [B*L]
  ///   segment          tokens here [T]
  ///   segment_before   the token before each span [S*B], S: spans here
  ///   past_segment     the `halo` tokens before each span [S*B*halo]; -1: none
  ///   future_segment   the `halo` tokens after each span [S*B*halo]; -1: none
  View1<const token_t> whole_segment() const { return m_whole; }
  View1<const token_t> segment() const { return m_here; }
  View1<const token_t> segment_before() const { return m_before; }
  View1<const token_t> past_segment() const { return m_past; }
  View1<const token_t> future_segment() const { return m_future; }

  /// For each span here, what the span before it gave as `mine` [S*B*n, c];
  /// zero before the first span.
  template <class T>
  View2<T> from_before(Arena& arena, const View2<T>& mine) const;
  /// For each span here, what the span after it gave as `mine`; zero after the last span.
  template <class T>
  View2<T> from_behind(Arena& arena, const View2<T>& mine) const;
  /// The rows of whole sequences [B*L, c], of which `mine` [T, c] are here.
  template <class T>
  View2<T> whole(Arena& arena, const View2<T>& mine) const;
  /// mine [T, c] = sum over the spans of all ranks of their `parts` [B*L, c], rounded to T once;
  /// there is one part for each span here, and they are changed. The order is a fixed tree over the
  /// spans where these are laid out in turn and the group is deterministic.
  template <class T>
  void sum_parts(Arena& arena, const std::vector<View2<Accumulate<T>>>& parts,
                 const View2<T>& mine) const;

  /// States that a scan carries into each span here, for all spans at once.
  /// A span makes of the state that it gets
  ///
  ///   out = decay in + total      [in] total [S*n, c], decay [S*n]   [out] in [S*n, c]
  ///
  /// `in` is zero at the first span of the direction.
  template <class T>
  void carry(Arena& arena, kernels::Direction direction, const View2<T>& total,
             const View1<T>& decay, const View2<T>& in) const;
  /// Carries states from span to span in turn:
  /// body(span) makes its part of `out` of its part of `in`.
  template <class T, class Body>
  void carry_in_turn(kernels::Direction direction, const View2<T>& in, const View2<T>& out,
                     const Body& body) const {
    for (index_t i = 0; i < num_here(); ++i) {
      const TokenBlock slot{direction == kernels::Direction::forward ? i : num_here() - 1 - i,
                            num_here()};
      receive_in_turn<T>(direction, slot, out, slot.of(in));
      body(slot);
      send_in_turn<T>(direction, slot, slot.of(out));
    }
  }

 private:
  bool is_first(kernels::Direction direction, index_t slot) const;
  template <class T>
  void receive_in_turn(kernels::Direction direction, const TokenBlock& slot, const View2<T>& out,
                       const View2<T>& into) const;
  template <class T>
  void send_in_turn(kernels::Direction direction, const TokenBlock& slot,
                    const View2<T>& from) const;
  /// sum_parts() before it rounds.
  template <class T>
  void add_parts(Arena& arena, const std::vector<View2<T>>& parts, const View2<T>& mine) const;
  template <class T>
  View2<T> all_ranks(Arena& arena, const View2<T>& mine) const;
  /// For each span here, the rows that the span `step` spans before or after it gave.
  template <class T>
  View2<T> neighbours(Arena& arena, const View2<T>& mine, index_t step) const;
  template <class Action>
  void for_each_piece(index_t batch, index_t length, const Action& action) const;

  const Communicator& m_group;
  SpanLayout m_layout;
  index_t m_halo, m_batch = 0;
  View1<index_t> m_places;  // of the spans of a sequence, in order
  View1<token_t> m_whole, m_here, m_before, m_past, m_future;
};

}  // namespace elastic
