// SPDX-License-Identifier: Apache-2.0
// Importance ranking of the parent from calibration data (Nemotron Elastic, arXiv 2511.16664,
// importance estimation): widths by activations, layers by train/depth_search.
//
// Score of a unit with activations a over sequences b and tokens t, by <rank>/aggregation:
//
//   mean_l2   sqrt( sum_b (mean_t |a|)^2 )
//   sum       sum_{b,t} |a|
//
// Where data have a mask of targets, means and sums are over the tokens whose next one counts.
// Hidden channels: the sum over all layers of the score of the layer's normed input.
#pragma once
#include "elastic/ranking.hpp"
#include "train/depth_search.hpp"

namespace elastic {

template <class T>
class ImportancePass {
 public:
  ImportancePass(const ProcessGrid& grid, const RunConfig& config, Arena& arena)
      : m_grid(grid),
        m_config(config),
        m_data(grid, config, arena),
        m_depth(grid, config, arena, m_data) {}
  /// The ranking of all widths, and the drop order of as many layers as the deck
  /// may drop. Equal on all ranks.
  Ranking ranking(const LanguageModel<T>& parent);
  /// The scores of all widths by <rank>/aggregation and <rank>/activations. Equal on all ranks.
  /// Throws NumericsError if an activation is not finite.
  ImportanceScores width_scores(const LanguageModel<T>& parent);

 private:
  const ProcessGrid& m_grid;
  const RunConfig& m_config;
  CalibrationData m_data;
  DepthSearch<T> m_depth;
};

}  // namespace elastic
