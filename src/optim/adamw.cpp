// SPDX-License-Identifier: Apache-2.0
// Groups the tensors into segments of equal decay and calls the kernel on each.
#include "optim/adamw.hpp"

#include "kernels/adamw_step.hpp"

namespace elastic {

template <class S>
AdamW<S>::AdamW(const ParameterStore<S>& parameters)
    : m_parameters(parameters),
      m_first("elastic::adamw_first_moments", parameters.num_elements()),
      m_second("elastic::adamw_second_moments", parameters.num_elements()) {
  require_shape("AdamW", "values", parameters.values(), parameters.num_elements());
  require_shape("AdamW", "gradients", parameters.gradients(), parameters.num_elements());
  for (const auto& p : parameters) {
    const index_t end = p.offset + p.info.rows * p.info.columns;
    if (!m_segments.empty() && m_segments.back().weight_decay == p.info.weight_decay)
      m_segments.back().end = end;
    else
      m_segments.push_back({p.offset, end, p.info.weight_decay});
  }
}

template <class S>
void AdamW<S>::step(const ExecutionSpace& exec, const AdamWConfig& config, double learning_rate,
                    index_t step_number, double grad_scale) {
  ELASTIC_REQUIRE(step_number >= 1, "steps count from 1, got {}", step_number);
  for (const auto& segment : m_segments) {
    const auto part = [&](const View1<S>& flat) {
      return Kokkos::subview(flat, Range(segment.begin, segment.end));
    };
    const kernels::AdamWParams params = {
        .learning_rate = learning_rate,
        .beta1 = config.beta1,
        .beta2 = config.beta2,
        .epsilon = config.epsilon,
        .weight_decay = segment.weight_decay ? config.weight_decay : 0,
        .step = step_number,
        .grad_scale = grad_scale};
    kernels::adamw_step<S>(exec, part(m_parameters.gradients()), params,
                           part(m_parameters.values()), part(m_first), part(m_second));
  }
}

template <class S>
View2<S> AdamW<S>::moment(const View1<S>& flat, const std::string& name) const {
  const Parameter<S>* p = m_parameters.find(name);
  ELASTIC_REQUIRE(p != nullptr, "no parameter {}", name);
  return View2<S>(flat.data() + p->offset, p->info.rows, p->info.columns);
}

template class AdamW<float>;
template class AdamW<double>;

}  // namespace elastic
