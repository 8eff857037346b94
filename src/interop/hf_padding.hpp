// SPDX-License-Identifier: Apache-2.0
// Layers of one kind that differ in width made equal without changing what the model computes,
// since config.json of stock nemotron_h has one width for all layers of a kind.
//
//   MLP, attention    zeros: rows of up_proj or q_proj, columns of down_proj or o_proj. relu(0)^2
//                     is 0, and what a head of zero queries attends to meets zero columns
//   Mamba-2           copies: the gated norm divides by the mean square over the channels of a
//                     group, which zeros would lower. It stays what it is when every channel
//                     stands in its group equally often; out_proj has zero columns for all but the
//                     first
#pragma once
#include <string>
#include <vector>

#include "arch/layer_kind.hpp"

namespace elastic {

/// How an export writes layers of one kind that differ in width.
enum class WidthForm {
  padded,        ///< equal, so that every loader reads them
  per_layer,     ///< `intermediate_size` is a list, one entry per MLP; the other kinds are padded
  heterogeneous  ///< `block_configs`: nothing is padded; read here, refused by stock loaders
};

/// True for the kind whose widths vLLM and SGLang read as a list: that of one extent only, the MLP.
bool lists_widths(const LayerDescription& kind);

/// The shape in which layers are written. Widths of MLP and attention become the largest of their
/// kind; Mamba heads and head channels the least common multiple of their kind.
/// Throws InputError naming two layers whose group counts or attention head sizes differ, which
/// nothing makes equal.
ModelShape padded_shape(const ModelShape& shape, WidthForm form);

/// How often the elements along `dim` of a layer stand in the padded one: 1 where it is padded with
/// zeros or not at all.
index_t copies_of(const LayerShape& own, const LayerShape& padded, Dim dim);
/// Where element `index` along `dim` stands in the padded layer, both in our order, as copy `copy`.
index_t padded_place(const LayerShape& own, const LayerShape& padded, Dim dim, index_t index,
                     index_t copy);

}  // namespace elastic
