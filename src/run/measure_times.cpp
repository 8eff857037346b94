// SPDX-License-Identifier: Apache-2.0
#include "run/measure_times.hpp"

#include <algorithm>
#include <limits>

#include "arch/layer_kind.hpp"
#include "base/version.hpp"
#include "config/seconds_budget.hpp"
#include "plan/units.hpp"
#include "state/stored_times.hpp"

namespace elastic {
namespace {
constexpr TimingRounds rounds{.least = 5, .most = 25, .seconds = 15};
constexpr std::size_t most_widths = 4;  // of an axis; two determine the terms, the others their fit

/// At most so many of a list: first, last, and evenly spaced ones between.
std::vector<index_t> spread(const std::vector<index_t>& widths, index_t full, std::size_t most) {
  if (widths.size() < 2) return {full};
  const std::size_t count = std::min(most, widths.size());
  std::vector<index_t> result;
  for (std::size_t i = 0; i < count; ++i)
    result.push_back(widths[(i * (widths.size() - 1) + (count - 1) / 2) / (count - 1)]);
  return result;
}

/// A part of the model at some widths.
struct TimedPart {
  SubmodelSpec spec;
  PassParts parts;
  LayerExtents extents;
  double share = 1;  ///< of the time that counts: one layer of several
};

/// Layers of equal shape, or the ends.
struct Measured {
  std::vector<TimedPart> timed;
  TimeLaw fit(const std::vector<double>& times, std::size_t first) const {
    std::vector<TimedExtents> points;
    for (std::size_t i = 0; i < timed.size(); ++i)
      points.push_back({timed[i].extents, times[first + i] * timed[i].share});
    return fit_time_law(points);
  }
};

Measured ends_of(const ModelShape& shape, const std::vector<index_t>& hidden) {
  Measured ends;
  for (const index_t d : hidden) {
    SubmodelSpec spec = full_spec(shape);
    spec.hidden_size = d;
    ends.timed.push_back({spec, {.ends = true, .layers = {}}, {.hidden = static_cast<double>(d)}});
  }
  return ends;
}

/// Layers like number `first`, at all combinations of widths.
Measured layers_like(const ModelShape& shape, index_t first, const std::vector<index_t>& hidden,
                     const std::vector<index_t>& widths, const std::vector<index_t>& channels) {
  const LayerShape& layer = shape.layers[static_cast<std::size_t>(first)];
  std::vector<index_t> alike;
  for (index_t l = first; l < shape.num_layers(); ++l)
    if (shape.layers[static_cast<std::size_t>(l)] == layer) alike.push_back(l);
  Measured measured;
  for (const index_t d : hidden)
    for (const index_t w : widths)
      for (const index_t c : channels) {
        SubmodelSpec spec = full_spec(shape);
        spec.hidden_size = d;
        for (const index_t l : alike) spec.layers[static_cast<std::size_t>(l)] = {w, c, true};
        measured.timed.push_back({spec,
                                  {.ends = false, .layers = alike},
                                  {.hidden = static_cast<double>(d),
                                   .width = static_cast<double>(w),
                                   .inner = static_cast<double>(w * c)},
                                  1 / static_cast<double>(alike.size())});
      }
  return measured;
}

std::string machine_text(const Communicator& comm, std::size_t value_bytes) {
  const int threads = ExecutionSpace().concurrency();
  return fmt::format("elastic.x {} on {} rank{} with {} thread{} ({}), {}-bit values",
                     project_version, comm.size(), comm.size() == 1 ? "" : "s", threads,
                     threads == 1 ? "" : "s", ExecutionSpace::name(), 8 * value_bytes);
}

}  // namespace

template <class T>
MeasuredTimes measure_times(const Communicator& comm, const RunConfig& config,
                            const LanguageModel<T>& model, Arena& arena) {
  const ModelShape& shape = model.shape();
  const ElasticSpace space = elastic_space(config, shape);
  const Inference inference = inference_of(config);
  MeasuredTimes times;
  times.pass = inference_pass_name(config.elastic.seconds.pass);
  times.batch = inference.batch;
  times.seq_length = inference.seq_length;
  times.model = shape;
  times.model.layers.clear();
  times.ranks = comm.size();
  times.machine = machine_text(comm, sizeof(T));
  const auto hidden = spread(space.hidden.widths, shape.hidden_size, most_widths);
  times.least_hidden = hidden.back();
  std::vector<Measured> all = {ends_of(
      shape, spread(space.hidden.widths, shape.hidden_size, std::numeric_limits<int>::max()))};
  for (index_t l = 0; l < shape.num_layers(); ++l) {
    const LayerShape& layer = shape.layers[static_cast<std::size_t>(l)];
    if (std::any_of(times.layers.begin(), times.layers.end(),
                    [&](const LayerTimes& other) { return other.layer == layer; }))
      continue;
    const auto& kind = description_of(layer);
    const auto widths = spread(space.axis(kind.width_axis).widths, layer.width, most_widths);
    const auto channels = kind.channel_axis ? spread(space.axis(*kind.channel_axis).widths,
                                                     layer.head_channels, most_widths - 1)
                                            : std::vector<index_t>{layer.head_channels};
    all.push_back(layers_like(shape, l, hidden, widths, channels));
    times.layers.push_back({layer, {}, widths.back(), channels.back()});
  }
  std::vector<const TimedPart*> parts;
  for (const auto& measured : all)
    for (const auto& part : measured.timed) parts.push_back(&part);
  auto seconds = repeated_times(comm, parts.size(), rounds, [&](std::size_t i) {
    return time_pass(model, arena, inference, parts[i]->spec, parts[i]->parts);
  });
  for (double& time : seconds) time /= inference.tokens();
  times.ends = all[0].fit(seconds, 0);
  std::size_t first = all[0].timed.size();
  for (std::size_t i = 0; i < times.layers.size(); ++i) {
    times.layers[i].law = all[i + 1].fit(seconds, first);
    first += all[i + 1].timed.size();
  }
  return times;
}

template <class T>
std::vector<double> measure_submodels(const Communicator& comm, const RunConfig& config,
                                      const LanguageModel<T>& model, Arena& arena,
                                      const std::vector<SubmodelSpec>& specs) {
  const Inference inference = inference_of(config);
  auto seconds = repeated_times(comm, specs.size(), rounds, [&](std::size_t i) {
    return time_pass(model, arena, inference, specs[i], whole_submodel(specs[i]));
  });
  for (double& time : seconds) time /= inference.tokens();
  return seconds;
}

std::string describe(const MeasuredTimes& times) {
  ModelShape shape = times.model;
  const auto at_full = [&](const LayerShape& layer) {
    return LayerExtents{.hidden = static_cast<double>(shape.hidden_size),
                        .width = static_cast<double>(layer.width),
                        .inner = static_cast<double>(layer.inner())};
  };
  std::string text = fmt::format(
      "per token: ends {}",
      in_seconds(times.ends.seconds({.hidden = static_cast<double>(shape.hidden_size)})));
  double worst = times.ends.worst_error;
  for (const auto& layer : times.layers) {
    text += fmt::format(", {} {}", layer.layer.symbol(),
                        in_seconds(layer.law.seconds(at_full(layer.layer))));
    worst = std::max(worst, layer.law.worst_error);
  }
  return fmt::format("{}; the terms miss no measured time by more than {:.1f}%", text, 100 * worst);
}

#define ELASTIC_INSTANTIATE(T)                                                             \
  template MeasuredTimes measure_times<T>(const Communicator&, const RunConfig&,           \
                                          const LanguageModel<T>&, Arena&);                \
  template std::vector<double> measure_submodels<T>(const Communicator&, const RunConfig&, \
                                                    const LanguageModel<T>&, Arena&,       \
                                                    const std::vector<SubmodelSpec>&);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(bfloat16)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
