// SPDX-License-Identifier: Apache-2.0
// The verb `export`: a model or submodel of a checkpoint as a Hugging Face
// folder, one tensor at a time.
//
//   elastic.x export runs/nano/model.h5 --budget 0.5 --out nano-6b
#pragma once
#include <filesystem>
#include <string>

namespace elastic {

struct ExportOptions {
  std::filesystem::path checkpoint = {};
  std::string budget = {};            ///< empty: the whole model
  std::filesystem::path out = {};     ///< new or empty folder
  std::string dtype = "original";     ///< fp16, bf16, fp32 or original
  std::filesystem::path origin = {};  ///< imported checkpoint; empty: found by itself
  bool per_layer = false;             ///< WidthForm::per_layer (interop/hf_padding.hpp)
  bool heterogeneous = false;         ///< WidthForm::heterogeneous
};

/// Writes the folder under the name OUT.tmp and renames it, so that it is complete or not there.
/// Layers of one kind that differ are padded, unless the whole model is written and came in another
/// form. Returns what was written, for people. Throws InputError for an unknown budget or type, a
/// folder that holds something, a damaged checkpoint, widths that cannot be padded (naming the
/// nearest budget of the file whose can), or numbers beyond the type; RunError if the disk fails.
std::string export_checkpoint(const ExportOptions& options);

}  // namespace elastic
