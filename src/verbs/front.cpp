// SPDX-License-Identifier: Apache-2.0
#include "verbs/front.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "comm/watchdog.hpp"
#include "config/curriculum.hpp"
#include "config/extraction.hpp"
#include "config/seconds_budget.hpp"
#include "verbs/pareto.hpp"
#include "verbs/space_samples.hpp"
#include "model/inference_time.hpp"
#include "plan/units.hpp"
#include "state/stored_model.hpp"
#include "state/stored_times.hpp"
#include "train/token_sources.hpp"
#include "train/validation.hpp"
#include "verbs/held_out_data.hpp"
#include "verbs/verb_files.hpp"

namespace elastic {
namespace {
constexpr index_t most_samples = 1000000;
constexpr std::uint64_t front_stream = 1000003;  // of its random numbers

/// Which submodels are looked at: the whole model, those of the router, homogeneous ones, others.
class Candidates {
 public:
  Candidates(const CheckpointReader& reader, const StoredModel& stored, const FrontOptions& options)
      : m_reader(reader),
        m_stored(stored),
        m_options(options),
        m_space(stored_space(reader, stored)),
        m_decisions(list_decisions(stored.shape, m_space)) {}

  std::vector<FrontPoint> list() {
    SubmodelSpec whole = full_spec(m_stored.shape);
    whole.name = "1";
    add_stored();
    for (const Budget& budget : trained_budgets(m_stored.deck.config)) add_homogeneous(budget);
    add("homogeneous", whole);
    if (m_options.grid)
      for (const auto& spec : grid_submodels(m_stored.shape, m_space, m_options.samples))
        add("grid", spec);
    else
      add_random();
    return std::move(m_points);
  }

 private:
  /// Unless a point has these widths already.
  bool add(const std::string& origin, const SubmodelSpec& spec) {
    if (std::any_of(m_points.begin(), m_points.end(),
                    [&](const FrontPoint& point) { return point.spec.same_widths(spec); }))
      return false;
    m_points.push_back({.origin = origin,
                        .spec = spec,
                        .widths = elastic::describe(m_stored.shape, spec),
                        .accuracy = std::nullopt});
    return true;
  }
  void add_stored() {
    for (const auto& spec : stored_submodels(m_reader, m_stored.shape)) add("router", spec);
    if (!m_points.empty() || !m_stored.has_router) return;
    for (const Budget& budget : trained_budgets(m_stored.deck.config))
      add("router", find_submodel(m_reader, m_stored, budget.name));
  }
  void add_homogeneous(const Budget& budget) {
    try {
      add("homogeneous", homogeneous_submodel(m_reader, m_stored, budget.name));
    } catch (const InputError&) {  // no homogeneous widths meet it
    }
  }
  /// Every second one is looked for within a budget, in turn.
  void add_random() {
    constexpr std::uint64_t tries = 500;
    const ChoiceRules rules = choice_rules(m_stored.deck.config);
    std::vector<double> targets;
    for (const Budget& budget : trained_budgets(m_stored.deck.config))
      if (budget.fraction < 1) targets.push_back(budget.fraction);
    const RandomKey key{static_cast<std::uint32_t>(m_options.seed), RandomPurpose::sampling,
                        front_stream};
    for (index_t i = 0; i < m_options.samples; ++i) {
      const bool aims = !targets.empty() && i % 2 == 1;
      const double target = aims ? targets[static_cast<std::size_t>(i / 2) % targets.size()] : 1;
      for (std::uint64_t k = 0; k < tries; ++k) {
        auto spec = random_submodel(m_stored.shape, m_space, m_decisions, key,
                                    static_cast<std::uint64_t>(i) * tries + k);
        spec.name.clear();
        if (aims && !meets_budget(m_stored.shape, spec, target, rules)) continue;
        if (add("random", spec)) break;
      }
    }
  }

