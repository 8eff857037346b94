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
    const auto rows = permutation(model.shape(), ranking, info.row_dim, info.layer, info.rows);
    const auto columns =
        permutation(model.shape(), ranking, info.column_dim, info.layer, info.columns);
    with_values(p, [&](const auto& values) {
      using Value = typename std::decay_t<decltype(values)>::value_type;
      auto whole = gather_shards<Value>(*group, matrix, values);
      if (group->is_root()) whole = permuted<Value>(whole, rows, columns);
      broadcast(*group, whole);
      take_shard<Value>(whole.data(), matrix, model.shard(), values);
    });
  }
}

template void apply_ranking_to_model<bfloat16>(const Ranking&, LanguageModel<bfloat16>&);
template void apply_ranking_to_model<float>(const Ranking&, LanguageModel<float>&);
template void apply_ranking_to_model<double>(const Ranking&, LanguageModel<double>&);

}  // namespace elastic
