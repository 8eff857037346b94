// SPDX-License-Identifier: Apache-2.0
#include "config/run_config_schema.hpp"

namespace elastic {
namespace {
const Interval kCount = Interval::at_least(1), kCountOrNone = Interval::at_least(0),
               kNotNegative = Interval::at_least(0);
const Interval kFraction{.low = 0, .high = 1, .low_open = true};

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
            {.allowed = {"pretrain", "rank", "elastic", "slice", "evaluate", "report"},
             .help = "Phases to run, in this order."})
      .bind("parent", &job.parent,
            {.help = "Checkpoint of the parent, read instead of pretraining one."})
      .bind(
          "stop_after_step", &job.stop_after_step,
          {.unit = "steps",
           .range = kCountOrNone,
           .help =
               "Save a checkpoint and stop after this step of the whole plan; 0: run to the end."})
      .bind("walltime", &job.walltime,
            {.help = "Time the program may take, as MM, HH:MM:SS or D-HH:MM:SS: it saves a "
                     "checkpoint and stops before; empty: what Slurm allows the job."});
}

void bind_model(Schema& schema, RunConfig& config) {
  ModelConfig& m = config.model;
  schema.block("model", "The parent.")
      .bind_pattern("hybrid_layer_pattern", &m.hybrid_layer_pattern, "M*-",
                    {.help = "Layers in order: M Mamba-2, * attention, - MLP; blanks are ignored."})
      .bind("hidden_size", &m.hidden_size,
            {.unit = "channels", .range = kCount, .help = "Width D of the residual stream."})
      .bind("norm_epsilon", &m.norm_epsilon,
            {.unit = "1", .range = Interval::positive(), .help = "Epsilon of every RMSNorm."})
      .bind("init_std", &config.init_std,
            {.unit = "1",
             .range = Interval::positive(),
             .help = "Standard deviation of initial linear weights and embeddings."});
  schema.block("mamba", "Mamba-2 layers.")
      .bind("num_heads", &m.mamba_num_heads,
            {.unit = "heads", .range = kCount, .help = "Heads H of each Mamba layer."})
      .bind("head_dim", &m.mamba_head_dim,
            {.unit = "channels", .range = kCount, .help = "Channels P of a head."})
      .bind("num_groups", &m.mamba_num_groups,
            {.unit = "groups",
             .range = kCount,
             .help = "Groups G that share B and C; divides num_heads in every submodel."})
      .bind("state_dim", &m.mamba_state_dim,
            {.unit = "1", .range = kCount, .help = "State size N per channel."})
      .bind("d_conv", &m.mamba_d_conv,
            {.unit = "tokens", .range = kCount, .help = "Width W of the causal convolution."})
      .bind("chunk_size", &m.chunk_size,
            {.unit = "tokens",
             .range = kCount,
             .help = "Chunk Q of the scan; changes speed and rounding only."});
  schema.block("attention", "Attention layers (grouped queries, no positions).")
      .bind("num_heads", &m.num_attention_heads,
            {.unit = "heads", .range = kCount, .help = "Query heads A."})
      .bind("num_query_groups", &m.num_query_groups,
            {.unit = "groups",
             .range = kCount,
             .help = "Key/value heads R; divides num_heads in every submodel."})
      .bind("kv_channels", &m.kv_channels,
            {.unit = "channels", .range = kCount, .help = "Channels C of a head."});
  schema.block("mlp", "MLP layers (squared ReLU, no gate).")
      .bind("ffn_hidden_size", &m.ffn_hidden_size,
            {.unit = "neurons", .range = kCount, .help = "Width F."});
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
             .range = kCountOrNone,
             .help = "Vocabulary of the model; 0: that of the source (reasoning 64, text 256); "
                     "larger: the rest is never drawn."})
      .bind("validation_fraction", &data.validation_fraction,
            {.unit = "1",
             .range = Interval::between(0.001, 0.5),
             .help = "Held-out part of text and indexed files."})
      .bind("families", &data.families,
            {.allowed = {"addition", "subtraction", "comparison", "assignment"},
             .help = "Families of generated problems."})
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
      .bind("held_out_fraction", &data.reasoning.held_out_fraction,
            {.unit = "1",
             .range = Interval::between(0.001, 0.5),
             .help = "Part of all problems that no training ever sees."});
}

