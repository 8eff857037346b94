// SPDX-License-Identifier: Apache-2.0
// The binding of every deck key to its member of RunConfig: unit, range and one sentence each.
#pragma once
#include "config/run_config.hpp"
#include "deck/schema.hpp"

namespace elastic {

/// Binds all keys of `config`. `stages`: names of the stage blocks,
/// one per element of config.stages.
void bind_run_config(Schema& schema, RunConfig& config, const std::vector<std::string>& stages);

}  // namespace elastic
