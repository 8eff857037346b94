// SPDX-License-Identifier: Apache-2.0
#include "config/times_text.hpp"

#include <cmath>

#include "arch/layer_kind.hpp"
#include "arch/shape_limits.hpp"
#include "base/error.hpp"
#include "elastic/checked_json.hpp"

namespace elastic {
namespace {
using Json = nlohmann::ordered_json;
constexpr index_t version = 1;
constexpr index_t most_count = index_t{1} << 30;

Json law_json(const TimeLaw& law) {
  return {{"factors", law.factors}, {"worst_error", law.worst_error}};
}
TimeLaw law_of(const nlohmann::json& json) {
  TimeLaw law;
  const auto& factors = list(json, "factors", num_time_terms);
  if (factors.size() != num_time_terms)
    throw InputError(
        fmt::format("'factors' has {} numbers, expected {}", factors.size(), num_time_terms));
  for (std::size_t i = 0; i < num_time_terms; ++i) {
    if (!factors[i].is_number() || !std::isfinite(factors[i].get<double>()) ||
        factors[i].get<double>() < 0)
      throw InputError(fmt::format("'factors' holds {}, expected finite numbers >= 0",
                                   factors[i].dump().substr(0, 40)));
    law.factors[i] = factors[i].get<double>();
  }
  law.worst_error = real_number(json, "worst_error");
  return law;
}

Json layer_json(const LayerTimes& times) {
  Json json = {{"kind", std::string(1, times.layer.symbol())},
               {"width", times.layer.width},
               {"head_channels", times.layer.head_channels},
               {"num_groups", times.layer.num_groups},
               {"least_width", times.least_width},
               {"least_head_channels", times.least_channels}};
  json.update(law_json(times.law));
  return json;
}
LayerTimes layer_of(const nlohmann::json& json) {
  const std::string kind = word(json, "kind");
  if (kind.size() != 1 || !find_layer_kind(kind[0]))
    throw InputError(
        fmt::format("'kind' is {}, expected {}", kind.substr(0, 40), list_layer_kinds()));
  LayerTimes times{.layer = {.kind = kind_of_symbol(kind[0]),
                             .width = whole_number(json, "width", 1, max_extent),
                             .head_channels = whole_number(json, "head_channels", 1, max_extent),
                             .num_groups = whole_number(json, "num_groups", 1, max_extent)},
                   .law = law_of(json)};
  times.least_width = whole_number(json, "least_width", 1, times.layer.width);
  times.least_channels = whole_number(json, "least_head_channels", 1, times.layer.head_channels);
  return times;
}

}  // namespace

std::string to_json(const MeasuredTimes& times) {
  Json layers = Json::array();
  for (const auto& layer : times.layers) layers.push_back(layer_json(layer));
  const Json json = {{"version", version},
                     {"unit", "seconds per token"},
                     {"terms", "1, D, w, D*w, w*c, D*w*c"},
                     {"pass", times.pass},
                     {"batch", times.batch},
                     {"seq_length", times.seq_length},
                     {"ranks", times.ranks},
                     {"machine", times.machine},
                     {"vocab_size", times.model.vocab_size},
                     {"hidden_size", times.model.hidden_size},
                     {"least_hidden_size", times.least_hidden},
                     {"mamba_state_dim", times.model.mamba_state_dim},
                     {"mamba_d_conv", times.model.mamba_d_conv},
                     {"chunk_size", times.model.chunk_size},
                     {"ends", law_json(times.ends)},
                     {"layers", layers}};
  return json.dump(2) + "\n";
}

MeasuredTimes times_from_json(const std::string& text) try {
  const auto json = parse_checked_json(text);
  whole_number(json, "version", version, version);
  MeasuredTimes times{.pass = word(json, "pass"),
                      .batch = whole_number(json, "batch", 1, most_count),
                      .seq_length = whole_number(json, "seq_length", 1, most_count),
                      .model = {},
                      .ranks = static_cast<int>(whole_number(json, "ranks", 1, most_count)),
                      .machine = word(json, "machine"),
                      .ends = {},
                      .layers = {}};
  if (times.pass != "prefill" && times.pass != "decode")
    throw InputError(fmt::format("'pass' is {}, expected prefill or decode", times.pass));
  times.model.vocab_size = whole_number(json, "vocab_size", 1, max_extent);
  times.model.hidden_size = whole_number(json, "hidden_size", 1, max_extent);
  times.model.mamba_state_dim = whole_number(json, "mamba_state_dim", 1, max_extent);
  times.model.mamba_d_conv = whole_number(json, "mamba_d_conv", 1, max_extent);
  times.model.chunk_size = whole_number(json, "chunk_size", 1, max_extent);
  times.least_hidden = whole_number(json, "least_hidden_size", 1, times.model.hidden_size);
  const auto ends = json.find("ends");
  if (ends == json.end() || !ends->is_object()) throw InputError("lacks the object 'ends'");
  times.ends = law_of(*ends);
  for (const auto& layer : list(json, "layers", max_layers))
    times.layers.push_back(layer_of(layer));
  return times;
} catch (const InputError& error) {
  throw InputError(fmt::format("not measured times: {}", error.what()));
}

}  // namespace elastic
