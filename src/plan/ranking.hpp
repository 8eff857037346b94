// SPDX-License-Identifier: Apache-2.0
// What the rank phase computes (train/importance_pass, train/depth_search), per calibration token.
//
// Passes of single layers, with L layers of which up to R may be dropped, and in round r = 0..R-1
// of the depth search K = L - r left, of which c candidates are held at once:
//
//   widths       L                                     unless the order looks at nothing
//   logit_nmse   sum_r [ L + (K-1) + K (K-1)/2 ]       and logits K + ceil(K/c) times
//   cosine       L
//
// Which layers go first is not known before; here the last ones do, as everywhere in the plan.
#pragma once
#include "config/run_config.hpp"
#include "plan/passes.hpp"

namespace elastic {

struct RankingPlan {
  double layer_passes = 0;    ///< forward passes of one layer
  double from_beginning = 0;  ///< those of candidates that would all start at the first layer
  double logits = 0;          ///< times that all logits are computed
  double models = 0;          ///< times that tokens are embedded or final states are normed
  Work per_token;             ///< of the part of the model that a rank holds
};
RankingPlan plan_ranking(const RunConfig& config, const ModelShape& local);

/// How the parent is ranked, as text.
std::string ranking_text(const RunConfig& config);
/// The ranking as lines of the plan. `bytes`: its working memory on a rank.
std::string ranking_lines(const RunConfig& config, const ModelShape& parent, double bytes);

}  // namespace elastic
