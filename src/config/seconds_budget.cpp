// SPDX-License-Identifier: Apache-2.0
#include "config/seconds_budget.hpp"

#include <algorithm>

#include "arch/layer_kind.hpp"
#include "config/times_text.hpp"

namespace elastic {
namespace {

bool is_seconds(const CostConfig& cost) { return cost.kind == BudgetKind::seconds; }

/// What differs, as "KEY is A, the deck has B".
class Differences {
 public:
  template <class Value>
  void compare(const char* what, const Value& measured, const Value& wanted) {
    if (measured != wanted) add("{} is {}, the deck has {}", what, measured, wanted);
  }
  void compare_least(const std::string& what, index_t measured, index_t allowed) {
    if (allowed < measured)
      add("{} was measured from {} on, the deck allows {}", what, measured, allowed);
  }
  template <class... Values>
  void add(fmt::format_string<Values...> text, Values&&... values) {
    m_text += (m_text.empty() ? "" : "; ") + fmt::format(text, std::forward<Values>(values)...);
  }
  const std::string& text() const { return m_text; }

 private:
  std::string m_text;
};

index_t least_of(const AxisChoices& axis, index_t full) {
  return axis.widths.size() < 2 ? full : axis.widths.back();
}

void compare_layers(const ModelShape& shape, const ElasticSpace& space, const MeasuredTimes& times,
                    Differences& differences) {
  std::vector<LayerShape> seen;
  for (const auto& layer : shape.layers) {
    if (std::find(seen.begin(), seen.end(), layer) != seen.end()) continue;
    seen.push_back(layer);
    const auto found = std::find_if(times.layers.begin(), times.layers.end(),
                                    [&](const LayerTimes& t) { return t.layer == layer; });
    if (found == times.layers.end()) {
      differences.add("no layer {} of width {} with {} channels and {} groups was measured",
                      layer.symbol(), layer.width, layer.head_channels, layer.num_groups);
      continue;
    }
    const auto& kind = description_of(layer);
    differences.compare_least(fmt::format("the width of {}", layer.symbol()), found->least_width,
                              least_of(space.axis(kind.width_axis), layer.width));
    if (kind.channel_axis)
      differences.compare_least(fmt::format("channels of {}", layer.symbol()),
                                found->least_channels,
                                least_of(space.axis(*kind.channel_axis), layer.head_channels));
  }
}

}  // namespace

const char* inference_pass_name(InferencePass pass) {
  return pass == InferencePass::decode ? "decode" : "prefill";
}

bool counts_seconds(const RunConfig& config) {
  const auto& costs = config.elastic.loss.costs;
  return std::any_of(costs.begin(), costs.end(), is_seconds);
}

bool lacks_times(const RunConfig& config) {
  const auto& costs = config.elastic.loss.costs;
  return std::any_of(costs.begin(), costs.end(),
                     [](const CostConfig& cost) { return is_seconds(cost) && !cost.times; });
}

std::string inference_text(const SecondsConfig& seconds) {
  const char* plural = seconds.batch == 1 ? "" : "s";
  if (seconds.pass == InferencePass::decode)
    return fmt::format("decoding one token more of {} sequence{} with {} tokens in the caches",
                       seconds.batch, plural, seconds.seq_length);
  return fmt::format("prefill of {} sequence{} of {} tokens", seconds.batch, plural,
                     seconds.seq_length);
}

void check_times(const RunConfig& config, const MeasuredTimes& times, const std::string& file) {
  const ModelShape shape = parent_shape(config);
  const ElasticSpace space = elastic_space(config, shape);
  Differences differences;
  const auto& seconds = config.elastic.seconds;
  differences.compare("pass", times.pass, std::string(inference_pass_name(seconds.pass)));
  differences.compare("batch", times.batch, seconds.batch);
  differences.compare("seq_length", times.seq_length, seconds.seq_length);
  differences.compare("vocab_size", times.model.vocab_size, shape.vocab_size);
  differences.compare("hidden_size", times.model.hidden_size, shape.hidden_size);
  differences.compare("mamba_state_dim", times.model.mamba_state_dim, shape.mamba_state_dim);
  differences.compare("mamba_d_conv", times.model.mamba_d_conv, shape.mamba_d_conv);
  differences.compare("chunk_size", times.model.chunk_size, shape.chunk_size);
  differences.compare_least("hidden_size", times.least_hidden,
                            least_of(space.hidden, shape.hidden_size));
  compare_layers(shape, space, times, differences);
  if (!differences.text().empty())
    throw InputError(fmt::format(
        "{}: times of another inference or model: {}; measure anew with the phase measure", file,
        differences.text()));
}

void give_times(RunConfig& config, const std::string& text, const std::string& file) {
  std::shared_ptr<const MeasuredTimes> times;
  try {
    times = std::make_shared<const MeasuredTimes>(times_from_json(text));
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", file, error.what()));
  }
  check_times(config, *times, file);
  for (auto& cost : config.elastic.loss.costs)
    if (is_seconds(cost)) cost.times = times;
}

RunConfig with_known_costs(RunConfig config) {
  auto& costs = config.elastic.loss.costs;
  const auto flops = std::any_of(costs.begin(), costs.end(), [](const CostConfig& cost) {
    return cost.kind == BudgetKind::flops;
  });
  if (flops) costs.erase(std::remove_if(costs.begin(), costs.end(), is_seconds), costs.end());
  for (auto& cost : costs)
    if (is_seconds(cost)) {
      cost.kind = BudgetKind::flops;
      cost.seq_length = config.elastic.seconds.seq_length;
    }
  return config;
}

}  // namespace elastic
