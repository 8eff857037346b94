// SPDX-License-Identifier: Apache-2.0
// What the <data> block of a deck makes of a .bin/.idx pair.
#pragma once
#include <string>

#include "config/run_config.hpp"

namespace elastic {

/// Whether data/loss_mask has PREFIX.mask read beside an indexed dataset: required, or there.
bool uses_mask(const DataConfig& data, const std::string& prefix);
/// n: documents n-1, 2n-1, ... are held out (data/validation_fraction).
index_t validation_every(const DataConfig& data);

}  // namespace elastic
