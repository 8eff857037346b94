// SPDX-License-Identifier: Apache-2.0
// Decks that fit an imported model.
#pragma once
#include <string>

#include "arch/model_shape.hpp"

namespace elastic {

/// The blocks of a deck that describe a model, and nothing to train. Widths are those of the first
/// layer of a kind.
std::string deck_of(const ModelShape& shape, const std::string& name, const std::string& parent);

/// A deck that makes the model elastic: its blocks, widths that its groups allow, budgets that
/// these widths meet, short stages, and comments where the user must choose. `--check` accepts it.
/// Throws InputError naming two layers if layers of a kind differ, which no deck describes.
std::string elastic_deck(const ModelShape& shape, const std::string& name,
                         const std::string& parent);

}  // namespace elastic
