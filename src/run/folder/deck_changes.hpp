// SPDX-License-Identifier: Apache-2.0
// What a run that goes on may change in its deck: whatever lies ahead. What decided the steps that
// are done stays as it was, or the run would be neither the one before nor a new one.
//
//   decides        keys                                              may change until
//   start          model, data, seed, optimizer, precision, ...      the first step
//   ranking        rank, elastic, router, distill                    the ranking
//   stage          of each stage: lengths, batch, budgets, teacher   the stage begins
//   rates, length  of each stage: learning rates, number of steps    the stage ends
//   nothing_done   ranks, output, validation, checkpoints, guard     always
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.hpp"

namespace elastic {

/// What a key decides, and by that until when it may change.
enum class KeyDecides { start, ranking, stage, rates, length, phases, nothing_done };

/// What a key decides, or nothing for a key that the table does not know. `block`: a stage of
/// elastic training has the name "stageN".
std::optional<KeyDecides> key_decides(std::string_view block, std::string_view key);

/// A run up to a checkpoint.
struct PastRun {
  std::string deck;  ///< resolved, as the checkpoint holds it
  std::string file;  ///< of the checkpoint, for messages
  index_t step = 0;
  bool ranked = false;  ///< its model is in the order of the ranking
};

/// A key with another value than the run had so far.
struct DeckChange {
  std::string key, before, now;
  index_t since = 0;  ///< first step done that it decided; 0: it decides only what lies ahead
};

/// All keys that differ and decide numbers, in the order of the decks. `now`: the resolved deck at
/// hand. A key that the earlier deck lacks had its default there (precision: float32).
std::vector<DeckChange> deck_changes(const PastRun& past, const std::string& now);

/// Throws InputError listing the changes of the past, unless they are accepted, which
/// a warning then lists; changes that lie ahead are named in the log.
void check_changes(const PastRun& past, const std::string& now, bool accept_changes);

}  // namespace elastic
