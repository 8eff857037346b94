// SPDX-License-Identifier: Apache-2.0
// The training algorithm as its equations say, in double: one sequence after another, plain sums,
// plain AdamW. Noise of the router is left out: compare with runs whose logit scale and temperature
// are so large that it does not matter (without_noise).
#pragma once
#include "config/curriculum.hpp"
#include "elastic/family.hpp"
#include "model/ranked_model.hpp"
#include "optim/lr_schedule.hpp"
#include "train/token_sources.hpp"
#include "train/train_step.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {

/// pi = softmax((s z + noise) / tau) with s / tau from 1 to 2.4, noise / tau below 1e-4.
inline const std::vector<std::string> without_noise = {
    "router/hard_sample_probability=0", "router/tau_start=1e5",       "router/tau_end=1.25e5",
    "router/logit_scale_start=1e5",     "router/logit_scale_end=3e5", "elastic/choice_epsilon=0"};

/// AdamW (Loshchilov and Hutter 2019, algorithm 2) on one store.
struct ReferenceAdam {
  std::vector<double> m, v;
  index_t count = 0;

  void update(const ParameterStore<double>& store, const AdamWConfig& c, double rate,
              double scale) {
    m.resize(static_cast<std::size_t>(store.num_elements()), 0);
    v.resize(m.size(), 0);
    ++count;
    auto w = to_host(store.values());
    const auto g = to_host(store.gradients());
    for (const auto& p : store)
      for (index_t i = p.offset; i < p.offset + p.size(); ++i) {
        m[i] = c.beta1 * m[i] + (1 - c.beta1) * scale * g[i];
        v[i] = c.beta2 * v[i] + (1 - c.beta2) * std::pow(scale * g[i], 2);
        const double m_hat = m[i] / (1 - std::pow(c.beta1, count)),
                     v_hat = v[i] / (1 - std::pow(c.beta2, count));
        w[i] -= rate * (m_hat / (std::sqrt(v_hat) + c.epsilon) +
                        (p.info.weight_decay ? c.weight_decay : 0) * w[i]);
      }
    assign(store.values(), w);
  }
};

/// The budgets that each sample of a step trains.
inline std::vector<std::vector<std::size_t>> budgets_of_samples(const RunConfig& config,
                                                                const Stage& stage, index_t s) {
  std::vector<std::vector<std::size_t>> budgets(
      static_cast<std::size_t>(stage.config.global_batch_size));
  BudgetDeal deal(budget_deal_of(config, stage));
  for (const auto& group : deal.groups(s))
    for (const index_t i : group.samples) budgets[static_cast<std::size_t>(i)] = group.budgets;
  return budgets;
}

/// Linear warm-up, then linear decay, at step s = 1, 2, ... of a stage of n steps.
inline double reference_rate(const StageConfig& stage, double peak, index_t s) {
  const auto n = static_cast<double>(stage.steps), w = static_cast<double>(stage.warmup_steps),
             x = static_cast<double>(s);
  if (x < w) return peak * x / w;
  return peak * (1 - (1 - stage.final_fraction) * (x - w) / (n - w));
}

class ReferenceRun {
 public:
  /// Starts with the values of `state`'s parent.
  ReferenceRun(const RunConfig& config, const TrainState<Real>& state)
      : m_config(config), m_model(state.model->shape()) {
    assign(m_model.parameters().values(), to_double(state.model->parameters().values()));
  }
  const ParameterStore<double>& model() const { return m_model.parameters(); }
  const ParameterStore<double>& router() const { return m_router->parameters(); }

  /// Ranks the parent, freezes the teacher, starts moments anew; the router has the values of
  /// `elastic`'s.
  void begin_elastic(const ElasticState<Real>& elastic) {
    apply_ranking_to_model(elastic.ranking, m_model);
    m_teacher.emplace(m_model.shape(), true);
    assign(m_teacher->parameters().values(), to_host(m_model.parameters().values()));
    m_space = elastic.space;
    m_decisions = elastic.decisions;
    m_soft.emplace(m_model.shape(), m_space, m_config.elastic.choice_epsilon);
    m_router.emplace(m_decisions, m_config.elastic.budgets, m_config.router.net, 0);
    assign(m_router->parameters().values(), to_double(elastic.router->parameters().values()));
    m_adam = {};
  }

