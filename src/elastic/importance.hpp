// SPDX-License-Identifier: Apache-2.0
// How the importance of units and layers is measured, and which order is made of it (Nemotron
// Elastic, arXiv 2511.16664, importance estimation; ModelOpt, modelopt/torch/prune).
#pragma once
#include <cstdint>
#include <string>

#include "arch/model_shape.hpp"

namespace elastic {

/// How the activations a_t of a unit become one number over the calibration sequences b.
enum class Aggregation {
  mean_l2,  ///< sqrt( sum_b (mean_t |a|)^2 ), as in ModelOpt (Minitron, arXiv 2407.14679)
  sum       ///< sum_{b,t} |a|, as in the formulas of Nemotron Elastic
};
/// Which activations of a mixer speak for its units.
enum class UnitActivations {
  outputs,     ///< what the output projection reads: heads' outputs, activated neurons
  projections  ///< what the first projections give: queries, neurons before their activation
};
/// What becomes of the importance. All but `importance` serve comparisons.
enum class RankOrder { importance, random, reversed, identity };
/// How much a layer matters.
enum class DepthMeasure {
  logit_nmse,  ///< normalised squared error of the logits without it; removed one by one
  cosine,      ///< 1 - mean cos(stream before, stream after), as in ModelOpt
  last_layers  ///< the earlier, the more
};
struct ImportanceMeasure {
  Aggregation aggregation = Aggregation::mean_l2;
  UnitActivations activations = UnitActivations::outputs;
};
/// "mean/L2 of outputs"
std::string describe(const ImportanceMeasure& measure);

/// Importance of all units, the more the larger. Those of layers are *squares*, so that the L2 norm
/// over several channels is the root of a plain sum, whatever the aggregation was.
struct ImportanceScores {
  std::vector<double> hidden;  ///< [D], only compared
  /// Per layer: Mamba [H*P], attention [A*C], MLP [F].
  std::vector<std::vector<double>> squares;
};

/// Scores whose falling order is `order`: `measured` itself, its negative, random numbers (by the
/// seed alone), or nothing but ties. Only the first two look at `measured`.
ImportanceScores scores_in_order(RankOrder order, const ModelShape& shape,
                                 const ImportanceScores& measured, std::uint32_t seed);
/// `count` layers to drop, the first first, and the rest of the layers as they stand behind them.
/// [in] importance: one per layer; ties by index
std::vector<index_t> least_important(const std::vector<double>& importance, index_t count);
/// As scores_in_order, of layers: `identity` keeps the early ones.
std::vector<double> layers_in_order(RankOrder order, const std::vector<double>& measured,
                                    std::uint32_t seed);

}  // namespace elastic
