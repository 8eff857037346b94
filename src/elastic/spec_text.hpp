// SPDX-License-Identifier: Apache-2.0
// The JSON text of a submodel's widths, as checkpoints keep it (to_json of submodel_spec.hpp), read
// without its parent.
#pragma once
#include <string>

#include "elastic/submodel_spec.hpp"

namespace elastic {

/// Widths from 1 to max_extent (arch/shape_limits.hpp), as many head channels, dropped layers among
/// them. Throws InputError naming the key. Whether they fit a parent: check_spec.
SubmodelSpec parse_spec(const std::string& text);

}  // namespace elastic
