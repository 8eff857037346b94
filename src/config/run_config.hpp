// SPDX-License-Identifier: Apache-2.0
// Everything a deck can say. Defaults are the initialisers here. Unit, range and the sentence
// of each key are in run_config_schema.cpp, from which doc/input_reference.md is generated.
#pragma once
#include <string>
#include <vector>

#include "parallel/process_grid.hpp"
#include "data/reasoning_problems.hpp"
#include "data/text_source.hpp"
#include "elastic/budget_loss.hpp"
#include "elastic/importance.hpp"
#include "elastic/router.hpp"
#include "arch/hybrid_pattern.hpp"
#include "optim/adamw.hpp"
#include "optim/lr_schedule.hpp"

namespace elastic {

enum class Phase { pretrain, rank, measure, teach, elastic, slice, evaluate, report };
const char* phase_name(Phase phase);

struct JobConfig {
  std::string name = "run";
  std::string folder;  // empty: runs/NAME
  index_t seed = 1234;
  bool deterministic = false;
  std::vector<std::string> phases = {"pretrain", "rank", "elastic", "slice", "evaluate", "report"};
  std::string parent;              // checkpoint that the parent is read from instead of pretraining
  index_t stop_after_step = 0;     // 0: run to the end
  std::string walltime;            // Slurm's formats; empty: what Slurm says, if it runs the job
  double watchdog_seconds = 1800;  // without progress of any rank; 0: no watchdog
  std::string run_folder() const { return folder.empty() ? "runs/" + name : folder; }
  bool has(Phase phase) const;
};

/// What stored values and activations of training are.
/// Sums, statistics and the optimizer are fp32 in either.
/// automatic: the program chooses before a run begins (run/folder/run_precision.hpp); until then it
/// counts as float32.
enum class Precision { automatic, float32, bfloat16 };
struct PrecisionConfig {
  Precision compute = Precision::automatic;
  std::string reason;  // of the program's choice; empty if the deck chose
  /// Size of a stored value.
  double value_bytes() const { return compute == Precision::bfloat16 ? 2 : 4; }
  /// Bytes of a sum by those of a value.
  double sum_size() const { return sum_bytes / value_bytes(); }
};
/// Calls body(T()) with the type of stored values.
template <class Body>
auto with_precision(Precision precision, const Body& body) {
  return precision == Precision::bfloat16 ? body(bfloat16()) : body(float());
}

enum class SourceKind { reasoning, text, indexed };
/// Whether PREFIX.mask beside a .bin/.idx pair says which tokens count as targets.
enum class LossMask { automatic, required, ignored };
struct DataConfig {
  SourceKind source = SourceKind::reasoning;
  std::vector<std::string> train;  // files or prefixes
  std::vector<double> weights;     // blend of `train`; empty: equal
  std::vector<std::string> families = {"addition", "subtraction", "comparison", "assignment"};
  ReasoningConfig reasoning;  // sizes; families are those above
  double validation_fraction = 0.1;
  index_t vocab_size = 0;  // 0: that of the source
  LossMask loss_mask = LossMask::automatic;
};

/// Whose logits elastic training distils from: the ranked parent as it was, the full widths of
/// the weights in training, or the parent's largest log-probabilities in files (phase teach).
enum class TeacherKind { frozen, trainable, stored };

/// What the phase teach writes for the stages whose teacher is stored.
struct TeachConfig {
  index_t top_k = 64;  // log-probabilities per token
  std::string folder;  // empty: RUN/teacher
};

/// One part of the training plan: the pretraining of the parent, or an elastic stage.
struct StageConfig {
  std::string name;
  index_t steps = 0;  // one of steps and tokens is given
  double tokens = 0;
  index_t seq_length = 256;
  index_t global_batch_size = 16;  // sequences per step
  double learning_rate = 1e-3, router_learning_rate = 1e-2;
  index_t warmup_steps = 60;
  LrKind decay = LrKind::cosine;
  double final_fraction = 0.1, decay_fraction = 0.2;
  std::vector<double> budget_probability;  // empty: uniform
  index_t budgets_per_sample = 1;
  TeacherKind teacher = TeacherKind::frozen;
  double teacher_cross_entropy_weight = 0;  // alpha
  /// By layer, where <parallel>/recompute = fit: what the plan chooses (plan/recomputation.hpp); no
  /// key. Empty: none.
  std::vector<bool> recomputed;
  index_t num_steps() const;
};

struct RankConfig {
  index_t samples = 64;  // sequences
  index_t seq_length = 256;
  ImportanceMeasure measure;
  RankOrder order = RankOrder::importance;
  DepthMeasure depth_measure = DepthMeasure::logit_nmse;
  index_t depth_candidates = 8;  // of the depth search that are held at once
};

/// The inference whose measured time per token a budget of kind seconds counts.
enum class InferencePass { prefill, decode };
struct SecondsConfig {
  InferencePass pass = InferencePass::prefill;
  index_t batch = 1, seq_length = 1024;
  std::string from;  // file of an earlier measurement; empty: the phase measure of this run
};

struct ElasticConfig {
  std::vector<double> budgets = {1.0, 0.75, 0.5};
  std::vector<std::string> budget_names;  // empty: the budgets as text
  std::vector<std::string> budget_kind = {"parameters"};
  CostConfig cost;                  // of each kind; its kind and the length for FLOPs are set in
  index_t flops_seq_length = 1024;  // loss.costs, one for every word of budget_kind
  BudgetLossConfig loss;
  double weight = 1;  // lambda of the budget loss
  std::vector<index_t> hidden_size, mamba_num_heads, mamba_head_dim, num_attention_heads,
      ffn_hidden_size;
  std::vector<index_t> drop_layers;
  std::vector<std::string> per_layer;  // axes whose layers choose for themselves
  double choice_epsilon = 1e-3;
  SecondsConfig seconds;
  std::string budget_name(std::size_t i) const;
};

/// Where the widths of a budget come from: a router learns them, or they are the same part of every
/// axis (homogeneous_submodel in elastic/family.hpp), for comparison.
enum class WidthChoice { learned, homogeneous };

struct RouterRunConfig {
  WidthChoice widths = WidthChoice::learned;
  RouterConfig net;
  index_t samples_per_draw = 8;  // that share a draw of noise
  RouterSchedule schedule;
};

struct DistillConfig {
  double temperature = 1, distillation_weight = 1, cross_entropy_weight = 0;
};

/// Which layers keep only their input until the backward pass, which repeats their forward pass:
/// none, all, or as few as make a rank fit into its memory.
enum class Recompute { none, all, fit };

struct ParallelConfig {
  index_t tensor_parallel_size = 1, context_parallel_size = 1;
  bool sequence_parallel = false;
  index_t micro_batch_size = 8;  // sequences per forward pass
  Recompute recompute = Recompute::fit;
  double memory_limit = 0;  // GB of a rank; 0: not said
  index_t logit_chunk_tokens = 1024;
};

struct OptimizerConfig {
  AdamWConfig adamw;
  double clip_grad_norm = 1;
};

struct EvaluateConfig {
  index_t every_steps = 100;          // 0: only at the end of a stage
  index_t samples = 32;               // held-out sequences
  index_t problems = 256;             // held-out problems answered at the end; reasoning data only
  std::vector<double> extra_budgets;  // untrained budgets by interpolation
  std::string switch_marker;          // text after which another budget answers; empty: no pairs
};

/// How the models of a run generate where the command line says nothing else.
struct GenerateConfig {
  std::string budget;                // empty: the whole model
  std::vector<std::string> changes;  // BUDGET@N or BUDGET@MARKER
};

struct CheckpointConfig {
  bool save = true;
  index_t every_steps = 200, keep = 2;
  index_t keep_every = 0;  // steps whose multiples are kept for ever; 0: none
  bool asynchronous = true;
  bool allow_fallback = false;
};

/// What happens when the loss of a step or its gradients are not finite, or the loss is a spike.
enum class GuardPolicy { stop, skip, rollback };
struct GuardConfig {
  GuardPolicy policy = GuardPolicy::stop;
  double spike_factor = 0;    // of the median of the last losses; 0: only what is not finite counts
  index_t spike_window = 50;  // steps
  index_t limit = 3;          // steps skipped and ways back, together, before the run stops
};

struct OutputConfig {
  index_t every_steps = 10;  // rows of history.csv
};

/// What making the smaller models one by one would take: inputs of the plan (--check) only.
struct ComparisonConfig {
  double pretrain_tokens = 0;                              // per smaller model
  double exploratory_tokens = 0, distillation_tokens = 0;  // per smaller model, to prune and distil
  std::vector<double> separate_parameters;  // of models that one elastic model stands in for
};

struct RunConfig {
  JobConfig job;
  ModelConfig model;
  double init_std = 0.02;
  DataConfig data;
  StageConfig pretrain;
  RankConfig rank;
  TeachConfig teach;
  ElasticConfig elastic;
  RouterRunConfig router;
  DistillConfig distill;
  std::vector<StageConfig> stages;  // <stage1>, <stage2>, ...
  OptimizerConfig optimizer;
  PrecisionConfig precision;
  ParallelConfig parallel;
  EvaluateConfig evaluate;
  GenerateConfig generate;
  CheckpointConfig checkpoint;
  GuardConfig guard;
  OutputConfig output;
  ComparisonConfig comparison;
};

/// A deck with all its values.
struct ResolvedDeck {
  RunConfig config;
  std::string text;  ///< the resolved deck: a valid deck with every key
  std::uint64_t hash = 0;
  std::string file;
};

/// Reads a deck. Throws one InputError that lists every mistake (deck/report.hpp),
/// contradictions between keys included. `automatic`: what <precision>/compute = auto becomes.
ResolvedDeck read_run_config(const std::string& text, const std::string& file,
                             const std::vector<std::string>& overrides,
                             const PrecisionConfig& automatic = {});
/// The reference of all keys: for people (`block`: only this one) or as Markdown.
std::string run_config_reference(bool markdown, const std::string& block = "");

/// The parent's shape and the elastic space of a deck. drop_order is filled by the rank phase;
/// until then the last layers are dropped first. Throw InputError.
ModelShape parent_shape(const RunConfig& config);
ElasticSpace elastic_space(const RunConfig& config, const ModelShape& parent);
/// The budgets that are trained, by number; and after them those of <evaluate>/extra_budgets.
std::vector<Budget> trained_budgets(const RunConfig& config);
std::vector<Budget> all_budgets(const RunConfig& config);
/// How many ranks share one model, and how.
ParallelSizes parallel_sizes(const RunConfig& config);

}  // namespace elastic
