// SPDX-License-Identifier: Apache-2.0
#include "model/ranked_model.hpp"

#include "comm/collectives.hpp"
#include "parallel/whole_tensors.hpp"

namespace elastic {

template <class T>
void apply_ranking_to_model(const Ranking& ranking, LanguageModel<T>& model) {
  const Communicator* group = model.parallel().group();
  if (!group) return apply_ranking<T>(model.shape(), ranking, model.parameters());
  for (const auto& p : model.parameters()) {
    const auto& info = p.info;
    const auto matrix = ShardedMatrix::of(info);
    auto whole = gather_shards<T>(*group, matrix, p.value);
    const auto rows = permutation(model.shape(), ranking, info.row_dim, info.layer, info.rows);
    const auto columns =
        permutation(model.shape(), ranking, info.column_dim, info.layer, info.columns);
    if (group->is_root()) whole = permuted<T>(whole, rows, columns);
    broadcast(*group, whole);
    take_shard<T>(whole.data(), matrix, model.shard(), p.value);
  }
}

template void apply_ranking_to_model<float>(const Ranking&, LanguageModel<float>&);
template void apply_ranking_to_model<double>(const Ranking&, LanguageModel<double>&);

}  // namespace elastic
