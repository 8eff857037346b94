// SPDX-License-Identifier: Apache-2.0
#include "kernels/global_norm.hpp"

#include "kernels/row_loops.hpp"

namespace elastic::kernels {
namespace {

constexpr index_t block_length = 4096;

/// sum_{i < n} term(i): blocks on the device, their sums in order on the host. Allocates n / 4096
/// numbers: this is called once a step and waits for the result anyway.
template <class F>
double blocked_sum(const ExecutionSpace& exec, index_t n, const F& term) {
  const index_t blocks = (n + block_length - 1) / block_length;
  const View1<double> partial(
      Kokkos::view_alloc("elastic::global_norm", Kokkos::WithoutInitializing), blocks);
  Kokkos::parallel_for(
      "elastic::global_norm", LinearPolicy(exec, 0, blocks), KOKKOS_LAMBDA(const index_t block) {
        const index_t first = block * block_length;
        partial(block) = lane_sum<double>(math::min(block_length, n - first),
                                          [=](index_t i) { return term(first + i); });
      });
  const auto h_partial = Kokkos::create_mirror_view(partial);
  Kokkos::deep_copy(exec, h_partial, partial);
  fence(exec, "elastic::global_norm");
  double sum = 0;
  for (index_t block = 0; block < blocks; ++block) sum += h_partial(block);
  return sum;
}

}  // namespace

template <class S>
double sum_of_squares(const ExecutionSpace& exec, In1<S> x) {
  const S* values = x.data();
  return blocked_sum(
      exec, static_cast<index_t>(x.extent(0)), KOKKOS_LAMBDA(const index_t i) {
        const double value = values[i];
        return value * value;
      });
}

template <class S>
double sum(const ExecutionSpace& exec, In1<S> x) {
  const S* values = x.data();
  return blocked_sum(
      exec, static_cast<index_t>(x.extent(0)),
      KOKKOS_LAMBDA(const index_t i) { return static_cast<double>(values[i]); });
}

template double sum_of_squares<float>(const ExecutionSpace&, In1<float>);
template double sum_of_squares<double>(const ExecutionSpace&, In1<double>);
template double sum<float>(const ExecutionSpace&, In1<float>);
template double sum<double>(const ExecutionSpace&, In1<double>);

}  // namespace elastic::kernels
