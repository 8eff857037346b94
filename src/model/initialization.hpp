// SPDX-License-Identifier: Apache-2.0
// Initial weights: a pure function of (seed, tensor name, element), equal on any rank count and
// layout.
//
// Linears and embeddings N(0, std^2); those that write to the residual stream (out_proj, o_proj,
// down_proj) divided by sqrt(2 layers); norms 1; Mamba-2: A ~ U(1, 16), D = 1, dt_bias = inverse
// softplus of log-uniform [1e-3, 0.1], conv U(-1/sqrt(W), 1/sqrt(W)). Sources: Mamba-2 reference
// implementation; NemotronH (rescale_prenorm_residual).
#pragma once
#include "model/language_model.hpp"

namespace elastic {

template <class T>
void initialize(LanguageModel<T>& model, double std, std::uint32_t seed);

}  // namespace elastic
