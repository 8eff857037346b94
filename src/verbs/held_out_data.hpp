// SPDX-License-Identifier: Apache-2.0
// The held-out data of a stored deck, for the verbs that measure losses on it.
#pragma once
#include <string>
#include <vector>

#include "state/stored_model.hpp"

namespace elastic {

/// Throws InputError for a change of the deck that changes nothing in the verb, naming those that
/// do: all of <data>, those of the held-out sequences and problems, and `more`.
void require_used(const std::string& verb, const std::vector<std::string>& overrides,
                  const RunConfig& config, const std::vector<std::string>& more = {});

/// Throws InputError if the data can hold words that the model has not.
void require_known_words(const CheckpointReader& reader, const StoredModel& stored);

}  // namespace elastic
