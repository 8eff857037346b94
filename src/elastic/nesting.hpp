// SPDX-License-Identifier: Apache-2.0
// Nested families: w(small) <= w(large) on every axis and in every layer, so that each submodel is
// part of every larger one (is_nested in submodel_spec.hpp).
#pragma once
#include "elastic/elastic_space.hpp"

namespace elastic {

/// Submodels that a choice must lie between. Null: no bound.
struct NestingBounds {
  const SubmodelSpec* outer = nullptr;  ///< the choice is nested in it
  const SubmodelSpec* inner = nullptr;  ///< is nested in the choice
};

/// Which choices of a decision lie within the bounds, whatever the other decisions are.
std::vector<bool> allowed_choices(const ModelShape& parent, const ElasticSpace& space,
                                  const Decision& decision, const NestingBounds& bounds);

/// Where `inner` keeps more than `outer`: "hidden 112 of 96" or "layer 3 (-) 384 of 256", the
/// first such place; empty if it is nested.
std::string nesting_gap(const ModelShape& parent, const SubmodelSpec& inner,
                        const SubmodelSpec& outer);
/// One line for every pair that is not nested: "0.5 is not part of 0.75: hidden 112 of 96".
std::vector<std::string> nesting_gaps(const ModelShape& parent,
                                      const std::vector<SubmodelSpec>& specs);

}  // namespace elastic
