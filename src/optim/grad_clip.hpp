// SPDX-License-Identifier: Apache-2.0
// Clipping by the joint norm of all gradients: the scale that AdamW::step applies. The gradients
// themselves are not touched.
//
//   const auto clip = clip_gradients<S>(exec, {model.gradients(), router.gradients()}, 1.0);
//   if (!clip.finite()) ...;
#pragma once
#include <cmath>
#include <vector>

#include "base/types.hpp"

namespace elastic {

struct GradientClip {
  double norm = 0;  ///< of factor * gradients, before clipping
  double scale =
      1;  ///< to multiply the gradients with; includes factor. Meaningless unless finite()
  /// False if any gradient is NaN or infinite: the caller skips the step or stops.
  bool finite() const { return std::isfinite(norm); }
};

/// norm = sqrt(sum over buffers and elements (factor g)^2);  scale = factor * min(1, max_norm /
/// (norm + 1e-6)) (PyTorch's clip_grad_norm_). max_norm = 0 does not clip. `factor` turns sums into
/// means (1 / tokens). The norm is that of this rank's buffers; the sum over ranks comes before,
/// with the gradients. Waits for exec.
template <class S>
GradientClip clip_gradients(const ExecutionSpace& exec,
                            const std::vector<View1<const S>>& gradients, double max_norm,
                            double factor = 1);

}  // namespace elastic