  /// Cross-entropy per token that counts.
  StepMetrics parent_step(const Stage& stage, index_t s) {
    begin_step();
    for_each_sequence(stage, s, [&](const LayerContext& context, const Sequence& sequence) {
      const auto sums = pass(context, sequence, m_model.full_widths(), {}, {});
      m_weight += sequence.weight_sum;
      m_loss += sums.cross_entropy;
    });
    return finish(stage, s, false);
  }

  /// `progress`: of the router's schedules. `budgets`: those that each sequence of the step trains.
  StepMetrics elastic_step(const Stage& stage, index_t s, double progress,
                           const std::vector<std::vector<std::size_t>>& budgets) {
    begin_step();
    const auto& schedule = m_config.router.schedule;
    const RouterTemperature temperature = {
        schedule.logit_scale_start * (1 - progress) + schedule.logit_scale_end * progress,
        std::exp(std::log(schedule.tau_start) * (1 - progress) +
                 std::log(schedule.tau_end) * progress)};
    m_budgets.assign(m_config.elastic.budgets.size(), {});
    std::vector<double> tokens(m_budgets.size(), 0.0);
    const bool trainable = stage.config.teacher == TeacherKind::trainable;
    const double alpha = stage.config.teacher_cross_entropy_weight;
    double teacher_loss = 0;
    std::size_t i = 0;
    for_each_sequence(stage, s, [&](const LayerContext& context, const Sequence& sequence) {
      // The values of a trainable teacher are those of the model: its gradient stops here.
      if (trainable)
        assign(m_teacher->parameters().values(), to_host(m_model.parameters().values()));
      auto teacher_pass = m_teacher->make_pass(Keep::nothing);
      m_teacher->forward(context, m_teacher->full_widths(), sequence.tokens, teacher_pass);
      for (const std::size_t b : budgets.at(i++)) {
        train_budget(context, sequence, b, temperature, {&*m_teacher, teacher_pass.hidden});
        tokens[b] += sequence.weight_sum;
        if (!trainable) continue;
        const auto sums =
            pass(context, sequence, m_model.full_widths(), {}, {.cross_entropy_weight = alpha});
        teacher_loss += sums.cross_entropy;
        m_loss += alpha * sums.cross_entropy;
      }
    });
    auto metrics = finish(stage, s, learns());
    if (learns()) metrics.tau = temperature.tau;
    if (trainable) metrics.teacher_cross_entropy = teacher_loss / m_weight;
    if (learns()) metrics.logit_scale = temperature.logit_scale;
    for (std::size_t b = 0; b < m_budgets.size(); ++b) m_budgets[b].share = tokens[b] / m_weight;
    for (std::size_t b = 0; b < m_budgets.size(); ++b)
      for (double StepMetrics::Budget::*part :
           {&StepMetrics::Budget::kl, &StepMetrics::Budget::cross_entropy,
            &StepMetrics::Budget::budget_loss, &StepMetrics::Budget::relative_cost})
        m_budgets[b].*part /= tokens[b];  // NaN where the budget is not trained
    metrics.budgets = m_budgets;
    return metrics;
  }

 private:
  struct Sequence {
    View1<token_t> tokens, targets;
    View1<float> weight;
    double weight_sum;
  };

