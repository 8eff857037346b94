// SPDX-License-Identifier: Apache-2.0
// Deck + schema -> values in the bound members, or all mistakes at once.
#pragma once
#include <cstdint>
#include <string>

#include "deck/report.hpp"
#include "deck/schema.hpp"

namespace elastic {

/// Assigns every bound member that the deck names; the others keep their default.
///
/// The report holds unknown blocks and keys (with the nearest valid name), missing required
/// keys and wrong values; a member with a wrong value keeps its default. The caller may add
/// contradictions between keys, then calls throw_if_any():
///
///   DeckReport report = resolve(deck, schema);
///   if (heads % groups != 0)
///     report.add("mamba", "num_groups", fmt::format("must divide num_heads = {}", heads));
///   report.throw_if_any();
[[nodiscard]] DeckReport resolve(const Deck& deck, Schema& schema);

/// Every key with its present value, unit and origin. The text is itself a valid deck that resolves
/// to these values. Optional blocks that the deck did not have are left out.
std::string resolved_text(const Schema& schema);

/// XXH64 of blocks, keys and values of the resolved deck, in the order of the schema. Comments,
/// origins and the order of the user's deck do not change it.
std::uint64_t resolved_hash(const Schema& schema);

}  // namespace elastic
