// SPDX-License-Identifier: Apache-2.0
#include "plan/work.hpp"

#include "elastic/training_flops.hpp"

namespace elastic {

bool narrows(const RunConfig& config) { return config.router.widths == WidthChoice::learned; }

StageWork stage_work(const RunConfig& config, const ModelShape& parent, const Stage& stage,
                     const std::vector<SubmodelSpec>& specs) {
  const index_t length = stage.config.seq_length;
  const auto tokens = static_cast<double>(stage.tokens_per_step());
  const SubmodelSpec full = full_spec(parent);
  const TrainingPasses passes = training_passes(config, stage);
  const auto flops = [&](const SubmodelSpec& spec) {
    return training_flops_per_token(parent, spec, length, passes);
  };
  if (!stage.elastic) return {tokens * flops(full), tokens * flops(full)};
  const double teacher = tokens * teacher_flops_per_token(parent, length, passes);
  StageWork work{teacher, teacher};
  const auto shares =
      budget_shares(stage.config.budget_probability, stage.config.budgets_per_sample);
  for (std::size_t b = 0; b < specs.size(); ++b) {
    work.flops_per_step += tokens * shares[b] * flops(specs[b]);
    work.full_flops_per_step += tokens * shares[b] * flops(narrows(config) ? full : specs[b]);
  }
  return work;
}

double all_reduce_bytes(double parameters, int ranks, double value_bytes) {
  return (sum_bytes + value_bytes) * static_cast<double>(ranks - 1) / ranks * parameters;
}

}  // namespace elastic
