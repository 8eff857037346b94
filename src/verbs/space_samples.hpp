// SPDX-License-Identifier: Apache-2.0
// Submodels out of an elastic space, to look at it as a whole: a grid, and random ones. Depth
// follows the drop order.
#pragma once
#include "base/random.hpp"
#include "elastic/elastic_space.hpp"

namespace elastic {

/// All submodels whose layers of a kind have one width; where these are more than `most`, evenly
/// spaced ones of their list, first and last included.
std::vector<SubmodelSpec> grid_submodels(const ModelShape& parent, const ElasticSpace& space,
                                         index_t most);

/// Random submodel number `index` of a key. Of the uniform numbers p, s and r_d, decision d takes
/// the choice at the part (1 - s) p + s r_d of its list: so sizes are spread over the whole range,
/// with all widths alike (s = 0) to independent of each other (s = 1).
SubmodelSpec random_submodel(const ModelShape& parent, const ElasticSpace& space,
                             const std::vector<Decision>& decisions, const RandomKey& key,
                             std::uint64_t index);

}  // namespace elastic
