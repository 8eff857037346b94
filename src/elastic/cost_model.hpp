// SPDX-License-Identifier: Apache-2.0
// The cost of a (possibly fractional) submodel and its gradient: one function for the router's
// budget loss, the planner, the MFU report and the slicer (doc/equations/router.md).
//
// Parameters; each layer counts with the probability that it is kept, every width with its
// expectation:
//
//   2VD + D + sum over layers of keep * parameters of the layer
//
// Memory of inference, where the elements of a cache are those of one sequence, and b its bytes
// per element (keys and values, or SSM and convolution states):
//
//   weight_bytes * parameters + batch * sum over layers of keep * b * cache of the layer
//
// FLOPs of a forward pass per token, in sequences of the given length:
//
//   2VD + sum over layers of keep * forward work of the layer
//
// Seconds per token of an inference, from measured times (elastic/measured/measured_times.hpp):
//
//   time of the ends + sum over layers of keep * time of the layer
//
// What a layer counts is said by the description of its kind (arch/layer_kind.hpp).
#pragma once
#include <memory>

#include "elastic/submodel_spec.hpp"

namespace elastic {
struct MeasuredTimes;

struct ExpectedLayer {
  double width, head_channels, keep;
};
/// Expected widths under the router's probabilities; also holds gradients by them.
struct ExpectedWidths {
  double hidden = 0;
  std::vector<ExpectedLayer> layers;
};
/// The exact widths of a submodel; a dropped layer has keep = 0.
ExpectedWidths expected_widths(const SubmodelSpec& spec);

enum class BudgetKind { parameters, memory, flops, seconds };
inline constexpr BudgetKind all_budget_kinds[] = {BudgetKind::parameters, BudgetKind::memory,
                                                  BudgetKind::flops, BudgetKind::seconds};
/// The word of a deck: "parameters", "memory", "flops" or "seconds".
const char* budget_kind_name(BudgetKind kind);
/// What it counts, for people: "parameters", "bytes of inference memory", "FLOPs per token",
/// "seconds per token".
const char* budget_kind_text(BudgetKind kind);

/// What a budget counts.
struct CostConfig {
  BudgetKind kind = BudgetKind::parameters;
  index_t batch = 1;       ///< sequences of the inference whose memory counts
  index_t seq_length = 1;  ///< of that inference, or of the pass whose FLOPs count
  double weight_bytes = 2, kv_bytes = 2, ssm_bytes = 2;  ///< per element
  std::shared_ptr<const MeasuredTimes> times = {};       ///< of kind seconds, which needs them
};
/// One cost for each constraint that a budget puts.
using Costs = std::vector<CostConfig>;

/// Parameters of a submodel; formula at the top of this file.
double parameter_count(const ModelShape& parent, const ExpectedWidths& widths);
double parameter_count(const ModelShape& parent, const SubmodelSpec& spec);
double parameter_count(const ModelShape& parent);  ///< all of them
/// Bytes of the KV caches, and of SSM and convolution states, of one inference.
double kv_cache_bytes(const ModelShape& parent, const ExpectedWidths& widths,
                      const CostConfig& config);
double ssm_cache_bytes(const ModelShape& parent, const ExpectedWidths& widths,
                       const CostConfig& config);
/// Parameters, bytes, FLOPs per token or seconds per token, as config.kind says.
double cost(const ModelShape& parent, const ExpectedWidths& widths, const CostConfig& config);
double cost(const ModelShape& parent, const SubmodelSpec& spec, const CostConfig& config);
/// Its two parts: what lies outside the layers, with a hidden width D, and one layer if it is kept.
double ends_cost(const ModelShape& parent, double hidden, const CostConfig& config);
double layer_cost(const ModelShape& parent, index_t layer, double hidden,
                  const ExpectedLayer& widths, const CostConfig& config);
/// Cost of a submodel as a part of its parent's.
double relative_cost(const ModelShape& parent, const SubmodelSpec& spec, const CostConfig& config);
/// d cost / d each expected width, in the structure of the widths.
ExpectedWidths cost_gradient(const ModelShape& parent, const ExpectedWidths& widths,
                             const CostConfig& config);
/// Operations (2 per multiply-add) of the matrix products, convolution, scan and attention of a
/// forward pass over sequences of length L, per token: 2VD and those of each layer, as its kind
/// describes them. Attention and the scan inside a chunk count causal pairs only. Norms and
/// activations are not counted.
double forward_flops_per_token(const ModelShape& parent, const SubmodelSpec& spec,
                               index_t seq_length);

}  // namespace elastic
