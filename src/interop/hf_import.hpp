// SPDX-License-Identifier: Apache-2.0
// A Hugging Face folder becomes tensors of a checkpoint, one after the other: memory is the largest
// tensor of ours plus 32 MiB. bfloat16 and float32 are stored as they are, float16 as float32.
#pragma once
#include "interop/hf_config.hpp"
#include "interop/hf_files.hpp"
#include "interop/hf_mapping.hpp"
#include "interop/hf_origin.hpp"

namespace elastic {

/// A folder whose config and weights fit together.
struct HfFolder {
  HfWeights weights;
  HfConfig config;
  HfOrigin origin;
  std::vector<HfTensor> tensors;
};

/// Opens config.json and the weights, and compares every tensor's name, type and shape with the
/// config before more numbers are read than decide on tying, rates and time steps. Names begin with
/// "backbone." or "model.". Where the config ties the embeddings, a tensor lm_head.weight with
/// other bytes than theirs is used all the same, untied, as other programs do; a warning of the
/// config says so. Throws InputError.
HfFolder open_hf_folder(const std::filesystem::path& folder);

/// Writes all tensors "model/...". Throws InputError naming file, tensor and element for a number
/// that is not finite. Tied embeddings are written twice: here they are two parameters.
void import_weights(const HfFolder& folder, CheckpointWriter& writer);

}  // namespace elastic
