// SPDX-License-Identifier: Apache-2.0
#include "plan/memory.hpp"

#include <algorithm>

#include "arch/layer_kind.hpp"
#include "elastic/cost_model.hpp"
#include "elastic/ranking.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/convolution/causal_conv1d.hpp"
#include "kernels/rows/gated_rmsnorm.hpp"
#include "kernels/scan/ssd.hpp"
#include "optim/gradient_buckets.hpp"
#include "plan/saves.hpp"
#include "state/train_state.hpp"

namespace elastic {
namespace {
// Fitted to files of HDF5 1.10: header and attributes of a dataset; an empty file with the shape.
constexpr double tensor_overhead = 375, file_overhead = 2400;

/// What a rank computes together, and what it keeps of the residual stream.
struct Tokens : PassTokens {
  index_t sharers = 1;  ///< ranks that share out the tokens of the residual stream
  /// Tokens whose residual stream lives here; D elements of all tokens for each gather() or sum()
  /// that sequence parallelism adds.
  index_t mine() const { return (count() + sharers - 1) / sharers; }
  double gathered(double hidden) const {
    return sharers > 1 ? static_cast<double>(count()) * hidden : 0;
  }
  double summed(double hidden) const {
    return sharers > 1 ? static_cast<double>(mine()) * hidden : 0;
  }
  /// What a sum() that rounds adds: values of its own, and the shared-out sum before it is rounded.
  double rounded(double hidden) const {
    if (!narrow_values()) return summed(hidden);
    return (static_cast<double>(mine()) + (sharers > 1 ? sums(mine()) : 0)) * hidden;
  }
  /// The one sum over units that all layers of a pass use, where it is not the output itself.
  double shared_sum(double hidden) const { return narrow_values() ? sums(count()) * hidden : 0; }
};

kernels::SsdShape shape_of(const KernelWorkspaces::Scan& s) {
  return {.batch = s.batch,
          .seq_length = s.seq_length,
          .num_heads = s.num_heads,
          .head_dim = s.head_dim,
          .num_groups = s.num_groups,
          .state_dim = s.state_dim,
          .chunk_size = s.chunk_size};
}
template <class T>
index_t scan_workspace(const KernelWorkspaces::Scan& s) {
  return kernels::ssd_workspace_size<T>(shape_of(s));
}
template <class T>
index_t scan_forward_workspace(const KernelWorkspaces::Scan& s) {
  return kernels::ssd_forward_workspace_size<T>(shape_of(s));
}
kernels::AttentionShape shape_of(const KernelWorkspaces::Attention& a) {
  return {.batch = a.batch,
          .seq_length = a.seq_length,
          .num_heads = a.num_heads,
          .num_groups = a.num_groups,
          .head_dim = a.head_dim,
          .kv_length = a.kv_length};
}
template <class T>
index_t attention_workspace(const KernelWorkspaces::Attention& a) {
  return kernels::attention_workspace_size<T>(shape_of(a));
}
template <class T>
index_t attention_forward_workspace(const KernelWorkspaces::Attention& a) {
  return kernels::attention_forward_workspace_size<T>(shape_of(a));
}
template <class T>
constexpr KernelWorkspaces workspaces = {scan_workspace<T>,
                                         attention_workspace<T>,
                                         kernels::causal_conv1d_workspace_size,
                                         kernels::gated_rmsnorm_workspace_size,
                                         scan_forward_workspace<T>,
                                         attention_forward_workspace<T>};

/// A layer with its norm.
LayerElements layer_elements(const ModelShape& shape, const LayerShape& layer, const Tokens& t) {
  const auto n = static_cast<double>(t.count()), d = static_cast<double>(shape.hidden_size);
  const LayerElements own = description_of(layer).memory(
      shape, layer, t, t.narrow_values() ? workspaces<bfloat16> : workspaces<float>);
  const auto mine = static_cast<double>(t.mine());
  const double norm = t.sums(kernels::rmsnorm_workspace_size(t.mine(), shape.hidden_size)),
               output = t.narrow_values() ? mine * d : n * d + t.summed(d);
  return {own.forward + output + mine * d + t.sums(t.mine()) + t.gathered(d),
          t.sums(t.count()) * d + mine * d + t.gathered(d) +
              std::max(own.backward, t.rounded(d) + norm),
          own.passing};
}

/// The most that a layer takes where no backward pass follows.
double forward_elements(const ModelShape& shape, const LayerShape& layer, const Tokens& t) {
  const LayerElements e = layer_elements(shape, layer, t);
  return e.forward + e.passing;
}

/// What one of the ranks trains on at a time.
Tokens tokens_of(const RunConfig& config, const Stage& stage) {
  const auto& parallel = config.parallel;
  Tokens t{{.batch = largest_micro_batch(config, stage), .seq_length = stage.config.seq_length},
           parallel.sequence_parallel ? parallel.tensor_parallel_size : 1};
  t.sum_size = sum_bytes / config.precision.value_bytes();
  t.masked_heads = stage.elastic && config.elastic.num_attention_heads.size() > 1;
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

/// Tokens, targets, weights and documents.
double batch_bytes(index_t tokens) {
  return (3 * sizeof(token_t) + sizeof(float)) * static_cast<double>(tokens);
}

/// What a stored teacher says of a token, as it is computed with.
double stored_bytes(const RunConfig& config) {
  return static_cast<double>(sizeof(token_t) + sizeof(bfloat16)) *
             static_cast<double>(config.teach.top_k) +
         sizeof(bfloat16);
}
/// On the host, of a rank's share of a step.
double stored_memory(const RunConfig& config, const Stage& stage, int owners) {
  if (!training_passes(config, stage).reads_teacher) return 0;
  const index_t replicas = std::max<index_t>(1, owners / config.parallel.context_parallel_size),
                samples = (stage.config.global_batch_size + replicas - 1) / replicas;
  return static_cast<double>(samples * stage.config.seq_length) * stored_bytes(config);
}

}  // namespace

PlanMemory StepMemory::with(const std::vector<bool>& recomputed) const {
  PlanMemory memory = ends;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const bool again = l < recomputed.size() && recomputed[l];
    memory.kept += again ? 0 : layers[l].forward;
    memory.backward =
        std::max(memory.backward, layers[l].backward + (again ? layers[l].forward_again : 0));
  }
  return memory;
}

StepMemory step_memory(const RunConfig& config, const ModelShape& shape, const Stage& stage) {
  const Tokens t = tokens_of(config, stage);
  const double value_bytes = config.precision.value_bytes();
  const auto n = static_cast<double>(t.count()), d = static_cast<double>(shape.hidden_size),
             mine = static_cast<double>(t.mine());
  const TrainingPasses passes = training_passes(config, stage);
  const bool reads = passes.distills && passes.reads_teacher,
             frozen = passes.distills && !reads && !passes.trains_teacher;
  const auto vocab = static_cast<double>(shape.vocab_size);
  // Stream and final states: what the embedding gives (all tokens) becomes the stream; gradients.
  const double states = n * d + mine * d + t.sums(t.mine()) + t.summed(d) + t.gathered(d);
  double kept = states + t.shared_sum(d) + t.sums(t.count()) * d + mine * d + t.rounded(d) +
                t.sums(kernels::rmsnorm_workspace_size(t.mine(), shape.hidden_size));
  // A frozen teacher's pass is still there, unless its logits are kept; of a trainable one, a copy
  // of its final states.
  if (passes.keeps_logits) kept += n * vocab;
  if (passes.distills && passes.trains_teacher) kept += n * d;
  if (frozen && !passes.keeps_logits) kept += states;
  StepMemory step;
  for (const auto& layer : shape.layers) {
    const LayerElements e = layer_elements(shape, layer, t);
    kept += mine * d;
    step.layers.push_back({.forward = value_bytes * e.forward,
                           .backward = value_bytes * e.backward,
                           .forward_again = value_bytes * (e.forward + t.shared_sum(d))});
  }
  const auto chunk =
      static_cast<double>(std::min(config.parallel.logit_chunk_tokens, t.count() / t.blocks()));
  const bool two = passes.distills && !reads && !passes.keeps_logits;
  const double per_chunk_token =
      (two ? 2 : 1) * vocab + t.sums(1 + (reads ? 5 + config.teach.top_k : 0));
  step.ends.stage = stage.config.name;
  step.ends.kept = value_bytes * kept + batch_bytes(t.count());
  if (reads) step.ends.kept += n * stored_bytes(config);
  step.ends.logits = value_bytes * chunk * (per_chunk_token + t.sums(t.partial_sums) * d);
  return step;
}

namespace {

/// Working memory of comparing a submodel with its sliced copy, besides that copy
/// (Validation::max_logit_difference).
double evaluation_memory(const RunConfig& config, const ModelShape& shape, index_t seq_length) {
  const double value_bytes = config.precision.value_bytes();
  const Tokens t{{.batch = 1, .seq_length = seq_length, .sum_size = sum_bytes / value_bytes}};
  const auto n = static_cast<double>(seq_length), d = static_cast<double>(shape.hidden_size);
  double layer = 0;
  for (const auto& l : shape.layers) layer = std::max(layer, forward_elements(shape, l, t));
  const auto chunk = static_cast<double>(std::min(config.parallel.logit_chunk_tokens, seq_length));
  const double logits = n + 2 * chunk * static_cast<double>(shape.vocab_size);
  return value_bytes *
             (2 * (2 * n * d + t.sums(t.count())) + std::max(layer + t.shared_sum(d), logits)) +
         batch_bytes(t.count());
}

/// Working memory of the rank phase (train/importance_pass, train/depth_search).
double ranking_memory(const RunConfig& config, const ModelShape& shape) {
  const RankConfig& rank = config.rank;
  const auto& parallel = config.parallel;
  const bool looks = rank.order == RankOrder::importance || rank.order == RankOrder::reversed;
  if (!config.job.has(Phase::rank) || !looks) return 0;
  const index_t batch = config.job.deterministic ? 1 : parallel.micro_batch_size;
  Tokens t{{.batch = std::min(batch, rank.samples), .seq_length = rank.seq_length},
           parallel.sequence_parallel ? parallel.tensor_parallel_size : 1};
  t.sum_size = sum_bytes / config.precision.value_bytes();
  if (config.job.deterministic) t.partial_sums = sum_classes / parallel.tensor_parallel_size - 1;
  const auto n = static_cast<double>(t.count()), d = static_cast<double>(shape.hidden_size),
             mine = static_cast<double>(t.mine());
  const double stream = n * d + t.summed(d),
               pass = stream + mine * d + t.sums(t.mine()) + t.gathered(d);
  double layer = 0;
  for (const auto& l : shape.layers) layer = std::max(layer, forward_elements(shape, l, t));
  layer += t.partials(d) + t.shared_sum(d);
  double most = pass + layer;
  const bool searches =
      !config.elastic.drop_layers.empty() && rank.depth_measure == DepthMeasure::logit_nmse;
  if (searches) {
    // Behind the last layer a candidate has none to pass.
    const auto held = [&](index_t most_held) {
      return static_cast<double>(std::min(rank.depth_candidates, most_held)) * n * d;
    };
    const index_t num_layers = shape.num_layers();
    const auto ranks = static_cast<double>(parallel.tensor_parallel_size);
    const auto chunk = static_cast<double>(std::min(parallel.logit_chunk_tokens, t.count()));
    const double words = static_cast<double>(shape.vocab_size),
                 gathered_logits = ranks > 1 ? words + ranks * words : 0;
    most = pass + stream +
           std::max(held(num_layers - 1) + mine * d + layer,
                    held(num_layers) + chunk * (2 * ranks * words + 2 + gathered_logits));
  }
  return config.precision.value_bytes() * most + batch_bytes(t.count());
}

/// Working memory of the phase teach (train/teach_pass).
double teaching_memory(const RunConfig& config, const ModelShape& shape) {
  const auto& parallel = config.parallel;
  double most = 0;
  if (!config.job.has(Phase::teach)) return most;
  for (const auto& stage : config.stages) {
    if (stage.teacher != TeacherKind::stored) continue;
    Tokens t{{.batch = config.job.deterministic ? 1 : parallel.micro_batch_size,
              .seq_length = stage.seq_length},
             parallel.sequence_parallel ? parallel.tensor_parallel_size : 1};
    t.sum_size = sum_bytes / config.precision.value_bytes();
    if (config.job.deterministic) t.partial_sums = sum_classes / parallel.tensor_parallel_size - 1;
    const auto n = static_cast<double>(t.count()), d = static_cast<double>(shape.hidden_size);
    const auto ranks = static_cast<double>(parallel.tensor_parallel_size),
               words = static_cast<double>(shape.vocab_size),
               chunk = static_cast<double>(std::min(parallel.logit_chunk_tokens, t.count()));
    double layer = 0;
    for (const auto& l : shape.layers) layer = std::max(layer, forward_elements(shape, l, t));
    layer += t.partials(d) + t.shared_sum(d);
    const double pass = n * d + t.summed(d) + static_cast<double>(t.mine()) * d + t.sums(t.mine()) +
                        t.gathered(d),
                 logits = chunk * (ranks * words + (ranks > 1 ? words + ranks * words : 0));
    most = std::max(most, config.precision.value_bytes() * (pass + std::max(layer, logits)) +
                              2 * n * stored_bytes(config) + batch_bytes(t.count()));
  }
  return most;
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
    count += layer.width + (ranks_channels(layer) ? layer.head_channels : 0);
  return static_cast<double>(count);
}
index_t ranking_tensors(const ModelShape& shape) {
  index_t count = 2;
  for (const auto& layer : shape.layers) count += ranks_channels(layer) ? 2 : 1;
  return count;
}

/// Host memory for saving the largest file of the run.
SaveMemory saves_memory(const RunConfig& config, const ModelShape& shape, bool trains,
                        index_t router_parameters, int ranks) {
  const double parameters = parameter_count(shape),
               numbers = (trains ? 3 : 1) * parameters + 3 * static_cast<double>(router_parameters);
  double bytes = config.checkpoint.save ? sum_bytes * numbers : 0;
  if (config.job.has(Phase::rank) || config.job.has(Phase::elastic))  // parent.h5, model.h5
    bytes = std::max(bytes, config.precision.value_bytes() * parameters);
  index_t widest = shape.vocab_size;
  for (const auto& layer : shape.layers) widest = std::max(widest, layer.inner());
  return save_memory(bytes, sum_bytes * static_cast<double>(widest * shape.hidden_size), ranks);
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

index_t largest_micro_batch(const RunConfig& config, const Stage& stage) {
  const index_t most = micro_batch_samples(config, stage);
  if (!stage.elastic) return most;
  BudgetDeal deal(budget_deal_of(config, stage));
  std::size_t largest = 1;
  for (index_t step = 1; step <= std::min<index_t>(stage.steps, 4); ++step)
    for (const auto& batch : cut_groups(deal.groups(step), most))
      largest = std::max(largest, batch.samples.size());
  return static_cast<index_t>(largest);
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
    const PlanMemory memory = step_memory(config, local, stage).with(stage.recomputed);
    if (memory.step() > plan.step()) plan = memory;
  }
  const double values = config.precision.value_bytes() * parameter_count(local);
  plan.weights = values;
  plan.gradients = sum_bytes * parameter_count(local);
  const auto parameters = static_cast<index_t>(parameter_count(local));
  if (changes_model(curriculum)) {
    plan.moments = 2 * sum_bytes * most_owned(parameters, owners);
    if (config.precision.compute == Precision::bfloat16) plan.masters = plan.moments / 2;
  }
  const bool keeps_teacher = router_parameters > 0 && keeps_frozen_teacher(curriculum);
  if (keeps_teacher) plan.teacher = values;
  plan.router = 2 * sum_bytes *
                (static_cast<double>(router_parameters) + most_owned(router_parameters, owners));
  plan.sums = sums_memory(config, parameters, owners) +
              (router_parameters > 0 ? sums_memory(config, router_parameters, owners) : 0);
  const auto [copy, buffers] =
      saves_memory(config, parent, changes_model(curriculum), router_parameters, ranks);
  plan.snapshot = copy;
  plan.save_buffers = buffers;
  plan.ranking = ranking_memory(config, local);
  plan.teaching = teaching_memory(config, local);
  for (const auto& stage : curriculum.stages)
    plan.stored = std::max(plan.stored, stored_memory(config, stage, owners));
  if (!config.job.has(Phase::slice) || router_parameters == 0) return plan;
  plan.copy = values;
  if (config.job.has(Phase::evaluate) && !keeps_teacher)
    plan.copy += values;  // the parent, read again
  if (config.job.has(Phase::evaluate))
    plan.evaluation = evaluation_memory(config, local, curriculum.stages.back().config.seq_length);
  return plan;
}

index_t num_tensors(const ModelShape& shape) {
  index_t count = 3;                      // embeddings, final norm, output layer
  for (const auto& layer : shape.layers)  // and the norm before each
    count += 1 + static_cast<index_t>(description_of(layer).tensors.size());
  return count;
}

double model_file_bytes(const ModelShape& shape, std::size_t deck_characters, double value_bytes) {
  return value_bytes * parameter_count(shape) +
         tensor_overhead * static_cast<double>(num_tensors(shape)) + file_overhead +
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
  return sum_bytes * (parameters + sums) + ranking +
         tensor_overhead * static_cast<double>(tensors) + file_overhead +
         static_cast<double>(deck_characters);
}

}  // namespace elastic
