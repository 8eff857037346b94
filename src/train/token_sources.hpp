// SPDX-License-Identifier: Apache-2.0
// From the <data> block of the deck to a token source.
#pragma once
#include <memory>

#include "comm/communicator.hpp"
#include "config/run_config.hpp"
#include "data/token_source.hpp"

namespace elastic {

/// `stream`: sources of different streams give different samples.
/// Throws InputError naming a file that is wrong.
std::unique_ptr<TokenSource> make_source(const RunConfig& config, std::uint64_t stream);
/// Collective: whether all ids of the indexed files are words of the vocabulary, and all bytes of
/// their masks 0 or 1. PREFIX.json says it; where there is none of these files, or one of others,
/// the ranks look at the tokens, each at its share (IndexedDataset::check_ids). Throws InputError
/// naming the file.
void check_data(const Communicator& comm, const RunConfig& config);
/// The problem generator behind reasoning data, for answers by generation.
ReasoningConfig reasoning_config(const RunConfig& config);

}  // namespace elastic
