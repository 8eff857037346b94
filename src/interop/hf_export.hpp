// SPDX-License-Identifier: Apache-2.0
// A model or submodel of a checkpoint becomes a Hugging Face folder, one tensor after the other:
// memory is the largest tensor written plus 64 MiB, whatever the checkpoint holds.
//
// Our head order is undone: heads of a group become neighbours. For the whole model the ranking
// is undone too, so that import and export give back the same bytes. A submodel keeps the ranked
// order of channels, heads inside their groups and neurons, which is function-preserving.
#pragma once
#include "elastic/ranking.hpp"
#include "elastic/submodel_spec.hpp"
#include "interop/hf_files.hpp"
#include "interop/hf_origin.hpp"

namespace elastic {

/// What is to be written.
struct ExportRequest {
  ModelShape parent;                     ///< what the checkpoint holds
  SubmodelSpec spec;                     ///< what is written
  Ranking ranking;                       ///< of the checkpoint; empty: none
  HfOrigin origin;                       ///< empty config: a fresh one is written
  std::optional<ElementType> type = {};  ///< of all tensors; nothing: as imported, else as stored
  bool heterogeneous = false;            ///< allow block_configs (hf_config.hpp)
  std::uint64_t max_shard_bytes = HfWeightsWriter::most_shard_bytes;
};
/// What was written.
struct ExportSummary {
  std::size_t tensors = 0;
  std::uint64_t bytes = 0;
  bool tied = false;
};

/// Writes weights and config.json into `folder`, which must exist. lm_head.weight is left out if
/// the embeddings were tied and still are equal. Every tensor's hash is compared while it is read.
/// Throws InputError for a damaged checkpoint or for widths that stock nemotron_h cannot express
/// (unless `heterogeneous`), or a number that the element type cannot hold; RunError if the disk
/// fails; NumericsError for a number that is not finite.
ExportSummary export_hf(const CheckpointReader& reader, const ExportRequest& request,
                        const std::filesystem::path& folder);

}  // namespace elastic
