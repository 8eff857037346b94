// SPDX-License-Identifier: Apache-2.0
#include "config/extraction.hpp"

#include "elastic/submodel_choice.hpp"

namespace elastic {

ElasticSpace ranked_space(const RunConfig& config, const ModelShape& parent,
                          const std::vector<index_t>& drop_order) {
  ElasticSpace space = elastic_space(config, parent);
  if (!drop_order.empty()) space.drop_order = drop_order;
  return space;
}

Router<Accumulate<Real>> make_router(const RunConfig& config, const ModelShape& parent,
                                     const ElasticSpace& space) {
  return {list_decisions(parent, space), config.elastic.budgets, config.router.net,
          static_cast<std::uint32_t>(config.job.seed)};
}

SubmodelSpec choose_submodel(const RunConfig& config, const ModelShape& parent,
                             const ElasticSpace& space, const Probabilities& logits,
                             double budget) {
  return choose_submodel(parent, space, logits, config.router.schedule.logit_scale_end, budget,
                         config.elastic.loss.tolerance, config.elastic.loss.cost);
}

SubmodelSpec choose_submodel(const RunConfig& config, const ModelShape& parent,
                             const ElasticSpace& space, const Router<Accumulate<Real>>& router,
                             double budget) {
  return choose_submodel(config, parent, space,
                         router.logits({.deterministic = config.job.deterministic}, budget),
                         budget);
}

}  // namespace elastic