  void begin_step() {
    Kokkos::deep_copy(m_model.parameters().gradients(), 0.0);
    if (m_router) Kokkos::deep_copy(m_router->parameters().gradients(), 0.0);
    m_weight = m_loss = 0;
  }
  template <class Body>
  void for_each_sequence(const Stage& stage, index_t s, const Body& body) {
    const auto source = make_source(m_config, stage.stream);
    const index_t count = stage.config.global_batch_size, length = stage.config.seq_length;
    for (index_t i = (s - 1) * count; i < s * count; ++i) {
      const Arena::Scope scope(m_arena);
      const Batch row = make_batch(*source, Split::train, i, 1, length);
      double weight = 0;
      for (const float w : row.weight) weight += w;
      body({.exec = {},
            .arena = &m_arena,
            .batch = 1,
            .seq_length = length,
            .segment = to_device(row.segment)},
           {to_device(row.tokens), to_device(row.targets), to_device(row.weight), weight});
    }
  }
  LossSums pass(const LayerContext& context, const Sequence& sequence,
                const ActiveWidths<double>& widths, const TeacherStates<double>& teacher,
                const LossConfig& loss) {
    const Arena::Scope scope(m_arena);
    auto pass = m_model.make_pass(Keep::everything);
    m_model.forward(context, widths, sequence.tokens, pass);
    const auto dhidden = m_arena.matrix<double>(context.num_tokens(), widths.hidden);
    const auto sums = differentiate_losses<double>(context, m_model, pass.hidden,
                                                   {sequence.targets, sequence.weight}, teacher,
                                                   loss, 1, dhidden);
    m_model.backward(context, widths, sequence.tokens, pass, dhidden);
    return sums;
  }
  void train_budget(const LayerContext& context, const Sequence& sequence, std::size_t b,
                    const RouterTemperature& temperature, const TeacherStates<double>& teacher) {
    const auto& distill = m_config.distill;
    const LossConfig loss = {.cross_entropy_weight = distill.cross_entropy_weight,
                             .distillation_weight = distill.distillation_weight,
                             .temperature = distill.temperature};
    const double fraction = m_config.elastic.budgets[b], n = sequence.weight_sum,
                 lambda = m_config.elastic.weight;
    if (!learns()) return train_fixed(context, sequence, b, teacher, loss);
    const Probabilities pi = m_router->forward({}, fraction, temperature, 0).soft;
    const auto sums = pass(context, sequence, m_soft->set({}, pi), teacher, loss);
    const auto cost =
        budget_loss(m_model.shape(), m_space, m_decisions, pi, fraction, m_config.elastic.loss);
    Probabilities dpi = m_soft->gradient({});
    for (std::size_t d = 0; d < dpi.size(); ++d)
      for (std::size_t i = 0; i < dpi[d].size(); ++i) dpi[d][i] += n * lambda * cost.gradient[d][i];
    m_router->backward({}, dpi);
    m_weight += n;
    m_loss += distill.distillation_weight * sums.kl +
              distill.cross_entropy_weight * sums.cross_entropy + n * lambda * cost.value;
    m_budgets[b].kl += sums.kl;
    m_budgets[b].cross_entropy += sums.cross_entropy;
    m_budgets[b].budget_loss += n * cost.value;
    m_budgets[b].relative_cost += n * cost.relative_cost;
  }
  bool learns() const { return m_config.router.widths == WidthChoice::learned; }
  /// On the prefixes of the homogeneous submodel, which meets its budget.
  void train_fixed(const LayerContext& context, const Sequence& sequence, std::size_t b,
                   const TeacherStates<double>& teacher, const LossConfig& loss) {
    const ModelShape& shape = m_model.shape();
    const auto& costs = m_config.elastic.loss;
    const SubmodelSpec spec = homogeneous_submodel(shape, m_space, m_config.elastic.budgets[b],
                                                   {1, costs.tolerance, costs.costs});
    const double n = sequence.weight_sum;
    const auto sums = pass(context, sequence, prefix_widths<double>(shape, spec), teacher, loss);
    m_weight += n;
    m_loss += loss.distillation_weight * sums.kl + loss.cross_entropy_weight * sums.cross_entropy;
    m_budgets[b].kl += sums.kl;
    m_budgets[b].cross_entropy += sums.cross_entropy;
    m_budgets[b].relative_cost += n * relative_cost(shape, spec, costs.costs.front());
  }
  StepMetrics finish(const Stage& stage, index_t s, bool with_router) {
    double squares = dot(m_model.parameters().gradients(), m_model.parameters().gradients());
    if (with_router)
      squares += dot(m_router->parameters().gradients(), m_router->parameters().gradients());
    const double norm = std::sqrt(squares) / m_weight, limit = m_config.optimizer.clip_grad_norm,
                 scale = (limit > 0 && norm > limit ? limit / norm : 1) / m_weight;
    const double rate = reference_rate(stage.config, stage.config.learning_rate, s);
    m_adam.model.update(m_model.parameters(), m_config.optimizer.adamw, rate, scale);
    if (with_router)
      m_adam.router.update(m_router->parameters(), m_config.optimizer.adamw,
                           reference_rate(stage.config, stage.config.router_learning_rate, s),
                           scale);
    return {.loss = m_loss / m_weight, .gradient_norm = norm, .learning_rate = rate, .budgets = {}};
  }

  const RunConfig& m_config;
  LanguageModel<double> m_model;
  std::optional<LanguageModel<double>> m_teacher;
  ElasticSpace m_space;
  std::vector<Decision> m_decisions;
  std::optional<SoftWidths<double>> m_soft;
  std::optional<Router<double>> m_router;
  struct {
    ReferenceAdam model, router;
  } m_adam;
  Arena m_arena;
  double m_weight = 0, m_loss = 0;
  std::vector<StepMetrics::Budget> m_budgets;
};

}  // namespace elastic::test
