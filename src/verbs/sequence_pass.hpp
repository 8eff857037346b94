// SPDX-License-Identifier: Apache-2.0
// One sequence of tokens read by a submodel as a whole, without caches.
#pragma once
#include "state/stored_model.hpp"

namespace elastic {

/// What a submodel has read. Both lie in the arena.
struct SequencePass {
  LayerContext context;  ///< of one sequence of L tokens
  View2<Real> hidden;    ///< [L, D] after the final norm: what the output layer reads
};

/// Passes L >= 1 tokens through the stored model at exact widths.
SequencePass read_sequence(const StoredModel& stored, const ActiveWidths<Real>& widths,
                           const std::vector<token_t>& tokens, Arena& arena);

}  // namespace elastic
