// SPDX-License-Identifier: Apache-2.0
// Importance ranking of the parent from calibration data (Nemotron Elastic, arXiv 2511.16664,
// importance estimation): widths by activations, layers by what the logits lose.
//
//   width  sqrt( sum_b (mean_t |a|)^2 ) per unit; hidden channels from the normed inputs of
//          all layers
//   depth  s_j = sum (logits_full - logits_without_j)^2 / sum logits_full^2, greedily: remove
//          the least, score the rest again
#pragma once
#include "elastic/ranking.hpp"
#include "parallel/process_grid.hpp"
#include "train/micro_batches.hpp"

namespace elastic {

class ImportancePass {
 public:
  ImportancePass(const ProcessGrid& grid, const RunConfig& config, Arena& arena);
  /// The ranking of all widths, and the drop order of as many layers as the deck
  /// may drop. Equal on all ranks.
  Ranking ranking(const LanguageModel<Real>& parent);

 private:
  ImportanceScores width_scores(const LanguageModel<Real>& parent);
  std::vector<index_t> drop_order(const LanguageModel<Real>& parent, index_t count);
  /// sum (logits_full - logits_of(spec))^2 / sum logits_full^2 over the calibration data.
  double logit_error(const LanguageModel<Real>& parent, const SubmodelSpec& spec);
  /// Calls body(batch) for this rank's micro-batches of whole calibration sequences.
  template <class Body>
  void for_each_batch(const Body& body);

  const ProcessGrid& m_grid;
  const RunConfig& m_config;
  Arena& m_arena;
  std::unique_ptr<TokenSource> m_source;
  MicroBatches m_batches;
};

}  // namespace elastic