void bind_stage(SchemaBlock& block, StageConfig& stage, bool elastic) {
  block
      .bind("steps", &stage.steps,
            {.unit = "steps", .range = kCountOrNone, .help = "Optimizer steps; or give tokens."})
      .bind("tokens", &stage.tokens,
            {.unit = "tokens",
             .range = kNotNegative,
             .help = "Training tokens, instead of steps: steps = tokens / (global_batch_size * "
                     "seq_length), rounded up."})
      .bind("seq_length", &stage.seq_length,
            {.unit = "tokens", .range = kCount, .help = "Sequence length L."})
      .bind("global_batch_size", &stage.global_batch_size,
            {.unit = "sequences", .range = kCount, .help = "Sequences per step, over all ranks."})
      .bind("learning_rate", &stage.learning_rate,
            {.unit = "1",
             .range = kNotNegative,
             .help = "Peak learning rate of the model; 0 in every stage: its weights stay and no "
                     "moments are held."})
      .bind("warmup_steps", &stage.warmup_steps,
            {.unit = "steps", .range = kCountOrNone, .help = "Linear warm-up."})
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
  if (!elastic) return;
  block
      .bind("router_learning_rate", &stage.router_learning_rate,
            {.unit = "1",
             .range = kNotNegative,
             .help = "Peak learning rate of the router, same schedule."})
      .bind(
          "budget_probability", &stage.budget_probability,
          {.unit = "1",
           .range = kNotNegative,
           .help = "How often each budget is trained, in their order; normalised; empty: uniform."})
      .bind("budgets_per_micro_batch", &stage.budgets_per_micro_batch,
            {.unit = "budgets",
             .range = kCount,
             .help = "Budgets trained on each micro-batch with one teacher pass; as many as there "
                     "are: all of them."});
}

void bind_elastic(Schema& schema, RunConfig& config) {
  ElasticConfig& e = config.elastic;
  const auto widths = [](const char* what) {
    return KeyOptions{.unit = "1", .range = kCount, .help = what};
  };
  schema.block("elastic", "Budgets and what may shrink.")
      .bind("budgets", &e.budgets,
            {.unit = "1",
             .range = kFraction,
             .help = "Trained budgets as parts of the parent's cost, largest first."})
      .bind("budget_names", &e.budget_names,
            {.help = "Names of the budgets in reports and files; empty: their values."})
      .bind("budget_kind", &e.loss.cost.kind,
            {{"parameters", BudgetKind::parameters}, {"memory", BudgetKind::memory}},
            {.help = "What a budget counts: parameters, or bytes of inference memory (weights, KV "
                     "and SSM caches)."})
      .bind("memory_batch", &e.loss.cost.batch,
            {.unit = "sequences",
             .range = kCount,
             .help = "Sequences of the inference whose memory counts."})
      .bind("memory_seq_length", &e.loss.cost.seq_length,
            {.unit = "tokens", .range = kCount, .help = "Their length."})
      .bind("weight_bytes", &e.loss.cost.weight_bytes,
            {.unit = "bytes",
             .range = Interval::positive(),
             .help = "Bytes of a weight at inference."})
      .bind("cache_bytes", &e.loss.cost.cache_bytes,
            {.unit = "bytes",
             .range = Interval::positive(),
             .help = "Bytes of a cache element at inference."})
      .bind("hidden_size", &e.hidden_size,
            widths("Allowed hidden widths, full first, falling; empty: not elastic."))
      .bind("mamba_num_heads", &e.mamba_num_heads,
            widths("Allowed Mamba heads, multiples of the groups; empty: not elastic."))
      .bind("mamba_head_dim", &e.mamba_head_dim,
            widths("Allowed channels per Mamba head; empty: not elastic."))
      .bind("num_attention_heads", &e.num_attention_heads,
            widths("Allowed query heads, multiples of the query groups; empty: not elastic."))
      .bind("ffn_hidden_size", &e.ffn_hidden_size,
            widths("Allowed MLP widths; empty: not elastic."))
      .bind(
          "drop_layers", &e.drop_layers,
          {.unit = "layers",
           .range = kCountOrNone,
           .help =
               "Allowed numbers of dropped layers, 0 first, rising; empty: depth is not elastic."})
      .bind("per_layer", &e.per_layer,
            {.allowed = {"mamba_num_heads", "mamba_head_dim", "num_attention_heads",
                         "ffn_hidden_size"},
             .help = "Axes whose layers choose for themselves (heterogeneous)."})
      .bind("tolerance", &e.loss.tolerance,
            {.unit = "1",
             .range = Interval{.low = 0, .high = 1, .low_open = true},
             .help = "Relative miss of a budget that costs nothing, and that extraction accepts."})
      .bind("weight", &e.weight,
            {.unit = "1", .range = kNotNegative, .help = "Weight lambda of the budget loss."})
      .bind("full_weight", &e.loss.full_weight,
            {.unit = "1",
             .range = kNotNegative,
             .help = "Weight of the term that pulls budget 1 to the full widths."})
      .bind("choice_epsilon", &e.choice_epsilon,
            {.unit = "1",
             .range = Interval{.low = 0, .high = 0.5, .high_open = true},
             .help = "Choices less likely than this are not computed."});
}

