// SPDX-License-Identifier: Apache-2.0
#include "plan/memory.hpp"

#include <algorithm>

#include "elastic/cost_model.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/scan/causal_conv1d.hpp"
#include "kernels/rows/gated_rmsnorm.hpp"
#include "kernels/scan/ssd.hpp"
#include "optim/gradient_buckets.hpp"
#include "config/curriculum.hpp"
#include "state/train_state.hpp"

namespace elastic {
namespace {
// Fitted to files of HDF5 1.10: header and attributes of a dataset; an empty file with the shape.
constexpr double kTensorOverhead = 375, kFileOverhead = 2400;

/// Elements that one layer takes on B sequences of length L.
struct LayerElements {
  double forward = 0, backward = 0;
};

/// What a rank computes together: whole sequences or spans (parallel/spans.hpp).
struct Tokens {
  index_t batch, seq_length;
  index_t sharers = 1;       ///< ranks that share out the tokens of the residual stream
  index_t ranks = 1;         ///< that share out the spans
  index_t slots = 0;         ///< spans of each sequence here; 0: whole sequences
  bool in_turn = false;      ///< whether each span is a block
  index_t partial_sums = 0;  ///< of deterministic sums over units, besides the result
  index_t count() const { return batch * seq_length; }
  /// Tokens whose residual stream lives here. Each gather() or sum() that sequence parallelism adds
  /// takes D elements of all tokens.
  index_t mine() const { return (count() + sharers - 1) / sharers; }
  double gathered(double hidden) const {
    return sharers > 1 ? static_cast<double>(count()) * hidden : 0;
  }
  index_t blocks() const { return in_turn ? slots : 1; }
  double partials(double hidden) const {
    return static_cast<double>(partial_sums * count()) * hidden;
  }
  double summed(double hidden) const {
    return sharers > 1 ? static_cast<double>(mine()) * hidden : 0;
  }
};

LayerElements mamba_elements(const ModelShape& shape, const LayerShape& layer, Tokens t) {
  const index_t inner = layer.inner(), state = layer.num_groups * shape.mamba_state_dim;
  const kernels::SsdShape scan{.batch = t.batch / t.blocks(),
                               .seq_length = t.seq_length,
                               .num_heads = layer.width,
                               .head_dim = layer.head_channels,
                               .num_groups = layer.num_groups,
                               .state_dim = shape.mamba_state_dim,
                               .chunk_size = shape.chunk_size};
  const index_t n = t.count();
  // Where rows are spans there are also the edges of the convolutions and their neighbours', one
  // state of each span, and what all spans make of the states that come in.
  const bool spans = t.slots > 0, gathers = spans && !t.in_turn;
  const index_t edges = spans ? 2 * t.batch * (shape.mamba_d_conv - 1) * (inner + 2 * state) : 0,
                states = spans ? t.batch * inner * shape.mamba_state_dim : 0,
                gathered = gathers
                               ? t.ranks * (states + t.batch * layer.width) + t.batch * layer.width
                               : 0;
  const index_t forward =
      n * (5 * inner + 4 * state + 3 * layer.width + layer.num_groups) +
      t.blocks() * scan.num_states() * layer.head_channels * shape.mamba_state_dim + edges +
      2 * states;
  const index_t after_scan =
      n * (inner + 2 * state) + edges +
      kernels::causal_conv1d_workspace_size(n, std::max(inner, state), shape.mamba_d_conv);
  const index_t during_scan =
      t.blocks() * kernels::ssd_workspace_size(scan) + 2 * states + gathered;
  const index_t output =
      n * inner + kernels::gated_rmsnorm_workspace_size(n, inner, layer.num_groups);
  const double last = static_cast<double>(n * (inner + 2 * state) + edges) +
                      t.partials(static_cast<double>(shape.hidden_size));
  const index_t backward = n * (3 * inner + 2 * state + layer.width);
  return {static_cast<double>(forward),
          static_cast<double>(backward) +
              std::max(last, static_cast<double>(std::max({output, during_scan, after_scan})))};
}

LayerElements attention_elements(const ModelShape& shape, const LayerShape& layer, Tokens t,
                                 bool masked) {
  const index_t inner = layer.inner(), kv = layer.num_groups * layer.head_channels, n = t.count();
  kernels::AttentionShape queries{.batch = t.batch,
                                  .seq_length = t.seq_length,
                                  .num_heads = layer.width,
                                  .num_groups = layer.num_groups,
                                  .head_dim = layer.head_channels};
  index_t keys = 0;  // of whole sequences: k, v, their gradients by each span, one in another order
  if (t.slots > 0) {
    queries.batch = t.batch / t.slots;
    queries.kv_length = t.ranks * t.slots * t.seq_length;
    keys = (2 + 2 * t.slots + 1) * t.ranks * n * kv;
  }
  const double last = t.partials(static_cast<double>(shape.hidden_size));
  return {
      static_cast<double>(n * ((masked ? 3 : 2) * inner + 2 * kv + layer.width)),
      static_cast<double>(n * (2 * inner + 2 * kv)) +
          std::max(last, static_cast<double>(kernels::attention_workspace_size(queries) + keys))};
}

LayerElements layer_elements(const ModelShape& shape, const LayerShape& layer, Tokens t,
                             bool masked) {
  const auto n = static_cast<double>(t.count()), d = static_cast<double>(shape.hidden_size);
  LayerElements own;
  if (layer.kind == LayerKind::mlp)
    own = {2 * n * static_cast<double>(layer.width),
           n * static_cast<double>(layer.width) + t.partials(d)};
  else if (layer.kind == LayerKind::attention)
    own = attention_elements(shape, layer, t, masked);
  else
    own = mamba_elements(shape, layer, t);
  const auto mine = static_cast<double>(t.mine());
  const auto norm =
      static_cast<double>(kernels::rmsnorm_workspace_size(t.mine(), shape.hidden_size));
  return {own.forward + n * d + mine * (d + 1) + t.gathered(d) + t.summed(d),
          (n + mine) * d + t.gathered(d) + std::max(own.backward, t.summed(d) + norm)};
}

/// What one of the ranks trains on at a time.
Tokens tokens_of(const RunConfig& config, const Stage& stage) {
  const auto& parallel = config.parallel;
  Tokens t{config.parallel.micro_batch_size, stage.config.seq_length,
           parallel.sequence_parallel ? parallel.tensor_parallel_size : 1};
  t.ranks = parallel.context_parallel_size;
  if (config.job.deterministic) {
    t.batch = 1;
    t.in_turn = true;
    t.slots = sum_classes / t.ranks;
    t.partial_sums = sum_classes / parallel.tensor_parallel_size - 1;
  } else if (t.ranks > 1) {
    t.slots = 2;
  }
  if (t.slots > 0) {
    t.batch *= t.slots;
    t.seq_length /= t.ranks * t.slots;
  }
  return t;
}

/// Fills kept, backward and logits for one stage.
PlanMemory step_memory(const RunConfig& config, const ModelShape& shape, const Stage& stage) {
  const Tokens t = tokens_of(config, stage);
  const auto n = static_cast<double>(t.count()), d = static_cast<double>(shape.hidden_size),
             mine = static_cast<double>(t.mine());
  const bool masked = stage.elastic && config.elastic.num_attention_heads.size() > 1;
  const bool teacher = stage.elastic && config.distill.distillation_weight != 0;
  // Stream and final states: what the embedding gives (all tokens) becomes the stream; gradients.
  const double states = n * d + mine * (d + 1) + t.summed(d) + t.gathered(d);
  double kept = states + (n + mine) * d + t.summed(d) +
                static_cast<double>(kernels::rmsnorm_workspace_size(t.mine(), shape.hidden_size));
  if (teacher) kept += states;
  double backward = 0;
  for (const auto& layer : shape.layers) {
    const LayerElements e = layer_elements(shape, layer, t, masked);
    kept += mine * d + (config.parallel.recompute ? 0 : e.forward);
    backward = std::max(backward, e.backward + (config.parallel.recompute ? e.forward : 0));
  }
  const auto chunk =
      static_cast<double>(std::min(config.parallel.logit_chunk_tokens, t.count() / t.blocks()));
  const double vocab = static_cast<double>(shape.vocab_size);
  PlanMemory memory;
  memory.stage = stage.config.name;
  memory.kept = value_bytes * (kept + 4 * n);
  memory.backward = value_bytes * backward;
  memory.logits = value_bytes * chunk *
                  ((teacher ? 2 * vocab + 1 : vocab + 1) + static_cast<double>(t.partial_sums) * d);
  return memory;
}

/// Working memory of comparing a submodel with its sliced copy, besides that copy
/// (Validation::max_logit_difference).
double evaluation_memory(const RunConfig& config, const ModelShape& shape, index_t seq_length) {
  const Tokens t{1, seq_length};
  const auto n = static_cast<double>(seq_length), d = static_cast<double>(shape.hidden_size);
  double layer = 0;
  for (const auto& l : shape.layers)
    layer = std::max(layer, layer_elements(shape, l, t, false).forward);
  const auto chunk = static_cast<double>(std::min(config.parallel.logit_chunk_tokens, seq_length));
  const double logits = n + 2 * chunk * static_cast<double>(shape.vocab_size);
  return value_bytes * (2 * n * (2 * d + 1) + std::max(layer, logits) + 4 * n);
}

/// Elements whose moments one of the owners holds, at most.
double most_owned(index_t elements, int owners) {
  const FlatSlices slices = optimizer_slices(elements, owners);
  index_t most = 0;
  for (int r = 0; r < owners; ++r) most = std::max(most, total_length(slices.of(r)));
  return static_cast<double>(most);
}

/// Bytes that GradientSum takes.
double sums_memory(const RunConfig& config, index_t elements, int owners) {
  const FlatSlices slices = optimizer_slices(elements, owners);
  const auto travelling =
      static_cast<double>(GradientBuckets<Accumulate<Real>>::scratch_elements(slices));
  if (!config.job.deterministic) return sum_bytes * travelling;
  return static_cast<double>(sizeof(index_t)) * (static_cast<double>(elements) + travelling);
}

double ranking_elements(const ModelShape& shape) {
  index_t count = shape.hidden_size + shape.num_layers();
  for (const auto& layer : shape.layers)
    count += layer.width + (layer.kind == LayerKind::mamba ? layer.head_channels : 0);
  return static_cast<double>(count);
}
index_t ranking_tensors(const ModelShape& shape) {
  index_t count = 2;
  for (const auto& layer : shape.layers) count += layer.kind == LayerKind::mamba ? 2 : 1;
  return count;
}

}  // namespace

ModelShape local_part(ModelShape shape, index_t tensor_ranks) {
  const Shard first{0, static_cast<int>(tensor_ranks)};
  shape.vocab_size = local_count(shape.vocab_size, first);
  for (auto& layer : shape.layers) {
    layer.width = local_count(layer.width, first);
    layer.num_groups = local_count(layer.num_groups, first);
  }
  return shape;
}

int owners_of(const RunConfig& config, int ranks) {
  return std::max(1, ranks / static_cast<int>(config.parallel.tensor_parallel_size));
}

PlanMemory plan_memory(const RunConfig& config, const ModelShape& parent, index_t router_parameters,
                       int ranks) {
  const Curriculum curriculum = make_curriculum(config);
  const ModelShape local = local_part(parent, config.parallel.tensor_parallel_size);
  const int owners = owners_of(config, ranks);
  PlanMemory plan;
  for (const auto& stage : curriculum.stages) {
    const PlanMemory memory = step_memory(config, local, stage);
    if (memory.step() > plan.step()) plan = memory;
  }
  const double values = value_bytes * parameter_count(local);
  plan.weights = values;
  plan.gradients = sum_bytes * parameter_count(local);
  const auto parameters = static_cast<index_t>(parameter_count(local));
  if (changes_model(curriculum)) plan.moments = 2 * sum_bytes * most_owned(parameters, owners);
  if (router_parameters > 0) plan.teacher = values;
  plan.router = 2 * sum_bytes *
                (static_cast<double>(router_parameters) + most_owned(router_parameters, owners));
  plan.sums = sums_memory(config, parameters, owners) +
              (router_parameters > 0 ? sums_memory(config, router_parameters, owners) : 0);
  if (!config.job.has(Phase::slice) || router_parameters == 0) return plan;
  plan.copy = values;
  if (config.job.has(Phase::evaluate))
    plan.evaluation = evaluation_memory(config, local, curriculum.stages.back().config.seq_length);
  return plan;
}

index_t num_tensors(const ModelShape& shape) {
  index_t count = 3;  // embeddings, final norm, output layer
  for (const auto& layer : shape.layers)
    count += layer.kind == LayerKind::mamba ? 17 : layer.kind == LayerKind::attention ? 5 : 3;
  return count;
}

double model_file_bytes(const ModelShape& shape, std::size_t deck_characters) {
  return value_bytes * parameter_count(shape) +
         kTensorOverhead * static_cast<double>(num_tensors(shape)) + kFileOverhead +
         static_cast<double>(deck_characters);
}

double training_file_bytes(const ModelShape& shape, std::size_t deck_characters,
                           index_t router_parameters, index_t router_tensors, bool moments) {
  const index_t copies = moments ? 3 : 1;
  const double parameters = parameter_count(shape),
               sums = static_cast<double>(copies - 1) * parameters +
                      3 * static_cast<double>(router_parameters);
  index_t tensors = copies * num_tensors(shape) + 3 * router_tensors;
  double ranking = 0;
  if (router_tensors > 0) {
    ranking = ranking_elements(shape) * static_cast<double>(sizeof(index_t));
    tensors += ranking_tensors(shape);
  }
  return value_bytes * parameters + sum_bytes * sums + ranking +
         kTensorOverhead * static_cast<double>(tensors) + kFileOverhead +
         static_cast<double>(deck_characters);
}

}  // namespace elastic
