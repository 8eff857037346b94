// SPDX-License-Identifier: Apache-2.0
#include "train/gradient_sum.hpp"

#include "comm/collectives.hpp"

namespace elastic {

GradientSum::GradientSum(const ProcessGrid& grid, const View1<Accumulate<Real>>& gradients,
                         std::vector<Range> shared_out, const FlatSlices& slices,
                         bool deterministic)
    : m_grid(grid), m_gradients(gradients), m_shared_out(std::move(shared_out)) {
  if (deterministic) {
    m_overflow = View1<index_t>("elastic::fixed_point_overflow", 1);
    m_fixed.emplace(m_gradients, kernels::fixed_point_limit(grid.world.size()), m_overflow);
    m_fixed_buckets.emplace(grid.data_context, slices, m_fixed->sums());
  } else {
    m_buckets.emplace(grid.data_context, slices, m_gradients);
  }
}

void GradientSum::begin() {
  const ExecutionSpace exec;
  if (!m_fixed) return Kokkos::deep_copy(exec, m_gradients, Accumulate<Real>(0));
  m_fixed->begin();
  Kokkos::deep_copy(exec, m_overflow, index_t(0));
}

void GradientSum::end_block() {
  if (m_fixed) m_fixed->take(m_gradients);
}

void GradientSum::complete_from(index_t offset) {
  if (m_buckets && m_shared_out.empty()) m_buckets->complete_from(offset);
}

bool GradientSum::finish() {
  const auto sum_shared_out = [&](const auto& flat) {
    for (const Range& run : m_shared_out) all_reduce_sum(m_grid.tensor, Kokkos::subview(flat, run));
  };
  if (m_buckets) {
    sum_shared_out(m_gradients);
    m_buckets->finish();
    return true;
  }
  sum_shared_out(m_fixed->sums());
  m_fixed_buckets->finish();
  m_fixed->finish();
  all_reduce_sum(m_grid.world, m_overflow);
  return Kokkos::create_mirror_view_and_copy(HostSpace(), m_overflow)(0) == 0;
}

}  // namespace elastic
