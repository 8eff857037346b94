// SPDX-License-Identifier: Apache-2.0
// The largest extents of a model that are believed, far beyond any use, so that products of two of
// them are exact in 64 bits. Decks, config.json and the shapes of checkpoints keep to them.
#pragma once
#include "base/types.hpp"

namespace elastic {

inline constexpr index_t max_extent = index_t{1} << 28, max_layers = 2000;

}  // namespace elastic
