// SPDX-License-Identifier: Apache-2.0
#include "train/step_deal.hpp"

#include <cmath>

#include "base/life_sign.hpp"
#include "base/region.hpp"
#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "elastic/training_flops.hpp"
#include "parallel/share_out.hpp"

namespace elastic {
namespace {

/// The extents that a pass computes. `sharers`: ranks that hold as many units each.
template <class T>
SubmodelSpec computed_spec(const ActiveWidths<T>& widths, int sharers) {
  SubmodelSpec spec{.name = {}, .budget = 1, .hidden_size = widths.hidden, .layers = {}};
  for (const auto& layer : widths.layers)
    spec.layers.push_back({layer.width * sharers, layer.head_channels, layer.active});
  return spec;
}

}  // namespace

void require_finite_draw(const RouterDraw& draw, const std::string& budget) {
  for (const Probabilities* lists : {&draw.value, &draw.soft})
    for (const auto& list : *lists)
      for (const double p : list)
        if (!std::isfinite(p))
          throw NumericsError(
              fmt::format("step {}: what the router draws for budget {} is not finite",
                          life_sign().step.load(), budget));
}

/// Operations of each micro-batch.
template <class T>
std::vector<double> StepDeal::work(TrainState<T>& state, const Stage& stage, index_t local_step,
                                   const RouterTemperature& temperature,
                                   const std::vector<DrawGroup>& batches) const {
  ElasticState<T>& elastic = *state.elastic;
  const ModelShape& shape = state.model->shape();
  const index_t length = stage.config.seq_length;
  const TrainingPasses passes = training_passes(m_config, stage);
  const ExecutionSpace exec;
  std::vector<typename ElasticState<T>::PassName> names;
  for (const DrawGroup& batch : batches)
    for (const std::size_t budget : batch.budgets)
      names.push_back({budget, stream(local_step, batch, budget)});
  const auto draws = elastic.draws({exec, m_config.job.deterministic}, names, temperature);
  auto next = draws.begin();
  std::vector<double> work;
  double per_sample = 0;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const DrawGroup& batch = batches[i];
    const auto first = next;
    next += static_cast<std::ptrdiff_t>(batch.budgets.size());
    if (i == 0 || batch.number != batches[i - 1].number) {
      per_sample = teacher_flops_per_token(shape, length, passes);
      for (std::size_t b = 0; b < batch.budgets.size(); ++b) {
        const RouterDraw& draw = first[static_cast<std::ptrdiff_t>(b)];
        require_finite_draw(draw, m_config.elastic.budget_name(batch.budgets[b]));
        const auto& widths = elastic.soft_widths->set(exec, draw);
        per_sample += training_flops_per_token(shape, computed_spec(widths, m_grid.tensor.size()),
                                               length, passes);
      }
    }
    work.push_back(per_sample * static_cast<double>(batch.samples.size()));
  }
  return work;
}

template <class T>
std::vector<DrawGroup> StepDeal::micro_batches(TrainState<T>& state, const Stage& stage,
                                               index_t local_step,
                                               const RouterTemperature& temperature) {
  const Region region("deal");
  if (!m_deal || m_stage != stage.stream) {
    m_deal.emplace(budget_deal_of(m_config, stage));
    m_stage = stage.stream;
  }
  const index_t size = m_config.job.deterministic ? 1 : micro_batch_samples(m_config, stage);
  const auto all = cut_groups(m_deal->groups(local_step), size);
  const index_t replicas = m_grid.num_replicas();
  if (replicas == 1) return all;
  // Ranks need not round alike: one of them decides.
  std::vector<index_t> replica_of;
  all_ranks_agree(m_grid.world, [&] {
    if (m_grid.world.is_root())
      replica_of = share_out(work(state, stage, local_step, temperature, all), replicas);
  });
  broadcast(m_grid.world, replica_of);
  std::vector<DrawGroup> mine;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (replica_of[i] == m_grid.data.rank()) mine.push_back(all[i]);
  return mine;
}

#define ELASTIC_INSTANTIATE(T)                                                             \
  template std::vector<DrawGroup> StepDeal::micro_batches<T>(TrainState<T>&, const Stage&, \
                                                             index_t, const RouterTemperature&);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(bfloat16)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
