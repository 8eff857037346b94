// SPDX-License-Identifier: Apache-2.0
// The physical order of a model's units by importance, on any number of tensor-parallel ranks.
#pragma once
#include "elastic/ranking.hpp"
#include "model/language_model.hpp"

namespace elastic {

/// Collective over the tensor group. Permutes all values as apply_ranking (elastic/ranking.hpp)
/// would permute the whole model. Units may change their rank: such a tensor is put together,
/// permuted and sharded again, one at a time.
template <class T>
void apply_ranking_to_model(const Ranking& ranking, LanguageModel<T>& model);

}  // namespace elastic
