// SPDX-License-Identifier: Apache-2.0
// The cost of a (possibly fractional) submodel and its gradient: one function for the router's
// budget loss, the planner, the MFU report and the slicer (doc/equations/router.md).
//
// Parameters; each layer counts with the probability that it is kept, every width with its
// expectation:
//
//   2VD + D + sum over layers of keep * parameters of the layer
//
// Memory of inference, where the elements of a cache are those of one sequence:
//
//   weight_bytes * parameters + cache_bytes * batch * sum over layers of keep * cache of the layer
//
// What a layer counts is said by the description of its kind (arch/layer_kind.hpp).
#pragma once
#include "elastic/submodel_spec.hpp"

namespace elastic {

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

enum class BudgetKind { parameters, memory };
/// What a budget counts: parameters, or bytes of an inference.
struct CostConfig {
  BudgetKind kind = BudgetKind::parameters;
  index_t batch = 1, seq_length = 1;         ///< of the inference whose memory is meant
  double weight_bytes = 2, cache_bytes = 2;  ///< bytes per element
};

/// Parameters of a submodel; formula at the top of this file.
double parameter_count(const ModelShape& parent, const ExpectedWidths& widths);
double parameter_count(const ModelShape& parent, const SubmodelSpec& spec);
double parameter_count(const ModelShape& parent);  ///< all of them
/// Bytes of the KV caches, and of SSM and convolution states, of one inference.
double kv_cache_bytes(const ModelShape& parent, const ExpectedWidths& widths,
                      const CostConfig& config);
double ssm_cache_bytes(const ModelShape& parent, const ExpectedWidths& widths,
                       const CostConfig& config);
/// Parameters, or bytes, as config.kind says.
double cost(const ModelShape& parent, const ExpectedWidths& widths, const CostConfig& config);
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
