// SPDX-License-Identifier: Apache-2.0
// A model or submodel of a checkpoint becomes a Hugging Face folder, one tensor after the other:
// memory is the largest tensor written plus 64 MiB, whatever the checkpoint holds.
//
// Our head order is undone: heads of a group become neighbours. For the whole model the ranking
// is undone too, so that import and export give back the same bytes. A submodel keeps the ranked
// order of channels, heads inside their groups and neurons, which is function-preserving; so does
// the one of the whole budget. Embeddings and lm_head are both written, tied or not.
#pragma once
#include "elastic/ranking.hpp"
#include "elastic/submodel_spec.hpp"
#include "interop/hf_config.hpp"
#include "interop/hf_files.hpp"
#include "interop/hf_origin.hpp"
#include "interop/hf_padding.hpp"
#include "interop/hf_tokenizer.hpp"

namespace elastic {

/// What is to be written.
struct ExportRequest {
  ModelShape parent;                     ///< what the checkpoint holds
  SubmodelSpec spec;                     ///< what is written
  Ranking ranking;                       ///< to be undone if all of the model is written
  HfOrigin origin;                       ///< empty config: a fresh one is written
  std::optional<ElementType> type = {};  ///< of all tensors; nothing: as imported, else as stored
  WidthForm form = WidthForm::padded;    ///< of layers of one kind that differ
  TimeStepKeys time_steps = TimeStepKeys::unclamped;  ///< of config.json
  std::optional<HfVocabulary> vocabulary = {};        ///< to write tokenizer files of
  std::uint64_t max_shard_bytes = HfWeightsWriter::most_shard_bytes;
};
/// What was written.
struct ExportSummary {
  std::size_t tensors = 0;
  std::uint64_t bytes = 0;
  bool tied = false;           ///< config.json says tie_word_embeddings
  double padding = 0;          ///< parameters of zeros and copies
  std::uint64_t vanished = 0;  ///< numbers that became 0: below half the least one of the type
};

/// The shape that is written (hf_padding.hpp). Throws InputError if layers cannot be made equal, or
/// only in a model larger than the whole parent.
ModelShape exported_shape(const ExportRequest& request);

/// Writes weights, config.json and what `vocabulary` says into `folder`, which must exist.
/// config.json says that the embeddings are tied if they were and still are equal. Every tensor's
/// hash is compared while it is read. Throws InputError for a damaged checkpoint, for widths that
/// have no such form, or for a number of the submodel that the element type cannot hold; RunError
/// if the disk fails; NumericsError for a number that is not finite.
ExportSummary export_hf(const CheckpointReader& reader, const ExportRequest& request,
                        const std::filesystem::path& folder);

}  // namespace elastic
