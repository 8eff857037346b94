// SPDX-License-Identifier: Apache-2.0
// What one elastic run saves against making each smaller model by itself (Nemotron Elastic, arXiv
// 2511.16664, tables 2 and 3). Inputs are those of <comparison>, the rest is arithmetic.
//
// Training tokens of n smaller models, each with P to pretrain, X to explore, K to distil:
//
//   pretraining              n P
//   pruning and distilling   n (X + K)
//   one elastic run          the tokens of its elastic stages, whatever n is
//
// Bytes of deployment, with w bytes per weight:
//
//   one elastic model        w * parameters of the parent, which holds all submodels
//   separate models          w * sum of their parameters
#pragma once
#include <string>

#include "config/run_config.hpp"

namespace elastic {

/// Tokens and bytes of the ways that are compared.
struct PlanComparison {
  std::size_t models = 0;      ///< budgets below 1
  double elastic_tokens = 0;   ///< of all elastic stages
  double pretrain_tokens = 0;  ///< of n models; 0: not asked for
  double compress_tokens = 0;  ///< of n models, exploring included; 0: not asked for
  double nested_bytes = 0;     ///< weights of the parent
  double separate_bytes = 0;   ///< weights of the separate models; 0: not asked for
};

PlanComparison plan_comparison(const RunConfig& config, double parent_parameters);
/// The comparison as lines for people; empty without an elastic phase,
/// or if <comparison> asks for nothing.
std::string comparison_lines(const RunConfig& config, const PlanComparison& comparison);

}  // namespace elastic
