// SPDX-License-Identifier: Apache-2.0
// Sums the squares of all buffers and derives the scale.
#include "optim/grad_clip.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "kernels/global_norm.hpp"

namespace elastic {

template <class S>
GradientClip clip_gradients(const ExecutionSpace& exec,
                            const std::vector<View1<const S>>& gradients, double max_norm,
                            double factor) {
  ELASTIC_REQUIRE(max_norm >= 0, "max_norm is {}", max_norm);
  double squares = 0;
  for (const auto& buffer : gradients) squares += kernels::sum_of_squares<S>(exec, {buffer});
  GradientClip result;
  result.norm = std::abs(factor) * std::sqrt(squares);
  result.scale = factor;
  if (max_norm > 0) result.scale *= std::min(1.0, max_norm / (result.norm + 1e-6));
  return result;
}

template GradientClip clip_gradients<float>(const ExecutionSpace&,
                                            const std::vector<View1<const float>>&, double, double);
template GradientClip clip_gradients<double>(const ExecutionSpace&,
                                             const std::vector<View1<const double>>&, double,
                                             double);

}  // namespace elastic
