// SPDX-License-Identifier: Apache-2.0
// What differs between the model of a file and that of a deck, in the deck's own terms.
#pragma once
#include "arch/model_shape.hpp"

namespace elastic {

/// One line per key of a deck whose value the file does not have: "<model>/hidden_size: 64 in the
/// deck, 48 in the file". Empty if the file's values fit the deck's model. chunk_size may differ:
/// it changes speed and rounding only. So may extents of a kind of which there is no layer.
std::vector<std::string> shape_differences(const ModelShape& deck, const ModelShape& file);

}  // namespace elastic
