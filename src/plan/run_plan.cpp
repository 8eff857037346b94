// SPDX-License-Identifier: Apache-2.0
#include "plan/run_plan.hpp"

#include <filesystem>

#include "arch/layer_kind.hpp"
#include "config/extraction.hpp"
#include "config/indexed_data.hpp"
#include "config/seconds_budget.hpp"
#include "elastic/cost_model.hpp"
#include "kernels/products/gemm.hpp"
#include "plan/budgets.hpp"
#include "plan/comparison.hpp"
#include "plan/data_counts.hpp"
#include "plan/memory.hpp"
#include "plan/memory_limit.hpp"
#include "plan/ranking.hpp"
#include "plan/recomputation.hpp"
#include "plan/saves.hpp"
#include "plan/teaching.hpp"
#include "plan/time.hpp"
#include "plan/units.hpp"
#include "plan/work.hpp"
#include "state/state_checkpoint.hpp"
#include "state/stored_times.hpp"

namespace elastic {
namespace {
constexpr double planned_rate = 1e15;  // FLOP/s of all ranks together, for a time to start from

/// Parameters of all layers of a kind.
double parameters_of_kind(const ModelShape& parent, const LayerDescription& kind) {
  ExpectedWidths widths = expected_widths(full_spec(parent)), none = widths;
  for (std::size_t l = 0; l < parent.layers.size(); ++l) {
    none.layers[l].keep = 0;
    if (parent.layers[l].kind != kind.kind) widths.layers[l].keep = 0;
  }
  return parameter_count(parent, widths) - parameter_count(parent, none);
}

std::string model_lines(const ModelShape& parent) {
  std::string text =
      plan_line("parent", fmt::format("{}: {} layers, hidden {}, vocabulary {}", parent.pattern(),
                                      parent.num_layers(), parent.hidden_size, parent.vocab_size));
  text += plan_line("", describe(parent, full_spec(parent)));
  const double all = parameter_count(parent);
  double rest = all;
  std::string kinds;
  for (const auto* kind : layer_kinds()) {
    const double part = parameters_of_kind(parent, *kind);
    rest -= part;
    if (part > 0) kinds += fmt::format(" + {} {}", grouped(part), kind->name);
  }
  return text +
         plan_line("", fmt::format("{} parameters = {} embeddings, output layer and final norm{}",
                                   grouped(all), grouped(rest), kinds));
}

std::string cost_text(BudgetKind kind, double cost) {
  if (kind == BudgetKind::seconds) return in_seconds(cost);
  return kind == BudgetKind::memory ? in_bytes(cost) : grouped(cost);
}

/// Costs of the smallest widths and of the parent, a line for each kind of cost.
std::string range_lines(const PlanBudgets& plan) {
  std::string text;
  for (const auto& range : plan.ranges)
    text += plan_line("", fmt::format("{} from {} ({:.4f}) to {} (1)", budget_kind_text(range.kind),
                                      cost_text(range.kind, range.least), range.least / range.full,
                                      cost_text(range.kind, range.full)));
  return text;
}

std::string budget_lines(const RunConfig& config, const ModelShape& parent,
                         const PlanBudgets& plan) {
  const auto& elastic = config.elastic;
  std::string text = plan_line(
      "space", fmt::format("{} decisions, {:.3g} submodels, {:.3g} of them homogeneous",
                           plan.decisions, plan.combinations, plan.homogeneous_combinations));
  if (plan.lacks_times)
    text += plan_line("", fmt::format("seconds per token ({}) are not known before the phase "
                                      "measure; FLOPs stand in for them here",
                                      inference_text(elastic.seconds)));
  text += range_lines(plan);
  if (elastic.drop_layers.size() > 1)
    text += plan_line(
        "", "layers are dropped here from the last one on; the rank phase finds the order");
  for (const auto& budget : plan.budgets) {
    const auto specs_line = [&](const SubmodelSpec& spec) {
      std::string costs;
      for (const auto& c : plan.costs)
        costs += fmt::format("{:.4f} ", relative_cost(parent, spec, c));
      return fmt::format("{}{:>14} parameters  {}", costs, grouped(parameter_count(parent, spec)),
                         describe(parent, spec));
    };
    std::string title = fmt::format("budget {:<8}", budget.name);
    if (budget.homogeneous.empty())
      text += plan_line("", fmt::format("{} {}  (no homogeneous widths within 1%)", title,
                                        specs_line(budget.spec)));
    for (const auto& spec : budget.homogeneous) {
      text += plan_line("", fmt::format("{} {}", title, specs_line(spec)));
      title.assign(title.size(), ' ');
    }
  }
  return text;
}

std::string precision_line(const RunConfig& config, const Machine* machine) {
  std::string text = "float32";
  if (config.precision.compute == Precision::bfloat16) {
    text = "bfloat16 values and activations, float32 sums";
    if (!machine)
      text += fmt::format("; this machine has {} bfloat16 products",
                          kernels::bfloat16_products_are_fast() ? "fast" : "no fast");
  }
  if (!config.precision.reason.empty())
    text += fmt::format(" (chosen: {})", config.precision.reason);
  return plan_line("precision", text);
}

std::string memory_lines(const PlanMemory& memory) {
  std::string text =
      plan_line("memory", fmt::format("{} per rank = {} weights + {} gradients + {} moments",
                                      in_bytes(memory.total()), in_bytes(memory.weights),
                                      in_bytes(memory.gradients), in_bytes(memory.moments)));
  if (memory.masters > 0)
    text +=
        plan_line("", fmt::format("+ {} float32 masters of the weights", in_bytes(memory.masters)));
  if (memory.teacher > 0)
    text += plan_line("", fmt::format("+ {} teacher + {} router", in_bytes(memory.teacher),
                                      in_bytes(memory.router)));
  else if (memory.router > 0)
    text += plan_line("", fmt::format("+ {} router; no copy of the parent: no teacher is frozen",
                                      in_bytes(memory.router)));
  if (memory.stored > 0)
    text += plan_line("", fmt::format("+ {} that a stored teacher says of a step's samples",
                                      in_bytes(memory.stored)));
  if (memory.sums > 0)
    text += plan_line("", fmt::format("+ {} sums of gradients over ranks", in_bytes(memory.sums)));
  if (memory.snapshot > 0)
    text += plan_line("", fmt::format("+ {} copy of what is saved + {} to save it, on the host",
                                      in_bytes(memory.snapshot), in_bytes(memory.save_buffers)));
  if (memory.teaching >
      std::max({memory.step() + memory.stored, memory.ranking, memory.copy + memory.evaluation}))
    return text + plan_line("", fmt::format("+ {} working memory of the phase teach (a step needs "
                                            "{})",
                                            in_bytes(memory.teaching), in_bytes(memory.step())));
  if (memory.ranking > std::max(memory.step(), memory.copy + memory.evaluation))
    return text + plan_line("", fmt::format("+ {} working memory of the rank phase (a step needs "
                                            "{})",
                                            in_bytes(memory.ranking), in_bytes(memory.step())));
  if (memory.copy + memory.evaluation > memory.step())
    return text + plan_line("", fmt::format("+ {} the largest submodel cut out + {} to compare it, "
                                            "phases slice and evaluate (a step needs {})",
                                            in_bytes(memory.copy), in_bytes(memory.evaluation),
                                            in_bytes(memory.step())));
  return text +
         plan_line(
             "",
             fmt::format("+ {} activations + {} (the larger of {} backward of a layer "
                         "and {} logits), full widths, stage {}",
                         in_bytes(memory.kept), in_bytes(std::max(memory.backward, memory.logits)),
                         in_bytes(memory.backward), in_bytes(memory.logits), memory.stage));
}

std::string work_lines(const RunConfig& config, const ModelShape& parent,
                       const std::vector<SubmodelSpec>& specs) {
  std::string text;
  double total = 0, total_full = 0;
  const Curriculum curriculum = make_curriculum(config);
  for (const auto& stage : curriculum.stages) {
    const StageWork work = stage_work(config, parent, stage, specs);
    const auto steps = static_cast<double>(stage.steps);
    total += steps * work.flops_per_step;
    total_full += steps * work.full_flops_per_step;
    std::string per_step = with_prefix(work.flops_per_step, "FLOP");
    if (stage.elastic && narrows(config))
      per_step += fmt::format(" (at first {})", with_prefix(work.full_flops_per_step, "FLOP"));
    text += plan_line(text.empty() ? "work" : "",
                      fmt::format("{:<10} {} per step, {} in all", stage.config.name, per_step,
                                  with_prefix(steps * work.flops_per_step, "FLOP")));
  }
  const auto days = [](double flops) { return flops / planned_rate / 86400; };
  return text + plan_line("", fmt::format("in all     {} to {}: {:.3g} to {:.3g} days at {} "
                                          "sustained over all ranks",
                                          with_prefix(total, "FLOP"),
                                          with_prefix(total_full, "FLOP"), days(total),
                                          days(total_full), with_prefix(planned_rate, "FLOP/s")));
}

/// The line of the gradient sum: `parameters` of one rank, which `owners` ranks hold.
std::string communication_line(double parameters, index_t steps, int owners, bool shares_model,
                               double value_bytes) {
  const std::string gradients =
      fmt::format("gradients of {} per step", in_bytes(sum_bytes * parameters));
  if (owners == 1)
    return plan_line(
        "messages",
        fmt::format("{} (more would sum {}: under {} from each, {} in all "
                    "{} steps)",
                    shares_model ? "inside the one replica only" : "none: one rank", gradients,
                    in_bytes((sum_bytes + value_bytes) * parameters),
                    in_bytes((sum_bytes + value_bytes) * parameters * static_cast<double>(steps)),
                    steps));
  const double sent = all_reduce_bytes(parameters, owners, value_bytes);
  return plan_line(
      "messages",
      fmt::format("{}; a ring over {} ranks sends {} from each, {} in all {} steps{}", gradients,
                  owners, in_bytes(sent), in_bytes(sent * static_cast<double>(steps)), steps,
                  shares_model ? ", besides those inside replicas" : ""));
}

double checkpoint_bytes(const ResolvedDeck& deck, const ModelShape& parent,
                        const ParameterStore<Accumulate<Real>>* router) {
  return training_file_bytes(parent, deck.text.size(), router ? router->num_elements() : 0,
                             router ? router->size() : 0,
                             changes_model(make_curriculum(deck.config)));
}

std::string time_lines_of(const ResolvedDeck& deck, const Machine& machine,
                          const ModelShape& parent, const ElasticSpace& space,
                          const std::vector<SubmodelSpec>& specs,
                          const ParameterStore<Accumulate<Real>>* router, int ranks) {
  ElasticPlan elastic{.specs = specs, .router_parameters = 0, .choices = {}};
  if (router && deck.config.router.widths == WidthChoice::learned) {
    elastic.router_parameters = router->num_elements();
    for (const auto& decision : list_decisions(parent, space))
      elastic.choices.push_back(static_cast<index_t>(decision.widths.size()));
  }
  return time_lines(deck.config, machine, parent, elastic, Layout::of(deck.config, ranks),
                    checkpoint_bytes(deck, parent, router));
}

/// Lines of what must be there when the run starts; a plan needs none of it.
std::string needs_lines(const RunConfig& config) {
  std::string text;
  for (const auto& file : needed_files(config)) {
    std::error_code missing;
    const auto size = std::filesystem::file_size(file, missing);
    text += plan_line(text.empty() ? "needs" : "",
                      fmt::format("{}: {}", file,
                                  missing ? "not there yet" : in_bytes(static_cast<double>(size))));
  }
  return text;
}

std::string file_lines(const ResolvedDeck& deck, const ModelShape& parent,
                       const std::vector<SubmodelSpec>& specs,
                       const ParameterStore<Accumulate<Real>>* router, int ranks,
                       const Machine& machine) {
  const auto file_bytes = [&](const ModelShape& shape) {
    return model_file_bytes(shape, deck.text.size(), deck.config.precision.value_bytes());
  };
  const double each = checkpoint_bytes(deck, parent, router);
  std::string checkpoints = "no checkpoints";
  if (deck.config.checkpoint.save)
    checkpoints =
        fmt::format("a checkpoint {}, {} are kept", in_bytes(each), deck.config.checkpoint.keep);
  std::string text =
      plan_line("files", fmt::format("{}; parent {}", checkpoints, in_bytes(file_bytes(parent))));
  if (deck.config.checkpoint.save)
    text += plan_line("", describe(plan_save(each, ranks, machine), ranks, machine,
                                   deck.config.checkpoint.asynchronous));
  for (const auto& spec : specs)
    text += plan_line("", fmt::format("submodel {:<8} {}", spec.name,
                                      in_bytes(file_bytes(sliced_shape(parent, spec)))));
  return text;
}

}  // namespace

std::vector<std::string> needed_files(const RunConfig& config) {
  std::vector<std::string> files;
  if (!config.job.parent.empty()) files.push_back(config.job.parent);
  for (const auto& name : config.data.train) {
    if (config.data.source == SourceKind::text) files.push_back(name);
    if (config.data.source != SourceKind::indexed) continue;
    files.push_back(name + ".bin");
    files.push_back(name + ".idx");
    if (uses_mask(config.data, name)) files.push_back(name + ".mask");
  }
  return files;
}

std::string run_plan(const ResolvedDeck& given, int given_ranks, const Machine* machine) {
  ResolvedDeck deck = given;
  if (const auto times = read_given_times(deck.config); !times.empty())
    give_times(deck.config, times, deck.config.elastic.seconds.from);
  const auto tensor_ranks = static_cast<int>(deck.config.parallel.tensor_parallel_size);
  const int ranks = std::max(given_ranks, tensor_ranks);  // at least one replica
  deck = with_recomputation(deck, ranks);
  const RunConfig& config = deck.config;
  const ModelShape parent = parent_shape(config);
  std::error_code missing;
  if (std::filesystem::is_regular_file(config.job.parent, missing))
    require_shape(CheckpointReader(config.job.parent), parent);
  const ElasticSpace space = elastic_space(config, parent);
  const bool elastic = config.job.has(Phase::elastic);
  std::string text = fmt::format("plan of {} on {} rank{}; all numbers come from formulas\n\n",
                                 deck.file, ranks, ranks == 1 ? "" : "s");
  text += model_lines(parent);
  std::vector<SubmodelSpec> trained, all;
  std::unique_ptr<Router<Accumulate<Real>>> router;
  if (elastic) {
    const PlanBudgets budgets = plan_budgets(config, parent, space);
    text += budget_lines(config, parent, budgets);
    for (const auto& budget : budgets.budgets) all.push_back(budget.spec);
    trained.assign(all.begin(),
                   all.begin() + static_cast<std::ptrdiff_t>(config.elastic.budgets.size()));
    router = std::make_unique<Router<Accumulate<Real>>>(make_router(config, parent, space));
  }
  const auto* parameters = router ? &router->parameters() : nullptr;
  const index_t router_size = parameters ? parameters->num_elements() : 0;
  const Curriculum curriculum = make_curriculum(config);
  text += describe(curriculum, config) + "\n";
  const PlanMemory memory = plan_memory(config, parent, router_size, ranks);
  text += precision_line(config, machine);
  text += memory_lines(memory) + recomputation_lines(config, parent) +
          limit_lines(config, parent, ranks, memory.total());
  text += work_lines(config, parent, trained);
  if (config.job.has(Phase::rank)) text += ranking_lines(config, parent, memory.ranking);
  text += teaching_lines(
      config, parent, memory.teaching,
      machine ? teaching_time(config, *machine, parent, Layout::of(config, ranks)) : 0);
  const double parent_size = parameter_count(parent);
  const ModelShape local = local_part(parent, tensor_ranks);
  text += communication_line(parameter_count(local) + static_cast<double>(router_size),
                             curriculum.total_steps, owners_of(config, ranks), tensor_ranks > 1,
                             config.precision.value_bytes());
  if (machine) text += time_lines_of(deck, *machine, parent, space, trained, parameters, ranks);
  text +=
      file_lines(deck, parent, all, parameters, ranks, machine ? *machine : unknown_file_system());
  if (elastic) text += comparison_lines(config, plan_comparison(config, parent_size));
  text += data_lines(config);
  text += needs_lines(config);
  text.pop_back();
  return text;
}

}  // namespace elastic
