// SPDX-License-Identifier: Apache-2.0
#include "kernels/residual_add.hpp"

#include "kernels/row_loops.hpp"

namespace elastic::kernels {
namespace {

/// dmask_j += gamma sum_t dh y: pieces of columns walk all tokens in order.
template <class S>
void add_mask_gradient(const ExecutionSpace& exec, const View2<const S>& dh,
                       const View2<const S>& y, S gamma, const View1<S>& dmask) {
  const auto tokens = static_cast<index_t>(y.extent(0));
  for_column_pieces(
      exec, "elastic::residual_add_backward_mask", static_cast<index_t>(dmask.extent(0)),
      KOKKOS_LAMBDA(const index_t begin, const index_t end) {
        S* sum = dmask.data();
        for (index_t t = 0; t < tokens; ++t) {
          const S *dh_t = &dh(t, 0), *y_t = &y(t, 0);
          ELASTIC_SIMD
          for (index_t j = begin; j < end; ++j) sum[j] += gamma * dh_t[j] * y_t[j];
        }
      });
}

/// dgamma += sum dh (m (.) y). The sums of single rows pass through the first column of `scratch`;
/// one team adds them up.
template <class S>
void add_gate_gradient(const ExecutionSpace& exec, const View2<const S>& dh,
                       const View2<const S>& y, const View1<const S>& mask, const View2<S>& scratch,
                       const View1<S>& dgamma) {
  const auto tokens = static_cast<index_t>(y.extent(0)), width = static_cast<index_t>(y.extent(1));
  Kokkos::parallel_for(
      "elastic::residual_add_backward_rows", LinearPolicy(exec, 0, tokens),
      KOKKOS_LAMBDA(const index_t t) {
        with_mask<S>(mask, [&](const auto& m) {
          const S *dh_t = &dh(t, 0), *y_t = &y(t, 0);
          scratch(t, 0) = lane_sum<S>(width, [=](index_t j) { return dh_t[j] * (m(j) * y_t[j]); });
        });
      });
  using Policy = Kokkos::TeamPolicy<ExecutionSpace>;
  Kokkos::parallel_for(
      "elastic::residual_add_backward_gate", Policy(exec, 1, Kokkos::AUTO),
      KOKKOS_LAMBDA(const typename Policy::member_type& team) {
        S total = 0;
        Kokkos::parallel_reduce(
            Kokkos::TeamThreadRange(team, tokens),
            [&](const index_t t, S& sum) { sum += scratch(t, 0); }, total);
        Kokkos::single(Kokkos::PerTeam(team), [&]() { dgamma(0) += total; });
      });
}

}  // namespace

template <class S>
void residual_add_forward(const ExecutionSpace& exec, In2<S> y, In1<S> mask,
                          std::type_identity_t<S> gamma, InOut2<S> h) {
  const auto tokens = static_cast<index_t>(y.extent(0)), width = static_cast<index_t>(y.extent(1));
  require_shape_or_empty("residual_add_forward", "mask", mask, width);
  require_shape("residual_add_forward", "h", h, tokens, width);
  for_row_pieces(
      exec, "elastic::residual_add_forward", tokens, width,
      KOKKOS_LAMBDA(const index_t t, const index_t begin, const index_t end) {
        with_mask<S>(mask, [&](const auto& m) {
          const S* y_t = &y(t, 0);
          S* h_t = &h(t, 0);
          ELASTIC_SIMD
          for (index_t j = begin; j < end; ++j) h_t[j] += gamma * m(j) * y_t[j];
        });
      });
}

template <class S>
void residual_add_backward(const ExecutionSpace& exec, In2<S> dh, In2<S> y, In1<S> mask,
                           std::type_identity_t<S> gamma, InOut2<S> dy, InOut1<S> dmask,
                           InOut1<S> dgamma) {
  const auto tokens = static_cast<index_t>(y.extent(0)), width = static_cast<index_t>(y.extent(1));
  require_shape("residual_add_backward", "dh", dh, tokens, width);
  require_shape_or_empty("residual_add_backward", "mask", mask, width);
  require_shape("residual_add_backward", "dy", dy, tokens, width);
  require_shape_or_empty("residual_add_backward", "dmask", dmask, width);
  require_shape_or_empty("residual_add_backward", "dgamma", dgamma, 1);
  add_mask_gradient<S>(exec, dh, y, gamma, dmask);  // dy comes last, because it may overwrite y
  if (dgamma.extent(0) != 0 && tokens * width > 0)
    add_gate_gradient<S>(exec, dh, y, mask, dy, dgamma);
  for_row_pieces(
      exec, "elastic::residual_add_backward", tokens, width,
      KOKKOS_LAMBDA(const index_t t, const index_t begin, const index_t end) {
        with_mask<S>(mask, [&](const auto& m) {
          const S* dh_t = &dh(t, 0);
          S* dy_t = &dy(t, 0);
          ELASTIC_SIMD
          for (index_t j = begin; j < end; ++j) dy_t[j] = gamma * m(j) * dh_t[j];
        });
      });
}

#define ELASTIC_INSTANTIATE(S)                                                          \
  template void residual_add_forward<S>(const ExecutionSpace&, In2<S>, In1<S>,          \
                                        std::type_identity_t<S>, InOut2<S>);            \
  template void residual_add_backward<S>(const ExecutionSpace&, In2<S>, In2<S>, In1<S>, \
                                         std::type_identity_t<S>, InOut2<S>, InOut1<S>, \
                                         InOut1<S>);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)

}  // namespace elastic::kernels
