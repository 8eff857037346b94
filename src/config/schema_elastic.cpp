// SPDX-License-Identifier: Apache-2.0
// What makes a run elastic: budgets, widths, router, distillation.
#include "config/schema_parts.hpp"

namespace elastic {
namespace {

void bind_budgets(SchemaBlock& block, ElasticConfig& e) {
  block
      .bind("budgets", &e.budgets,
            {.unit = "1",
             .range = positive_fraction,
             .help = "Trained budgets as parts of the parent's cost, largest first."})
      .bind("budget_names", &e.budget_names,
            {.help = "Names of the budgets in reports and files; empty: their values."})
      .bind("budget_kind", &e.budget_kind,
            {.allowed = {"parameters", "memory", "flops", "seconds"},
             .help = "What a budget counts, one or several: parameters, bytes of inference memory "
                     "(weights, KV and SSM caches), FLOPs of a forward pass per token, measured "
                     "seconds per token (phase measure, or seconds_from). Each is to cost the part "
                     "given."})
      .bind("memory_batch", &e.cost.batch,
            {.unit = "sequences",
             .range = limits::sequences,
             .help = "Sequences of the inference whose memory counts."})
      .bind("memory_seq_length", &e.cost.seq_length,
            {.unit = "tokens", .range = limits::extents, .help = "Their length."})
      .bind("weight_bytes", &e.cost.weight_bytes,
            {.unit = "bytes",
             .range = Interval::positive(),
             .help = "Bytes of a weight at inference."})
      .bind("kv_cache_bytes", &e.cost.kv_bytes,
            {.unit = "bytes",
             .range = Interval::positive(),
             .help = "Bytes of an element of keys and values at inference."})
      .bind("ssm_cache_bytes", &e.cost.ssm_bytes,
            {.unit = "bytes",
             .range = Interval::positive(),
             .help = "Bytes of an element of SSM and convolution states at inference."})
      .replaced("cache_bytes", "'kv_cache_bytes' and 'ssm_cache_bytes', each for its kind of cache")
      .bind("flops_seq_length", &e.flops_seq_length,
            {.unit = "tokens",
             .range = limits::extents,
             .help = "Length of the sequences whose FLOPs count."});
}

void bind_seconds(SchemaBlock& block, SecondsConfig& seconds) {
  block
      .bind("seconds_pass", &seconds.pass,
            {{"prefill", InferencePass::prefill}, {"decode", InferencePass::decode}},
            {.help = "Inference whose time counts: whole sequences at once, or one more token of "
                     "each sequence with caches."})
      .bind("seconds_batch", &seconds.batch,
            {.unit = "sequences", .range = limits::sequences, .help = "Its sequences."})
      .bind("seconds_seq_length", &seconds.seq_length,
            {.unit = "tokens",
             .range = limits::lengths,
             .help = "Their length; of decoding, the tokens in the caches."})
      .bind("seconds_from", &seconds.from,
            {.help = "File of times that the phase measure of another run wrote, e.g. on the "
                     "machine where the submodels will run; empty: this run's own."});
}

void bind_widths(SchemaBlock& block, ElasticConfig& e) {
  const auto widths = [](const char* what) {
    return KeyOptions{.unit = "1", .range = limits::extents, .help = what};
  };
  block
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
           .range = Interval::between(0, 1e6),
           .help =
               "Allowed numbers of dropped layers, 0 first, rising; empty: depth is not elastic."})
      .bind("per_layer", &e.per_layer,
            {.allowed = {"mamba_num_heads", "mamba_head_dim", "num_attention_heads",
                         "ffn_hidden_size"},
             .help = "Axes whose layers choose for themselves (heterogeneous)."});
}

void bind_budget_loss(SchemaBlock& block, ElasticConfig& e) {
  block
      .bind("tolerance", &e.loss.tolerance,
            {.unit = "1",
             .range = Interval{.low = 0, .high = 1, .low_open = true},
             .help = "Relative miss of a budget that costs nothing, and that extraction accepts."})
      .bind("weight", &e.weight,
            {.unit = "1", .range = not_negative, .help = "Weight lambda of the budget loss."})
      .bind("full_weight", &e.loss.full_weight,
            {.unit = "1",
             .range = not_negative,
             .help = "Weight of the term that pulls budget 1 to the full widths."})
      .bind("choice_epsilon", &e.choice_epsilon,
            {.unit = "1",
             .range = Interval{.low = 0, .high = 0.5, .high_open = true},
             .help = "Choices less likely than this are not computed."});
}

void bind_router(Schema& schema, RunConfig& config) {
  auto& net = config.router.net;
  auto& schedule = config.router.schedule;
  schema.block("router", "The network that picks a submodel for a budget.")
      .bind("widths", &config.router.widths,
            {{"learned", WidthChoice::learned}, {"homogeneous", WidthChoice::homogeneous}},
            {.help = "Widths of a budget: learned by the router, or, for comparison, fixed before "
                     "training as the same part of every axis. Fixed widths need no router: it "
                     "stays as it begins, and of the keys below only samples_per_draw counts."})
      .bind("hidden_size", &net.hidden_size,
            {.unit = "1",
             .range = Interval::between(1, 1 << 16),
             .help = "Width of its hidden layer."})
      .bind("init_std", &net.init_std,
            {.unit = "1",
             .range = not_negative,
             .help = "Standard deviation of its initial weights."})
      .bind("hard_sample_probability", &net.hard_sample_probability,
            {.unit = "1",
             .range = Interval::between(0, 1),
             .help = "Probability of a straight-through draw: forward one-hot, gradient soft; 1: "
                     "always (hard mode)."})
      .bind("samples_per_draw", &config.router.samples_per_draw,
            {.unit = "sequences",
             .range = limits::sequences,
             .help = "Most sequences of a step that share a budget's draw of noise, hence its "
                     "masks; a micro-batch of elastic training has no more."})
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
}

void bind_distill(Schema& schema, RunConfig& config) {
  schema.block("distill", "Distillation.")
      .bind("temperature", &config.distill.temperature,
            {.unit = "1", .range = Interval::positive(), .help = "Temperature of both softmaxes."})
      .bind("distillation_weight", &config.distill.distillation_weight,
            {.unit = "1", .range = not_negative, .help = "Weight of the forward KL."})
      .bind("cross_entropy_weight", &config.distill.cross_entropy_weight,
            {.unit = "1", .range = not_negative, .help = "Weight of next-token cross-entropy."});
}

void bind_teach(Schema& schema, TeachConfig& teach) {
  schema.block("teach", "The parent's log-probabilities on disk (phase teach).")
      .bind("top_k", &teach.top_k,
            {.unit = "words",
             .range = Interval::between(1, 65536),
             .help = "Largest log-probabilities kept per token; all other words are one mass."})
      .bind("folder", &teach.folder,
            {.help = "Folder of the files; empty: teacher/ in the folder of the run."});
}

}  // namespace

void bind_elastic(Schema& schema, RunConfig& config) {
  auto& elastic = schema.block("elastic", "Budgets and what may shrink.");
  bind_budgets(elastic, config.elastic);
  bind_seconds(elastic, config.elastic.seconds);
  bind_widths(elastic, config.elastic);
  bind_budget_loss(elastic, config.elastic);
  bind_router(schema, config);
  bind_distill(schema, config);
  bind_teach(schema, config.teach);
}

}  // namespace elastic
