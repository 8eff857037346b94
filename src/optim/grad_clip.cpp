// SPDX-License-Identifier: Apache-2.0
// Sums the squares of all buffers and derives the scale.
#include "optim/grad_clip.hpp"

#include <algorithm>
#include <limits>

#include "comm/collectives.hpp"
#include "kernels/update/global_norm.hpp"
#include "optim/flat_slices.hpp"

namespace elastic {

namespace {

/// The sum of squares, independent of how elements are spread over ranks and buffers.
template <class T>
double fixed_squares(const ExecutionSpace& exec, const Communicator& comm,
                     const std::vector<View1<const T>>& gradients, const View1<double>& workspace) {
  const double largest =
      all_reduce_max(comm, kernels::largest_square<T>(exec, gradients, workspace));
  if (!std::isfinite(largest)) return std::numeric_limits<double>::quiet_NaN();
  auto squares = kernels::sum_of_squares_fixed<T>(exec, gradients, largest, workspace);
  index_t sums[] = {squares.high, squares.low, squares.count};
  all_reduce_sum(comm, sums, 3);
  return kernels::FixedSquares{.high = sums[0], .low = sums[1], .count = sums[2]}.value(largest);
}

}  // namespace

GradientClip clip_by_norm(double squares, double max_norm, double factor) {
  ELASTIC_REQUIRE(max_norm >= 0, "max_norm is {}", max_norm);
  GradientClip result;
  result.norm = std::abs(factor) * std::sqrt(squares);
  result.scale = factor;
  if (max_norm > 0) result.scale *= std::min(1.0, max_norm / (result.norm + 1e-6));
  return result;
}

template <class T>
GradientClip clip_gradients(const ExecutionSpace& exec,
                            const std::vector<View1<const T>>& gradients, double max_norm,
                            double factor, const View1<double>& workspace) {
  return clip_by_norm(kernels::sum_of_squares<T>(exec, gradients, workspace), max_norm, factor);
}

template <class T>
index_t clip_workspace(const std::vector<View1<const T>>& gradients) {
  index_t count = 0;
  for (const auto& part : gradients) count += static_cast<index_t>(part.extent(0));
  return kernels::norm_workspace(count, static_cast<index_t>(gradients.size()));
}

template <class T>
GradientClip clip_gradients(const ExecutionSpace& exec, const Communicator& comm,
                            const std::vector<View1<const T>>& gradients, double max_norm,
                            double factor, const View1<double>& workspace) {
  const double squares =
      comm.deterministic()
          ? fixed_squares<T>(exec, comm, gradients, workspace)
          : all_reduce_sum(comm, kernels::sum_of_squares<T>(exec, gradients, workspace));
  return clip_by_norm(squares, max_norm, factor);
}

template <class T>
std::vector<View1<const Accumulate<T>>> counted_gradients(const ParameterStore<T>& parameters,
                                                          const std::vector<Range>& owned,
                                                          bool count_unsharded) {
  std::vector<Range> counted;
  for_each_piece(parameters, owned, [&](const Parameter<T>& p, index_t begin, index_t end) {
    if (!p.info.sharded() && !count_unsharded) return;
    if (!counted.empty() && counted.back().second == begin)
      counted.back().second = end;
    else
      counted.emplace_back(begin, end);
  });
  std::vector<View1<const Accumulate<T>>> views;
  for (const auto& range : counted) views.push_back(Kokkos::subview(parameters.gradients(), range));
  return views;
}

#define ELASTIC_INSTANTIATE(T)                                                                \
  template GradientClip clip_gradients<T>(const ExecutionSpace&,                              \
                                          const std::vector<View1<const T>>&, double, double, \
                                          const View1<double>&);                              \
  template index_t clip_workspace<T>(const std::vector<View1<const T>>&);                     \
  template GradientClip clip_gradients<T>(const ExecutionSpace&, const Communicator&,         \
                                          const std::vector<View1<const T>>&, double, double, \
                                          const View1<double>&);                              \
  template std::vector<View1<const Accumulate<T>>> counted_gradients<T>(                      \
      const ParameterStore<T>&, const std::vector<Range>&, bool);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE
template std::vector<View1<const float>> counted_gradients<bfloat16>(
    const ParameterStore<bfloat16>&, const std::vector<Range>&, bool);

}  // namespace elastic
