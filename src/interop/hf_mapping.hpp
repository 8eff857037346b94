// SPDX-License-Identifier: Apache-2.0
// Which tensor of a Hugging Face folder holds what of ours (table and formula: README.md).
//
//   in_proj.weight   rows [z | x | B | C | dt]
//   conv1d.weight    [c, 1, W], rows [x | B | C]; .bias likewise
//   heads            their head h is in group h / (H/G): group-major
//                    our head h is in group h % G: interleaved
//
// Each of our tensors is therefore a sequence of whole rows and columns of theirs in another order.
#pragma once
#include "arch/model_shape.hpp"

namespace elastic {

/// Rows [first_row, first_row + our rows) of their tensor are one tensor of ours.
struct HfPart {
  std::string ours;  ///< as in a checkpoint, without "model/"
  index_t first_row = 0;
  index_t rows = 0, columns = 0;  ///< of ours; a vector [n] counts as n rows of one column
  Dim row_dim = Dim::fixed, column_dim = Dim::fixed;
  index_t layer = -1;
  bool vector = false;
};

/// A tensor of a Hugging Face folder and the tensors of ours that are its parts.
struct HfTensor {
  std::string name;  ///< e.g. backbone.layers.0.mixer.in_proj.weight
  std::vector<index_t> shape;
  std::vector<HfPart> parts;
  index_t rows() const { return shape.at(0); }
  index_t columns() const;  ///< product of the other extents
};

/// Every tensor of a model in the order of a forward pass; with `tied`, lm_head.weight is left out.
/// `prefix` stands before all names but lm_head.weight: "backbone." in files.
std::vector<HfTensor> hf_tensors(const ModelShape& shape, const std::string& prefix, bool tied);

/// Element i along a dimension of our layer is element order[i] of theirs;
/// empty if the orders agree.
std::vector<index_t> hf_order(const ModelShape& shape, Dim dim, index_t layer);

}  // namespace elastic
