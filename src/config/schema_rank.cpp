// SPDX-License-Identifier: Apache-2.0
// How the parent's units and layers are ranked.
#include "config/schema_parts.hpp"

namespace elastic {

void bind_rank(Schema& schema, RankConfig& rank) {
  schema.block("rank", "Importance ranking (phase rank).")
      .bind("samples", &rank.samples,
            {.unit = "sequences", .range = limits::sequences, .help = "Calibration sequences."})
      .bind("seq_length", &rank.seq_length,
            {.unit = "tokens", .range = limits::lengths, .help = "Their length."})
      .bind("aggregation", &rank.measure.aggregation,
            {{"mean_l2", Aggregation::mean_l2}, {"sum", Aggregation::sum}},
            {.help = "What makes one number of a unit's activations: the L2 norm over sequences of "
                     "their mean size (ModelOpt), or the plain sum of their sizes (the paper)."})
      .bind("activations", &rank.measure.activations,
            {{"outputs", UnitActivations::outputs}, {"projections", UnitActivations::projections}},
            {.help = "Activations that speak for heads and neurons: heads' outputs and activated "
                     "neurons (ModelOpt), or queries and neurons before activation (the paper); of "
                     "Mamba it is the projected x."})
      .bind("order", &rank.order,
            {{"importance", RankOrder::importance},
             {"random", RankOrder::random},
             {"reversed", RankOrder::reversed},
             {"identity", RankOrder::identity}},
            {.help = "Order of units and layers; all but importance serve comparisons: random (a "
                     "function of the seed), the most important last, or as they stand with the "
                     "last layers dropped first."})
      .bind("depth_measure", &rank.depth_measure,
            {{"logit_nmse", DepthMeasure::logit_nmse},
             {"cosine", DepthMeasure::cosine},
             {"last_layers", DepthMeasure::last_layers}},
            {.help = "How much a layer matters: by the error of the logits without it, layers "
                     "removed one by one; by how far it turns the residual stream; or the earlier, "
                     "the more."})
      .bind("depth_candidates", &rank.depth_candidates,
            {.unit = "layers",
             .range = Interval::between(1, 1e6),
             .help = "Layers of whose removal logit_nmse holds the final states at once; all of "
                     "them share one computation of the parent's logits."});
}

}  // namespace elastic
