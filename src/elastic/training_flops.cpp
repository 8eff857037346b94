// SPDX-License-Identifier: Apache-2.0
#include "elastic/training_flops.hpp"

#include "elastic/cost_model.hpp"

namespace elastic {
namespace {
double logits_flops(const ModelShape& parent, index_t hidden_size) {
  return 2 * static_cast<double>(parent.vocab_size) * static_cast<double>(hidden_size);
}
/// What the final states take, without logits.
double states_flops(const ModelShape& parent, const SubmodelSpec& spec, index_t seq_length) {
  return forward_flops_per_token(parent, spec, seq_length) - logits_flops(parent, spec.hidden_size);
}
}  // namespace

SubmodelSpec repeated_part(SubmodelSpec spec, const std::vector<bool>& recomputed) {
  for (std::size_t l = 0; l < spec.layers.size(); ++l)
    spec.layers[l].keep = spec.layers[l].keep && l < recomputed.size() && recomputed[l];
  return spec;
}

double training_flops_per_token(const ModelShape& parent, const SubmodelSpec& spec,
                                index_t seq_length, const TrainingPasses& passes) {
  const double states = states_flops(parent, spec, seq_length),
               logits = logits_flops(parent, spec.hidden_size);
  const int losses = (passes.distills ? 1 : 0) + (passes.cross_entropy ? 1 : 0);
  return 3 * (states + losses * logits) +
         states_flops(parent, repeated_part(spec, passes.recomputed), seq_length) +
         (passes.distills && !passes.reads_teacher && !passes.keeps_logits
              ? logits_flops(parent, parent.hidden_size)
              : 0);
}

double teacher_flops_per_token(const ModelShape& parent, index_t seq_length,
                               const TrainingPasses& passes) {
  const SubmodelSpec full = full_spec(parent);
  if (!passes.distills || passes.reads_teacher) return 0;
  const double logits = passes.keeps_logits ? logits_flops(parent, parent.hidden_size) : 0;
  if (!passes.trains_teacher) return states_flops(parent, full, seq_length) + logits;
  const TrainingPasses own{
      .distills = false, .cross_entropy = true, .recomputed = passes.recomputed};
  return training_flops_per_token(parent, full, seq_length, own) + logits;
}

}  // namespace elastic
