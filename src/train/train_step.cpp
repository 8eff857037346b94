// SPDX-License-Identifier: Apache-2.0
#include "train/train_step.hpp"

#include <cmath>

#include "base/life_sign.hpp"
#include "base/region.hpp"
#include "comm/all_ranks_agree.hpp"
#include "comm/collectives.hpp"
#include "train/finite_values.hpp"
#include "train/token_sources.hpp"

namespace elastic {

namespace {
LossConfig parent_loss(const RunConfig& config) {
  return {.tokens_per_chunk = config.parallel.logit_chunk_tokens};
}

LossConfig elastic_loss(const RunConfig& config) {
  return {.cross_entropy_weight = config.distill.cross_entropy_weight,
          .distillation_weight = config.distill.distillation_weight,
          .temperature = config.distill.temperature,
          .tokens_per_chunk = config.parallel.logit_chunk_tokens};
}

/// "loss 1.2, gradient norm nan; first tensor that is not finite: NAME"
template <class T>
std::string what_is_wrong(const Communicator& world, const TrainState<T>& state, bool with_router,
                          double loss, double norm) {
  std::string name = first_bad_gradient(world, state.model->parameters());
  if (name.empty() && with_router)
    name = first_bad_gradient(world, state.elastic->router->parameters());
  return fmt::format("loss {}, gradient norm {}; first tensor that is not finite: {}", loss, norm,
                     name.empty() ? "none" : name);
}

template <class T>
bool trains_router(const TrainState<T>& state, const Stage& stage) {
  return stage.elastic && state.elastic->learns_widths();
}

/// How sequences are cut up; nothing where they stay whole.
std::optional<Spans> spans_of(const ProcessGrid& grid, const RunConfig& config) {
  const Shard here{grid.context.rank(), grid.context.size()};
  const index_t halo = config.model.mamba_d_conv - 1;
  if (config.job.deterministic) return Spans(grid.context, SpanLayout::fixed(here), halo);
  if (here.size > 1) return Spans(grid.context, SpanLayout::balanced(here), halo);
  return std::nullopt;
}
}  // namespace

template <class T>
TrainStep<T>::TrainStep(const ProcessGrid& grid, const RunConfig& config,
                        const Curriculum& curriculum, Arena& arena, LossGuard* guard)
    : m_grid(grid),
      m_config(config),
      m_curriculum(curriculum),
      m_own_guard(config.guard),
      m_guard(guard ? *guard : m_own_guard),
      m_arena(arena),
      m_batches(grid.data, config, arena, spans_of(grid, config)),
      m_deal(grid, config),
      m_gradients(grid, config.job.deterministic) {}

template <class T>
StepMetrics TrainStep<T>::run(TrainState<T>& state) {
  const Region region("step");
  note_step(state.step + 1);
  const Stage& stage = m_curriculum.stage_of(state.step + 1);
  const StepData data = read(state, stage);
  m_gradients.begin(state, trains_router(state, stage));
  TrainSums sums(m_config.elastic.budgets.size());
  std::exception_ptr failure;  // of this rank alone, e.g. no memory
  try {
    train(state, stage, data, sums);
  } catch (...) {
    // The others of its model wait for this rank in a layer, and cannot be told.
    if (m_grid.tensor.size() > 1 || m_grid.context.size() > 1) throw;
    failure = std::current_exception();
    sums.failures() = 1;
  }
  const bool in_range = sum_over_ranks(stage, sums);
  if (sums.failures() > 0) agree_on_failure(m_grid.world, failure);
  const StepMetrics metrics = update(state, stage, sums, in_range);
  ++state.step;
  return metrics;
}

/// Reads all data of the step before its first pass, so that data which one rank cannot read ends
/// the step on all ranks, wherever their passes would wait for each other.
template <class T>
typename TrainStep<T>::StepData TrainStep<T>::read(TrainState<T>& state, const Stage& stage) {
  const StageConfig& config = stage.config;
  const index_t local_step = state.step + 1 - stage.first_step;
  StepData data{
      .range = {.first = m_guard.data_block(stage.stream, local_step) * config.global_batch_size,
                .count = config.global_batch_size,
                .seq_length = config.seq_length},
      .dealt = {},
      .batches = {},
      .taught = {}};
  if (stage.elastic)
    data.dealt = m_deal.micro_batches(state, stage, local_step, temperature(state.step + 1));
  const Region wait("agree");
  all_ranks_agree(m_grid.world, [&] {
    const TokenSource& source = source_of(stage);
    if (!stage.elastic) data.batches = m_batches.read_all(source, data.range);
    for (const DrawGroup& part : data.dealt) {
      std::vector<index_t> samples = part.samples;
      for (index_t& sample : samples) sample += data.range.first;
      data.batches.push_back(m_batches.read(source, Split::train, samples, config.seq_length));
      if (reads_teacher(stage))
        data.taught.push_back(m_stored.read(stage, samples, data.batches.back()));
    }
  });
  return data;
}

/// Reads the numbers of the micro-batch at its end. Deterministic sums are over single sequences.
template <class T>
template <class Body>
void TrainStep<T>::count(TrainState<T>& state, MicroBatch& batch, TrainSums& sums,
                         const Body& body) {
  batch.context.sums = m_gradients.block_sums();
  m_readback.clear();
  m_once_read.clear();
  m_router_passes.clear();
  m_router_gradients.clear();
  TrainSums own(m_config.elastic.budgets.size());
  body(own);
  {
    const Region region("readback", Fenced::no);
    m_readback.read(m_exec);
  }
  for (const auto& work : m_once_read) work();
  differentiate_router(state);
  m_gradients.end_micro_batch();
  if (m_config.job.deterministic) own.round();
  sums.add(own);
}

/// Trains the micro-batches of this replica.
template <class T>
void TrainStep<T>::train(TrainState<T>& state, const Stage& stage, const StepData& data,
                         TrainSums& sums) {
  m_recomputed = stage.recomputed;
  if (!stage.elastic)
    return m_batches.for_each(data.batches, data.range, [&](MicroBatch& batch) {
      count(state, batch, sums, [&](TrainSums& own) { train_parent(state, batch, own); });
    });
  const auto passes = budget_passes(state, stage, data);
  for (std::size_t i = 0; i < data.dealt.size(); ++i) {
    const Arena::Scope scope(m_arena);
    MicroBatch batch = m_batches.load(data.batches[i], MicroBatches::Host::stays);
    batch.last = i + 1 == data.dealt.size();
    count(state, batch, sums,
          [&](TrainSums& own) { train_elastic(state, stage, data, i, passes[i], batch, own); });
  }
}

/// The router does not change within a step, so its draws for all passes are had at once.
template <class T>
auto TrainStep<T>::budget_passes(const TrainState<T>& state, const Stage& stage,
                                 const StepData& data) const
    -> std::vector<std::vector<BudgetPass>> {
  std::vector<PassName> names;
  for (const DrawGroup& dealt : data.dealt)
    for (const std::size_t budget : dealt.budgets)
      names.push_back({budget, m_deal.stream(state.step + 1 - stage.first_step, dealt, budget)});
  const auto draws = state.elastic->draws({m_exec, m_config.job.deterministic}, names,
                                          temperature(state.step + 1));
  std::vector<std::vector<BudgetPass>> passes;
  std::size_t next = 0;
  for (const DrawGroup& dealt : data.dealt) {
    passes.emplace_back();
    for (const std::size_t budget : dealt.budgets) {
      require_finite_draw(draws[next], m_config.elastic.budget_name(budget));
      passes.back().push_back({names[next], draws[next]});
      ++next;
    }
  }
  return passes;
}

template <class T>
void TrainStep<T>::train_parent(TrainState<T>& state, const MicroBatch& batch, TrainSums& sums) {
  const auto& model = *state.model;
  differentiate(model, model.full_widths(), batch, parent_loss(m_config), {}, batch.last,
                [&](const LossSums& losses) { sums.loss() += losses.cross_entropy; });
  if (m_grid.context.is_root()) sums.weight() += batch.weight_sum;
}

template <class T>
bool TrainStep<T>::reads_teacher(const Stage& stage) const {
  return stage.elastic && stage.config.teacher == TeacherKind::stored &&
         m_config.distill.distillation_weight != 0;
}

/// What the teacher says serves all budgets of the micro-batch.
template <class T>
void TrainStep<T>::train_elastic(TrainState<T>& state, const Stage& stage, const StepData& data,
                                 std::size_t i, const std::vector<BudgetPass>& passes,
                                 const MicroBatch& batch, TrainSums& sums) {
  const DrawGroup& dealt = data.dealt[i];
  const auto states = [&]() -> TeacherStates<T> {
    if (stage.config.teacher == TeacherKind::trainable)
      return train_teacher(state, stage, dealt, batch, sums);
    if (stage.config.teacher == TeacherKind::frozen)
      return teacher_states(*state.elastic->teacher, batch);
    return {};
  };
  TeacherStates<T> teacher;
  if (reads_teacher(stage))
    teacher.stored = m_stored.load(data.taught[i], m_batches);
  else if (training_passes(m_config, stage).keeps_logits)
    teacher.logits = teacher_logits(*state.model, batch, states);
  else
    teacher = states();
  for (const BudgetPass& pass : passes)
    train_budget(state, batch, pass, teacher, batch.last && &pass == &passes.back(), sums);
}

template <class T>
TeacherStates<T> TrainStep<T>::teacher_states(const LanguageModel<T>& teacher,
                                              const MicroBatch& batch) {
  if (m_config.distill.distillation_weight == 0) return {};
  const Region region("teacher", Fenced::no);
  auto pass = teacher.make_pass(Keep::nothing);
  teacher.forward(batch.context, teacher.full_widths(), batch.tokens, pass);
  return {.model = &teacher, .hidden = pass.hidden, .stored = {}, .logits = {}};
}

/// The logits that the teacher's states give; the states themselves are given back.
template <class T>
View2<const T> TrainStep<T>::teacher_logits(const LanguageModel<T>& model, const MicroBatch& batch,
                                            const std::function<TeacherStates<T>()>& states) {
  const auto logits = m_arena.matrix<T>(batch.context.num_tokens(), model.num_my_words());
  const Arena::Scope scope(m_arena);
  const TeacherStates<T> teacher = states();
  const Region region("teacher", Fenced::no);
  keep_logits<T>(batch.context, teacher, elastic_loss(m_config), logits);
  return logits;
}

/// Trains the full widths with cross-entropy, as often as the samples train budgets, and returns a
/// copy of their final states.
template <class T>
TeacherStates<T> TrainStep<T>::train_teacher(TrainState<T>& state, const Stage& stage,
                                             const DrawGroup& dealt, const MicroBatch& batch,
                                             TrainSums& sums) {
  const auto& model = *state.model;
  const auto times = static_cast<double>(dealt.budgets.size());
  const auto states = m_arena.matrix<T>(batch.context.num_tokens(), model.shape().hidden_size);
  LossConfig loss = parent_loss(m_config);
  loss.cross_entropy_weight = times * stage.config.teacher_cross_entropy_weight;
  const Arena::Scope scope(m_arena);
  differentiate(
      model, model.full_widths(), batch, loss, {}, false,
      [&sums, times](const LossSums& losses) { sums.teacher() += times * losses.cross_entropy; },
      states);
  return {.model = &model, .hidden = states, .stored = {}, .logits = {}};
}

template <class T>
void TrainStep<T>::train_budget(TrainState<T>& state, const MicroBatch& batch,
                                const BudgetPass& pass, const TeacherStates<T>& teacher, bool last,
                                TrainSums& sums) {
  const Arena::Scope scope(m_arena);
  const std::size_t budget = pass.name.budget;
  ElasticState<T>& elastic = *state.elastic;
  const auto& widths = elastic.soft_widths->set(m_exec, pass.draw);
  m_gradients.begin_masks();
  differentiate(*state.model, widths, batch, elastic_loss(m_config), teacher, last,
                [&sums, budget](const LossSums& losses) {
                  sums.of(budget, TrainSums::kl) += losses.kl;
                  sums.of(budget, TrainSums::cross_entropy) += losses.cross_entropy;
                });
  const BudgetLoss cost = count_budget(state, batch, budget, sums);
  if (elastic.learns_widths()) reduce_masks(state, batch, pass, cost);
}

template <class T>
void TrainStep<T>::differentiate(const LanguageModel<T>& model, const ActiveWidths<T>& widths,
                                 const MicroBatch& batch, const LossConfig& loss,
                                 const TeacherStates<T>& teacher, bool last,
                                 const std::function<void(const LossSums&)>& take,
                                 const View2<T>& states) {
  auto pass = model.make_pass(Keep::everything, m_recomputed);
  {
    const Region region("forward", Fenced::no);
    model.forward(batch.context, widths, batch.tokens, pass);
    if (states.size() > 0) Kokkos::deep_copy(m_exec, states, pass.hidden);
  }
  const auto dhidden = m_arena.matrix<Accumulate<T>>(batch.context.num_tokens(), widths.hidden);
  {
    const Region region("loss", Fenced::no);
    const LossTerms terms = differentiate_losses<T>(
        batch.context, model, pass.hidden, batch.targets, teacher, loss, 1, dhidden, m_readback);
    m_once_read.push_back([this, terms, take] { take(terms.sums(m_readback)); });
  }
  const Region region("backward", Fenced::no);
  model.backward(batch.context, widths, batch.tokens, pass, dhidden, m_gradients.completion(last));
}

/// Counts the tokens and the cost of a pass; both are about whole sequences.
template <class T>
BudgetLoss TrainStep<T>::count_budget(const TrainState<T>& state, const MicroBatch& batch,
                                      std::size_t budget, TrainSums& sums) {
  if (!m_grid.context.is_root()) return {};
  const ElasticState<T>& elastic = *state.elastic;
  BudgetLoss cost = budget_loss(state.model->shape(), elastic.space, elastic.decisions,
                                elastic.soft_widths->mixture(), m_config.elastic.budgets[budget],
                                m_config.elastic.loss);
  const double tokens = batch.weight_sum;
  sums.weight() += tokens;
  sums.of(budget, TrainSums::tokens) += tokens;
  sums.of(budget, TrainSums::budget_loss) += tokens * cost.value;
  sums.of(budget, TrainSums::relative_cost) += tokens * cost.relative_cost;
  return cost;
}

/// Forms the gradient of the mixture from the masks and from the budget loss, which counts as often
/// as the micro-batch has tokens.
template <class T>
void TrainStep<T>::reduce_masks(TrainState<T>& state, const MicroBatch& batch,
                                const BudgetPass& pass, const BudgetLoss& cost) {
  const Region region("router", Fenced::no);
  const SoftWidths<T>& soft_widths = *state.elastic->soft_widths;
  m_gradients.sum_masks(soft_widths, state.model->parallel().sequence_parallel());
  const auto reduced = soft_widths.reduce(m_exec, m_readback);
  const double tokens = batch.weight_sum;
  m_once_read.push_back([this, &soft_widths, reduced, name = pass.name, cost, tokens] {
    Probabilities dpi = soft_widths.gradient(reduced, m_readback);
    for (auto& decision : dpi) all_reduce_sum(m_grid.tensor, decision);
    if (!m_grid.context.is_root()) return;
    for (std::size_t d = 0; d < dpi.size(); ++d)
      for (std::size_t i = 0; i < dpi[d].size(); ++i)
        dpi[d][i] += tokens * m_config.elastic.weight * cost.gradient[d][i];
    m_router_passes.push_back(name);
    m_router_gradients.push_back(keep_choices_backward(reduced.kept, dpi));
  });
}

/// Adds the router's gradients of all passes of a micro-batch.
template <class T>
void TrainStep<T>::differentiate_router(TrainState<T>& state) {
  if (m_router_passes.empty()) return;
  const Region region("router", Fenced::no);
  ElasticState<T>& elastic = *state.elastic;
  elastic.router->backward({m_exec, m_config.job.deterministic}, elastic.names_of(m_router_passes),
                           temperature(state.step + 1), m_router_gradients);
}

/// Every rank of the run takes part, also after an error of its own. False: a sum of deterministic
/// mode left its range.
template <class T>
bool TrainStep<T>::sum_over_ranks(const Stage& stage, TrainSums& sums) {
  const Region region("all_reduce");
  sums.reduce(m_grid.data_context);
  if (stage.elastic) sums.add_budgets_to_loss(m_config, stage.config.teacher_cross_entropy_weight);
  return m_gradients.finish();
}

/// Clips the gradients of model and router together and applies them, if they are to be trusted.
template <class T>
StepMetrics TrainStep<T>::update(TrainState<T>& state, const Stage& stage, TrainSums& sums,
                                 bool in_range) {
  const Region region("update");
  const index_t step = state.step + 1, local_step = step - stage.first_step;
  const GuardedStep place{step, stage.config.name, stage.stream, local_step};
  const double per_token = sums.per_token();
  const GradientClip clip = clip_of(state, stage, per_token);
  StepMetrics metrics{.loss = sums.loss() * per_token,
                      .gradient_norm = clip.norm,
                      .learning_rate = stage.learning_rate(local_step),
                      .budgets = {}};
  const std::string trouble = trouble_with(state, stage, place, metrics, in_range && clip.finite());
  if (trouble.empty()) {
    apply(state, stage, place, clip.scale);
    m_guard.remember(place, metrics.loss);
    require_finite_values(state, stage, place);
  } else {
    m_guard.refuse(place, trouble);
  }
  metrics.guard_events = static_cast<double>(m_guard.events());
  if (!stage.elastic) return metrics;
  if (trains_router(state, stage)) {
    const RouterTemperature router = temperature(step);
    metrics.tau = router.tau;
    metrics.logit_scale = router.logit_scale;
  }
  if (stage.config.teacher == TeacherKind::trainable)
    metrics.teacher_cross_entropy = sums.teacher() * per_token;
  metrics.budgets = sums.budget_means(m_config.distill);
  return metrics;
}

template <class T>
GradientClip TrainStep<T>::clip_of(const TrainState<T>& state, const Stage& stage, double factor) {
  const Arena::Scope scope(m_arena);
  const auto counted = counted_gradients(state, stage);
  return clip_gradients<Accumulate<T>>(
      m_exec, m_grid.world, counted, m_config.optimizer.clip_grad_norm, factor,
      m_arena.vector<double>(clip_workspace<Accumulate<T>>(counted)));
}

/// Why the gradients must not be applied; empty: they may. Ranks need not round alike: the loss of
/// one of them decides.
template <class T>
std::string TrainStep<T>::trouble_with(const TrainState<T>& state, const Stage& stage,
                                       const GuardedStep& place, const StepMetrics& metrics,
                                       bool gradients_finite) {
  const bool bad = !gradients_finite || !std::isfinite(metrics.loss);
  if (all_reduce_max(m_grid.world, bad ? 1 : 0) != 0)
    return what_is_wrong(m_grid.world, state, stage.elastic, metrics.loss, metrics.gradient_norm);
  if (!m_guard.watches_spikes()) return "";
  double loss = metrics.loss;
  broadcast(m_grid.world, &loss, sizeof loss);
  return m_guard.spike(place, loss);
}

/// After an update, so that no step ends with values that are not finite: the next may be another
/// stage, a ranking or the end.
template <class T>
void TrainStep<T>::require_finite_values(const TrainState<T>& state, const Stage& stage,
                                         const GuardedStep& place) {
  const Region region("finite");
  const auto finite = [&](const auto& store) {
    return values_are_finite(m_exec, m_arena, store,
                             optimizer_slices(store, state.owner.size).of(state.owner.rank));
  };
  const bool with_router = trains_router(state, stage);
  const bool good = finite(state.model->parameters()) &&
                    (!with_router || finite(state.elastic->router->parameters()));
  if (all_reduce_max(m_grid.world, good ? 0 : 1) == 0) return;
  std::string name = first_bad_value(m_grid.world, state.model->parameters());
  if (name.empty() && with_router)
    name = first_bad_value(m_grid.world, state.elastic->router->parameters());
  m_guard.refuse_update(
      place, fmt::format("values of {} are not finite after the update at rate {:g}", name,
                         stage.learning_rate(place.local_step)));
}

/// The elements that this rank adds to the norm over the whole model: those of its optimizer
/// slices.
template <class T>
std::vector<View1<const Accumulate<T>>> TrainStep<T>::counted_gradients(const TrainState<T>& state,
                                                                        const Stage& stage) const {
  const auto of = [&](const auto& store) {
    const auto owned = optimizer_slices(store, state.owner.size).of(state.owner.rank);
    return elastic::counted_gradients(store, owned, m_grid.tensor.is_root());
  };
  auto counted = of(state.model->parameters());
  if (trains_router(state, stage))
    for (const auto& part : of(state.elastic->router->parameters())) counted.push_back(part);
  return counted;
}

/// AdamW on the slices that this rank owns; then every rank gets the values of all owners.
template <class T>
void TrainStep<T>::apply(TrainState<T>& state, const Stage& stage, const GuardedStep& place,
                         double grad_scale) {
  const index_t step = place.step;
  const index_t optimizer_step = stage.elastic ? step - m_curriculum.elastic_begin : step;
  const auto update = [&](auto& optimizer, const auto& store, double rate) {
    optimizer.step(m_exec, m_config.optimizer.adamw, rate, optimizer_step, grad_scale);
    const Region region("all_gather");
    gather_values(m_grid.data_context, optimizer_slices(store, state.owner.size), store);
  };
  if (state.optimizer)
    update(*state.optimizer, state.model->parameters(), stage.learning_rate(place.local_step));
  if (trains_router(state, stage))
    update(*state.elastic->router_optimizer, state.elastic->router->parameters(),
           stage.router_learning_rate(place.local_step));
}

template <class T>
RouterTemperature TrainStep<T>::temperature(index_t step) const {
  return m_config.router.schedule.at(m_curriculum.router_progress(step));
}

template <class T>
const TokenSource& TrainStep<T>::source_of(const Stage& stage) {
  if (!m_source || m_source_stream != stage.stream) {
    m_source = make_source(m_config, stage.stream);
    m_source_stream = stage.stream;
  }
  return *m_source;
}

template class TrainStep<float>;
template class TrainStep<bfloat16>;

}  // namespace elastic
