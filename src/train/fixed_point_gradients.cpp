// SPDX-License-Identifier: Apache-2.0
#include "train/fixed_point_gradients.hpp"

#include "base/error.hpp"

namespace elastic {

FixedPointGradients::FixedPointGradients(const View1<Accumulate<Real>>& gradients, double limit,
                                         const View1<index_t>& overflow)
    : m_gradients(gradients),
      m_limit(limit),
      m_overflow(overflow),
      m_sums("elastic::fixed_point_gradients", gradients.extent(0)) {}

void FixedPointGradients::begin() {
  const ExecutionSpace exec;
  Kokkos::deep_copy(exec, m_gradients, Accumulate<Real>(0));
  Kokkos::deep_copy(exec, m_sums, index_t(0));
}

bool FixedPointGradients::holds(const View1<Accumulate<Real>>& part) const {
  return m_gradients.data() <= part.data() &&
         part.data() < m_gradients.data() + m_gradients.extent(0);
}

void FixedPointGradients::take(const View1<Accumulate<Real>>& part) {
  const index_t begin = part.data() - m_gradients.data(),
                end = begin + static_cast<index_t>(part.extent(0));
  kernels::accumulate_fixed_point<Accumulate<Real>>(
      {}, part, m_limit, Kokkos::subview(m_sums, Range(begin, end)), m_overflow);
}

void FixedPointGradients::finish() {
  kernels::add_fixed_point<Accumulate<Real>>({}, m_sums, m_gradients);
}

void BlockGradients::take(const View1<Accumulate<Real>>& gradient) {
  if (gradient.extent(0) == 0) return;
  for (auto* buffer : m_buffers)
    if (buffer->holds(gradient)) return buffer->take(gradient);
  throw_contract("a gradient of no buffer whose blocks are summed");
}

}  // namespace elastic
