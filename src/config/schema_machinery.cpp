// SPDX-License-Identifier: Apache-2.0
// How a run goes on: optimizer, ranks, validation, files.
#include "config/schema_parts.hpp"

namespace elastic {
namespace {

void bind_optimizer(Schema& schema, RunConfig& config) {
  auto& adamw = config.optimizer.adamw;
  const Interval beta{.low = 0, .high = 1, .high_open = true};
  schema.block("optimizer", "AdamW.")
      .bind("beta1", &adamw.beta1,
            {.unit = "1", .range = beta, .help = "Decay of the first moment."})
      .bind("beta2", &adamw.beta2,
            {.unit = "1", .range = beta, .help = "Decay of the second moment."})
      .bind("epsilon", &adamw.epsilon,
            {.unit = "1",
             .range = Interval::positive(),
             .help = "Added to the root of the second moment."})
      .bind("weight_decay", &adamw.weight_decay,
            {.unit = "1",
             .range = not_negative,
             .help = "Decoupled decay of the model's matrices (never norms, A_log, D, dt_bias, "
                     "biases or the router)."})
      .bind("clip_grad_norm", &config.optimizer.clip_grad_norm,
            {.unit = "1",
             .range = not_negative,
             .help = "Largest joint norm of all gradients; 0: no clipping."});
}

void bind_precision(Schema& schema, RunConfig& config) {
  schema.block("precision", "Bits of numbers.")
      .bind("compute", &config.precision.compute,
            {{"auto", Precision::automatic},
             {"float32", Precision::float32},
             {"bfloat16", Precision::bfloat16}},
            {.help = "Stored values and activations of training: float32, or bfloat16, half the "
                     "memory and, where the machine multiplies it faster (AMX, AVX-512 bf16, "
                     "tensor cores), less time. auto: bfloat16 where every rank multiplies it "
                     "faster and hidden_size is at least 128, float32 elsewhere and with "
                     "<job>/deterministic = true; a run that is resumed keeps what it began with. "
                     "Sums, statistics, router and optimizer are float32 in both, and the "
                     "optimizer keeps float32 masters of bfloat16 values."});
}

void bind_parallel(Schema& schema, RunConfig& config) {
  schema.block("parallel", "How a step is cut up, and how the model is spread over ranks.")
      .bind("tensor_parallel_size", &config.parallel.tensor_parallel_size,
            {.unit = "ranks",
             .range = limits::ranks,
             .help = "Ranks that share one model: each holds some of the groups of every mixer, of "
                     "the neurons and of the words. Divides the ranks of the run, Mamba's groups "
                     "and the query groups; the other ranks are data-parallel replicas."})
      .bind("context_parallel_size", &config.parallel.context_parallel_size,
            {.unit = "ranks",
             .range = limits::ranks,
             .help = "Ranks that share the tokens of each training sequence, for long sequences: "
                     "each holds two spans of it. tensor_parallel_size * context_parallel_size "
                     "divides the ranks of the run. Every seq_length of training is a multiple of "
                     "2 * context_parallel_size; of 8 with <job>/deterministic = true, where the "
                     "size is 1, 2, 4 or 8."})
      .bind(
          "sequence_parallel", &config.parallel.sequence_parallel,
          {.help = "Of a tensor-parallel group, each rank keeps the norms and the residual stream "
                   "of some of the tokens only: less memory, the same traffic."})
      .bind(
          "micro_batch_size", &config.parallel.micro_batch_size,
          {.unit = "sequences",
           .range = limits::sequences,
           .help =
               "Sequences per forward pass; divides the global_batch_size of pretraining. Changes "
               "speed, memory and rounding only."})
      .bind(
          "recompute", &config.parallel.recompute,
          {{"false", Recompute::none}, {"true", Recompute::all}, {"fit", Recompute::fit}},
          {.help = "Keep only the inputs of layers and repeat their forward pass in the backward "
                   "pass: less memory, more work, equal numbers. No layer, every layer, or as few "
                   "as make a rank fit into memory_limit, those first that save most bytes per "
                   "operation; --check names them."})
      .bind(
          "memory_limit", &config.parallel.memory_limit,
          {.unit = "GB",
           .range = not_negative,
           .help = "Memory that a rank may use by the plan (10^9 bytes); a run that needs more is "
                   "refused, with the nearest keys that fit; 0: not said, no layer is recomputed "
                   "to fit."})
      .bind("logit_chunk_tokens", &config.parallel.logit_chunk_tokens,
            {.unit = "tokens",
             .range = limits::lengths,
             .help = "Tokens whose logits exist at a time."});
}

void bind_evaluate(Schema& schema, RunConfig& config) {
  schema.block("evaluate", "Validation on held-out data.")
      .bind("every_steps", &config.evaluate.every_steps,
            {.unit = "steps",
             .range = limits::steps,
             .help = "Validation loss of every budget at this interval; 0: only at the end of each "
                     "stage."})
      .bind("samples", &config.evaluate.samples,
            {.unit = "sequences",
             .range = limits::sequences,
             .help = "Held-out sequences per validation."})
      .bind("problems", &config.evaluate.problems,
            {.unit = "problems",
             .range = Interval::between(0, 1e6),
             .help = "Held-out problems that every final model answers by greedy generation "
                     "(reasoning data)."})
      .bind("extra_budgets", &config.evaluate.extra_budgets,
            {.unit = "1",
             .range = positive_fraction,
             .help = "Untrained budgets to extract and evaluate too, by interpolation."})
      .bind(
          "switch_marker", &config.evaluate.switch_marker,
          {.help = "Marker (as in <generate>/switch), e.g. \"#\", after which another budget goes "
                   "on with an answer: every pair of budgets answers the problems; empty: none "
                   "does."});
  schema.block("generate", "How the models of the run generate unless the command line says more.")
      .bind("budget", &config.generate.budget,
            {.help = "Budget that begins; empty: the whole model."})
      .bind(
          "switch", &config.generate.changes,
          {.help = "Changes of budget, in order: BUDGET@N after N generated tokens, BUDGET@MARKER "
                   "after a text (text:TEXT where it begins with a digit) or token:ID."});
}

void bind_guard(Schema& schema, GuardConfig& guard) {
  schema.block("guard", "Steps whose numbers are not to be trusted.")
      .bind("policy", &guard.policy,
            {{"stop", GuardPolicy::stop},
             {"skip", GuardPolicy::skip},
             {"rollback", GuardPolicy::rollback}},
            {.help = "Where the loss or the gradients of a step are not finite, or the loss is a "
                     "spike: stop with exit code 3, skip the update, or go back to the last "
                     "checkpoint and leave out the data of that step."})
      .bind("spike_factor", &guard.spike_factor,
            {.unit = "1",
             .range = not_negative,
             .help = "A loss above so many times the median of the last ones is a spike; 0: only "
                     "numbers that are not finite count."})
      .bind("spike_window", &guard.spike_window,
            {.unit = "steps",
             .range = Interval::between(1, 1e6),
             .help = "Last steps whose losses are compared."})
      .bind("limit", &guard.limit,
            {.unit = "events",
             .range = limits::steps,
             .help = "Skips and ways back in one run; one more stops it with exit code 3."});
}

void bind_output(Schema& schema, RunConfig& config) {
  schema.block("checkpoint", "Saving and resuming.")
      .bind("save", &config.checkpoint.save,
            {.help = "Write training checkpoints; without them a run cannot be resumed."})
      .bind("every_steps", &config.checkpoint.every_steps,
            {.unit = "steps",
             .range = limits::steps,
             .help = "Interval of checkpoints; 0: only at the end of each stage and when stopped."})
      .bind("keep", &config.checkpoint.keep,
            {.unit = "files", .range = limits::files, .help = "Newest checkpoints to keep."})
      .bind("keep_every", &config.checkpoint.keep_every,
            {.unit = "steps",
             .range = limits::steps,
             .help = "Checkpoints of multiples of this step are kept for ever; 0: none."})
      .bind("asynchronous", &config.checkpoint.asynchronous,
            {.help = "Steps go on while a checkpoint is written from a copy in memory."})
      .bind("allow_fallback", &config.checkpoint.allow_fallback,
            {.help = "Where the newest checkpoint is damaged, --resume takes the newest that is "
                     "not, with a warning, instead of refusing (as --allow-fallback)."});
  bind_guard(schema, config.guard);
  schema.block("output", "What is written while a run goes on.")
      .bind("every_steps", &config.output.every_steps,
            {.unit = "steps",
             .range = limits::interval_steps,
             .help = "Interval of rows in history.csv."});
}

void bind_comparison(Schema& schema, ComparisonConfig& comparison) {
  schema.block("comparison", "What the same models would take one by one: for the plan of --check.")
      .bind("pretrain_tokens", &comparison.pretrain_tokens,
            {.unit = "tokens",
             .range = not_negative,
             .help = "Tokens to pretrain each smaller model; 0: not compared."})
      .bind("exploratory_tokens", &comparison.exploratory_tokens,
            {.unit = "tokens",
             .range = not_negative,
             .help = "Tokens to find the widths of each smaller model by trial."})
      .bind("distillation_tokens", &comparison.distillation_tokens,
            {.unit = "tokens",
             .range = not_negative,
             .help = "Tokens to distil each smaller model; 0: not compared."})
      .bind("separate_parameters", &comparison.separate_parameters,
            {.unit = "1",
             .range = Interval::positive(),
             .help = "Parameters of the separate models whose memory is compared with the one "
                     "elastic model's; empty: not compared."});
}

}  // namespace

void bind_machinery(Schema& schema, RunConfig& config) {
  bind_optimizer(schema, config);
  bind_precision(schema, config);
  bind_parallel(schema, config);
  bind_evaluate(schema, config);
  bind_output(schema, config);
  bind_comparison(schema, config.comparison);
}

}  // namespace elastic
