// SPDX-License-Identifier: Apache-2.0
#include "elastic/nesting.hpp"

namespace elastic {
namespace {

/// Whether keeping `kept` in all of `layers` lies within the bounds; layers that a bound drops
/// bind nothing.
bool widths_fit(const std::vector<index_t>& layers, index_t LayerWidths::*axis, index_t kept,
                const NestingBounds& bounds) {
  for (const index_t l : layers) {
    if (bounds.outer && bounds.outer->layers[l].keep && kept > bounds.outer->layers[l].*axis)
      return false;
    if (bounds.inner && bounds.inner->layers[l].keep && kept < bounds.inner->layers[l].*axis)
      return false;
  }
  return true;
}

bool depth_fits(const ModelShape& parent, const ElasticSpace& space, index_t dropped,
                const NestingBounds& bounds) {
  std::vector<bool> keep(parent.layers.size(), true);
  for (index_t r = 0; r < dropped; ++r) keep[space.drop_order[r]] = false;
  for (std::size_t l = 0; l < keep.size(); ++l) {
    if (bounds.outer && keep[l] && !bounds.outer->layers[l].keep) return false;
    if (bounds.inner && !keep[l] && bounds.inner->layers[l].keep) return false;
  }
  return true;
}

}  // namespace

std::vector<bool> allowed_choices(const ModelShape& parent, const ElasticSpace& space,
                                  const Decision& decision, const NestingBounds& bounds) {
  std::vector<bool> allowed;
  for (const index_t width : decision.widths) {
    if (decision.axis == Axis::depth)
      allowed.push_back(depth_fits(parent, space, width, bounds));
    else if (decision.axis == Axis::hidden)
      allowed.push_back((!bounds.outer || width <= bounds.outer->hidden_size) &&
                        (!bounds.inner || width >= bounds.inner->hidden_size));
    else
      allowed.push_back(widths_fit(
          decision_layers(parent, decision),
          chooses_channels(decision.axis) ? &LayerWidths::head_channels : &LayerWidths::width,
          width, bounds));
  }
  return allowed;
}

std::string nesting_gap(const ModelShape& parent, const SubmodelSpec& inner,
                        const SubmodelSpec& outer) {
  if (inner.hidden_size > outer.hidden_size)
    return fmt::format("hidden {} of {}", inner.hidden_size, outer.hidden_size);
  for (std::size_t l = 0; l < inner.layers.size(); ++l) {
    const auto &a = inner.layers[l], &b = outer.layers[l];
    if (!a.keep) continue;
    const std::string place = fmt::format("layer {} ({})", l, parent.layers[l].symbol());
    if (!b.keep) return place + ", which is dropped there";
    if (a.width > b.width) return fmt::format("{} {} of {}", place, a.width, b.width);
    if (a.head_channels > b.head_channels)
      return fmt::format("{} {} channels of {}", place, a.head_channels, b.head_channels);
  }
  return {};
}

std::vector<std::string> nesting_gaps(const ModelShape& parent,
                                      const std::vector<SubmodelSpec>& specs) {
  std::vector<std::string> gaps;
  for (const auto& outer : specs)
    for (const auto& inner : specs) {
      if (inner.budget >= outer.budget) continue;
      const auto gap = nesting_gap(parent, inner, outer);
      if (!gap.empty())
        gaps.push_back(fmt::format("{} is not part of {}: {}", inner.name, outer.name, gap));
    }
  return gaps;
}

}  // namespace elastic
