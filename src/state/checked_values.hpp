// SPDX-License-Identifier: Apache-2.0
// What a checkpoint says is believed only after a check against what it means: its hashes prove
// that the bytes are those that were written, not that a run wrote them. All functions throw
// InputError naming file, object and what was expected, before anything of a claimed size is
// allocated.
#pragma once
#include "arch/model_shape.hpp"
#include "elastic/ranking.hpp"
#include "elastic/submodel_spec.hpp"
#include "io/checkpoint_file.hpp"

namespace elastic {

/// Every tensor of a model, in the order of LanguageModel.
std::vector<ParameterInfo> model_tensors(const ModelShape& shape);

/// The model that a text 'shape' describes. Throws InputError naming the key.
ModelShape parse_shape(const std::string& text);
/// The model of the text 'shape', whose tensors model/... are all there with the extents that it
/// implies, and no others. What all tensors need fits into the file.
ModelShape checked_shape(const CheckpointReader& reader);
/// The order of every axis: permutations of the right length that leave heads in their groups.
/// All empty if the file holds none.
Ranking checked_ranking(const CheckpointReader& reader, const ModelShape& shape);
/// "training", "parent", "elastic", "submodel" or "import".
std::string checked_kind(const CheckpointReader& reader);
/// Steps that are done: 0 or more.
index_t checked_step(const CheckpointReader& reader);
/// True if the run was in its elastic phase; the attribute is 0 or 1.
bool checked_elastic(const CheckpointReader& reader);

/// What stands before the names of submodels in those of texts.
inline constexpr std::string_view spec_prefix = "submodel.";
/// The widths of submodel `name` of a parent.
SubmodelSpec checked_spec(const CheckpointReader& reader, const ModelShape& parent,
                          const std::string& name);
/// What a file of kind "submodel" was cut out of its parent as, `shape` being its own.
SubmodelSpec checked_own_spec(const CheckpointReader& reader, const ModelShape& shape,
                              const std::string& name);

/// Throws NumericsError naming file, tensor and value if a number read from a tensor is not finite.
template <class A>
void require_finite(const CheckpointReader& reader, const std::string& tensor,
                    const std::vector<A>& values);
/// Likewise for all tensors of a store, whose names in the file begin with `prefix`.
template <class T>
void require_finite(const CheckpointReader& reader, const std::string& prefix,
                    const ParameterStore<T>& store);

}  // namespace elastic
