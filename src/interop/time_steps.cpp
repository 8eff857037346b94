// SPDX-License-Identifier: Apache-2.0
#include "interop/time_steps.hpp"

#include <algorithm>
#include <cmath>

#include "arch/layer_kind.hpp"
#include "interop/hf_import.hpp"
#include "interop/rearrange.hpp"

namespace elastic {
namespace {

double softplus(double x) { return x > 30 ? x : std::log1p(std::exp(x)); }

/// Rows [first, first + rows) of a tensor of the folder.
std::vector<double> read_rows(const HfWeights::Tensor& source, index_t first, index_t rows,
                              index_t columns) {
  const auto element = size_of(source.entry->type);
  const auto count = static_cast<std::size_t>(rows * columns);
  std::vector<char> bytes(count * element);
  source.file->read(*source.entry, static_cast<std::size_t>(first * columns) * element,
                    bytes.size(), bytes.data());
  std::vector<double> values(count);
  convert_elements(source.entry->type, bytes.data(), count, ElementType::f64, values.data());
  return values;
}

/// A part of a tensor, and the tensor in which it lies.
struct Place {
  const HfTensor* tensor = nullptr;
  const HfPart* part = nullptr;
};

/// What one layer's time steps come from.
struct Projection {
  Place bias;     // [H]
  Place weights;  // [H, D]
  Place norm;     // [D], of the layer's input
};

/// The layers that have a vector of time steps.
std::vector<Projection> projections(const HfFolder& folder) {
  const ModelShape& shape = folder.config.shape;
  std::vector<Projection> layers(shape.layers.size());
  const auto is_step = [&](const HfPart& part) {
    const auto infos = layer_tensors(shape, part.layer);
    return std::any_of(infos.begin(), infos.end(), [&](const ParameterInfo& info) {
      return info.name == part.ours && info.initial == InitialLaw::time_step;
    });
  };
  for (const auto& tensor : folder.tensors)
    for (const auto& part : tensor.parts) {
      if (part.layer < 0) continue;
      auto& layer = layers[static_cast<std::size_t>(part.layer)];
      if (part.vector && part.row_dim == Dim::hidden) layer.norm = {&tensor, &part};
      if (part.vector && is_step(part)) layer.bias = {&tensor, &part};
    }
  for (const auto& tensor : folder.tensors)
    for (const auto& part : tensor.parts) {
      if (part.layer < 0 || part.vector) continue;
      auto& layer = layers[static_cast<std::size_t>(part.layer)];
      if (layer.bias.part && part.row_dim == layer.bias.part->row_dim &&
          part.column_dim == Dim::hidden)
        layer.weights = {&tensor, &part};
    }
  std::erase_if(layers, [](const Projection& layer) {
    return !layer.bias.part || !layer.weights.part || !layer.norm.part;
  });
  return layers;
}

void widen(const HfFolder& folder, const Projection& layer, TimeStepRange& range) {
  const auto source = [&](const Place& place) { return folder.weights.at(place.tensor->name); };
  const HfPart& part = *layer.weights.part;
  const auto bias = read_rows(source(layer.bias), layer.bias.part->first_row, part.rows, 1);
  const auto norm = read_rows(source(layer.norm), 0, part.columns, 1);
  const index_t step = rows_at_a_time(static_cast<std::size_t>(part.columns) * sizeof(double));
  for (index_t first = 0; first < part.rows; first += step) {
    const index_t rows = std::min(step, part.rows - first);
    const auto weights =
        read_rows(source(layer.weights), part.first_row + first, rows, part.columns);
    for (index_t row = 0; row < rows; ++row) {
      double squares = 0;
      for (index_t d = 0; d < part.columns; ++d) {
        const double product = norm[static_cast<std::size_t>(d)] *
                               weights[static_cast<std::size_t>(row * part.columns + d)];
        squares += product * product;
      }
      const double reach = std::sqrt(static_cast<double>(part.columns) * squares),
                   centre = bias[static_cast<std::size_t>(first + row)];
      range.lowest = std::min(range.lowest, softplus(centre - reach));
      range.highest = std::max(range.highest, softplus(centre + reach));
    }
  }
}

}  // namespace

TimeStepRange time_step_range(const HfFolder& folder) {
  TimeStepRange range;
  for (const auto& layer : projections(folder)) widen(folder, layer, range);
  return range;
}

std::string check_time_steps(const HfFolder& folder, const std::string& config_file) {
  const TimeStepClamps& clamps = folder.config.clamps;
  const TimeStepRange range = time_step_range(folder);
  if (range.empty()) return "";
  const auto within = fmt::format("those that the weights allow lie between {:.3g} and {:.3g}",
                                  range.lowest, range.highest);
  if (clamps.lowest > range.lowest || clamps.highest < range.highest)
    throw InputError(
        fmt::format("{}: time_step_limit is [{}, {}]: time steps are not clamped here, and {}; "
                    "expected a limit outside of that, as [0, Infinity]",
                    config_file, clamps.lowest, clamps.highest, within));
  if (clamps.time_step_min <= range.lowest) return "";
  return fmt::format(
      "{}: time_step_min is {}: transformers raises smaller time steps to it, none is clamped "
      "here, "
      "and {}. Its logits differ where a step is smaller; those of vLLM and mlx-lm, which do not "
      "read the key, do not",
      config_file,
      clamps.has_time_step_min ? fmt::format("{}", clamps.time_step_min)
                               : fmt::format("missing, which means {}", clamps.time_step_min),
      within);
}

}  // namespace elastic
