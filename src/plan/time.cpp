// SPDX-License-Identifier: Apache-2.0
#include "plan/time.hpp"

#include <algorithm>

#include "parallel/share_out.hpp"
#include "plan/memory.hpp"
#include "plan/ranking.hpp"

namespace elastic {
namespace {

bool keeps_layers(const SubmodelSpec& spec) {
  return std::any_of(spec.layers.begin(), spec.layers.end(),
                     [](const LayerWidths& layer) { return layer.keep; });
}

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
            per_token.scan / rate.scan +
            m_config.precision.value_bytes() * per_token.elements / rate.kernel_bandwidth);
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
            .sequence_parallel = m_config.parallel.sequence_parallel,
            .value_bytes = m_config.precision.value_bytes()};
  }
  ContextTraffic context_traffic() const {
    return {.sequences = static_cast<double>(m_sequences),
            .tokens = m_tokens * static_cast<double>(m_layout.context),
            .ranks = m_layout.context,
            .value_bytes = m_config.precision.value_bytes()};
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

  /// Forward pass, losses and backward pass of a submodel of the parent.
  StepTime training(const ModelShape& parent, const SubmodelSpec& spec,
                    const TrainingPasses& passes) const {
    const ModelShape shape = sliced_shape(parent, spec), part = local(shape);
    const TensorTraffic tensor = traffic(shape);
    StepTime time;
    time.forward = seconds_of(forward_work(part, m_pass));
    time.backward = seconds_of(backward_work(part, m_pass));
    time.sent.tensor.add(1, tensor.forward());
    time.sent.tensor.add(1, tensor.backward());
    time.sent.context.add(1, context_traffic().forward(part));
    time.sent.context.add(1, context_traffic().backward(part));
    if (const auto again = repeated_part(spec, passes.recomputed); keeps_layers(again)) {
      PassOptions options = m_pass;
      options.keeps_input = false;
      const ModelShape repeated = sliced_shape(parent, again), repeated_here = local(repeated);
      time.backward += seconds_of(stack_work(repeated_here, options));
      time.sent.tensor.add(1, traffic(repeated).stack());
      time.sent.context.add(1, context_traffic().forward(repeated_here));
    }
    const auto add_loss = [&](bool distills) {
      time.loss += seconds_of(loss_work(part, distills && !passes.reads_teacher));
      time.sent.tensor.add(1, tensor.loss(m_config.parallel.logit_chunk_tokens, distills));
    };
    if (passes.cross_entropy) add_loss(false);
    if (passes.distills) {
      add_loss(true);
      if (!passes.reads_teacher && !passes.keeps_logits)
        time.loss += seconds_of(logits_work(local(parent)));
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

/// Steps over which the plan takes means: what is rounded off in one is made up for in others.
constexpr index_t planned_steps = 12;

/// Passes over the micro-batches of an elastic step, by their number of samples.
class ElasticPasses {
 public:
  ElasticPasses(const RunConfig& config, const Machine& machine, const ModelShape& parent,
                const Stage& stage, const ElasticPlan& elastic,
                const std::vector<SubmodelSpec>& specs, const Layout& layout) {
    const TrainingPasses passes = training_passes(config, stage),
                         own_passes{.recomputed = passes.recomputed};
    for (index_t size = 1; size <= micro_batch_samples(config, stage); ++size) {
      const MicroBatch batch(config, machine, layout, stage.config.seq_length, size, true);
      ReplicaTraffic router;
      if (config.router.widths == WidthChoice::learned)
        router =
            router_traffic(batch.local(parent), elastic.choices, config.parallel.sequence_parallel);
      Times times;
      const bool asks_teacher = passes.distills && !passes.reads_teacher;
      if (asks_teacher && passes.trains_teacher) {
        const MicroBatch full(config, machine, layout, stage.config.seq_length, size, false);
        const StepTime own = full.training(parent, full_spec(parent), own_passes);
        times.teacher.teacher = own.computing();
        times.teacher.messages = own.messages;
        times.teacher.sent = own.sent;
      } else if (asks_teacher) {
        times.teacher.teacher = batch.inference(parent, times.teacher.sent);
        times.teacher.messages = batch.seconds_of(times.teacher.sent);
      }
      if (passes.keeps_logits)
        times.teacher.teacher += batch.seconds_of(logits_work(batch.local(parent)));
      for (const auto& spec : specs) {
        StepTime own = batch.training(parent, spec, passes);
        own.messages += batch.seconds_of(router);
        own.sent.add(1, router);
        times.budgets.push_back(own);
      }
      m_times.push_back(times);
    }
  }
  StepTime of(const DrawGroup& batch) const {
    const Times& times = m_times[batch.samples.size() - 1];
    StepTime sum = times.teacher;
    for (const std::size_t b : batch.budgets) add(sum, 1, times.budgets[b]);
    return sum;
  }

 private:
  struct Times {
    StepTime teacher;
    std::vector<StepTime> budgets;
  };
  std::vector<Times> m_times;  // of 1, 2, ... samples
};

/// Adds the mean time of a replica's micro-batches, and how much longer the slowest replica takes
/// when they are shared out as train/step_deal does it. Returns the passes of a replica.
double add_elastic(const RunConfig& config, const Stage& stage, const ElasticPasses& passes,
                   const Layout& layout, StepTime& step) {
  BudgetDeal deal(budget_deal_of(config, stage));
  const index_t steps = std::min(planned_steps, stage.steps);
  double waiting = 0, count = 0;
  for (index_t s = 1; s <= steps; ++s) {
    StepTime all;
    std::vector<double> each;
    for (const auto& batch : cut_groups(deal.groups(s), micro_batch_samples(config, stage))) {
      const StepTime time = passes.of(batch);
      add(all, 1, time);
      each.push_back(time.total());
      count += static_cast<double>(batch.budgets.size());
    }
    std::vector<double> busy(static_cast<std::size_t>(layout.replicas), 0.0);
    const auto replica_of = share_out(each, layout.replicas);
    for (std::size_t i = 0; i < each.size(); ++i)
      busy[static_cast<std::size_t>(replica_of[i])] += each[i];
    const double mean = all.total() / static_cast<double>(layout.replicas),
                 lead = *std::max_element(busy.begin(), busy.end()) - mean;
    if (lead > 1e-9 * mean) waiting += lead;  // the rest is rounding
    add(step, 1 / static_cast<double>(steps * layout.replicas), all);
  }
  step.waiting = waiting / static_cast<double>(steps);
  return count / static_cast<double>(steps * layout.replicas);
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
           config.precision.value_bytes() * (moves ? 2 * owned : 0);
  };
  const auto router = stage.elastic ? static_cast<double>(elastic.router_parameters) : 0;
  step.update = (bytes_of(model) + bytes_of(router)) / memory;
  if (layout.ranks() == 1) return;

  const Link& world = machine.link(layout.ranks(), 1);
  // Agreement on data, sums, norm; whether gradients and then values are finite.
  step.update += 5 * small_all_reduce(layout.ranks(), world);
  if (stage.elastic && layout.replicas > 1)
    step.update +=
        3 * small_all_reduce(layout.ranks(), world);  // who computes what: agreed, two broadcasts
  const Link& group = machine.link(layout.tensor, 1);
  if (config.parallel.sequence_parallel)
    step.gradients += seconds(shared_gradient_traffic(parent), layout.tensor, group);
  if (owners == 1) return;
  const Link& link = machine.link(owners, layout.tensor);
  const OwnerTraffic sent = owner_traffic(static_cast<index_t>(model), owners,
                                          config.precision.value_bytes()),
                     routers = owner_traffic(static_cast<index_t>(router), owners, sum_bytes);
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

StepTime step_time(const RunConfig& config, const Machine& machine, const ModelShape& parent,
                   const Stage& stage, const ElasticPlan& elastic,
                   const std::vector<SubmodelSpec>& specs, const Layout& layout) {
  StepTime step;
  double passes = 0;
  if (stage.elastic) {
    const ElasticPasses elastic_passes(config, machine, parent, stage, elastic, specs, layout);
    passes = add_elastic(config, stage, elastic_passes, layout, step);
  } else {
    const index_t size = micro_batch_samples(config, stage),
                  count = (stage.config.global_batch_size + size - 1) / size,
                  batches = (count + layout.replicas - 1) / layout.replicas;
    const MicroBatch batch(config, machine, layout, stage.config.seq_length, size, false);
    passes = static_cast<double>(batches);
    add(step, passes, batch.training(parent, full_spec(parent), training_passes(config, stage)));
  }
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
  const bool has_teacher =
      stage.config.teacher != TeacherKind::stored || keeps_frozen_teacher(make_curriculum(config));
  if (!stage.elastic) add_model(parent);
  for (const auto& spec : stage.elastic ? elastic.specs : std::vector<SubmodelSpec>()) {
    add_model(sliced_shape(parent, spec));
    if (has_teacher) add_model(parent);
  }
  return static_cast<double>(batches) * (computing + batch.seconds_of(sent));
}

double teaching_time(const RunConfig& config, const Machine& machine, const ModelShape& parent,
                     const Layout& layout) {
  if (!config.job.has(Phase::teach)) return 0;
  const Layout whole{.tensor = layout.tensor, .replicas = layout.replicas * layout.context};
  const index_t size = config.parallel.micro_batch_size;
  double sum = 0;
  for (const auto& stage : config.stages) {
    if (stage.teacher != TeacherKind::stored) continue;
    const MicroBatch batch(config, machine, whole, stage.seq_length, size, false);
    const index_t samples = stage.num_steps() * stage.global_batch_size,
                  batches = (samples + size * whole.replicas - 1) / (size * whole.replicas);
    ReplicaTraffic sent;
    double computing =
        batch.inference(parent, sent) + batch.seconds_of(logits_work(batch.local(parent)));
    sent.tensor.all_gather.add(1, config.precision.value_bytes() *
                                      static_cast<double>(size * stage.seq_length) *
                                      static_cast<double>(parent.vocab_size));
    sum += static_cast<double>(batches) * (computing + batch.seconds_of(sent));
  }
  return sum;
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
      traffic.value_bytes * traffic.tokens * static_cast<double>(parent.vocab_size) / chunks);
  return static_cast<double>(batches) * (batch.seconds_of(plan.per_token) + batch.seconds_of(sent));
}

}  // namespace elastic
