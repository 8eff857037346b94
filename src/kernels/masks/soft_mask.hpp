// SPDX-License-Identifier: Apache-2.0
// Soft masks of an elastic axis from the few numbers that a router gives, and back
// (doc/equations/soft_masks.md). A mask of units is a staircase: m_j = value_b for all j of step b.
// The mask of channels of units is the product of two staircases.
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// Neighbouring steps of a staircase: step b holds edge[b] <= j < edge[b + 1]. Kernels take it as
/// it is, so that nothing is uploaded.
struct MaskSteps {
  static constexpr int most = 100;
  int count = 0;
  int edge[most + 1] = {};
  double value[most] = {};

  KOKKOS_INLINE_FUNCTION double at(index_t j) const {
    int b = 0;
    while (b + 1 < count && edge[b + 1] <= j) ++b;
    return value[b];
  }
};
/// One step of height 1: what has no channels of its own.
inline MaskSteps single_channel() {
  MaskSteps steps;
  steps.count = 1;
  steps.edge[1] = 1;
  steps.value[0] = 1;
  return steps;
}

/// A mask [units * C] on C channels of each unit; `channels` has all of their steps, `units` those
/// that are meant.
struct MaskProduct {
  MaskSteps units, channels = single_channel();

  KOKKOS_INLINE_FUNCTION index_t num_channels() const { return channels.edge[channels.count]; }
  KOKKOS_INLINE_FUNCTION index_t first_unit() const { return units.edge[0]; }
  KOKKOS_INLINE_FUNCTION index_t last_unit() const { return units.edge[units.count]; }
};

/// mask_{u C + c} = units_u channels_c for the units of the steps. A = float, double.
template <class A>
void soft_mask_forward(const ExecutionSpace& exec, const MaskProduct& product, InOut1<A> mask);
/// By step b of units: out_b = sum over u in b of g(sum_c channels_c dmask_{u C + c} + dunits_u),
/// where g rounds to multiples of 2^-30 (base/on_grid.hpp), so that sums below 2^22 are exact.
/// [in] dmask [units * C], dunits [units] or empty: of the units' own mask, besides
/// [out] out [units.count]
template <class A>
void soft_mask_unit_gradients(const ExecutionSpace& exec, const MaskProduct& product, In1<A> dmask,
                              In1<A> dunits, InOut1<double> out);
/// By step b of the channels: out_b = sum over c in b and all u of g(units_u dmask_{u C + c}).
/// [out] out [channels.count]
template <class A>
void soft_mask_channel_gradients(const ExecutionSpace& exec, const MaskProduct& product,
                                 In1<A> dmask, InOut1<double> out);
/// out = x, for the host to read.
template <class A>
void widen_all(const ExecutionSpace& exec, In1<A> x, InOut1<double> out);

}  // namespace elastic::kernels
