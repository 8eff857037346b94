// SPDX-License-Identifier: Apache-2.0
#include "plan/time.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "plan/memory.hpp"
#include "plan/ranking.hpp"

namespace elastic {
namespace {

/// Passes over one micro-batch on one rank.
class MicroBatch {
 public:
  MicroBatch(const RunConfig& config, const Machine& machine, const Layout& layout,
             index_t seq_length, index_t sequences, bool soft_masks)
      : m_config(config),
        m_machine(machine),
        m_layout(layout),
        m_sequences(sequences),
        m_tokens(static_cast<double>(sequences * seq_length) / static_cast<double>(layout.context)),
        m_pass{.seq_length = seq_length,
               .stream_share =
                   config.parallel.sequence_parallel ? 1 / static_cast<double>(layout.tensor) : 1,
               .keeps_input = true,
               .soft_masks = soft_masks} {}

  /// The part of a model that a rank holds.
  ModelShape local(const ModelShape& shape) const { return local_part(shape, m_layout.tensor); }

  double seconds_of(const Work& per_token) const {
    const RankRates& rate = m_machine.rank;
    return m_tokens *
           (per_token.products / rate.matrix_products + per_token.attention / rate.attention +
            per_token.scan / rate.scan + per_token.bytes / rate.kernel_bandwidth);
  }
  double seconds_of(const ReplicaTraffic& sent) const {
    double sum = 0;
    if (m_layout.tensor > 1)
      sum += seconds(sent.tensor, m_layout.tensor, m_machine.link(m_layout.tensor, 1));
    if (m_layout.context > 1)
      sum += seconds(sent.context, m_layout.context,
                     m_machine.link(m_layout.context, m_layout.tensor));
    return sum;
  }
  TensorTraffic traffic(const ModelShape& shape) const {
    return {.tokens = m_tokens,
            .hidden = static_cast<double>(shape.hidden_size),
            .layers = shape.num_layers(),
            .sequence_parallel = m_config.parallel.sequence_parallel};
  }
  ContextTraffic context_traffic() const {
    return {.sequences = static_cast<double>(m_sequences),
            .tokens = m_tokens * static_cast<double>(m_layout.context),
            .ranks = m_layout.context};
  }
  PassOptions without_backward() const {
    PassOptions options = m_pass;
    options.keeps_input = options.soft_masks = false;
    return options;
  }

  /// Seconds of a forward pass of which nothing is kept.
  double inference(const ModelShape& shape, ReplicaTraffic& sent) const {
    sent.tensor.add(1, traffic(shape).forward());
    sent.context.add(1, context_traffic().forward(local(shape)));
    return seconds_of(forward_work(local(shape), without_backward()));
  }

  /// Forward, loss and backward pass; `teacher`: the model whose logits the loss compares with.
  StepTime training(const ModelShape& shape, const ModelShape* teacher) const {
    const ModelShape part = local(shape);
    const TensorTraffic tensor = traffic(shape);
    StepTime time;
    time.forward = seconds_of(forward_work(part, m_pass));
    time.backward = seconds_of(backward_work(part, m_pass));
    time.sent.tensor.add(1, tensor.forward());
    time.sent.tensor.add(1, tensor.backward());
    time.sent.context.add(1, context_traffic().forward(part));
    time.sent.context.add(1, context_traffic().backward(part));
    if (m_config.parallel.recompute) {
      PassOptions again = m_pass;
      again.keeps_input = false;
      time.backward += seconds_of(stack_work(part, again));
      time.sent.tensor.add(1, tensor.stack());
      time.sent.context.add(1, context_traffic().forward(part));
    }
    const auto add_loss = [&](const ModelShape* source) {
      time.loss += seconds_of(loss_work(part, source));
      time.sent.tensor.add(1, tensor.loss(m_config.parallel.logit_chunk_tokens, source != nullptr));
    };
    if (!teacher || m_config.distill.cross_entropy_weight != 0) add_loss(nullptr);
    if (teacher) {
      const ModelShape source = local(*teacher);
      add_loss(&source);
    }
    time.messages = seconds_of(time.sent);
    return time;
  }

