// SPDX-License-Identifier: Apache-2.0
// The verb `slice`: one submodel out of a checkpoint of the elastic phase, as a model of its own.
//
//   elastic.x slice runs/quickstart/model.h5 --budget 0.6 --out small.h5
//   elastic.x slice runs/quickstart/parent.h5 --budget 0.5 --homogeneous --out alike.h5
#pragma once
#include <filesystem>
#include <string>

namespace elastic {

/// Whose widths: the router's, or widths scaled alike on every axis and in every layer.
enum class SliceBy { router, homogeneous };

/// Cuts the submodel of `budget` (state/stored_model.hpp: find_submodel, or homogeneous_submodel)
/// out of `checkpoint` and returns what was written, for people; also where the router's widths are
/// not nested with the submodels that the file holds. Throws InputError if there is no such
/// submodel, or if `out` exists and `force` is not set, is the checkpoint itself or lies in no
/// folder.
std::string slice_checkpoint(const std::filesystem::path& checkpoint, const std::string& budget,
                             const std::filesystem::path& out, bool force,
                             SliceBy by = SliceBy::router);

}  // namespace elastic
