// SPDX-License-Identifier: Apache-2.0
#include "elastic/submodel_spec.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "arch/layer_kind.hpp"
#include "elastic/spec_text.hpp"

namespace elastic {
namespace {

using Json = nlohmann::json;

void check_width(const std::string& what, index_t width, index_t full, index_t step) {
  if (1 <= width && width <= full && width % step == 0) return;
  const index_t nearest = std::clamp((width + step / 2) / step * step, step, full);
  const std::string rule = step == 1 ? "" : fmt::format(" in steps of {}", step);
  throw InputError(fmt::format("{} is {}, expected {} to {}{}; the nearest valid one is {}", what,
                               width, step, full, rule, nearest));
}

void check_layer(index_t l, const LayerShape& full, const LayerWidths& kept) {
  const std::string place = fmt::format("layer {} ({})", l, full.symbol());
  check_width(place + ": width", kept.width, full.width, full.num_groups);
  if (description_of(full).channel_axis)
    check_width(place + ": head channels", kept.head_channels, full.head_channels, 1);
  else if (kept.head_channels != full.head_channels)
    throw InputError(
        fmt::format("{}: head channels are {}, expected {}: those of {} are not elastic", place,
                    kept.head_channels, full.head_channels, description_of(full).name));
}

std::vector<index_t> first_indices(index_t count) {
  std::vector<index_t> result(static_cast<std::size_t>(count));
  std::iota(result.begin(), result.end(), index_t{0});
  return result;
}

/// The widths of all layers of a kind.
std::string list_layers(const ModelShape& parent, const SubmodelSpec& spec, char symbol) {
  std::vector<std::string> texts;
  for (index_t l = 0; l < parent.num_layers(); ++l) {
    const auto& kept = spec.layers[l];
    if (parent.layers[l].symbol() != symbol || !kept.keep) continue;
    const bool channels_cut = kept.head_channels != parent.layers[l].head_channels;
    texts.push_back(channels_cut ? fmt::format("{}x{}", kept.width, kept.head_channels)
                                 : fmt::format("{}", kept.width));
  }
  if (texts.empty()) return "";
  if (std::all_of(texts.begin(), texts.end(), [&](auto& t) { return t == texts.front(); }))
    texts.resize(1);
  std::string line = fmt::format(", {}", symbol);
  for (const auto& text : texts) line += " " + text;
  return line;
}

}  // namespace

bool SubmodelSpec::same_widths(const SubmodelSpec& other) const {
  return hidden_size == other.hidden_size && layers == other.layers;
}

SubmodelSpec full_spec(const ModelShape& parent) {
  SubmodelSpec spec{.name = "1", .budget = 1, .hidden_size = parent.hidden_size, .layers = {}};
  for (const auto& layer : parent.layers) spec.layers.push_back({layer.width, layer.head_channels});
  return spec;
}

void check_spec(const ModelShape& parent, const SubmodelSpec& spec) {
  const auto count = static_cast<index_t>(spec.layers.size());
  if (count != parent.num_layers())
    throw InputError(fmt::format("submodel '{}' has {} layers, its parent has {}", spec.name, count,
                                 parent.num_layers()));
  check_width("hidden size", spec.hidden_size, parent.hidden_size, 1);
  for (index_t l = 0; l < count; ++l) check_layer(l, parent.layers[l], spec.layers[l]);
  if (std::none_of(spec.layers.begin(), spec.layers.end(), [](auto& layer) { return layer.keep; }))
    throw InputError(fmt::format("submodel '{}' drops every layer", spec.name));
}

bool is_nested(const SubmodelSpec& inner, const SubmodelSpec& outer) {
  if (inner.hidden_size > outer.hidden_size || inner.layers.size() != outer.layers.size())
    return false;
  for (std::size_t l = 0; l < inner.layers.size(); ++l) {
    const auto &a = inner.layers[l], &b = outer.layers[l];
    if (a.keep && (!b.keep || a.width > b.width || a.head_channels > b.head_channels)) return false;
  }
  return true;
}

ModelShape sliced_shape(const ModelShape& parent, const SubmodelSpec& spec) {
  check_spec(parent, spec);
  ModelShape shape = parent;
  shape.hidden_size = spec.hidden_size;
  shape.layers.clear();
  for (index_t l = 0; l < parent.num_layers(); ++l) {
    if (!spec.layers[l].keep) continue;
    shape.layers.push_back(parent.layers[l]);
    shape.layers.back().width = spec.layers[l].width;
    shape.layers.back().head_channels = spec.layers[l].head_channels;
  }
  return shape;
}

std::vector<index_t> kept_indices(const ModelShape& parent, const SubmodelSpec& spec, Dim dim,
                                  index_t layer, index_t fixed_extent) {
  if (layer >= 0 && !spec.layers.at(static_cast<std::size_t>(layer)).keep) return {};
  if (dim == Dim::fixed) return first_indices(fixed_extent);
  if (dim == Dim::hidden) return first_indices(spec.hidden_size);
  const index_t full = parent.extent(dim, layer);
  const auto& kept = spec.layers[layer];
  const index_t block = full / parent.layers[layer].width;  // channels per head or 1
  const index_t kept_block = std::min(block, kept.head_channels);
  std::vector<index_t> result;
  for (index_t unit = 0; unit < kept.width; ++unit)
    for (index_t c = 0; c < kept_block; ++c) result.push_back(unit * block + c);
  return result;
}

std::string describe(const ModelShape& parent, const SubmodelSpec& spec) {
  std::string line = fmt::format("hidden {}", spec.hidden_size);
  std::string listed;
  for (const char symbol : parent.pattern()) {
    if (listed.find(symbol) != std::string::npos) continue;
    listed += symbol;
    line += list_layers(parent, spec, symbol);
  }
  std::string dropped;
  for (std::size_t l = 0; l < spec.layers.size(); ++l)
    if (!spec.layers[l].keep) dropped += fmt::format(" {}", l);
  return dropped.empty() ? line : line + ", dropped" + dropped;
}

std::string to_json(const SubmodelSpec& spec) {
  Json width = Json::array(), channels = Json::array(), dropped = Json::array();
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    width.push_back(spec.layers[l].width);
    channels.push_back(spec.layers[l].head_channels);
    if (!spec.layers[l].keep) dropped.push_back(l);
  }
  return Json{{"name", spec.name}, {"budget", spec.budget},     {"hidden_size", spec.hidden_size},
              {"width", width},    {"head_channels", channels}, {"dropped_layers", dropped}}
      .dump();
}

SubmodelSpec spec_from_json(const ModelShape& parent, const std::string& text) try {
  SubmodelSpec spec = parse_spec(text);
  check_spec(parent, spec);
  return spec;
} catch (const InputError& error) {
  throw InputError(fmt::format("not a submodel specification: {}", error.what()));
}

}  // namespace elastic
