// SPDX-License-Identifier: Apache-2.0
// How one model is spread over the ranks of a tensor-parallel group: every rank holds some units
// of each mixer and some words, and the whole hidden dimension.
//
// Mixers, embedding and output layer give partial sums over their units. sum() adds them up in
// Accumulate<T> and rounds the whole sum to T, once. With sequence parallelism (Korthikanti et al.
// 2022, arXiv 2205.05198), norms and the residual stream live on a contiguous part of the tokens:
// gather() collects these before a mixer, sum() leaves a rank its tokens.
#pragma once
#include <vector>

#include "base/arena.hpp"
#include "base/shard.hpp"
#include "comm/communicator.hpp"

namespace elastic {

class TensorParallel {
 public:
  /// For one rank that holds everything.
  TensorParallel() = default;
  /// `group` must outlive this object.
  TensorParallel(const Communicator& group, bool sequence_parallel)
      : m_group(&group), m_sequence_parallel(sequence_parallel && group.size() > 1) {}

  Shard shard() const { return m_group ? Shard{m_group->rank(), m_group->size()} : Shard{}; }
  bool sequence_parallel() const { return m_sequence_parallel; }
  /// Null for one rank.
  const Communicator* group() const { return shard().size > 1 ? m_group : nullptr; }

  /// The tokens [first, second) out of `tokens` whose residual stream lives here.
  Range my_tokens(index_t tokens) const;
  index_t num_my_tokens(index_t tokens) const {
    const Range mine = my_tokens(tokens);
    return mine.second - mine.first;
  }
  /// Rows of my tokens in each of `blocks` equal blocks of `tokens`;
  /// blocks without any are left out.
  std::vector<Range> my_blocks(index_t tokens, index_t blocks) const;
  /// All rows [tokens, D] of a matrix of which this rank holds its tokens.
  /// Gives `mine` back where it holds all.
  template <class T>
  View2<T> gather(Arena& arena, const View2<T>& mine, index_t tokens) const;
  /// The sum over ranks of `partial` [tokens, D], whose elements are T or Accumulate<T>.
  /// This rank gets the rows of its tokens. May work in place, and gives `partial` itself back
  /// where there is nothing to add or to round.
  template <class T, class Part>
  View2<T> sum(Arena& arena, const View2<Part>& partial) const;
  /// Like sum(), with all tokens on every rank.
  template <class T, class Part>
  View2<T> sum_all(Arena& arena, const View2<Part>& partial) const;
  /// Puts `mine` [t, n] of all ranks below each other: `all` [ranks * t, n].
  template <class T>
  void gather_equal(const View2<T>& mine, const View2<T>& all) const;

 private:
  /// sum() and sum_all() of what is summed as it is stored.
  template <class T>
  View2<T> add_up(Arena& arena, const View2<T>& partial, bool share_out) const;
  template <class T, class Part>
  View2<T> add_up_and_round(Arena& arena, const View2<Part>& partial, bool share_out) const;

  const Communicator* m_group = nullptr;
  bool m_sequence_parallel = false;
};

}  // namespace elastic
