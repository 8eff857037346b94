// SPDX-License-Identifier: Apache-2.0
// What there is to say about a kind of layer but its mathematics, said once: the cost model,
// ranking, slicing, masks, the plan, initialisation, Hugging Face files and the deck iterate over
// it.
//
// One file per kind (mamba_kind.cpp, attention_kind.cpp, mlp_kind.cpp); layers/layer.hpp maps a
// kind to the class that computes it. How to add one: doc/adding_a_layer.md.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arch/axis.hpp"
#include "arch/layer_formulas.hpp"
#include "arch/model_shape.hpp"

namespace elastic {

struct ModelConfig;

/// What the rows or columns of a layer's tensor count.
enum class TensorExtent {
  one,     ///< rows of a vector
  taps,    ///< W of a causal convolution, as columns
  hidden,  ///< D
  units,   ///< LayerShape::width
  inner,   ///< width * head channels
  shared   ///< what all groups hold: half of LayerExtents::side
};

struct LayerTensor {
  const char* name;  ///< after "layers.<index>.mixer."
  TensorExtent rows, columns;
  InitialLaw initial;
  /// After "mixer.": the tensor of Hugging Face in which this one lies. All with the same name lie
  /// in it below each other, in the order of the list.
  const char* hf_tensor;
  bool exact = false;  ///< ParameterInfo::exact
};

/// What each group of units holds twice, whatever the number of kept units: B and C of Mamba [N],
/// keys and values of attention [C].
enum class GroupContent { nothing, state, head_channels };

/// What generation keeps of the positions so far.
enum class CacheKind { nothing, keys_values, state };

/// The block of a deck that describes layers of the kind; null: there is no such key.
struct DeckKeys {
  const char *block, *width, *head_channels = nullptr, *num_groups = nullptr;
  /// Extents of the model that stand in the same block.
  std::vector<std::pair<const char*, index_t ModelShape::*>> of_model = {};
};

/// An extent in config.json of Hugging Face: the names under which it may stand, written under the
/// first. No names: the extent is 1.
struct HfExtent {
  std::vector<const char*> names = {};
  index_t fallback = 0;   ///< where it is missing; 0: it must be there
  bool or_width = false;  ///< where it is missing, it is that of the width
};
struct HfKeys {
  std::vector<const char*> types;  ///< names of the layer type, written as the first
  HfExtent width, head_channels, num_groups;
};

struct LayerDescription {
  LayerKind kind;
  const char* name;  ///< for people
  DeckKeys deck;
  HfKeys hf;
  LayerShape (*shape)(const ModelConfig&);

  /// In the order in which they lie in memory and in files. Decay: all but vectors.
  std::vector<LayerTensor> tensors;
  Dim unit_dim = Dim::fixed, inner_dim = Dim::fixed;  ///< of `units` and `inner`
  GroupContent group_content = GroupContent::nothing;

  Axis width_axis;
  /// Chooses how many channels of each unit are kept; none: channels are neither cut nor ranked,
  /// and a mask has one value per unit.
  std::optional<Axis> channel_axis = {};
  bool unit_mask = false;   ///< a mask of units besides that of channels
  bool group_norm = false;  ///< the channels of each group pass a norm, which a mask corrects

  double (*parameters)(const ModelShape&, const LayerExtents&);  ///< with the norm before the layer
  LayerExtents (*parameters_gradient)(const ModelShape&, const LayerExtents&);
  CacheKind cache_kind = CacheKind::nothing;
  double (*cache)(const ModelShape&, const LayerExtents&, double seq_length);  ///< elements
  LayerExtents (*cache_gradient)(const ModelShape&, double seq_length);

  LayerWork (*forward_work)(const ModelShape&, const LayerExtents&, const PassFacts&);
  LayerWork (*backward_work)(const ModelShape&, const LayerExtents&, const PassFacts&);
  LayerElements (*memory)(const ModelShape&, const LayerShape&, const PassTokens&,
                          const KernelWorkspaces&);
  /// Null: a token needs no other.
  LayerMessages (*messages)(const ModelShape&, const LayerShape&, const MessageFacts&) = nullptr;

  char symbol() const { return static_cast<char>(kind); }
  /// Twice what the groups hold, for units of so many channels (LayerExtents::side).
  double side(const ModelShape& model, double num_groups, double head_channels) const;
  LayerExtents extents(const ModelShape& model, const LayerShape& layer) const;
};

/// The kinds that are built in, then those added, in a fixed order.
std::vector<const LayerDescription*> layer_kinds();
/// Null if there is no such kind.
const LayerDescription* find_layer_kind(char symbol);
/// Throws InputError for a kind that there is not.
const LayerDescription& description_of(LayerKind kind);
inline const LayerDescription& description_of(const LayerShape& layer) {
  return description_of(layer.kind);
}
/// "M (Mamba-2), * (attention) or - (MLP)"
std::string list_layer_kinds();
/// Adds a kind for the rest of the program. Throws ContractError if its symbol is taken or one of
/// its formulas is missing.
void add_layer_kind(const LayerDescription& description);

/// The tensors of a layer's mixer, in order, as the store of parameters takes them.
std::vector<ParameterInfo> layer_tensors(const ModelShape& model, index_t layer);
/// The first layer of a kind, or null.
const LayerShape* first_of_kind(const ModelShape& model, const LayerDescription& description);

LayerDescription mamba_kind();
LayerDescription attention_kind();
LayerDescription mlp_kind();

}  // namespace elastic
