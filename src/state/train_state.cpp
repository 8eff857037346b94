// SPDX-License-Identifier: Apache-2.0
#include "state/train_state.hpp"

#include <algorithm>

#include "config/curriculum.hpp"
#include "config/extraction.hpp"
#include "model/initialization.hpp"
#include "model/ranked_model.hpp"

namespace elastic {

namespace {
template <class T>
std::unique_ptr<AdamW<T>> make_adamw(const ParameterStore<T>& store, const Shard& owner) {
  return std::make_unique<AdamW<T>>(store, optimizer_slices(store, owner.size).of(owner.rank));
}

/// Starts the optimizer with moments at zero. The earlier moments are given back first.
void make_optimizer(const RunConfig& config, TrainState& state) {
  state.optimizer.reset();
  if (changes_model(make_curriculum(config)))
    state.optimizer = make_adamw(state.model->parameters(), state.owner);
}
}  // namespace

namespace {
TrainState make_parent_on(const RunConfig& config, const TensorParallel& parallel,
                          const Shard& owner, Weights weights) {
  TrainState state;
  state.owner = owner;
  state.model = std::make_unique<LanguageModel<Real>>(parent_shape(config), false, parallel);
  if (weights == Weights::initial)
    initialize(*state.model, config.init_std, static_cast<std::uint32_t>(config.job.seed));
  make_optimizer(config, state);
  return state;
}
}  // namespace

TrainState make_parent(const RunConfig& config, Weights weights) {
  return make_parent_on(config, {}, {}, weights);
}
TrainState make_parent(const RunConfig& config, const ProcessGrid& grid, Weights weights) {
  return make_parent_on(config, TensorParallel(grid.tensor, config.parallel.sequence_parallel),
                        {grid.data_context.rank(), grid.data_context.size()}, weights);
}

std::unique_ptr<LanguageModel<Real>> make_teacher(const LanguageModel<Real>& model) {
  return std::make_unique<LanguageModel<Real>>(model.shape(), /*frozen=*/true, model.parallel());
}

void make_elastic(const RunConfig& config, const Ranking& ranking, TrainState& state) {
  const ModelShape& shape = state.model->shape();
  ElasticState elastic;
  elastic.space = ranked_space(config, shape, ranking.drop_order);
  elastic.decisions = list_decisions(shape, elastic.space);
  elastic.ranking = ranking;
  if (keeps_frozen_teacher(make_curriculum(config))) elastic.teacher = make_teacher(*state.model);
  elastic.soft_widths = std::make_unique<SoftWidths<Real>>(
      shape, elastic.space, config.elastic.choice_epsilon, state.model->shard());
  elastic.router =
      std::make_unique<Router<Accumulate<Real>>>(make_router(config, shape, elastic.space));
  elastic.router_optimizer = make_adamw(elastic.router->parameters(), state.owner);
  state.elastic = std::move(elastic);
  make_optimizer(config, state);
}

void begin_elastic(const RunConfig& config, const Ranking& ranking, TrainState& state) {
  apply_ranking_to_model(ranking, *state.model);
  make_elastic(config, ranking, state);
  if (const auto& teacher = state.elastic->teacher)
    Kokkos::deep_copy(teacher->parameters().values(), state.model->parameters().values());
}

SubmodelSpec submodel_for(const RunConfig& config, const TrainState& state, double budget) {
  const ElasticState& elastic = *state.elastic;
  return choose_submodel(config, state.model->shape(), elastic.space, *elastic.router, budget);
}
std::vector<SubmodelSpec> submodels_for(const RunConfig& config, const TrainState& state,
                                        bool with_extra_budgets) {
  const ElasticState& elastic = *state.elastic;
  return choose_family(config, state.model->shape(), elastic.space, *elastic.router,
                       with_extra_budgets);
}

}  // namespace elastic