 private:
  const RunConfig& m_config;
  const Machine& m_machine;
  const Layout& m_layout;
  index_t m_sequences;
  double m_tokens;
  PassOptions m_pass;
};

void add(StepTime& sum, double factor, const StepTime& time) {
  sum.teacher += factor * time.teacher;
  sum.forward += factor * time.forward;
  sum.loss += factor * time.loss;
  sum.backward += factor * time.backward;
  sum.messages += factor * time.messages;
  sum.sent.add(factor, time.sent);
}

/// Adds the mean time of the budgets drawn on a replica's micro-batches, and how much
/// longer the slowest replica takes.
void add_budgets(const RunConfig& config, const MicroBatch& batch, const ModelShape& parent,
                 const Stage& stage, const ElasticPlan& elastic,
                 const std::vector<SubmodelSpec>& specs, const Layout& layout, index_t batches,
                 StepTime& step) {
  const bool distills = config.distill.distillation_weight != 0;
  if (distills) {
    StepTime shared;
    shared.teacher = batch.inference(parent, shared.sent);
    shared.messages = batch.seconds_of(shared.sent);
    add(step, static_cast<double>(batches), shared);
  }
  const auto& weights = stage.config.budget_probability;
  const index_t drawn = stage.config.budgets_per_micro_batch;
  const auto draws = expected_draws(weights, drawn);
  const ReplicaTraffic router =
      router_traffic(batch.local(parent), elastic.choices, config.parallel.sequence_parallel);
  std::vector<double> each;
  for (std::size_t b = 0; b < specs.size(); ++b) {
    StepTime own = batch.training(sliced_shape(parent, specs[b]), distills ? &parent : nullptr);
    own.messages += batch.seconds_of(router);
    own.sent.add(1, router);
    add(step, static_cast<double>(batches) * draws[b], own);
    each.push_back(own.total());
  }
  if (drawn < static_cast<index_t>(specs.size()))
    step.waiting = expected_lead(each, weights, batches * drawn, layout.replicas);
}

/// Adds what follows the last micro-batch. `last_backward`: seconds of one backward pass.
void add_update(const RunConfig& config, const Machine& machine, const ModelShape& parent,
                const Stage& stage, const ElasticPlan& elastic, const Layout& layout,
                double last_backward, StepTime& step) {
  const ModelShape local = local_part(parent, layout.tensor);
  const double model = parameter_count(local), memory = machine.rank.memory_bandwidth;
  const index_t owners = layout.replicas * layout.context;
  const auto bytes_of = [&](double elements) {
    const double owned = elements / static_cast<double>(owners);
    const bool moves = stage.config.learning_rate > 0;
    // All gradients are zeroed, the owned ones read for the norm; an update reads them again,
    // and reads and writes moments and values.
    return sum_bytes * (elements + owned + (moves ? 5 * owned : 0)) +
           value_bytes * (moves ? 2 * owned : 0);
  };
  const auto router = stage.elastic ? static_cast<double>(elastic.router_parameters) : 0;
  step.update = (bytes_of(model) + bytes_of(router)) / memory;
  if (layout.ranks() == 1) return;

  const Link& world = machine.link(layout.ranks(), 1);
  step.update += 3 * small_all_reduce(layout.ranks(), world);  // sums, agreement, norm
  const Link& group = machine.link(layout.tensor, 1);
  if (config.parallel.sequence_parallel)
    step.gradients += seconds(shared_gradient_traffic(parent), layout.tensor, group);
  if (owners == 1) return;
  const Link& link = machine.link(owners, layout.tensor);
  const OwnerTraffic sent = owner_traffic(static_cast<index_t>(model), owners),
                     routers = owner_traffic(static_cast<index_t>(router), owners);
  const double travelling = seconds(sent.gradients, owners, link),
               last = static_cast<double>(local.vocab_size * local.hidden_size) / model;
  const double overlap = config.parallel.sequence_parallel ? 0 : link.overlap;
  step.gradients += travelling - overlap * std::min(travelling * (1 - last), last_backward) +
                    seconds(routers.gradients, owners, link);
  // The owner's own part is copied twice, those of the others are added.
  const double added =
      (model + router) * (4 + 3 * static_cast<double>(owners - 1)) / static_cast<double>(owners);
  step.gradients += sum_bytes * added / memory;
  step.values = seconds(sent.values, owners, link) + seconds(routers.values, owners, link);
}

}  // namespace

double expected_lead(const std::vector<double>& values, const std::vector<double>& weights,
                     index_t draws, index_t replicas) {
  if (draws == 0 || replicas == 1 || values.empty()) return 0;
  const double largest = *std::max_element(values.begin(), values.end()),
               all = std::accumulate(weights.begin(), weights.end(), 0.0);
  // Sums lie on a grid: probability[k] is that of k units.
  const auto levels = std::max<std::size_t>(16, 8192 / static_cast<std::size_t>(draws));
  const double unit = largest / static_cast<double>(levels);
  if (unit <= 0) return 0;
  std::vector<double> probability = {1};
  for (index_t d = 0; d < draws; ++d) {
    std::vector<double> next(probability.size() + levels, 0.0);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto shift = static_cast<std::size_t>(std::lround(values[i] / unit));
      for (std::size_t k = 0; k < probability.size(); ++k)
        next[k + shift] += weights[i] / all * probability[k];
    }
    probability = std::move(next);
  }
  double mean = 0, mean_largest = 0, below = 0;
  for (std::size_t k = 0; k < probability.size(); ++k) {
    const double before = std::min(1.0, below);
    below += probability[k];
    const auto n = static_cast<double>(replicas), units = static_cast<double>(k);
    mean += units * probability[k];
    mean_largest += units * (std::pow(std::min(1.0, below), n) - std::pow(before, n));
  }
  return unit * std::max(0.0, mean_largest - mean);
}

