// SPDX-License-Identifier: Apache-2.0
#include "train/train_state.hpp"

#include "elastic/submodel_choice.hpp"
#include "model/initialization.hpp"
#include "train/curriculum.hpp"

namespace elastic {

namespace {
/// Moments at zero. Those of before are given back first.
void make_optimizer(const RunConfig& config, TrainState& state) {
  state.optimizer.reset();
  if (changes_model(make_curriculum(config)))
    state.optimizer = std::make_unique<AdamW<float>>(state.model->parameters());
}
}  // namespace

TrainState make_parent(const RunConfig& config, Weights weights) {
  TrainState state;
  state.model = std::make_unique<LanguageModel<float>>(parent_shape(config));
  if (weights == Weights::initial)
    initialize(*state.model, config.init_std, static_cast<std::uint32_t>(config.job.seed));
  make_optimizer(config, state);
  return state;
}

void make_elastic(const RunConfig& config, const Ranking& ranking, TrainState& state) {
  const ModelShape& shape = state.model->shape();
  ElasticState elastic;
  elastic.space = elastic_space(config, shape);
  if (!ranking.drop_order.empty()) elastic.space.drop_order = ranking.drop_order;
  elastic.decisions = list_decisions(shape, elastic.space);
  elastic.ranking = ranking;
  elastic.teacher = std::make_unique<LanguageModel<float>>(shape, /*frozen=*/true);
  elastic.soft_widths =
      std::make_unique<SoftWidths<float>>(shape, elastic.space, config.elastic.choice_epsilon);
  elastic.router =
      std::make_unique<Router<float>>(elastic.decisions, config.elastic.budgets, config.router.net,
                                      static_cast<std::uint32_t>(config.job.seed));
  elastic.router_optimizer = std::make_unique<AdamW<float>>(elastic.router->parameters());
  state.elastic = std::move(elastic);
  make_optimizer(config, state);
}

void begin_elastic(const RunConfig& config, const Ranking& ranking, TrainState& state) {
  apply_ranking<float>(state.model->shape(), ranking, state.model->parameters());
  make_elastic(config, ranking, state);
  Kokkos::deep_copy(state.elastic->teacher->parameters().values(),
                    state.model->parameters().values());
}

SubmodelSpec submodel_for(const RunConfig& config, const TrainState& state, double budget) {
  const ElasticState& elastic = *state.elastic;
  return choose_submodel(state.model->shape(), elastic.space,
                         elastic.router->logits(ExecutionSpace(), budget),
                         config.router.schedule.logit_scale_end, budget,
                         config.elastic.loss.tolerance, config.elastic.loss.cost);
}

}  // namespace elastic
