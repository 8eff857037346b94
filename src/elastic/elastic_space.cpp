// SPDX-License-Identifier: Apache-2.0
#include "elastic/elastic_space.hpp"

#include <algorithm>
#include <array>

#include "arch/layer_kind.hpp"

namespace elastic {
namespace {

bool has_axis(const LayerShape& layer, Axis axis) {
  const auto& kind = description_of(layer);
  return kind.width_axis == axis || kind.channel_axis == axis;
}

index_t full_width(Axis axis, const LayerShape& layer) {
  return chooses_channels(axis) ? layer.head_channels : layer.width;
}

std::vector<index_t> layers_of(const ModelShape& parent, Axis axis) {
  std::vector<index_t> result;
  for (index_t l = 0; l < parent.num_layers(); ++l)
    if (has_axis(parent.layers[l], axis)) result.push_back(l);
  return result;
}

[[noreturn]] void fail(Axis axis, const std::string& message) {
  throw InputError(fmt::format("elastic axis {}: {}", axis_name(axis), message));
}

/// Checks that a list falls, starts with `full` and holds multiples of `step`.
void check_widths(Axis axis, const std::vector<index_t>& widths, index_t full, index_t step) {
  if (widths.front() != full)
    fail(axis, fmt::format("the first width is {}, expected the full one, {}", widths[0], full));
  for (std::size_t i = 0; i < widths.size(); ++i) {
    if (widths[i] < 1) fail(axis, fmt::format("width {} is less than 1", widths[i]));
    if (widths[i] % step != 0)
      fail(axis,
           fmt::format("width {} is not a multiple of the {} groups; the nearest valid one is {}",
                       widths[i], step, std::max(step, (widths[i] + step / 2) / step * step)));
    if (i > 0 && widths[i] >= widths[i - 1])
      fail(axis,
           fmt::format("width {} follows {}, expected falling widths", widths[i], widths[i - 1]));
  }
}

void check_layer_axis(const ModelShape& parent, Axis axis, const std::vector<index_t>& widths) {
  const auto layers = layers_of(parent, axis);
  if (widths.size() < 2) return;  // rigid: every layer keeps its own width
  if (layers.empty())
    fail(axis, fmt::format("{} widths, but the pattern {} has no layer of this kind", widths.size(),
                           parent.pattern()));
  for (const index_t l : layers) {
    const auto &layer = parent.layers[l], &first = parent.layers[layers[0]];
    if (full_width(axis, layer) != full_width(axis, first) || layer.num_groups != first.num_groups)
      fail(axis,
           fmt::format("layers {} and {} differ in width or groups; an elastic axis needs equal "
                       "layers",
                       layers[0], l));
  }
  const auto& layer = parent.layers[layers[0]];
  check_widths(axis, widths, full_width(axis, layer),
               chooses_channels(axis) ? 1 : layer.num_groups);
}

void check_depth(const ModelShape& parent, const ElasticSpace& space) {
  std::vector<bool> seen(parent.layers.size(), false);
  for (const index_t l : space.drop_order) {
    if (l < 0 || l >= parent.num_layers())
      fail(Axis::depth, fmt::format("layer {} of {} cannot be dropped", l, parent.num_layers()));
    if (seen[l]) fail(Axis::depth, fmt::format("layer {} is listed twice in the drop order", l));
    seen[l] = true;
  }
  const auto& drops = space.depth.widths;
  if (drops.empty()) return;
  if (drops.front() != 0)
    fail(Axis::depth, fmt::format("the first choice drops {} layers, expected 0", drops.front()));
  for (std::size_t i = 1; i < drops.size(); ++i)
    if (drops[i] <= drops[i - 1])
      fail(Axis::depth,
           fmt::format("{} follows {}, expected rising numbers", drops[i], drops[i - 1]));
  const auto droppable = static_cast<index_t>(space.drop_order.size());
  const index_t most = std::min(droppable, parent.num_layers() - 1);
  if (drops.back() > most)
    fail(Axis::depth, fmt::format("cannot drop {} layers, at most {}", drops.back(), most));
}

void apply_choice(const ElasticSpace& space, const std::vector<index_t>& layers,
                  const Decision& decision, index_t width, SubmodelSpec& spec) {
  if (decision.axis == Axis::hidden) spec.hidden_size = width;
  if (decision.axis == Axis::depth)
    for (index_t r = 0; r < width; ++r) spec.layers[space.drop_order[r]].keep = false;
  for (const index_t l : layers)
    (chooses_channels(decision.axis) ? spec.layers[l].head_channels : spec.layers[l].width) = width;
}

}  // namespace

bool chooses_channels(Axis axis) {
  const auto kinds = layer_kinds();
  return std::any_of(kinds.begin(), kinds.end(),
                     [&](const auto* kind) { return kind->channel_axis == axis; });
}

const AxisChoices& ElasticSpace::axis(Axis a) const {
  const std::array<const AxisChoices*, num_axes> all = {
      &hidden, &mamba_heads, &mamba_head_channels, &attention_heads, &ffn, &depth};
  return *all[static_cast<std::size_t>(a)];
}
AxisChoices& ElasticSpace::axis(Axis a) {
  return const_cast<AxisChoices&>(std::as_const(*this).axis(a));
}

ElasticSpace rigid_space(const ModelShape& parent) {
  ElasticSpace space;
  space.hidden.widths = {parent.hidden_size};
  space.depth.widths = {0};
  for (const Axis axis : all_axes)
    for (const index_t l : layers_of(parent, axis)) {
      auto& widths = space.axis(axis).widths;
      widths = {std::max(widths.empty() ? 0 : widths[0], full_width(axis, parent.layers[l]))};
    }
  return space;
}

void check_space(const ModelShape& parent, const ElasticSpace& space) {
  for (const Axis axis : {Axis::hidden, Axis::depth})
    if (space.axis(axis).per_layer) fail(axis, "one choice for the whole model, not per layer");
  if (!space.hidden.widths.empty())
    check_widths(Axis::hidden, space.hidden.widths, parent.hidden_size, 1);
  for (const Axis axis : all_axes)
    if (is_layer_axis(axis)) check_layer_axis(parent, axis, space.axis(axis).widths);
  check_depth(parent, space);
}

std::vector<index_t> decision_layers(const ModelShape& parent, const Decision& decision) {
  if (decision.layer >= 0) return {decision.layer};
  return layers_of(parent, decision.axis);
}

std::vector<Decision> list_decisions(const ModelShape& parent, const ElasticSpace& space) {
  std::vector<Decision> decisions;
  for (const Axis axis : all_axes) {
    const auto& choices = space.axis(axis);
    const auto layers = layers_of(parent, axis);
    if (choices.widths.size() < 2 || (is_layer_axis(axis) && layers.empty())) continue;
    if (!choices.per_layer) decisions.push_back({axis, -1, choices.widths});
    if (choices.per_layer)
      for (const index_t l : layers) decisions.push_back({axis, l, choices.widths});
  }
  return decisions;
}

bool next_choice(const std::vector<Decision>& decisions, std::vector<index_t>& choice) {
  for (std::size_t d = 0; d < choice.size(); choice[d++] = 0)
    if (++choice[d] < static_cast<index_t>(decisions[d].widths.size())) return true;
  return false;
}

SubmodelSpec spec_of_choices(const ModelShape& parent, const ElasticSpace& space,
                             const std::vector<Decision>& decisions,
                             const std::vector<index_t>& choice) {
  ELASTIC_REQUIRE(choice.size() == decisions.size(), "{} choices for {} decisions", choice.size(),
                  decisions.size());
  SubmodelSpec spec = full_spec(parent);
  for (std::size_t d = 0; d < decisions.size(); ++d) {
    const auto& decision = decisions[d];
    const auto count = static_cast<index_t>(decision.widths.size());
    ELASTIC_REQUIRE(0 <= choice[d] && choice[d] < count, "choice {} of {}", choice[d], count);
    apply_choice(space, decision_layers(parent, decision), decision, decision.widths[choice[d]],
                 spec);
  }
  return spec;
}

}  // namespace elastic