  const CheckpointReader& m_reader;
  const StoredModel& m_stored;
  const FrontOptions& m_options;
  ElasticSpace m_space;
  std::vector<Decision> m_decisions;
  std::vector<FrontPoint> m_points;
};

std::string conditions_of(const RunConfig& config) {
  const auto& elastic = config.elastic;
  return fmt::format(
      "Memory: weights and caches of {} sequence{} of {} tokens. Seconds per token: {}, one rank "
      "with {} thread{}, float32.",
      elastic.cost.batch, elastic.cost.batch == 1 ? "" : "s", elastic.cost.seq_length,
      inference_text(elastic.seconds), ExecutionSpace().concurrency(),
      ExecutionSpace().concurrency() == 1 ? "" : "s");
}

/// Losses and answers of all points. Each rank evaluates every size-th alone.
void evaluate_points(const Communicator& comm, const StoredModel& stored,
                     std::vector<FrontPoint>& points) {
  const RunConfig& config = stored.deck.config;
  Communicator alone = comm.split(comm.rank());
  alone.set_deterministic(config.job.deterministic);
  Arena arena;
  std::unique_ptr<Validation<Real>> validation;
  all_ranks_agree(comm,
                  [&] { validation = std::make_unique<Validation<Real>>(alone, config, arena); });
  const index_t seq_length = last_seq_length(make_curriculum(config), config);
  const auto count = points.size(), ranks = static_cast<std::size_t>(comm.size());
  std::vector<double> losses(count, 0), accuracies(count, 0);
  for (std::size_t first = 0; first < count; first += ranks) {
    const std::size_t mine = first + static_cast<std::size_t>(comm.rank());
    all_ranks_agree(comm, [&] {
      if (mine >= count) return stop_request::go_on_alone();
      const SubmodelSpec& spec = points[mine].spec;
      losses[mine] = validation->losses(*stored.model, spec, nullptr, seq_length).cross_entropy;
      if (validation->has_problems()) accuracies[mine] = validation->accuracy(*stored.model, spec);
    });
  }
  all_reduce_sum(comm, losses);
  all_reduce_sum(comm, accuracies);
  for (std::size_t i = 0; i < count; ++i) {
    points[i].loss = losses[i];
    if (validation->has_problems()) points[i].accuracy = accuracies[i];
  }
}

/// Rank 0 measures while the others wait, so that they do not compete for memory.
void time_points(const Communicator& comm, const StoredModel& stored,
                 std::vector<FrontPoint>& points) {
  constexpr TimingRounds rounds{.least = 3, .most = 9, .seconds = 12};
  const Inference inference = inference_of(stored.deck.config);
  std::vector<double> times(points.size(), 0);
  all_ranks_agree(comm, [&] {
    if (!comm.is_root()) return;
    Arena arena;
    times = repeated_times(Communicator::self(), points.size(), rounds, [&](std::size_t i) {
      const SubmodelSpec& spec = points[i].spec;
      return time_pass(*stored.model, arena, inference, spec, whole_submodel(spec));
    });
  });
  all_reduce_sum(comm, times);
  for (std::size_t i = 0; i < points.size(); ++i) points[i].seconds = times[i] / inference.tokens();
}

std::vector<FrontTarget> find_targets(const StoredModel& stored,
                                      const std::vector<FrontPoint>& points) {
  const RunConfig& config = stored.deck.config;
  const ChoiceRules rules = choice_rules(config);
  std::vector<FrontTarget> targets;
  for (const Budget& budget : trained_budgets(config)) {
    auto& target = targets.emplace_back(FrontTarget{budget, {}, {}});
    for (std::size_t i = 0; i < points.size(); ++i) {
      const auto& point = points[i];
      if (point.origin == "router" && point.spec.budget == budget.fraction) target.router = i;
      if (meets_budget(stored.shape, point.spec, budget.fraction, rules) &&
          (!target.best || point.loss < points[*target.best].loss))
        target.best = i;
    }
  }
  return targets;
}

std::vector<std::string> all_overrides(const FrontOptions& options) {
  auto overrides = options.overrides;
  overrides.push_back(fmt::format("evaluate/problems={}", options.problems));
  return overrides;
}

void require_sound(const FrontOptions& options) {
  if (options.grid && options.random) throw InputError("--grid and --random: expected one of them");
  for (const auto& text : options.overrides)
    if (text.starts_with("evaluate/problems"))
      throw InputError(fmt::format("{}: front has --problems for that", text));
}

}  // namespace

void add_front_options(CLI::App& command, FrontOptions& options) {
  command
      .add_option("--samples", options.samples,
                  "Submodels besides those of the router and homogeneous ones: random ones, or at "
                  "most so many of the grid; default 64")
      ->check(CLI::Range(index_t{1}, most_samples));
  command.add_flag("--grid", options.grid,
                   "Submodels whose layers of a kind have one width, evenly over all of them");
  command.add_flag("--random", options.random,
                   "Random widths of every axis, and of every layer where elastic/per_layer says "
                   "so; every second one within a trained budget (the default)");
  command.add_option("--seed", options.seed, "Seed of the random widths; default 1")
      ->check(CLI::Range(index_t{0}, (index_t{1} << 32) - 1));
  command
      .add_option("--problems", options.problems,
                  "Held-out problems that every submodel answers (reasoning data); default 0")
      ->check(CLI::Range(index_t{0}, index_t{1000000}));
  command.add_option("--out", options.out,
                     "Folder for front.csv, front.md and front.png; default: beside the "
                     "checkpoint, for model.h5 the folder model_front");
  command.add_flag("--force", options.force, "Replace the files if they exist");
  command.add_option("overrides", options.overrides,
                     "Changes to the stored deck (its data, evaluate/samples, elastic/seconds_* "
                     "and others): block/key=value ...");
}

void mark_fronts(std::vector<FrontPoint>& points) {
  const auto front_of = [&](const auto& goals) {
    std::vector<std::vector<double>> values;
    for (const auto& point : points) values.push_back(goals(point));
    return pareto_front(values);
  };
  using Goals = std::vector<double>;
  const auto parameters = front_of([](const auto&p) {
    return Goals{p.loss, p.parameters};
  }),
             memory = front_of([](const auto&p) {
               return Goals{p.loss, p.memory};
             }),
             seconds = front_of([](const auto&p) {
               return Goals{p.loss, p.seconds};
             }),
             all = front_of([](const auto&p) {
               return Goals{p.loss, p.parameters, p.memory, p.seconds};
             });
  for (std::size_t i = 0; i < points.size(); ++i) {
    points[i].by_parameters = parameters[i];
    points[i].by_memory = memory[i];
    points[i].by_seconds = seconds[i];
    points[i].on_front = all[i];
  }
}

Front evaluate_front(const Communicator& comm, const FrontOptions& options) {
  StoredModel stored;
  Front front;
  all_ranks_agree(comm, [&] {
    require_sound(options);
    require_input_file({options.checkpoint, "the checkpoint"});
    const CheckpointReader reader(options.checkpoint);
    reader.verify({comm.rank(), comm.size()});
    stored = read_stored_model(reader, all_overrides(options));
    require_used("front", options.overrides, stored.deck.config,
                 {"elastic/seconds_pass", "elastic/seconds_batch", "elastic/seconds_seq_length",
                  "elastic/memory_batch", "elastic/memory_seq_length"});
    require_known_words(reader, stored);
    if (stored.kind == "submodel")
      throw InputError(fmt::format(
          "{}: is one submodel; expected the checkpoint that holds its parent, e.g. model.h5",
          reader.path().string()));
    front.points = Candidates(reader, stored, options).list();
  });
  const RunConfig& config = stored.deck.config;
  const Watchdog watchdog(comm, config.job.watchdog_seconds);
  check_data(comm, config);
  CostConfig memory = config.elastic.cost;
  memory.kind = BudgetKind::memory;
  for (auto& point : front.points) {
    point.parameters = parameter_count(stored.shape, point.spec);
    point.memory = cost(stored.shape, point.spec, memory);
  }
  evaluate_points(comm, stored, front.points);
  time_points(comm, stored, front.points);
  mark_fronts(front.points);
  front.targets = find_targets(stored, front.points);
  front.conditions = conditions_of(config);
  return front;
}

}  // namespace elastic
