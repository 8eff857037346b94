// SPDX-License-Identifier: Apache-2.0
#include "plan/work.hpp"

#include <numeric>

#include "elastic/cost_model.hpp"

namespace elastic {
namespace {

/// Adds `probability` times the mean number of draws of each budget still in the urn.
void add_draws(std::vector<double> weights, index_t count, double probability,
               std::vector<double>& draws) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (count == 0 || sum == 0) return;
  for (std::size_t b = 0; b < weights.size(); ++b) {
    if (weights[b] == 0) continue;
    const double drawn = probability * weights[b] / sum;
    draws[b] += drawn;
    auto rest = weights;
    rest[b] = 0;
    add_draws(std::move(rest), count - 1, drawn, draws);
  }
}

/// Operations per token of one model.
struct Forward {
  double stack, logits;
  double training(const RunConfig& config, int losses) const {
    return 3 * (stack + losses * logits) + (config.parallel.recompute ? stack : 0);
  }
};
Forward forward_of(const ModelShape& parent, const SubmodelSpec& spec, index_t seq_length) {
  const double logits =
      2 * static_cast<double>(parent.vocab_size) * static_cast<double>(spec.hidden_size);
  return {forward_flops_per_token(parent, spec, seq_length) - logits, logits};
}

}  // namespace

std::vector<double> expected_draws(const std::vector<double>& weights, index_t count) {
  const auto size = static_cast<index_t>(weights.size());
  if (count >= size) return std::vector<double>(weights.size(), 1.0);  // all of them, always
  std::vector<double> draws(weights.size(), 0.0);
  add_draws(weights, count, 1, draws);
  return draws;
}

StageWork stage_work(const RunConfig& config, const ModelShape& parent, const Stage& stage,
                     const std::vector<SubmodelSpec>& specs) {
  const index_t length = stage.config.seq_length;
  const auto tokens = static_cast<double>(stage.tokens_per_step());
  const Forward full = forward_of(parent, full_spec(parent), length);
  if (!stage.elastic) {
    const double flops = tokens * full.training(config, 1);
    return {flops, flops};
  }
  const bool distills = config.distill.distillation_weight != 0;
  const int losses = (distills ? 1 : 0) + (config.distill.cross_entropy_weight != 0 ? 1 : 0);
  const auto draws =
      expected_draws(stage.config.budget_probability, stage.config.budgets_per_micro_batch);
  StageWork work;
  if (distills) work = {tokens * full.stack, tokens * full.stack};
  for (std::size_t b = 0; b < specs.size(); ++b) {
    const double teacher = distills ? full.logits : 0;
    const Forward own = forward_of(parent, specs[b], length);
    work.flops_per_step += tokens * draws[b] * (teacher + own.training(config, losses));
    work.full_flops_per_step += tokens * draws[b] * (teacher + full.training(config, losses));
  }
  return work;
}

double all_reduce_bytes(double parameters, int ranks) {
  return (sum_bytes + value_bytes) * static_cast<double>(ranks - 1) / ranks * parameters;
}

}  // namespace elastic
