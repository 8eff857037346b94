// SPDX-License-Identifier: Apache-2.0
// Initial weights: a pure function of (seed, tensor name, element), equal on any number of ranks.
//
//   linears, embeddings          N(0, std^2)
//   out_proj, o_proj, down_proj  N(0, std^2 / (2 layers)): they write to the residual stream
//   norms, D                     1
//   A_log                        log of A ~ U(1, 16)
//   dt_bias                      inverse softplus of dt, log-uniform in [1e-3, 0.1]
//   convolution                  U(-1/sqrt(W), 1/sqrt(W))
//
// Sources: reference implementation of Mamba-2 (Dao and Gu 2024, arXiv 2405.21060);
// NemotronH in transformers (rescale_prenorm_residual).
#pragma once
#include "model/language_model.hpp"

namespace elastic {

/// Fills all values of `model`. `std`: that of linears and embeddings in the table above.
template <class T>
void initialize(LanguageModel<T>& model, double std, std::uint32_t seed);
/// What initialize() rounds to the values of a tensor of `model`: some of the elements of this
/// rank's part [rows * columns], on the host, for the masters of an optimizer.
template <class T>
std::vector<Accumulate<T>> unrounded_initial_values(const LanguageModel<T>& model,
                                                    const Parameter<T>& parameter, Range elements,
                                                    double std, std::uint32_t seed);

}  // namespace elastic
