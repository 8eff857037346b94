// SPDX-License-Identifier: Apache-2.0
// Importance order of every elastic axis, and the permutation of the parent that makes every
// submodel a prefix (Nemotron Elastic, arXiv 2511.16664, importance estimation).
#pragma once
#include "elastic/importance.hpp"

namespace elastic {

/// The order of importance: from the ranked parent to the parent as it was.
struct Ranking {
  std::vector<index_t> hidden;  ///< new channel j is old channel hidden[j]
  /// Per layer: heads or neurons likewise; new head i*G + g is the i-th best of group g.
  std::vector<std::vector<index_t>> units;
  /// Per layer: head channels [P], common to all heads, where they are ranked; empty elsewhere.
  std::vector<std::vector<index_t>> channels;
  std::vector<index_t> drop_order;  ///< layers, least important first (from the depth pass)
};

/// Whether the channels of a layer's units have an order of their own (Mamba's head channels).
bool ranks_channels(const LayerShape& layer);
/// The order that changes nothing.
Ranking identity_ranking(const ModelShape& shape);
/// Sorts each axis falling, ties by index (Nemotron Elastic, arXiv 2511.16664,
/// importance estimation).
///
///   Mamba channels    L2 norm over heads
///   Mamba heads       L2 norm over their `kept_channels` best channels (P if channels are not
///                     elastic), sorted inside their groups
///   attention heads   L2 norm over C, sorted inside their KV group
Ranking rank_parent(const ModelShape& shape, const ImportanceScores& scores, index_t kept_channels);
/// The old index of every new one along a dimension of a layer.
/// `fixed_extent` is used for Dim::fixed.
std::vector<index_t> permutation(const ModelShape& shape, const Ranking& ranking, Dim dim,
                                 index_t layer, index_t fixed_extent);
/// Permutes all values in place. Logits of the parent do not change beyond rounding.
template <class T>
void apply_ranking(const ModelShape& shape, const Ranking& ranking,
                   const ParameterStore<T>& parameters);
/// `values` (row-major, [rows.size(), columns.size()]) permuted:
/// new (i, j) is old (rows[i], columns[j]).
template <class T>
std::vector<T> permuted(const std::vector<T>& values, const std::vector<index_t>& rows,
                        const std::vector<index_t>& columns);
/// The ranking that undoes `ranking` (drop_order is kept).
Ranking inverse(const Ranking& ranking);
/// The ranking that does `first`, then `second`.
/// The drop order is that of the second, unless it has none.
Ranking compose(const Ranking& first, const Ranking& second);

}  // namespace elastic
