// SPDX-License-Identifier: Apache-2.0
// Forward KL of a chunk of student logits from teacher logits (Hinton et al. 2015), differentiated in place.
//
//   p = softmax(teacher / tau), q = softmax(student / tau),  loss = sum_t w_t sum_v p_tv (log p_tv - log q_tv),
//   d student_tv = factor w_t (q_tv - p_tv) / tau          (no tau^2 factor, as Megatron's distillation)
#pragma once
#include "base/types.hpp"

namespace elastic::kernels {

/// [in] teacher [T, V], weight [T]; [in, out] student [T, V], on return `factor` * d loss/d student (only if `gradient`);
/// row_loss [T] = w_t * loss_t on return.
template <class S>
void kl_divergence(const ExecutionSpace& exec, In2<S> teacher, In1<float> weight, double temperature, bool gradient,
                   std::type_identity_t<S> factor, InOut2<S> student, InOut1<S> row_loss);

}  // namespace elastic::kernels
