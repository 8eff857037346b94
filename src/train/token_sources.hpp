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
/// Collective: the ranks look at the token ids of all .bin files, each at its share
/// (IndexedDataset::check_ids). Throws InputError naming the file.
void check_data(const Communicator& comm, const RunConfig& config);
/// The problem generator behind reasoning data, for answers by generation.
ReasoningConfig reasoning_config(const RunConfig& config);

}  // namespace elastic
