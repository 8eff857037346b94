// SPDX-License-Identifier: Apache-2.0
#include "verbs/sequence_pass.hpp"

namespace elastic {

SequencePass read_sequence(const StoredModel& stored, const ActiveWidths<Real>& widths,
                           const std::vector<token_t>& tokens, Arena& arena) {
  const auto length = static_cast<index_t>(tokens.size());
  const LayerContext context{.exec = {},
                             .deterministic = stored.deck.config.job.deterministic,
                             .arena = &arena,
                             .batch = 1,
                             .seq_length = length,
                             .segment = {}};
  const auto ids = arena.vector<token_t>(length);
  Kokkos::deep_copy(ids, HostView1<const token_t>(tokens.data(), tokens.size()));
  auto pass = stored.model->make_pass(Keep::nothing);
  stored.model->forward(context, widths, ids, pass);
  return {context, pass.hidden};
}

}  // namespace elastic