StepTime step_time(const RunConfig& config, const Machine& machine, const ModelShape& parent,
                   const Stage& stage, const ElasticPlan& elastic,
                   const std::vector<SubmodelSpec>& specs, const Layout& layout) {
  const index_t size = config.parallel.micro_batch_size,
                count = stage.config.global_batch_size / size,
                batches = (count + layout.replicas - 1) / layout.replicas;
  const MicroBatch batch(config, machine, layout, stage.config.seq_length, size, stage.elastic);
  StepTime step;
  if (stage.elastic)
    add_budgets(config, batch, parent, stage, elastic, specs, layout, batches, step);
  else
    add(step, static_cast<double>(batches), batch.training(parent, nullptr));
  double passes = static_cast<double>(batches);
  if (stage.elastic) passes *= static_cast<double>(stage.config.budgets_per_micro_batch);
  add_update(config, machine, parent, stage, elastic, layout, step.backward / passes, step);
  return step;
}

double validation_time(const RunConfig& config, const Machine& machine, const ModelShape& parent,
                       const Stage& stage, const ElasticPlan& elastic, const Layout& layout) {
  const index_t size = std::min(config.parallel.micro_batch_size, config.evaluate.samples);
  if (size == 0) return 0;
  const index_t count = (config.evaluate.samples + size - 1) / size,
                batches = (count + layout.replicas - 1) / layout.replicas;
  const MicroBatch batch(config, machine, layout, stage.config.seq_length, size, false);
  double computing = 0;
  ReplicaTraffic sent;
  const auto add_model = [&](const ModelShape& shape) {
    computing += batch.inference(shape, sent) + batch.seconds_of(logits_work(batch.local(shape)));
  };
  if (!stage.elastic) add_model(parent);
  for (const auto& spec : stage.elastic ? elastic.specs : std::vector<SubmodelSpec>()) {
    add_model(sliced_shape(parent, spec));
    add_model(parent);  // the teacher
  }
  return static_cast<double>(batches) * (computing + batch.seconds_of(sent));
}

double ranking_time(const RunConfig& config, const Machine& machine, const ModelShape& parent,
                    const Layout& layout) {
  if (!config.job.has(Phase::rank)) return 0;
  const Layout whole{.tensor = layout.tensor, .replicas = layout.replicas * layout.context};
  const index_t size = std::min(config.parallel.micro_batch_size, config.rank.samples),
                count = (config.rank.samples + size - 1) / size,
                batches = (count + whole.replicas - 1) / whole.replicas;
  const MicroBatch batch(config, machine, whole, config.rank.seq_length, size, false);
  const RankingPlan plan = plan_ranking(config, batch.local(parent));
  TensorTraffic traffic = batch.traffic(parent);
  traffic.layers = 1;
  ReplicaTraffic sent;
  sent.tensor.add(plan.layer_passes, traffic.stack());
  traffic.layers = 0;
  sent.tensor.add(plan.models, traffic.forward());
  const double chunks =
      std::ceil(traffic.tokens / static_cast<double>(config.parallel.logit_chunk_tokens));
  sent.tensor.all_gather.add(
      plan.logits * chunks,
      value_bytes * traffic.tokens * static_cast<double>(parent.vocab_size) / chunks);
  return static_cast<double>(batches) * (batch.seconds_of(plan.per_token) + batch.seconds_of(sent));
}

}  // namespace elastic
