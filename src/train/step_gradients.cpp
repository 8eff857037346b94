// SPDX-License-Identifier: Apache-2.0
#include "train/step_gradients.hpp"

#include "comm/collectives.hpp"

namespace elastic {

template <class T>
void StepGradients::begin(std::optional<GradientSum>& sum, const ParameterStore<T>& store,
                          int owners, bool tokens_shared_out) {
  if (!sum || !sum->is_of(store.gradients()))
    sum.emplace(m_grid, store, optimizer_slices(store, owners), m_deterministic, tokens_shared_out);
  sum->begin();
}

template <class T>
void StepGradients::begin(const TrainState<T>& state, bool with_router) {
  m_with_router = with_router;
  const int owners = state.owner.size;
  begin(m_model, state.model->parameters(), owners, state.model->parallel().sequence_parallel());
  if (with_router) begin(m_router, state.elastic->router->parameters(), owners, false);
  if (!m_deterministic) return;
  std::vector<FixedPointGradients*> buffers{m_model->fixed_point()};
  if (with_router) {
    const auto masks = state.elastic->soft_widths->gradients();
    if (!m_masks || !m_masks->is_of(masks))
      m_masks.emplace(masks, kernels::fixed_point_limit(m_grid.world.size()), m_model->overflow());
    buffers.push_back(&*m_masks);
  }
  m_blocks.emplace(buffers);
}

GradientsComplete StepGradients::completion(bool last) {
  if (!last) return {};
  return [this](index_t offset) { m_model->complete_from(offset); };
}

void StepGradients::begin_masks() {
  if (m_masks) m_masks->begin();
}

template <class T>
void StepGradients::sum_masks(const SoftWidths<T>& soft_widths, bool tokens_shared_out) {
  const auto sum = [&](const auto& gradients) {
    all_reduce_sum(m_grid.context, gradients);
    if (tokens_shared_out)
      all_reduce_sum(m_grid.tensor, prefix(gradients, soft_widths.num_shared_gradients()));
  };
  if (!m_masks) return sum(soft_widths.gradients());
  sum(m_masks->sums());
  m_masks->finish();
}

void StepGradients::end_micro_batch() {
  if (m_with_router) m_router->end_block();
}

bool StepGradients::finish() {
  bool in_range = m_model->finish();
  if (m_with_router) in_range = m_router->finish() && in_range;
  return in_range;
}

#define ELASTIC_INSTANTIATE(T)                                       \
  template void StepGradients::begin<T>(const TrainState<T>&, bool); \
  template void StepGradients::sum_masks<T>(const SoftWidths<T>&, bool);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(bfloat16)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
