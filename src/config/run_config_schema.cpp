// SPDX-License-Identifier: Apache-2.0
#include "config/run_config_schema.hpp"

#include "arch/layer_kind.hpp"
#include "config/schema_parts.hpp"

namespace elastic {
namespace {

void bind_job(Schema& schema, JobConfig& job) {
  schema.block("job", "What runs and where it writes.")
      .bind("name", &job.name, {.help = "Name of the run; its folder is runs/NAME."})
      .bind("folder", &job.folder, {.help = "Folder of the run, instead of runs/NAME."})
      .bind("seed", &job.seed,
            {.unit = "1",
             .range = Interval::between(0, 4294967295.0),
             .help = "Seed of every random number: weights, data order, router noise."})
      .bind("deterministic", &job.deterministic,
            {.help = "Sum in a fixed order everywhere: sliced, prefix and masked models agree to "
                     "the bit; slower."})
      .bind("phases", &job.phases,
            {.allowed = {"pretrain", "rank", "measure", "teach", "elastic", "slice", "evaluate",
                         "report"},
             .help = "Phases to run, in this order."})
      .bind("parent", &job.parent,
            {.help = "Checkpoint of the parent, read instead of pretraining one."})
      .bind(
          "stop_after_step", &job.stop_after_step,
          {.unit = "steps",
           .range = limits::steps,
           .help =
               "Save a checkpoint and stop after this step of the whole plan; 0: run to the end."})
      .bind("walltime", &job.walltime,
            {.help = "Time the program may take, as MM, HH:MM:SS or D-HH:MM:SS: it saves a "
                     "checkpoint and stops before; empty: what Slurm, PBS or Flux allows the job."})
      .bind("watchdog_seconds", &job.watchdog_seconds,
            {.unit = "s",
             .range = Interval::between(0, 1e8),
             .help = "A run of which some rank makes no progress for so long names that rank, its "
                     "region and step, and ends with exit code 2; 0: it waits for ever."});
}

void bind_model(Schema& schema, RunConfig& config) {
  ModelConfig& m = config.model;
  std::string symbols, names;
  for (const auto* kind : layer_kinds()) {
    names += fmt::format("{}{} {}", names.empty() ? "" : ", ", kind->symbol(), kind->name);
    symbols += kind->symbol();
  }
  schema.block("model", "The parent.")
      .bind_pattern("hybrid_layer_pattern", &m.hybrid_layer_pattern, symbols,
                    {.help = "Layers in order: " + names + "; blanks are ignored."})
      .bind(
          "hidden_size", &m.hidden_size,
          {.unit = "channels", .range = limits::extents, .help = "Width D of the residual stream."})
      .bind("norm_epsilon", &m.norm_epsilon,
            {.unit = "1", .range = Interval::positive(), .help = "Epsilon of every RMSNorm."})
      .bind("init_std", &config.init_std,
            {.unit = "1",
             .range = Interval::positive(),
             .help = "Standard deviation of initial linear weights and embeddings."});
  schema.block("mamba", "Mamba-2 layers.")
      .bind("num_heads", &m.mamba_num_heads,
            {.unit = "heads", .range = limits::extents, .help = "Heads H of each Mamba layer."})
      .bind("head_dim", &m.mamba_head_dim,
            {.unit = "channels", .range = limits::extents, .help = "Channels P of a head."})
      .bind("num_groups", &m.mamba_num_groups,
            {.unit = "groups",
             .range = limits::extents,
             .help = "Groups G that share B and C; divides num_heads in every submodel."})
      .bind("state_dim", &m.mamba_state_dim,
            {.unit = "1", .range = limits::extents, .help = "State size N per channel."})
      .bind("d_conv", &m.mamba_d_conv,
            {.unit = "tokens",
             .range = limits::extents,
             .help = "Width W of the causal convolution."})
      .bind("chunk_size", &m.chunk_size,
            {.unit = "tokens",
             .range = limits::extents,
             .help = "Chunk Q of the scan; changes speed and rounding only."});
  schema.block("attention", "Attention layers (grouped queries, no positions).")
      .bind("num_heads", &m.num_attention_heads,
            {.unit = "heads", .range = limits::extents, .help = "Query heads A."})
      .bind("num_query_groups", &m.num_query_groups,
            {.unit = "groups",
             .range = limits::extents,
             .help = "Key/value heads R; divides num_heads in every submodel."})
      .bind("kv_channels", &m.kv_channels,
            {.unit = "channels", .range = limits::extents, .help = "Channels C of a head."});
  schema.block("mlp", "MLP layers (squared ReLU, no gate).")
      .bind("ffn_hidden_size", &m.ffn_hidden_size,
            {.unit = "neurons", .range = limits::extents, .help = "Width F."});
}

void bind_data(Schema& schema, DataConfig& data) {
  schema.block("data", "Where tokens come from.")
      .bind("source", &data.source,
            {{"reasoning", SourceKind::reasoning},
             {"text", SourceKind::text},
             {"indexed", SourceKind::indexed}},
            {.help =
                 "Generated reasoning problems, text files as bytes, or Megatron .bin/.idx files."})
      .bind("train", &data.train,
            {.help =
                 "Text files, or prefixes of .bin/.idx pairs; a held-out part of each validates."})
      .bind("weights", &data.weights,
            {.unit = "1",
             .range = Interval::positive(),
             .help = "Proportions in which .bin/.idx files of `train` are blended; empty: equal."})
      .bind("vocab_size", &data.vocab_size,
            {.unit = "tokens",
             .range = Interval::between(0, limits::extents.high),
             .help = "Vocabulary of the model; 0: that of the source (reasoning 64, text 256); "
                     "larger: the rest is never drawn."})
      .bind("loss_mask", &data.loss_mask,
            {{"auto", LossMask::automatic},
             {"required", LossMask::required},
             {"ignored", LossMask::ignored}},
            {.help = "Files PREFIX.mask of indexed data, which say which tokens count as targets: "
                     "used where there are any, required, or ignored."})
      .bind("validation_fraction", &data.validation_fraction,
            {.unit = "1",
             .range = Interval::between(0.001, 0.5),
             .help = "Held-out part of text and indexed files."})
      .bind("families", &data.families,
            {.allowed = family_names(), .help = "Families of generated problems."})
      .bind("max_digits", &data.reasoning.max_digits,
            {.unit = "digits",
             .range = Interval::between(1, 9),
             .help = "Longest operands of addition and subtraction."})
      .bind("comparison_length", &data.reasoning.comparison_length,
            {.unit = "numbers",
             .range = Interval::between(2, 9),
             .help = "Longest comparison chain."})
      .bind("assignment_length", &data.reasoning.assignment_length,
            {.unit = "variables",
             .range = Interval::between(2, 9),
             .help = "Most variables of an assignment problem."})
      .bind("multiplication_digits", &data.reasoning.multiplication_digits,
            {.unit = "digits",
             .range = Interval::between(1, 4),
             .help = "Longest factors of multiplication."})
      .bind("expression_length", &data.reasoning.expression_length,
            {.unit = "operators",
             .range = Interval::between(1, 9),
             .help = "Most operators of an expression (modulo 10)."})
      .bind("program_length", &data.reasoning.program_length,
            {.unit = "lines",
             .range = Interval::between(2, 20),
             .help = "Most lines of a program (modulo 10)."})
      .bind("written_step", &data.reasoning.written_step,
            {.unit = "steps",
             .range = Interval::between(1, 20),
             .help = "In expressions and programs one step in this many is written; more is "
                     "harder."})
      .bind("held_out_fraction", &data.reasoning.held_out_fraction,
            {.unit = "1",
             .range = Interval::between(0.001, 0.5),
             .help = "Part of all problems that no training ever sees."});
}

void bind_stage(SchemaBlock& block, StageConfig& stage) {
  block
      .bind("steps", &stage.steps,
            {.unit = "steps", .range = limits::steps, .help = "Optimizer steps; or give tokens."})
      .bind("tokens", &stage.tokens,
            {.unit = "tokens",
             .range = not_negative,
             .help = "Training tokens, instead of steps: steps = tokens / (global_batch_size * "
                     "seq_length), rounded up."})
      .bind("seq_length", &stage.seq_length,
            {.unit = "tokens", .range = limits::lengths, .help = "Sequence length L."})
      .bind("global_batch_size", &stage.global_batch_size,
            {.unit = "sequences",
             .range = limits::sequences,
             .help = "Sequences per step, over all ranks."})
      .bind("learning_rate", &stage.learning_rate,
            {.unit = "1",
             .range = not_negative,
             .help = "Peak learning rate of the model; 0 in every stage: its weights stay and no "
                     "moments are held."})
      .bind("warmup_steps", &stage.warmup_steps,
            {.unit = "steps", .range = limits::steps, .help = "Linear warm-up."})
      .bind("decay", &stage.decay,
            {{"constant", LrKind::constant},
             {"cosine", LrKind::cosine},
             {"linear", LrKind::linear},
             {"wsd", LrKind::wsd}},
            {.help = "Shape of the learning rate after the warm-up."})
      .bind("final_fraction", &stage.final_fraction,
            {.unit = "1",
             .range = Interval::between(0, 1),
             .help = "Learning rate at the end of the stage as a part of the peak."})
      .bind("decay_fraction", &stage.decay_fraction,
            {.unit = "1",
             .range = Interval::between(0, 1),
             .help = "Part of the stage that decays; wsd only."});
}

void bind_elastic_stage(SchemaBlock& block, StageConfig& stage) {
  bind_stage(block, stage);
  block
      .bind("router_learning_rate", &stage.router_learning_rate,
            {.unit = "1",
             .range = not_negative,
             .help = "Peak learning rate of the router, same schedule."})
      .bind("budget_probability", &stage.budget_probability,
            {.unit = "1",
             .range = not_negative,
             .help = "Proportions in which the samples of every step are dealt to the budgets, in "
                     "their order; normalised; empty: uniform."})
      .bind("budgets_per_sample", &stage.budgets_per_sample,
            {.unit = "budgets",
             .range = Interval::between(1, 1000),
             .help = "Budgets that each sample trains, all with one teacher pass; no budget more "
                     "than once."})
      .replaced("budgets_per_micro_batch", "'budgets_per_sample'")
      .bind("teacher", &stage.teacher,
            {{"frozen", TeacherKind::frozen},
             {"trainable", TeacherKind::trainable},
             {"stored", TeacherKind::stored}},
            {.help = "Whose logits submodels are distilled from: those of the ranked parent as it "
                     "was, of the full widths of the weights in training, which need no copy, or "
                     "the largest log-probabilities that the phase teach has written."})
      .bind("teacher_cross_entropy_weight", &stage.teacher_cross_entropy_weight,
            {.unit = "1",
             .range = not_negative,
             .help = "Weight of the cross-entropy that a trainable teacher is trained with; 0 for "
                     "a frozen one."});
}

}  // namespace

void bind_run_config(Schema& schema, RunConfig& config, const std::vector<std::string>& stages) {
  ELASTIC_REQUIRE(stages.size() == config.stages.size(), "{} stage names for {} stages",
                  stages.size(), config.stages.size());
  bind_job(schema, config.job);
  bind_model(schema, config);
  bind_data(schema, config.data);
  bind_stage(schema.block("pretrain", "Training of the parent (phase pretrain)."), config.pretrain);
  bind_rank(schema, config.rank);
  bind_elastic(schema, config);
  for (std::size_t i = 0; i < stages.size(); ++i)
    bind_elastic_stage(
        schema.block(stages[i],
                     "Elastic training, one block <stageN> per stage of the curriculum."),
        config.stages[i]);
  bind_machinery(schema, config);
}

}  // namespace elastic
