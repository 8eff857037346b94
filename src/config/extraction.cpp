// SPDX-License-Identifier: Apache-2.0
#include "config/extraction.hpp"

#include "config/seconds_budget.hpp"

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

ChoiceRules choice_rules(const RunConfig& config) {
  if (lacks_times(config))
    throw InputError(
        "budgets count seconds, but nothing was measured yet: the phase measure does that");
  return {config.router.schedule.logit_scale_end, config.elastic.loss.tolerance,
          config.elastic.loss.costs};
}

LogitsOf logits_of(const RunConfig& config, const Router<Accumulate<Real>>& router) {
  return [&router, deterministic = config.job.deterministic](double budget) {
    return router.logits({.deterministic = deterministic}, budget);
  };
}

std::vector<SubmodelSpec> choose_family(const RunConfig& config, const ModelShape& parent,
                                        const ElasticSpace& space,
                                        const Router<Accumulate<Real>>& router,
                                        bool with_extra_budgets) {
  const auto budgets = with_extra_budgets ? all_budgets(config) : trained_budgets(config);
  const ChoiceRules rules = choice_rules(config);
  std::vector<SubmodelSpec> family;
  if (config.router.widths == WidthChoice::homogeneous)
    for (const auto& budget : budgets)
      family.push_back(homogeneous_submodel(parent, space, budget.fraction, rules));
  else
    family = choose_family(
        parent, space, logits_of(config, router), config.elastic.budgets,
        with_extra_budgets ? config.evaluate.extra_budgets : std::vector<double>{}, rules);
  for (std::size_t i = 0; i < family.size(); ++i) family[i].name = budgets[i].name;
  return family;
}

SubmodelSpec choose_member(const RunConfig& config, const ModelShape& parent,
                           const ElasticSpace& space, const Router<Accumulate<Real>>& router,
                           double budget, const std::vector<SubmodelSpec>& family) {
  if (config.router.widths == WidthChoice::homogeneous)
    return homogeneous_submodel(parent, space, budget, choice_rules(config));
  return choose_member(parent, space, logits_of(config, router)(budget), budget, family,
                       choice_rules(config));
}

SubmodelSpec choose_submodel(const RunConfig& config, const ModelShape& parent,
                             const ElasticSpace& space, const Router<Accumulate<Real>>& router,
                             double budget) {
  const auto family = choose_family(config, parent, space, router, false);
  for (const auto& spec : family)
    if (spec.budget == budget) return spec;
  return choose_member(config, parent, space, router, budget, family);
}

}  // namespace elastic
