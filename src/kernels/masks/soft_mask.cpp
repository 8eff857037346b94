// SPDX-License-Identifier: Apache-2.0
// A staircase goes to kernels by value. A team of a device sums one step.
#include "kernels/masks/soft_mask.hpp"

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {
namespace {

/// The nearest multiple of 2^-30, ties to even.
KOKKOS_INLINE_FUNCTION double on_fine_grid(double x) {
  constexpr double whole = 0x1p52;  // numbers above it have no fraction
  const double y = x * 0x1p30;
  if (!(math::abs(y) < whole)) return x;
  return (y < 0 ? (y - whole) + whole : (y + whole) - whole) * 0x1p-30;
}

template <class A>
struct UnitTerm {
  MaskProduct product;
  const A *dmask, *dunits;

  KOKKOS_INLINE_FUNCTION int begin(int b) const { return product.units.edge[b]; }
  KOKKOS_INLINE_FUNCTION int end(int b) const { return product.units.edge[b + 1]; }
  KOKKOS_INLINE_FUNCTION double operator()(index_t u) const {
    const MaskSteps& channels = product.channels;
    const A* row = dmask + u * product.num_channels();
    double sum = 0;
    for (int s = 0; s < channels.count; ++s)
      for (int c = channels.edge[s]; c < channels.edge[s + 1]; ++c)
        sum += channels.value[s] * static_cast<double>(row[c]);
    if (dunits) sum += static_cast<double>(dunits[u]);
    return on_fine_grid(sum);
  }
};

template <class A>
struct ChannelTerm {
  MaskProduct product;
  const A* dmask;

  KOKKOS_INLINE_FUNCTION int begin(int b) const {
    return product.channels.edge[b] * static_cast<int>(units());
  }
  KOKKOS_INLINE_FUNCTION int end(int b) const {
    return product.channels.edge[b + 1] * static_cast<int>(units());
  }
  /// Term i: channel i / units, unit i mod units.
  KOKKOS_INLINE_FUNCTION double operator()(index_t i) const {
    const index_t u = product.first_unit() + i % units(), c = i / units();
    const auto d = static_cast<double>(dmask[u * product.num_channels() + c]);
    return on_fine_grid(product.units.at(u) * d);
  }

 private:
  KOKKOS_INLINE_FUNCTION index_t units() const {
    return product.last_unit() - product.first_unit();
  }
};

/// out_b = the sum of the terms of step b.
template <class Term>
struct StepSums {
  Term term;
  double* out;

  KOKKOS_FUNCTION void operator()(const int b) const {
    double sum = 0;
    for (int i = term.begin(b); i < term.end(b); ++i) sum += term(i);
    out[b] = sum;
  }
  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const int b = team.league_rank();
    double sum = 0;
    Kokkos::parallel_reduce(
        Kokkos::TeamVectorRange(team, term.begin(b), term.end(b)),
        [&](const int i, double& partial) { partial += term(i); }, sum);
    Kokkos::single(Kokkos::PerTeam(team), [&]() { out[b] = sum; });
  }
};

template <class Term>
void sum_steps(const ExecutionSpace& exec, const char* label, const Term& term, int steps,
               double* out) {
  const StepSums<Term> sums{term, out};
  if constexpr (on_host)
    Kokkos::parallel_for(label, Kokkos::RangePolicy<ExecutionSpace>(exec, 0, steps), sums);
  else
    Kokkos::parallel_for(label, device_teams(exec, steps, row_threads), sums);
}

}  // namespace

template <class A>
void soft_mask_forward(const ExecutionSpace& exec, const MaskProduct& product, InOut1<A> mask) {
  const index_t first = product.first_unit(), channels = product.num_channels();
  require_shape("soft_mask_forward", "mask", mask, product.last_unit() * channels);
  const MaskProduct steps = product;
  A* out = mask.data();
  Kokkos::parallel_for(
      "elastic::soft_mask_forward",
      LinearPolicy(exec, first * channels, product.last_unit() * channels),
      KOKKOS_LAMBDA(const index_t i) {
        out[i] = static_cast<A>(steps.units.at(i / channels) * steps.channels.at(i % channels));
      });
}

template <class A>
void soft_mask_unit_gradients(const ExecutionSpace& exec, const MaskProduct& product, In1<A> dmask,
                              In1<A> dunits, InOut1<double> out) {
  require_shape("soft_mask_unit_gradients", "out", out, product.units.count);
  sum_steps(exec, "elastic::soft_mask_unit_gradients",
            UnitTerm<A>{product, dmask.data(), dunits.extent(0) > 0 ? dunits.data() : nullptr},
            product.units.count, out.data());
}

template <class A>
void soft_mask_channel_gradients(const ExecutionSpace& exec, const MaskProduct& product,
                                 In1<A> dmask, InOut1<double> out) {
  require_shape("soft_mask_channel_gradients", "out", out, product.channels.count);
  sum_steps(exec, "elastic::soft_mask_channel_gradients", ChannelTerm<A>{product, dmask.data()},
            product.channels.count, out.data());
}

template <class A>
void widen_all(const ExecutionSpace& exec, In1<A> x, InOut1<double> out) {
  require_shape("widen_all", "out", out, static_cast<index_t>(x.extent(0)));
  Kokkos::parallel_for(
      "elastic::widen_all", LinearPolicy(exec, 0, static_cast<index_t>(x.extent(0))),
      KOKKOS_LAMBDA(const index_t i) { out(i) = static_cast<double>(x(i)); });
}

#define ELASTIC_INSTANTIATE(A)                                                                    \
  template void soft_mask_forward<A>(const ExecutionSpace&, const MaskProduct&, InOut1<A>);       \
  template void soft_mask_unit_gradients<A>(const ExecutionSpace&, const MaskProduct&, In1<A>,    \
                                            In1<A>, InOut1<double>);                              \
  template void soft_mask_channel_gradients<A>(const ExecutionSpace&, const MaskProduct&, In1<A>, \
                                               InOut1<double>);                                   \
  template void widen_all<A>(const ExecutionSpace&, In1<A>, InOut1<double>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
