// SPDX-License-Identifier: Apache-2.0
#include "train/train_step.hpp"

#include <cmath>
#include <limits>
#include <numeric>

#include "base/region.hpp"
#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "elastic/budget_sampler.hpp"
#include "optim/grad_clip.hpp"

namespace elastic {

namespace {
Keep keep_mode(const RunConfig& config) {
  return config.parallel.recompute ? Keep::inputs : Keep::everything;
}

LossConfig loss_config(const RunConfig& config, bool elastic) {
  LossConfig loss{.tokens_per_chunk = config.parallel.logit_chunk_tokens};
  if (elastic) {
    loss.cross_entropy_weight = config.distill.cross_entropy_weight;
    loss.distillation_weight = config.distill.distillation_weight;
    loss.temperature = config.distill.temperature;
  }
  return loss;
}

/// Name of the first tensor whose gradient is not finite; empty if all are.
template <class T>
std::string first_bad_gradient(const ParameterStore<T>& parameters) {
  for (const auto& parameter : parameters) {
    const auto h_gradient =
        Kokkos::create_mirror_view_and_copy(HostSpace(), parameter.gradient_vector());
    for (std::size_t i = 0; i < h_gradient.extent(0); ++i)
      if (!std::isfinite(h_gradient(i))) return parameter.info.name;
  }
  return {};
}

/// How sequences are cut up; nothing where they stay whole.
std::optional<Spans> spans_of(const ProcessGrid& grid, const RunConfig& config) {
  const Shard rank{grid.context.rank(), grid.context.size()};
  const index_t halo = config.model.mamba_d_conv - 1;
  if (config.job.deterministic) return Spans(grid.context, SpanLayout::fixed(rank), halo);
  if (rank.size > 1) return Spans(grid.context, SpanLayout::balanced(rank), halo);
  return std::nullopt;
}
}  // namespace

TrainStep::TrainStep(const ProcessGrid& grid, const RunConfig& config, const Curriculum& curriculum,
                     Arena& arena)
    : m_grid(grid),
      m_config(config),
      m_curriculum(curriculum),
      m_arena(arena),
      m_batch(spans_of(grid, config)) {}

const TokenSource& TrainStep::source_of(const Stage& stage) {
  if (!m_source || m_source_stream != stage.stream) {
    m_source = make_source(m_config, stage.stream);
    m_source_stream = stage.stream;
  }
  return *m_source;
}

std::vector<std::size_t> TrainStep::budgets_of(const Stage& stage, index_t step,
                                               index_t micro_batch) const {
  const std::size_t count = m_config.elastic.budgets.size();
  auto probability = stage.config.budget_probability;
  if (probability.empty()) probability.assign(count, 1.0);
  std::vector<std::size_t> drawn;
  if (stage.config.budgets_per_micro_batch == static_cast<index_t>(count)) {
    drawn.resize(count);
    std::iota(drawn.begin(), drawn.end(), std::size_t{0});
    return drawn;
  }
  // Drawn without replacement: a budget that is drawn leaves the urn.
  for (index_t i = 0; i < stage.config.budgets_per_micro_batch; ++i) {
    const auto seed = static_cast<std::uint32_t>(m_config.job.seed) + static_cast<std::uint32_t>(i);
    const auto budget =
        static_cast<std::size_t>(sample_budget(seed, step, micro_batch, probability));
    drawn.push_back(budget);
    probability[budget] = 0;
    if (std::accumulate(probability.begin(), probability.end(), 0.0) == 0) break;
  }
  return drawn;
}

LayerContext TrainStep::context() {
  auto context = m_batch.context(m_exec, m_arena);
  if (m_blocks) context.sums = &*m_blocks;
  return context;
}

void TrainStep::train_parent(TrainState& state, bool last, TrainSums& sums) {
  const Arena::Scope scope(m_arena);
  const auto context = this->context();
  const auto& model = *state.model;
  const auto widths = model.full_widths();
  auto pass = model.make_pass(keep_mode(m_config));
  {
    const Region region("forward");
    model.forward(context, widths, m_batch.tokens(), pass);
  }
  const auto dhidden = m_arena.matrix<Real>(context.num_tokens(), widths.hidden);
  {
    const Region region("loss");
    sums.loss() += differentiate_losses<Real>(context, model, pass.hidden, m_batch.targets(), {},
                                              loss_config(m_config, false), 1, dhidden)
                       .cross_entropy;
  }
  const Region region("backward");
  model.backward(context, widths, m_batch.tokens(), pass, dhidden, completion(last));
  if (m_grid.context.is_root()) sums.weight() += m_batch.weight_sum();
}

void TrainStep::sum_mask_gradients(const SoftWidths<Real>& soft_widths, bool tokens_shared_out) {
  const auto sum = [&](const auto& gradients) {
    all_reduce_sum(m_grid.context, gradients);
    if (tokens_shared_out)
      all_reduce_sum(m_grid.tensor, prefix(gradients, soft_widths.num_shared_gradients()));
  };
  if (!m_mask_gradients) return sum(soft_widths.gradients());
  sum(m_mask_gradients->sums());
  m_mask_gradients->finish();
}

void TrainStep::train_budget(TrainState& state, std::size_t budget, std::uint64_t stream,
                             const RouterTemperature& temperature,
                             const TeacherStates<Real>& teacher, bool last, TrainSums& sums) {
  const Arena::Scope scope(m_arena);
  ElasticState& elastic = *state.elastic;
  const auto& model = *state.model;
  const double fraction = m_config.elastic.budgets[budget], tokens = m_batch.weight_sum();
  const auto context = this->context();

  const Probabilities pi = elastic.router->forward(m_exec, fraction, temperature, stream);
  const auto& widths = elastic.soft_widths->set(m_exec, pi);
  if (m_mask_gradients) m_mask_gradients->begin();
  auto pass = model.make_pass(keep_mode(m_config));
  {
    const Region region("forward");
    model.forward(context, widths, m_batch.tokens(), pass);
  }
  const auto dhidden = m_arena.matrix<Real>(context.num_tokens(), widths.hidden);
  LossSums losses;
  {
    const Region region("loss");
    losses = differentiate_losses<Real>(context, model, pass.hidden, m_batch.targets(), teacher,
                                        loss_config(m_config, true), 1, dhidden);
  }
  {
    const Region region("backward");
    model.backward(context, widths, m_batch.tokens(), pass, dhidden, completion(last));
  }
  sums.of(budget, TrainSums::kl) += losses.kl;
  sums.of(budget, TrainSums::cross_entropy) += losses.cross_entropy;
  const Region region("router");
  sum_mask_gradients(*elastic.soft_widths, model.parallel().sequence_parallel());
  Probabilities dpi = elastic.soft_widths->gradient(m_exec);
  for (auto& decision : dpi) all_reduce_sum(m_grid.tensor, decision);
  if (!m_grid.context.is_root()) return;  // what follows is about whole sequences
  const BudgetLoss cost = budget_loss(model.shape(), elastic.space, elastic.decisions, pi, fraction,
                                      m_config.elastic.loss);
  for (std::size_t d = 0; d < dpi.size(); ++d)
    for (std::size_t i = 0; i < dpi[d].size(); ++i)
      dpi[d][i] += tokens * m_config.elastic.weight * cost.gradient[d][i];
  elastic.router->backward(m_exec, dpi);

  sums.weight() += tokens;
  sums.of(budget, TrainSums::tokens) += tokens;
  sums.of(budget, TrainSums::budget_loss) += tokens * cost.value;
  sums.of(budget, TrainSums::relative_cost) += tokens * cost.relative_cost;
}

void TrainStep::train_elastic(TrainState& state, const Stage& stage, index_t micro_batch,
                              const Batch& batch, bool last, TrainSums& sums) {
  const Arena::Scope scope(m_arena);
  const auto& teacher = *state.elastic->teacher;
  const index_t step = state.step + 1;
  auto pass = teacher.make_pass(Keep::nothing);
  TeacherStates<Real> states;
  if (m_config.distill.distillation_weight != 0) {
    const Region region("teacher");
    teacher.forward(context(), teacher.full_widths(), m_batch.tokens(), pass);
    states = {.model = &teacher, .hidden = pass.hidden};
  }
  const auto temperature = m_config.router.schedule.at(m_curriculum.router_progress(step));
  const index_t micro_batches = stage.config.global_batch_size / batch.batch;
  const auto budgets = budgets_of(stage, step, micro_batch);
  for (const std::size_t budget : budgets) {
    const auto draw =
        static_cast<std::uint64_t>((step * micro_batches + micro_batch) *
                                       static_cast<index_t>(m_config.elastic.budgets.size()) +
                                   static_cast<index_t>(budget));
    train_budget(state, budget, draw, temperature, states, last && budget == budgets.back(), sums);
  }
}

/// In the last backward pass of a step, lets the gradients of finished layers travel.
GradientsComplete TrainStep::completion(bool last) {
  if (!last) return {};
  return [this](index_t offset) { m_model_gradients->complete_from(offset); };
}

/// Sums over ranks. Every rank of the run takes part, also after an error of its own.
void TrainStep::reduce(const Stage& stage, TrainSums& sums) {
  const Region region("all_reduce");
  sums.reduce(m_grid.data_context);
  for (std::size_t b = 0; stage.elastic && b < m_config.elastic.budgets.size(); ++b)
    sums.loss() += m_config.distill.distillation_weight * sums.of(b, TrainSums::kl) +
                   m_config.distill.cross_entropy_weight * sums.of(b, TrainSums::cross_entropy) +
                   m_config.elastic.weight * sums.of(b, TrainSums::budget_loss);
  m_in_range = m_model_gradients->finish();
  if (stage.elastic) m_in_range = m_router_gradients->finish() && m_in_range;
}

/// The elements that this rank adds to the norm over the whole model:
/// those of its optimizer slices.
std::vector<View1<const Accumulate<Real>>> TrainStep::counted_gradients(const TrainState& state,
                                                                        const Stage& stage) const {
  const auto of = [&](const auto& store) {
    const auto owned = optimizer_slices(store, state.replica.size).of(state.replica.rank);
    return elastic::counted_gradients(store, owned, m_grid.tensor.is_root());
  };
  auto counted = of(state.model->parameters());
  if (stage.elastic)
    for (const auto& part : of(state.elastic->router->parameters())) counted.push_back(part);
  return counted;
}

StepMetrics TrainStep::finish(TrainState& state, const Stage& stage, TrainSums& sums) {
  const Region region("update");
  const index_t step = state.step + 1, local_step = step - stage.first_step;
  auto& parameters = state.model->parameters();
  const double per_token = sums.weight() > 0 ? 1 / sums.weight() : 0;
  const auto clip =
      clip_gradients<Accumulate<Real>>(m_exec, m_grid.world, counted_gradients(state, stage),
                                       m_config.optimizer.clip_grad_norm, per_token);
  if (!m_in_range || !clip.finite() || !std::isfinite(sums.loss())) {
    std::string bad = first_bad_gradient(parameters);
    if (bad.empty() && stage.elastic) bad = first_bad_gradient(state.elastic->router->parameters());
    throw NumericsError(fmt::format(
        "step {} ({}): loss {}, gradient norm {}; first tensor that is not finite: {}", step,
        stage.config.name, sums.loss() * per_token, clip.norm, bad.empty() ? "none" : bad));
  }
  const double rate = stage.learning_rate(local_step);
  const index_t optimizer_step = stage.elastic ? step - m_curriculum.elastic_begin : step;
  const auto update = [&](auto& optimizer, const auto& store, double rate_) {
    optimizer.step(m_exec, m_config.optimizer.adamw, rate_, optimizer_step, clip.scale);
    const Region gather("all_gather");
    gather_slices(m_grid.data_context, optimizer_slices(store, state.replica.size), store.values());
  };
  if (state.optimizer) update(*state.optimizer, parameters, rate);
  StepMetrics metrics{.loss = sums.loss() * per_token,
                      .gradient_norm = clip.norm,
                      .learning_rate = rate,
                      .budgets = {}};
  if (stage.elastic) {
    update(*state.elastic->router_optimizer, state.elastic->router->parameters(),
           stage.router_learning_rate(local_step));
    const auto temperature = m_config.router.schedule.at(m_curriculum.router_progress(step));
    metrics.tau = temperature.tau;
    metrics.logit_scale = temperature.logit_scale;
    for (std::size_t b = 0; b < m_config.elastic.budgets.size(); ++b) {
      const double n = sums.of(b, TrainSums::tokens),
                   nan = std::numeric_limits<double>::quiet_NaN();
      const auto mean = [&](TrainSums::Column column) {
        return n > 0 ? sums.of(b, column) / n : nan;
      };
      // A loss without weight is not computed.
      const auto& weights = m_config.distill;
      metrics.budgets.push_back(
          {.kl = weights.distillation_weight > 0 ? mean(TrainSums::kl) : nan,
           .cross_entropy = weights.cross_entropy_weight > 0 ? mean(TrainSums::cross_entropy) : nan,
           .budget_loss = mean(TrainSums::budget_loss),
           .relative_cost = mean(TrainSums::relative_cost)});
    }
  }
  return metrics;
}

/// Trains this replica's share of the step. Deterministic sums are over single sequences.
void TrainStep::train_micro_batches(TrainState& state, const Stage& stage, TrainSums& sums) {
  const index_t size = m_config.job.deterministic ? 1 : m_config.parallel.micro_batch_size,
                local_step = state.step - stage.first_step;
  const index_t first_sample = local_step * stage.config.global_batch_size;
  const index_t replica = m_grid.data.rank(), replicas = m_grid.data.size();
  const index_t count = stage.config.global_batch_size / size;
  for (index_t m = replica; m < count; m += replicas) {
    Batch batch;
    {
      const Region data("data");
      batch = make_batch(source_of(stage), Split::train, first_sample + m * size, size,
                         stage.config.seq_length);
      m_batch.set(m_exec, batch);
    }
    TrainSums own(m_config.elastic.budgets.size());
    if (stage.elastic)
      train_elastic(state, stage, m, batch, m + replicas >= count, own);
    else
      train_parent(state, m + replicas >= count, own);
    if (m_config.job.deterministic) own.round();
    sums.add(own);
    if (stage.elastic) m_router_gradients->end_block();
  }
}

/// Sets the gradients of the stage to zero.
void TrainStep::begin_gradients(const TrainState& state, const Stage& stage) {
  const bool deterministic = m_config.job.deterministic;
  const auto begin = [&](std::optional<GradientSum>& sum, const auto& store,
                         bool tokens_shared_out) {
    if (!sum || !sum->is_of(store.gradients()))
      sum.emplace(m_grid, store, optimizer_slices(store, state.replica.size), deterministic,
                  tokens_shared_out);
    sum->begin();
  };
  begin(m_model_gradients, state.model->parameters(), state.model->parallel().sequence_parallel());
  if (stage.elastic) begin(m_router_gradients, state.elastic->router->parameters(), false);
  if (!deterministic) return;
  std::vector<FixedPointGradients*> buffers{m_model_gradients->fixed_point()};
  if (stage.elastic) {
    const auto masks = state.elastic->soft_widths->gradients();
    if (!m_mask_gradients || !m_mask_gradients->is_of(masks))
      m_mask_gradients.emplace(masks, kernels::fixed_point_limit(m_grid.world.size()),
                               m_model_gradients->overflow());
    buffers.push_back(&*m_mask_gradients);
  }
  m_blocks.emplace(buffers);
}

StepMetrics TrainStep::run(TrainState& state) {
  const Region region("step");
  const Stage& stage = m_curriculum.stage_of(state.step + 1);
  begin_gradients(state, stage);
  TrainSums sums(m_config.elastic.budgets.size());
  std::exception_ptr failure;  // of this rank, e.g. bad data
  try {
    train_micro_batches(state, stage, sums);
  } catch (...) {
    failure = std::current_exception();
  }
  reduce(stage, sums);
  {
    const Region wait("agree");
    agree_on_failure(m_grid.world, failure);
  }
  const StepMetrics metrics = finish(state, stage, sums);
  ++state.step;
  return metrics;
}

}  // namespace elastic
