// SPDX-License-Identifier: Apache-2.0
#include "arch/shape_difference.hpp"

#include <algorithm>

#include "arch/layer_kind.hpp"

namespace elastic {
namespace {

std::string difference(const std::string& key, const std::string& deck, const std::string& file) {
  return fmt::format("{}: {} in the deck, {} in the file", key, deck, file);
}

/// The layers of a kind, and where they stand.
struct LayersOfKind {
  std::vector<index_t> indices;
  std::vector<LayerShape> shapes;
};
LayersOfKind layers_of(const ModelShape& model, const LayerDescription& kind) {
  LayersOfKind result;
  for (index_t l = 0; l < model.num_layers(); ++l)
    if (const auto& layer = model.layers[static_cast<std::size_t>(l)]; layer.kind == kind.kind) {
      result.indices.push_back(l);
      result.shapes.push_back(layer);
    }
  return result;
}

/// "96", or "96 in layer 1, 64 in layer 3" where layers differ.
std::string values(const LayersOfKind& layers, index_t LayerShape::*extent) {
  const auto value = [&](std::size_t i) { return layers.shapes[i].*extent; };
  std::string text;
  bool equal = true;
  for (std::size_t i = 0; i < layers.shapes.size(); ++i) {
    equal = equal && value(i) == value(0);
    text += fmt::format("{}{} in layer {}", i > 0 ? ", " : "", value(i), layers.indices[i]);
  }
  return equal ? fmt::format("{}", value(0)) : text;
}

std::string pattern_difference(const std::string& deck, const std::string& file) {
  const auto at = std::mismatch(deck.begin(), deck.end(), file.begin(), file.end()).first;
  return difference("<model>/hybrid_layer_pattern", deck,
                    fmt::format("{} ({} layers, first other one: layer {})", file, file.size(),
                                at - deck.begin()));
}

void compare_kind(const LayerDescription& kind, const ModelShape& deck, const ModelShape& file,
                  std::vector<std::string>& differences) {
  const LayersOfKind ours = layers_of(deck, kind), theirs = layers_of(file, kind);
  if (ours.shapes.empty() || theirs.shapes.empty()) return;
  const auto name = [&](const char* key) { return fmt::format("<{}>/{}", kind.deck.block, key); };
  for (const auto& [key, extent] : {std::pair{kind.deck.width, &LayerShape::width},
                                    {kind.deck.head_channels, &LayerShape::head_channels},
                                    {kind.deck.num_groups, &LayerShape::num_groups}}) {
    if (!key) continue;
    const std::string a = values(ours, extent), b = values(theirs, extent);
    if (a != b) differences.push_back(difference(name(key), a, b));
  }
  for (const auto& [key, extent] : kind.deck.of_model)
    if (extent != &ModelShape::chunk_size && deck.*extent != file.*extent)
      differences.push_back(
          difference(name(key), fmt::format("{}", deck.*extent), fmt::format("{}", file.*extent)));
}

}  // namespace

std::vector<std::string> shape_differences(const ModelShape& deck, const ModelShape& file) {
  std::vector<std::string> differences;
  const auto compare = [&](const char* key, auto a, auto b) {
    if (a != b) differences.push_back(difference(key, fmt::format("{}", a), fmt::format("{}", b)));
  };
  if (deck.pattern() != file.pattern())
    differences.push_back(pattern_difference(deck.pattern(), file.pattern()));
  compare("<model>/hidden_size", deck.hidden_size, file.hidden_size);
  compare("<model>/norm_epsilon", deck.norm_epsilon, file.norm_epsilon);
  compare("<data>/vocab_size", deck.vocab_size, file.vocab_size);
  for (const auto* kind : layer_kinds()) compare_kind(*kind, deck, file, differences);
  return differences;
}

}  // namespace elastic
