// SPDX-License-Identifier: Apache-2.0
// Context parallelism: sequences cut into spans of equal length that are dealt out to the ranks of
// a group, and what passes between spans.
//
// A rank holds some spans of every sequence of its micro-batch, one below the other:
// [spans here][B][tokens of a span] rows, so that a span is a contiguous block of rows of every
// activation, and for kernels each span of each sequence is a row of the batch of its own. Tokens
// only meet in convolutions (the last inputs before a span), in the state-space scan (the state
// before a span) and in attention (all keys and values before a query).
#pragma once
#include <vector>

#include "base/arena.hpp"
#include "base/shard.hpp"
#include "comm/communicator.hpp"
#include "kernels/scan/ssd_state_passing.hpp"
#include "parallel/blocks.hpp"

namespace elastic {

/// Which spans a rank holds.
struct SpanDealing {
  Shard rank;             ///< in the context-parallel group
  index_t num_spans = 1;  ///< of a sequence
  bool in_turn = false;   ///< span i belongs to rank i % ranks; otherwise a rank has one of each
                          ///< half, the earlier the one, the later the other

  /// Two spans of each sequence on every rank, so that all have the same share of causal attention.
  static SpanDealing balanced(const Shard& rank) { return {rank, index_t(2) * rank.size, false}; }
  /// As many spans for any number of ranks (1, 2, 4, 8): for sums that do not depend on it.
  static SpanDealing fixed(const Shard& rank) { return {rank, sum_classes, true}; }

  index_t num_here() const { return num_spans / rank.size; }
  /// Position in the sequence of the slot-th span of a rank.
  index_t span(index_t slot, int of_rank) const {
    if (in_turn) return slot * rank.size + of_rank;
    return slot == 0 ? of_rank : num_spans - 1 - of_rank;
  }
  index_t span(index_t slot) const { return span(slot, rank.rank); }
  /// Number among the spans of all ranks, rank by rank.
  index_t place(index_t span) const;
};

class Spans {
 public:
  /// `halo`: tokens before a span that a convolution sees (W - 1); spans must not be shorter.
  /// `group` must outlive this object. Throws ContractError if it cannot be dealt to.
  Spans(const Communicator& group, const SpanDealing& dealing, index_t halo);

  /// Rows of a matrix or vector of whole sequences [B*L] that belong here, in order; of any data on
  /// the host.
  template <class T>
  std::vector<T> rows_here(const std::vector<T>& whole, index_t batch) const;
  /// The sequences to come: documents of their tokens [B*L], or nothing where each is a single one.
  void set_segments(const ExecutionSpace& exec, index_t batch, const std::vector<token_t>& whole);

  const SpanDealing& dealing() const { return m_dealing; }
  index_t num_here() const { return m_dealing.num_here(); }
  index_t halo() const { return m_halo; }
  /// Documents of: all tokens [B*L]; the tokens here [T]; the token before each span [S*B]; the
  /// `halo` tokens before and after each span [S*B*halo] (-1: none). Empty without documents.
  View1<const token_t> whole_segment() const { return m_whole; }
  View1<const token_t> segment() const { return m_here; }
  View1<const token_t> segment_before() const { return m_before; }
  View1<const token_t> past_segment() const { return m_past; }
  View1<const token_t> future_segment() const { return m_future; }

  /// What the span before each span here gave as `mine` [S*B*n, c]; zero before the first span.
  template <class T>
  View2<T> from_before(Arena& arena, const View2<T>& mine) const;
  /// The same of the span after each; zero after the last.
  template <class T>
  View2<T> from_behind(Arena& arena, const View2<T>& mine) const;
  /// The rows of whole sequences [B*L, c], of which `mine` [T, c] are here.
  template <class T>
  View2<T> whole(Arena& arena, const View2<T>& mine) const;
  /// mine [T, c] = the sum, over the spans of all ranks, of `parts` [B*L, c], one for each span
  /// here (changed). A fixed tree over the spans where these are dealt in turn and the group is
  /// deterministic.
  template <class T>
  void sum_parts(Arena& arena, const std::vector<View2<T>>& parts, const View2<T>& mine) const;

  /// States that a scan carries into each span here, from what each span makes of the one that it
  /// gets: out = decay in + total. [in] total [S*n, c], decay [S*n]; [out] in [S*n, c], zero at
  /// the first span of the direction. All spans at once.
  template <class T>
  void carry(Arena& arena, kernels::Direction direction, const View2<T>& total,
             const View1<T>& decay, const View2<T>& in) const;
  /// The same one span after the other: body(span) makes its part of `out` of its part of `in`.
  template <class T, class Body>
  void carry_in_turn(kernels::Direction direction, const View2<T>& in, const View2<T>& out,
                     const Body& body) const {
    for (index_t i = 0; i < num_here(); ++i) {
      const Block slot{direction == kernels::Direction::forward ? i : num_here() - 1 - i,
                       num_here()};
      receive_in_turn<T>(direction, slot, out, slot.of(in));
      body(slot);
      send_in_turn<T>(direction, slot, slot.of(out));
    }
  }

 private:
  bool is_first(kernels::Direction direction, index_t slot) const;
  template <class T>
  void receive_in_turn(kernels::Direction direction, const Block& slot, const View2<T>& out,
                       const View2<T>& into) const;
  template <class T>
  void send_in_turn(kernels::Direction direction, const Block& slot, const View2<T>& from) const;
  template <class T>
  View2<T> all_ranks(Arena& arena, const View2<T>& mine) const;
  /// What stands `step` spans before or after each span here, of rows that all spans gave.
  template <class T>
  View2<T> neighbours(Arena& arena, const View2<T>& mine, index_t step) const;
  template <class Action>
  void for_each_piece(index_t batch, index_t length, const Action& action) const;

  const Communicator& m_group;
  SpanDealing m_dealing;
  index_t m_halo, m_batch = 0;
  View1<index_t> m_places;  // of the spans of a sequence, in order
  View1<token_t> m_whole, m_here, m_before, m_past, m_future;
};

}  // namespace elastic
