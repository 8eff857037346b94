// SPDX-License-Identifier: Apache-2.0
// Which PREFIX.mask files the <data> block of a deck uses.
#pragma once
#include <string>

#include "config/run_config.hpp"

namespace elastic {

/// Whether data/loss_mask has PREFIX.mask read beside an indexed dataset: required, or there.
bool uses_mask(const DataConfig& data, const std::string& prefix);

}  // namespace elastic
