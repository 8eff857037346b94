// SPDX-License-Identifier: Apache-2.0
// Cuts a submodel out of its ranked parent:
// a smaller model with weights of its own, without training.
#pragma once
#include "model/language_model.hpp"

namespace elastic {

/// Indices of the parent's layers that the submodel keeps: layer i of the sliced model is layer
/// kept_layers[i] of the parent.
std::vector<index_t> kept_layers(const SubmodelSpec& spec);

/// The name of a parent's tensor in the sliced model ("layers.7.norm.weight" ->
/// "layers.5.norm.weight"); empty if its layer is dropped.
std::string sliced_name(const ParameterInfo& info, const SubmodelSpec& spec);

/// Values of the submodel `spec` of `parent`, as a frozen or trainable model of shape
/// sliced_shape(parent, spec).
template <class T>
std::unique_ptr<LanguageModel<T>> slice_model(const LanguageModel<T>& parent,
                                              const SubmodelSpec& spec, bool frozen = true);

}  // namespace elastic