void bind_router(Schema& schema, RunConfig& config) {
  auto& [net, schedule] = config.router;
  schema.block("router", "The network that picks a submodel for a budget.")
      .bind("hidden_size", &net.hidden_size,
            {.unit = "1", .range = kCount, .help = "Width of its hidden layer."})
      .bind("init_std", &net.init_std,
            {.unit = "1",
             .range = kNotNegative,
             .help = "Standard deviation of its initial weights."})
      .bind("hard_sample_probability", &net.hard_sample_probability,
            {.unit = "1",
             .range = Interval::between(0, 1),
             .help = "Probability of a straight-through one-hot draw."})
      .bind(
          "logit_scale_start", &schedule.logit_scale_start,
          {.unit = "1", .range = Interval::positive(), .help = "Factor on the logits, first step."})
      .bind("logit_scale_end", &schedule.logit_scale_end,
            {.unit = "1",
             .range = Interval::positive(),
             .help = "Factor on the logits, last step (linear)."})
      .bind("tau_start", &schedule.tau_start,
            {.unit = "1",
             .range = Interval::positive(),
             .help = "Gumbel-Softmax temperature, first step."})
      .bind("tau_end", &schedule.tau_end,
            {.unit = "1",
             .range = Interval::positive(),
             .help = "Gumbel-Softmax temperature, last step (exponential)."});
  schema.block("distill", "Distillation from the frozen parent.")
      .bind("temperature", &config.distill.temperature,
            {.unit = "1", .range = Interval::positive(), .help = "Temperature of both softmaxes."})
      .bind("distillation_weight", &config.distill.distillation_weight,
            {.unit = "1", .range = kNotNegative, .help = "Weight of the forward KL."})
      .bind("cross_entropy_weight", &config.distill.cross_entropy_weight,
            {.unit = "1", .range = kNotNegative, .help = "Weight of next-token cross-entropy."});
}

