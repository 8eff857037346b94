// SPDX-License-Identifier: Apache-2.0
// The reference of all keys, generated from the schema so that it cannot drift from the code.
#pragma once
#include <string>

#include "deck/schema.hpp"

namespace elastic {

/// One table per block: key | default | type and range | unit | description.
/// doc/input_reference.md is written by it.
std::string reference_markdown(const Schema& schema);

/// The reference for a terminal (`--keys [block]`): all blocks, or only the named one.
/// Throws InputError with the nearest valid name if there is no such block.
std::string reference_text(const Schema& schema, const std::string& block = "");

}  // namespace elastic
