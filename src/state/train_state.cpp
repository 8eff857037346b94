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

/// Starts the optimizer with moments at zero and masters at the values. The earlier ones are given
/// back first.
template <class T>
void make_optimizer(const RunConfig& config, TrainState<T>& state) {
  state.optimizer.reset();
  if (changes_model(make_curriculum(config)))
    state.optimizer = make_adamw(state.model->parameters(), state.owner);
}
/// The values are the roundings of these masters already. In pieces: a copy of the largest tensor
/// in float32 would be what a rank needs most memory for.
template <class T>
void start_masters(const RunConfig& config, std::uint32_t seed, const TrainState<T>& state) {
  constexpr index_t at_once = 1 << 22;
  for (const auto& p : state.model->parameters())
    for (index_t begin = 0; begin < p.size(); begin += at_once) {
      const Range elements{begin, std::min(begin + at_once, p.size())};
      const auto values =
          unrounded_initial_values(*state.model, p, elements, config.init_std, seed);
      state.optimizer->masters_from_host(p, elements, values.data());
    }
}

template <class T>
TrainState<T> make_parent_on(const RunConfig& config, const TensorParallel& parallel,
                             const Shard& owner, Weights weights) {
  TrainState<T> state;
  state.owner = owner;
  state.model = std::make_unique<LanguageModel<T>>(parent_shape(config), false, parallel);
  const auto seed = static_cast<std::uint32_t>(config.job.seed);
  if (weights == Weights::initial) initialize(*state.model, config.init_std, seed);
  make_optimizer(config, state);
  if (has_masters<T> && weights == Weights::initial && state.optimizer)
    start_masters(config, seed, state);
  return state;
}
}  // namespace

template <class T>
TrainState<T> make_parent(const RunConfig& config, Weights weights) {
  return make_parent_on<T>(config, {}, {}, weights);
}
template <class T>
TrainState<T> make_parent(const RunConfig& config, const ProcessGrid& grid, Weights weights) {
  return make_parent_on<T>(config, TensorParallel(grid.tensor, config.parallel.sequence_parallel),
                           {grid.data_context.rank(), grid.data_context.size()}, weights);
}

template <class T>
const RouterDraw& ElasticState<T>::draw(const kernels::Products& products, std::size_t budget,
                                        const RouterTemperature& temperature,
                                        std::uint64_t stream) const {
  if (!learns_widths()) return fixed[budget];
  return router->forward(products, router->budgets()[budget], temperature, stream);
}

template <class T>
std::vector<DrawName> ElasticState<T>::names_of(const std::vector<PassName>& passes) const {
  std::vector<DrawName> names;
  for (const PassName& pass : passes)
    names.push_back({router->budgets()[pass.budget], pass.stream});
  return names;
}

template <class T>
std::vector<RouterDraw> ElasticState<T>::draws(const kernels::Products& products,
                                               const std::vector<PassName>& passes,
                                               const RouterTemperature& temperature) const {
  if (learns_widths()) return router->draws(products, names_of(passes), temperature);
  std::vector<RouterDraw> result;
  for (const PassName& pass : passes)
    result.push_back(draw(products, pass.budget, temperature, pass.stream));
  return result;
}

template <class T>
std::unique_ptr<LanguageModel<T>> make_teacher(const LanguageModel<T>& model) {
  return std::make_unique<LanguageModel<T>>(model.shape(), /*frozen=*/true, model.parallel());
}

template <class T>
void make_elastic(const RunConfig& config, const Ranking& ranking, TrainState<T>& state) {
  const ModelShape& shape = state.model->shape();
  ElasticState<T> elastic;
  elastic.space = ranked_space(config, shape, ranking.drop_order);
  elastic.decisions = list_decisions(shape, elastic.space);
  elastic.ranking = ranking;
  // Where the run ends with the phase teach, the parent itself is the teacher.
  const bool only_teaches = config.job.has(Phase::teach) && !config.job.has(Phase::elastic);
  if (keeps_frozen_teacher(make_curriculum(config)) && !only_teaches)
    elastic.teacher = make_teacher(*state.model);
  elastic.soft_widths = std::make_unique<SoftWidths<T>>(
      shape, elastic.space, config.elastic.choice_epsilon, state.model->shard());
  elastic.router =
      std::make_unique<Router<Accumulate<T>>>(make_router(config, shape, elastic.space));
  elastic.router_optimizer = make_adamw(elastic.router->parameters(), state.owner);
  if (config.router.widths == WidthChoice::homogeneous)
    for (const auto& spec : choose_family(config, shape, elastic.space, *elastic.router, false))
      elastic.fixed.push_back(certain_draw(shape, elastic.decisions, spec));
  state.elastic = std::move(elastic);
  make_optimizer(config, state);
}

template <class T>
void begin_elastic(const RunConfig& config, const Ranking& ranking, TrainState<T>& state) {
  apply_ranking_to_model(ranking, *state.model);
  make_elastic(config, ranking, state);
  if (const auto& teacher = state.elastic->teacher)
    copy_values(state.model->parameters(), teacher->parameters());
}

template <class T>
SubmodelSpec submodel_for(const RunConfig& config, const TrainState<T>& state, double budget) {
  const ElasticState<T>& elastic = *state.elastic;
  return choose_submodel(config, state.model->shape(), elastic.space, *elastic.router, budget);
}
template <class T>
std::vector<SubmodelSpec> submodels_for(const RunConfig& config, const TrainState<T>& state,
                                        bool with_extra_budgets) {
  const ElasticState<T>& elastic = *state.elastic;
  return choose_family(config, state.model->shape(), elastic.space, *elastic.router,
                       with_extra_budgets);
}

#define ELASTIC_INSTANTIATE(T)                                                                     \
  template TrainState<T> make_parent<T>(const RunConfig&, Weights);                                \
  template TrainState<T> make_parent<T>(const RunConfig&, const ProcessGrid&, Weights);            \
  template void begin_elastic<T>(const RunConfig&, const Ranking&, TrainState<T>&);                \
  template void make_elastic<T>(const RunConfig&, const Ranking&, TrainState<T>&);                 \
  template std::unique_ptr<LanguageModel<T>> make_teacher<T>(const LanguageModel<T>&);             \
  template const RouterDraw& ElasticState<T>::draw(const kernels::Products&, std::size_t,          \
                                                   const RouterTemperature&, std::uint64_t) const; \
  template std::vector<RouterDraw> ElasticState<T>::draws(                                         \
      const kernels::Products&, const std::vector<PassName>&, const RouterTemperature&) const;     \
  template std::vector<DrawName> ElasticState<T>::names_of(const std::vector<PassName>&) const;    \
  template SubmodelSpec submodel_for<T>(const RunConfig&, const TrainState<T>&, double);           \
  template std::vector<SubmodelSpec> submodels_for<T>(const RunConfig&, const TrainState<T>&, bool);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
