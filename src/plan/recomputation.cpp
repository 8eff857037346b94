// SPDX-License-Identifier: Apache-2.0
#include "plan/recomputation.hpp"

#include <algorithm>
#include <numeric>

#include "config/extraction.hpp"
#include "elastic/cost_model.hpp"
#include "plan/memory.hpp"
#include "plan/units.hpp"

namespace elastic {
namespace {

/// Layers, those first that keep most bytes per operation; equal ones from the first on.
std::vector<std::size_t> by_gain(const ModelShape& parent, const StepMemory& step,
                                 index_t seq_length) {
  const CostConfig flops{.kind = BudgetKind::flops, .seq_length = seq_length};
  const ExpectedWidths full = expected_widths(full_spec(parent));
  std::vector<double> gain;
  for (std::size_t l = 0; l < step.layers.size(); ++l)
    gain.push_back(step.layers[l].forward /
                   layer_cost(parent, static_cast<index_t>(l), full.hidden, full.layers[l], flops));
  std::vector<std::size_t> order(gain.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return gain[a] > gain[b]; });
  return order;
}

/// `room`: bytes for the working memory of a step.
std::vector<bool> choose(const ModelShape& parent, const StepMemory& step, index_t seq_length,
                         double room) {
  std::vector<bool> recomputed;
  for (const std::size_t l : by_gain(parent, step, seq_length)) {
    if (step.with(recomputed).step() <= room) break;
    recomputed.resize(step.layers.size());
    recomputed[l] = true;
  }
  return recomputed;
}

}  // namespace

index_t router_size(const RunConfig& config, const ModelShape& parent) {
  if (!config.job.has(Phase::elastic)) return 0;
  return make_router(config, parent, elastic_space(config, parent)).parameters().num_elements();
}

RunConfig with_recomputation(RunConfig config, const ModelShape& parent, index_t router_parameters,
                             int ranks) {
  config.pretrain.recomputed.clear();
  for (auto& stage : config.stages) stage.recomputed.clear();
  if (config.parallel.recompute != Recompute::fit || config.parallel.memory_limit == 0)
    return config;
  const PlanMemory plan = plan_memory(config, parent, router_parameters, ranks);
  const double room = 1e9 * config.parallel.memory_limit - plan.besides() - plan.stored;
  const ModelShape local = local_part(parent, config.parallel.tensor_parallel_size);
  const Curriculum curriculum = make_curriculum(config);
  auto next = config.stages.begin();
  for (const Stage& stage : curriculum.stages)
    (stage.elastic ? *next++ : config.pretrain).recomputed =
        choose(parent, step_memory(config, local, stage), stage.config.seq_length, room);
  return config;
}

ResolvedDeck with_recomputation(ResolvedDeck deck, int ranks) {
  const ModelShape parent = parent_shape(deck.config);
  deck.config = with_recomputation(deck.config, parent, router_size(deck.config, parent), ranks);
  return deck;
}

std::string recomputation_lines(const RunConfig& config, const ModelShape& parent) {
  const ModelShape local = local_part(parent, config.parallel.tensor_parallel_size);
  std::string text;
  for (const Stage& stage : make_curriculum(config).stages) {
    const auto count = std::count(stage.recomputed.begin(), stage.recomputed.end(), true);
    if (count == 0) continue;
    std::string layers;
    for (std::size_t l = 0; l < stage.recomputed.size(); ++l)
      if (stage.recomputed[l]) layers += fmt::format(" {}", l);
    if (count == parent.num_layers()) layers = " all";
    const StepMemory step = step_memory(config, local, stage);
    TrainingPasses passes = training_passes(config, stage);
    const auto flops = [&] {
      return training_flops_per_token(parent, full_spec(parent), stage.config.seq_length, passes);
    };
    const double again = flops();
    passes.recomputed.clear();
    text += plan_line(
        "", fmt::format("recomputed in {}: {} of {} layers,{}: {} less, {:.1f}% more operations of "
                        "a full pass",
                        stage.config.name, count, parent.num_layers(), layers,
                        in_bytes(step.with({}).step() - step.with(stage.recomputed).step()),
                        100 * (again / flops() - 1)));
  }
  return text;
}

}  // namespace elastic
