// SPDX-License-Identifier: Apache-2.0
#include "elastic/spec_text.hpp"

#include "arch/shape_limits.hpp"
#include "base/error.hpp"
#include "elastic/checked_json.hpp"

namespace elastic {

SubmodelSpec parse_spec(const std::string& text) {
  const auto json = parse_checked_json(text);
  SubmodelSpec spec{.name = word(json, "name"),
                    .budget = real_number(json, "budget"),
                    .hidden_size = whole_number(json, "hidden_size", 1, max_extent),
                    .layers = {}};
  const auto width = whole_numbers(json, "width", 1, max_extent, max_layers),
             channels = whole_numbers(json, "head_channels", 1, max_extent, max_layers);
  if (width.size() != channels.size())
    throw InputError(fmt::format("{} widths but {} head_channels", width.size(), channels.size()));
  for (std::size_t l = 0; l < width.size(); ++l) spec.layers.push_back({width[l], channels[l]});
  const auto count = static_cast<index_t>(width.size());
  for (const index_t l : whole_numbers(json, "dropped_layers", 0, count - 1, count))
    spec.layers[static_cast<std::size_t>(l)].keep = false;
  return spec;
}

}  // namespace elastic
