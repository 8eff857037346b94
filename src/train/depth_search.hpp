// SPDX-License-Identifier: Apache-2.0
// Which layers matter least (Nemotron Elastic, arXiv 2511.16664, importance estimation):
//
//   logit_nmse   s_j = sum (logits_full - logits_without_j)^2 / sum logits_full^2, greedily: the
//                layer with the least goes, the rest is scored again without it
//   cosine       s_j = 1 - mean_t cos(stream before j, stream after j), once (ModelOpt)
//   last_layers  the last go first
//
// Where data have a mask of targets, sums are over the tokens whose next one counts.
//
// A candidate that drops layer j equals the current stack up to j. So each round passes the current
// stack once, copies its residual stream before every layer, and takes the copy through the layers
// behind it. With L layers in all and K of them left, a round computes
//
//   layers   L + (K-1) + K(K-1)/2     instead of K (L + K-1)
//   logits   K + ceil(K / depth_candidates)
//
// per token, with the bits of passes from the beginning.
#pragma once
#include "train/calibration_data.hpp"

namespace elastic {

template <class T>
class DepthSearch {
 public:
  DepthSearch(const ProcessGrid& grid, const RunConfig& config, Arena& arena, CalibrationData& data)
      : m_grid(grid), m_config(config), m_arena(arena), m_data(data) {}
  /// `count` layers, least important first by <rank>/depth_measure and <rank>/order, then all
  /// others as they stand. Equal on all ranks. Throws NumericsError if a score is not finite.
  std::vector<index_t> drop_order(const LanguageModel<T>& parent, index_t count);
  /// s_j of logit_nmse for each of the layers `kept`, all others being dropped already.
  std::vector<double> logit_errors(const LanguageModel<T>& parent,
                                   const std::vector<index_t>& kept);
  /// s_j of cosine for every layer.
  std::vector<double> stream_turns(const LanguageModel<T>& parent);

 private:
  std::vector<index_t> greedy_order(const LanguageModel<T>& parent, index_t count);
  /// Adds sum (logits_full - logits)^2 of the candidates' final states to `differences`, and sum
  /// logits_full^2 to `norm`. [in] full, candidates [T, D], weights [T] of the tokens or nothing
  void compare(const LayerContext& context, const LanguageModel<T>& parent, const View2<T>& full,
               const std::vector<View2<T>>& candidates, const std::vector<float>& weights,
               double* differences, double& norm);

  const ProcessGrid& m_grid;
  const RunConfig& m_config;
  Arena& m_arena;
  CalibrationData& m_data;
};

}  // namespace elastic
