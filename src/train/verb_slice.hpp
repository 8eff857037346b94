// SPDX-License-Identifier: Apache-2.0
// The verb `slice`: one submodel out of a checkpoint of the elastic phase, as a model of its own.
//
//   elastic.x slice runs/quickstart/model.h5 --budget 0.6 --out small.h5
#pragma once
#include <filesystem>

#include "model/language_model.hpp"
#include "train/state_writer.hpp"

namespace elastic {

/// Throws InputError unless `out` can be a new file: its folder is there, it is no folder, and it
/// is not there or `force`.
void check_target(const std::filesystem::path& out, bool force);

/// Writes the submodel `spec` of `parent` as a checkpoint of kind "submodel": its own shape and
/// values, the deck of the run, and the spec it was cut with. Replaces `path`. Throws RunError.
void write_sliced(const std::filesystem::path& path, const LanguageModel<float>& parent,
                  const SubmodelSpec& spec, const std::string& deck);

/// The same into an open file, by the ranks that share `parent`.
void write_sliced(const StateWriter& writer, const LanguageModel<float>& parent,
                  const SubmodelSpec& spec, const std::string& deck);

/// Cuts the submodel of `budget` (verb_checkpoint.hpp: find_submodel) out of `checkpoint` and
/// returns what was written, for people. Throws InputError if `out` exists and not `force`, is the
/// checkpoint itself or lies in no folder, or if there is no such submodel.
std::string slice_checkpoint(const std::filesystem::path& checkpoint, const std::string& budget,
                             const std::filesystem::path& out, bool force);

}  // namespace elastic
