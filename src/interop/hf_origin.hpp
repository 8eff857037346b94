// SPDX-License-Identifier: Apache-2.0
// What a checkpoint remembers of the Hugging Face folder it was imported from, so that an export
// can give it back. It is kept in texts:
//
//   hf.config      config.json as it was
//   hf.origin      JSON: name prefix, tying, element types
//   hf_file.NAME   tokenizer, generation settings, code; each followed by a full stop,
//                  since texts of HDF5 lose zeros at their end
#pragma once
#include <map>
#include <memory>
#include <optional>

#include "interop/element_type.hpp"
#include "io/checkpoint_file.hpp"

namespace elastic {

/// What is remembered.
struct HfOrigin {
  std::string config;                        ///< text of config.json
  std::string prefix = "backbone.";          ///< of tensor names
  bool tied = false;                         ///< tie_word_embeddings
  std::map<std::string, ElementType> types;  ///< by name of their tensor
};

/// Writes the texts hf.config and hf.origin.
void write_hf_origin(CheckpointWriter& writer, const HfOrigin& origin);
/// Reads hf.config and hf.origin; nothing if the checkpoint was not imported.
/// Throws InputError if it is damaged.
std::optional<HfOrigin> read_hf_origin(const CheckpointReader& reader);

/// Keeps files of the folder as texts hf_file.NAME: all that are neither weights nor config.json
/// nor README.md, below max_copied_bytes each (a larger one is left out with a warning).
inline constexpr std::uintmax_t max_copied_bytes = std::uintmax_t(64) << 20;
void write_hf_files(CheckpointWriter& writer, const std::filesystem::path& folder);
/// Puts the kept files back into a folder; returns how many.
std::size_t restore_hf_files(const CheckpointReader& reader, const std::filesystem::path& folder);

}  // namespace elastic
