// SPDX-License-Identifier: Apache-2.0
#include "config/run_config.hpp"

#include <numeric>
#include <algorithm>
#include <cmath>
#include <set>

#include "arch/layer_kind.hpp"
#include "data/character_vocabulary.hpp"
#include "elastic/cost_model.hpp"
#include "deck/reference.hpp"
#include "deck/resolve.hpp"
#include "config/budget_change.hpp"
#include "config/run_config_schema.hpp"
#include "config/schema_parts.hpp"
#include "config/wall_time_text.hpp"

namespace elastic {
namespace {

constexpr double most_parameters = 1e15;

/// Runs a check of a lower layer and files what it throws under a key of the deck.
template <class Check>
void report_failure(DeckReport& report, const char* block, const char* key, const Check& check) {
  try {
    check();
  } catch (const InputError& error) {
    report.add(block, key, error.what());
  }
}

double tokens_per_step(const StageConfig& stage) {
  return static_cast<double>(stage.global_batch_size) * static_cast<double>(stage.seq_length);
}

void check_stage(DeckReport& report, const std::string& block, const StageConfig& stage,
                 const RunConfig& config, bool elastic) {
  if ((stage.steps > 0) == (stage.tokens > 0))
    report.add(block, "steps", "give either steps or tokens, greater than 0");
  else if (static_cast<double>(stage.num_steps()) > limits::most_steps)
    report.add(block, "tokens",
               fmt::format("more than {} steps of {} * {} tokens; expected at most {} tokens",
                           limits::most_steps, stage.global_batch_size, stage.seq_length,
                           limits::most_steps * tokens_per_step(stage)));
  if (!elastic && stage.global_batch_size % config.parallel.micro_batch_size != 0)
    report.add(block, "global_batch_size",
               fmt::format("must be a multiple of <parallel>/micro_batch_size = {}",
                           config.parallel.micro_batch_size));
  const std::size_t budgets = config.elastic.budgets.size();
  if (elastic && !stage.budget_probability.empty()) {
    if (stage.budget_probability.size() != budgets)
      report.add(block, "budget_probability",
                 fmt::format("expected {} values, one per budget", budgets));
    else if (std::all_of(stage.budget_probability.begin(), stage.budget_probability.end(),
                         [](double p) { return p == 0; }))
      report.add(block, "budget_probability", "expected at least one value greater than 0");
  }
  const bool trainable = stage.teacher == TeacherKind::trainable;
  if (trainable != (stage.teacher_cross_entropy_weight > 0))
    report.add(block, "teacher_cross_entropy_weight",
               trainable ? "expected a value greater than 0, since the teacher is trainable"
                         : "expected 0, since the teacher is not trainable");
  if (trainable && config.distill.distillation_weight == 0)
    report.add(block, "teacher",
               "a trainable teacher needs a <distill>/distillation_weight greater than 0");
  if (stage.teacher == TeacherKind::stored && config.distill.distillation_weight == 0)
    report.add(block, "teacher",
               "expected frozen, since <distill>/distillation_weight = 0 asks no teacher");
  const auto& p = stage.budget_probability;
  const index_t trained = p.empty()
                              ? static_cast<index_t>(budgets)
                              : std::count_if(p.begin(), p.end(), [](double x) { return x > 0; });
  if (elastic && trained > 0 && stage.budgets_per_sample > trained)
    report.add(block, "budgets_per_sample",
               fmt::format("there are only {} budgets with a probability", trained));
}

/// Counts of tokens and samples are exact: the plan as a whole stays below 2^53 tokens.
void check_plan_size(DeckReport& report, const RunConfig& config) {
  constexpr double most_tokens = 9e15;
  constexpr std::size_t most_stages = 1000;
  if (config.stages.size() > most_stages)
    report.add(config.stages.back().name, "steps",
               fmt::format("{} stages; expected at most {}", config.stages.size(), most_stages));
  double tokens = 0;
  const auto add = [&](const StageConfig& stage) {
    const bool too_many = tokens > most_tokens;
    tokens += static_cast<double>(stage.num_steps()) * tokens_per_step(stage);
    if (!too_many && tokens > most_tokens)
      report.add(stage.name, stage.steps > 0 ? "steps" : "tokens",
                 fmt::format("the plan has {} tokens up to here; expected at most {}", tokens,
                             most_tokens));
  };
  if (config.job.has(Phase::pretrain)) add(config.pretrain);
  for (const auto& stage : config.stages) add(stage);
}

/// Sequences are cut into equal spans, in which a convolution sees no further than the neighbour.
void check_spans(DeckReport& report, const std::string& block, const StageConfig& stage,
                 const RunConfig& config) {
  const index_t ranks = config.parallel.context_parallel_size, halo = config.model.mamba_d_conv - 1;
  const bool deterministic = config.job.deterministic;
  if (!deterministic && ranks == 1) return;
  const index_t spans = deterministic ? sum_classes : 2 * ranks,
                least = spans * std::max<index_t>(halo, 1);
  if (stage.seq_length % spans == 0 && stage.seq_length >= least) return;
  const index_t nearest = std::max(least, (stage.seq_length + spans / 2) / spans * spans);
  report.add(block, "seq_length",
             fmt::format("expected a multiple of {}, at least {}, since {}; the nearest is {}",
                         spans, least,
                         deterministic ? "<job>/deterministic cuts sequences into 8 spans"
                                       : "<parallel>/context_parallel_size cuts sequences into "
                                         "two spans for each rank",
                         nearest));
}

/// Tokens that a source can draw; 0: as many as the deck says.
index_t vocabulary_of(SourceKind source) {
  switch (source) {
    case SourceKind::reasoning:
      return CharacterVocabulary::size;
    case SourceKind::text:
      return TextSource::vocabulary;
    case SourceKind::indexed:
      return 0;
  }
  return 0;
}

/// Lists name things; none counts twice.
template <class T>
void check_different(DeckReport& report, const char* block, const char* key,
                     const std::vector<T>& items) {
  std::set<T> seen;
  for (const auto& item : items)
    if (!seen.insert(item).second)
      return report.add(block, key, fmt::format("'{}' stands twice; expected each once", item));
}

void check_data(DeckReport& report, const DataConfig& data) {
  check_different(report, "data", "train", data.train);
  check_different(report, "data", "families", data.families);
  if (data.families.empty()) report.add("data", "families", "expected at least one family");
  for (const auto& file : data.train)
    if (file.empty()) report.add("data", "train", "expected names of files");
  if (data.source != SourceKind::reasoning && data.train.empty())
    report.add("data", "train", "expected at least one file for source = text or indexed");
  if (data.source != SourceKind::indexed && data.loss_mask == LossMask::required)
    report.add("data", "loss_mask", "expected auto: only source = indexed has files PREFIX.mask");
  if (data.source == SourceKind::indexed && data.vocab_size == 0)
    report.add("data", "vocab_size", "expected the vocabulary of the .bin/.idx files");
  if (data.vocab_size > 0 && data.vocab_size < vocabulary_of(data.source))
    report.add("data", "vocab_size",
               fmt::format("expected 0 or at least {}, the vocabulary of this source",
                           vocabulary_of(data.source)));
  if (!data.weights.empty() && data.weights.size() != data.train.size())
    report.add("data", "weights",
               fmt::format("expected {} values, one per file of train", data.train.size()));
}

/// Submodels are files of the run folder.
bool is_file_name(const std::string& name) {
  const std::string allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !name.empty() && name.front() != '.' &&
         name.find_first_not_of(allowed) == std::string::npos;
}

/// Each budget has a file of its own, called by its name.
void check_extra_budgets(DeckReport& report, const RunConfig& config) {
  if (report.is_wrong("elastic", "budgets") || report.is_wrong("elastic", "budget_names") ||
      (!config.elastic.budget_names.empty() &&
       config.elastic.budget_names.size() != config.elastic.budgets.size()))
    return;  // reported

  std::set<std::string> names;
  for (const auto& budget : all_budgets(config))
    if (!names.insert(budget.name).second)
      report.add("evaluate", "extra_budgets",
                 fmt::format("{} is a budget already; expected others, each once", budget.name));
}

/// Where the times of a budget in seconds come from: one place, and only one.
void check_seconds(DeckReport& report, const RunConfig& config) {
  const auto& seconds = config.elastic.seconds;
  const auto& kinds = config.elastic.budget_kind;
  const bool counts = std::find(kinds.begin(), kinds.end(), "seconds") != kinds.end(),
             measures = config.job.has(Phase::measure);
  if (counts && !measures && seconds.from.empty())
    report.add("elastic", "budget_kind",
               "counts seconds, which are measured: expected the phase measure in <job>/phases, "
               "or a file of times in <elastic>/seconds_from");
  if (measures && !seconds.from.empty())
    report.add("elastic", "seconds_from",
               "expected no file, since the phase measure in <job>/phases measures anew");
  if (!counts && !seconds.from.empty())
    report.add("elastic", "seconds_from",
               "expected no file, since <elastic>/budget_kind does not count seconds");
  constexpr double most_tokens = index_t{1} << 30;
  const auto tokens = static_cast<double>(seconds.batch) * static_cast<double>(seconds.seq_length);
  if (tokens > most_tokens)
    report.add(
        "elastic", "seconds_seq_length",
        fmt::format("{:.3g} tokens in all sequences of seconds_batch; expected at most {:.3g}",
                    tokens, most_tokens));
}

void check_elastic(DeckReport& report, const RunConfig& config) {
  const ElasticConfig& elastic = config.elastic;
  const auto& budgets = elastic.budgets;
  if (budgets.empty()) report.add("elastic", "budgets", "expected at least one budget");
  for (std::size_t i = 1; i < budgets.size(); ++i)
    if (budgets[i] >= budgets[i - 1]) {
      report.add("elastic", "budgets", "expected the largest budget first, falling");
      break;
    }
  if (!elastic.budget_names.empty() && elastic.budget_names.size() != budgets.size())
    report.add("elastic", "budget_names",
               fmt::format("expected {} names, one per budget", budgets.size()));
  const std::set<std::string> kinds(elastic.budget_kind.begin(), elastic.budget_kind.end());
  if (kinds.empty() || kinds.size() != elastic.budget_kind.size())
    report.add("elastic", "budget_kind", "expected at least one kind, each at most once");
  check_seconds(report, config);
  if (config.router.widths == WidthChoice::homogeneous && !elastic.per_layer.empty())
    report.add("elastic", "per_layer",
               "expected no axis, since <router>/widths = homogeneous gives all layers of a kind "
               "one width");
  const auto& names = elastic.budget_names;
  if (!std::all_of(names.begin(), names.end(), is_file_name))
    report.add("elastic", "budget_names",
               "expected letters, digits, '_', '-' and '.' (not as first): they name files");
  if (std::set<std::string>(names.begin(), names.end()).size() != names.size())
    report.add("elastic", "budget_names", "expected different names");
  check_different(report, "elastic", "per_layer", elastic.per_layer);
  check_extra_budgets(report, config);
}

/// One cost for each kind of the deck.
Costs budget_costs(const ElasticConfig& elastic) {
  Costs costs;
  for (const auto kind : all_budget_kinds)
    if (const auto& words = elastic.budget_kind;
        std::find(words.begin(), words.end(), budget_kind_name(kind)) != words.end()) {
      costs.push_back(elastic.cost);
      costs.back().kind = kind;
      if (kind == BudgetKind::flops) costs.back().seq_length = elastic.flops_seq_length;
    }
  return costs;
}

void check_phases(DeckReport& report, const RunConfig& config) {
  const JobConfig& job = config.job;
  if (job.folder.empty() && !is_file_name(job.name))
    report.add("job", "name",
               "expected letters, digits, '_', '-' and '.' (not as first): it names the folder of "
               "the run");
  std::vector<int> order;
  for (const auto& name : job.phases)
    for (const Phase p : {Phase::pretrain, Phase::rank, Phase::measure, Phase::teach,
                          Phase::elastic, Phase::slice, Phase::evaluate, Phase::report})
      if (name == phase_name(p)) order.push_back(static_cast<int>(p));
  if (order.size() != job.phases.size()) return;  // already reported
  if (!std::is_sorted(order.begin(), order.end(), std::less_equal<>()))
    report.add(
        "job", "phases",
        "expected the order pretrain, rank, measure, teach, elastic, slice, evaluate, report, each "
        "at most once");
  if (job.has(Phase::pretrain) != job.parent.empty())
    report.add("job", "parent",
               job.has(Phase::pretrain)
                   ? "give either a parent or the phase pretrain, not both"
                   : "expected a checkpoint, since the phase pretrain is not listed");
  if (job.has(Phase::elastic) && config.stages.empty())
    report.add("job", "phases", "the phase elastic needs at least one block <stage1>");
}

/// What is stored for the stages that read it.
void check_teach(DeckReport& report, const RunConfig& config) {
  const bool reads =
      std::any_of(config.stages.begin(), config.stages.end(),
                  [](const StageConfig& stage) { return stage.teacher == TeacherKind::stored; });
  if (!reads && config.job.has(Phase::teach))
    report.add("job", "phases", "the phase teach needs a stage with teacher = stored");
  const index_t vocab =
      config.data.vocab_size > 0 ? config.data.vocab_size : vocabulary_of(config.data.source);
  if (reads && config.teach.top_k > vocab)
    report.add("teach", "top_k", fmt::format("expected at most {}, the vocabulary", vocab));
}

void check_parallel(DeckReport& report, const RunConfig& config) {
  const index_t size = config.parallel.tensor_parallel_size;
  if (config.job.deterministic && sum_classes % config.parallel.context_parallel_size != 0)
    report.add("parallel", "context_parallel_size",
               "expected 1, 2, 4 or 8 with <job>/deterministic = true");
  for (const auto* kind : layer_kinds()) {
    const index_t groups = kind->shape(config.model).num_groups;
    if (kind->deck.num_groups && groups % size != 0 &&
        config.model.hybrid_layer_pattern.find(kind->symbol()) != std::string::npos)
      report.add(
          "parallel", "tensor_parallel_size",
          fmt::format("must divide <{}>/{} = {}; the nearest valid size is {}", kind->deck.block,
                      kind->deck.num_groups, groups, std::gcd(groups, size)));
  }
  if (config.job.deterministic && sum_classes % size != 0)
    report.add("parallel", "tensor_parallel_size",
               "expected 1, 2, 4 or 8 with <job>/deterministic = true");
  if (config.job.deterministic && config.parallel.sequence_parallel &&
      sum_classes % (size * config.parallel.context_parallel_size) != 0)
    report.add("parallel", "sequence_parallel",
               "expected tensor_parallel_size * context_parallel_size = 1, 2, 4 or 8 with "
               "<job>/deterministic = true, where sequences have 8 spans");
  if (config.parallel.sequence_parallel && size == 1)
    report.add("parallel", "sequence_parallel",
               "shares tokens out among the ranks of tensor_parallel_size, which is 1");
}

void check_all(DeckReport& report, const RunConfig& config) {
  check_phases(report, config);
  check_plan_size(report, config);
  if (!config.job.walltime.empty())
    report_failure(report, "job", "walltime", [&] {
      if (parse_wall_time(config.job.walltime) <= 0)
        throw InputError("expected a time greater than 0");
    });
  check_data(report, config.data);
  check_elastic(report, config);
  check_budget_changes(report, config);
  if (config.job.has(Phase::pretrain)) {
    check_stage(report, "pretrain", config.pretrain, config, false);
    check_spans(report, "pretrain", config.pretrain, config);
  }
  for (const auto& stage : config.stages) {
    check_stage(report, stage.name, stage, config, true);
    check_spans(report, stage.name, stage, config);
  }
  for (const auto* kind : layer_kinds()) {
    const LayerShape layer = kind->shape(config.model);
    if (layer.width % layer.num_groups != 0)
      report.add(kind->deck.block, kind->deck.num_groups,
                 fmt::format("must divide {} = {}", kind->deck.width, layer.width));
  }
  check_parallel(report, config);
  check_teach(report, config);
  if (!report.empty()) return;  // what follows builds on sound values
  report_failure(report, "model", "hybrid_layer_pattern", [&] { parent_shape(config); });
  if (report.empty() && parameter_count(parent_shape(config)) > most_parameters)
    report.add("model", "hybrid_layer_pattern",
               fmt::format("a model of {:.3g} parameters; expected at most {}",
                           parameter_count(parent_shape(config)), most_parameters));
  if (report.empty())
    report_failure(report, "elastic", "", [&] { elastic_space(config, parent_shape(config)); });
}
}  // namespace

ParallelSizes parallel_sizes(const RunConfig& config) {
  return {.tensor = static_cast<int>(config.parallel.tensor_parallel_size),
          .context = static_cast<int>(config.parallel.context_parallel_size)};
}

const char* phase_name(Phase phase) {
  switch (phase) {
    case Phase::pretrain:
      return "pretrain";
    case Phase::rank:
      return "rank";
    case Phase::measure:
      return "measure";
    case Phase::teach:
      return "teach";
    case Phase::elastic:
      return "elastic";
    case Phase::slice:
      return "slice";
    case Phase::evaluate:
      return "evaluate";
    case Phase::report:
      return "report";
  }
  return "";
}

bool JobConfig::has(Phase phase) const {
  return std::find(phases.begin(), phases.end(), phase_name(phase)) != phases.end();
}

index_t StageConfig::num_steps() const {
  if (steps > 0) return steps;
  const double needed = std::ceil(tokens / tokens_per_step(*this));
  return static_cast<index_t>(std::min(needed, 2 * limits::most_steps));  // the deck refuses more
}

std::string ElasticConfig::budget_name(std::size_t i) const {
  return budget_names.empty() ? fmt::format("{}", budgets[i]) : budget_names[i];
}

std::vector<Budget> trained_budgets(const RunConfig& config) {
  std::vector<Budget> budgets;
  for (std::size_t i = 0; i < config.elastic.budgets.size(); ++i)
    budgets.push_back({config.elastic.budgets[i], config.elastic.budget_name(i)});
  return budgets;
}

std::vector<Budget> all_budgets(const RunConfig& config) {
  std::vector<Budget> budgets = trained_budgets(config);
  for (const double fraction : config.evaluate.extra_budgets)
    budgets.push_back({fraction, fmt::format("{}", fraction)});
  return budgets;
}

ResolvedDeck read_run_config(const std::string& text, const std::string& file,
                             const std::vector<std::string>& overrides,
                             const PrecisionConfig& automatic) {
  const Deck deck(text, file, overrides);
  ResolvedDeck resolved;
  resolved.file = file;
  const auto names = deck.numbered_blocks("stage");
  resolved.config.stages.resize(names.size());
  for (std::size_t i = 0; i < names.size(); ++i) resolved.config.stages[i].name = names[i];
  resolved.config.pretrain.name = "pretrain";
  Schema schema;
  bind_run_config(schema, resolved.config, names);
  DeckReport report = resolve(deck, schema);
  resolved.config.elastic.loss.costs = budget_costs(resolved.config.elastic);
  check_all(report, resolved.config);
  report.throw_if_any();
  if (resolved.config.precision.compute == Precision::automatic)
    resolved.config.precision = automatic;
  resolved.text = resolved_text(schema);
  resolved.hash = resolved_hash(schema);
  return resolved;
}

std::string run_config_reference(bool markdown, const std::string& block) {
  RunConfig config;
  config.stages.resize(1);
  Schema schema;
  bind_run_config(schema, config, {"stage1"});
  return markdown ? reference_markdown(schema) : reference_text(schema, block);
}

ModelShape parent_shape(const RunConfig& config) {
  ModelConfig model = config.model;
  model.vocab_size =
      config.data.vocab_size > 0 ? config.data.vocab_size : vocabulary_of(config.data.source);
  return make_shape(model);
}

ElasticSpace elastic_space(const RunConfig& config, const ModelShape& parent) {
  const ElasticConfig& e = config.elastic;
  ElasticSpace space = rigid_space(parent);
  const auto set = [&](AxisChoices& axis, const std::vector<index_t>& widths, const char* name) {
    if (widths.size() == 1 && axis.widths != widths)
      throw InputError(
          fmt::format("elastic axis {}: the only width is {}, expected {}", name, widths.front(),
                      axis.widths.empty() ? "none: no layer is of this kind"
                                          : fmt::format("the full one, {}", axis.widths.front())));
    if (!widths.empty()) axis.widths = widths;
    axis.per_layer = std::find(e.per_layer.begin(), e.per_layer.end(), name) != e.per_layer.end();
  };
  set(space.hidden, e.hidden_size, "hidden_size");
  set(space.mamba_heads, e.mamba_num_heads, "mamba_num_heads");
  set(space.mamba_head_channels, e.mamba_head_dim, "mamba_head_dim");
  set(space.attention_heads, e.num_attention_heads, "num_attention_heads");
  set(space.ffn, e.ffn_hidden_size, "ffn_hidden_size");
  set(space.depth, e.drop_layers, "drop_layers");
  for (index_t l = parent.num_layers(); l-- > 0;) space.drop_order.push_back(l);
  check_space(parent, space);
  return space;
}

}  // namespace elastic