void bind_machinery(Schema& schema, RunConfig& config) {
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
             .range = kNotNegative,
             .help = "Decoupled decay of the model's matrices (never norms, A_log, D, dt_bias, "
                     "biases or the router)."})
      .bind("clip_grad_norm", &config.optimizer.clip_grad_norm,
            {.unit = "1",
             .range = kNotNegative,
             .help = "Largest joint norm of all gradients; 0: no clipping."});
  schema.block("parallel", "How a step is cut up, and how the model is spread over ranks.")
      .bind("tensor_parallel_size", &config.parallel.tensor_parallel_size,
            {.unit = "ranks",
             .range = kCount,
             .help = "Ranks that share one model: each holds some of the groups of every mixer, of "
                     "the neurons and of the words. Divides the ranks of the run, Mamba's groups "
                     "and the query groups; the other ranks are data-parallel replicas."})
      .bind("context_parallel_size", &config.parallel.context_parallel_size,
            {.unit = "ranks",
             .range = kCount,
             .help = "Ranks that share the tokens of each training sequence, for long sequences: "
                     "each holds two spans of it. tensor_parallel_size * context_parallel_size "
                     "divides the ranks of the run. Every seq_length of training is a multiple of "
                     "2 * context_parallel_size; of 8 with <job>/deterministic = true, where the "
                     "size is 1, 2, 4 or 8."})
      .bind(
          "sequence_parallel", &config.parallel.sequence_parallel,
          {.help = "Of a tensor-parallel group, each rank keeps the norms and the residual stream "
                   "of some of the tokens only: less memory, the same traffic."})
      .bind("micro_batch_size", &config.parallel.micro_batch_size,
            {.unit = "sequences",
             .range = kCount,
             .help = "Sequences per forward pass; divides every global_batch_size."})
      .bind("recompute", &config.parallel.recompute,
            {.help = "Keep only layer inputs and recompute each layer in the backward pass: less "
                     "memory, more work."})
      .bind("logit_chunk_tokens", &config.parallel.logit_chunk_tokens,
            {.unit = "tokens", .range = kCount, .help = "Tokens whose logits exist at a time."});
  schema.block("evaluate", "Validation on held-out data.")
      .bind("every_steps", &config.evaluate.every_steps,
            {.unit = "steps",
             .range = kCountOrNone,
             .help = "Validation loss of every budget at this interval; 0: only at the end of each "
                     "stage."})
      .bind("samples", &config.evaluate.samples,
            {.unit = "sequences", .range = kCount, .help = "Held-out sequences per validation."})
      .bind("problems", &config.evaluate.problems,
            {.unit = "problems",
             .range = kCountOrNone,
             .help = "Held-out problems that every final model answers by greedy generation "
                     "(reasoning data)."})
      .bind("extra_budgets", &config.evaluate.extra_budgets,
            {.unit = "1",
             .range = kFraction,
             .help = "Untrained budgets to extract and evaluate too, by interpolation."});
  schema.block("checkpoint", "Saving and resuming.")
      .bind("save", &config.checkpoint.save,
            {.help = "Write training checkpoints; without them a run cannot be resumed."})
      .bind("every_steps", &config.checkpoint.every_steps,
            {.unit = "steps",
             .range = kCountOrNone,
             .help = "Interval of checkpoints; 0: only at the end of each stage and when stopped."})
      .bind("keep", &config.checkpoint.keep,
            {.unit = "files", .range = kCount, .help = "Newest checkpoints to keep."});
  schema.block("output", "What is written while a run goes on.")
      .bind("every_steps", &config.output.every_steps,
            {.unit = "steps", .range = kCount, .help = "Interval of rows in history.csv."});
  ComparisonConfig& comparison = config.comparison;
  schema.block("comparison", "What the same models would take one by one: for the plan of --check.")
      .bind("pretrain_tokens", &comparison.pretrain_tokens,
            {.unit = "tokens",
             .range = kNotNegative,
             .help = "Tokens to pretrain each smaller model; 0: not compared."})
      .bind("exploratory_tokens", &comparison.exploratory_tokens,
            {.unit = "tokens",
             .range = kNotNegative,
             .help = "Tokens to find the widths of each smaller model by trial."})
      .bind("distillation_tokens", &comparison.distillation_tokens,
            {.unit = "tokens",
             .range = kNotNegative,
             .help = "Tokens to distil each smaller model; 0: not compared."})
      .bind("separate_parameters", &comparison.separate_parameters,
            {.unit = "1",
             .range = Interval::positive(),
             .help = "Parameters of the separate models whose memory is compared with the one "
                     "elastic model's; empty: not compared."});
}
}  // namespace

void bind_run_config(Schema& schema, RunConfig& config, const std::vector<std::string>& stages) {
  ELASTIC_REQUIRE(stages.size() == config.stages.size(), "{} stage names for {} stages",
                  stages.size(), config.stages.size());
  bind_job(schema, config.job);
  bind_model(schema, config);
  bind_data(schema, config.data);
  bind_stage(schema.block("pretrain", "Training of the parent (phase pretrain)."), config.pretrain,
             false);
  schema.block("rank", "Importance ranking (phase rank).")
      .bind("samples", &config.rank.samples,
            {.unit = "sequences", .range = kCount, .help = "Calibration sequences."})
      .bind("seq_length", &config.rank.seq_length,
            {.unit = "tokens", .range = kCount, .help = "Their length."});
  bind_elastic(schema, config);
  bind_router(schema, config);
  for (std::size_t i = 0; i < stages.size(); ++i)
    bind_stage(schema.block(stages[i],
                            "Elastic training, one block <stageN> per stage of the curriculum."),
               config.stages[i], true);
  bind_machinery(schema, config);
}

}  // namespace elastic
