// SPDX-License-Identifier: Apache-2.0
// From the gradients of this rank's micro-batches to those of the whole step: sums over
// micro-batches, data-parallel replicas and, where tokens were shared out, the tensor-parallel
// group. Every rank gets the sums of the elements whose optimizer state it owns (ZeRO stage 1).
//
//   sum.begin();
//   for each micro-batch: backward passes; in deterministic mode, each block goes to fixed_point()
//   sum.finish();
//
// In the last backward pass, complete_from() lets buckets travel while the pass goes on. In
// deterministic mode sums are those of integers (train/fixed_point_gradients.hpp).
#pragma once
#include <optional>

#include "optim/gradient_buckets.hpp"
#include "parallel/process_grid.hpp"
#include "train/fixed_point_gradients.hpp"

namespace elastic {

/// Runs of tensors in the flat buffers of `store` of which every tensor-parallel rank has all.
template <class T>
std::vector<Range> unsharded_runs(const ParameterStore<T>& store) {
  std::vector<Range> runs;
  for (const auto& p : store) {
    if (p.info.sharded()) continue;
    if (runs.empty() || runs.back().second != p.offset) runs.emplace_back(p.offset, p.offset);
    runs.back().second = p.offset + p.size();
  }
  return runs;
}

class GradientSum {
 public:
  /// Collective; sums the gradients of `store`. `tokens_shared_out`: tensors that are not sharded
  /// have seen this rank's tokens only.
  template <class T>
  GradientSum(const ProcessGrid& grid, const ParameterStore<T>& store, const FlatSlices& slices,
              bool deterministic, bool tokens_shared_out)
      : GradientSum(grid, store.gradients(),
                    tokens_shared_out ? unsharded_runs(store) : std::vector<Range>{}, slices,
                    deterministic) {}

  bool is_of(const View1<Accumulate<Real>>& gradients) const {
    return m_gradients.data() == gradients.data();
  }
  /// Gradients and sums start at zero.
  void begin();
  /// What takes the gradients of each block in deterministic mode; otherwise null.
  FixedPointGradients* fixed_point() { return m_fixed ? &*m_fixed : nullptr; }
  /// The flag [1] for sums besides these that go wrong (deterministic mode).
  const View1<index_t>& overflow() const { return m_overflow; }
  /// Ends a block for all gradients, of which no part was taken yet.
  void end_block();
  /// Gradients from `offset` on (in the flat buffer) will not change any more in this step.
  void complete_from(index_t offset);
  /// Collective, on every rank of the run, also after an error of its own. True if all went well;
  /// false if a fixed-point sum overflowed or a term was not finite somewhere.
  bool finish();

 private:
  GradientSum(const ProcessGrid& grid, const View1<Accumulate<Real>>& gradients,
              std::vector<Range> shared_out, const FlatSlices& slices, bool deterministic);

  const ProcessGrid& m_grid;
  View1<Accumulate<Real>> m_gradients;
  std::vector<Range> m_shared_out;  // runs of tensors to be summed over the tensor group
  std::optional<GradientBuckets<Accumulate<Real>>> m_buckets;
  // Deterministic mode only.
  std::optional<GradientBuckets<index_t>> m_fixed_buckets;
  std::optional<FixedPointGradients> m_fixed;
  View1<index_t> m_overflow;
};

}  // namespace elastic
