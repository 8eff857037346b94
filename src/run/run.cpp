// SPDX-License-Identifier: Apache-2.0
// Start, resume and end of a run, and its training loop.
// The phases after training are in run_phases.cpp.
#include "run/run.hpp"

#include "base/log.hpp"
#include "base/region.hpp"
#include "base/stop_request.hpp"
#include "comm/collectives.hpp"
#include "config/extraction.hpp"
#include "io/durable_file.hpp"
#include "plan/budgets.hpp"
#include "plan/memory.hpp"
#include "plan/ranking.hpp"
#include "plan/recomputation.hpp"
#include "run/folder/data_files.hpp"
#include "run/folder/parent_copy.hpp"
#include "run/peak_memory.hpp"
#include "state/state_checkpoint.hpp"
#include "train/importance_pass.hpp"
#include "train/token_sources.hpp"

namespace elastic {
namespace {
ResumeOptions resume_options(const RunOptions& options, const RunConfig& config) {
  ResumeOptions resuming = options.resuming;
  resuming.allow_fallback = resuming.allow_fallback || config.checkpoint.allow_fallback;
  return resuming;
}
}  // namespace

template <class T>
Run<T>::Run(const Communicator& comm, const ResolvedDeck& deck, const RunOptions& options)
    : m_bytes_before(resident_bytes()),
      m_comm(comm),
      m_deck(with_recomputation(deck, comm.size())),
      m_config(m_deck.config),
      m_grid(comm, parallel_sizes(deck.config)),
      m_curriculum(make_curriculum(m_config)),
      m_folder{deck.config.job.run_folder()},
      m_checkpoints(m_folder.checkpoints(), deck.config.checkpoint.keep,
                    deck.config.checkpoint.keep_every),
      m_lock(take_lock(options)),
      m_choice(options.resume ? choose_checkpoint(comm, m_folder, m_checkpoints, deck.text,
                                                  resume_options(options, deck.config))
                              : CheckpointChoice()),
      m_state(all_ranks_agree(comm, [&] {
        const bool is_read = options.resume || !deck.config.job.parent.empty();
        return make_parent<T>(deck.config, m_grid, is_read ? Weights::zero : Weights::initial);
      })) {
  return_freed_arrays();
  if (!m_grid.tensor_groups_on_one_node())
    log::warn("a tensor-parallel group spans nodes: its sums go over the network in every layer");
  check_data(comm, m_config);
  all_ranks_agree(
      comm, [&] { m_validation = std::make_unique<Validation<T>>(m_grid, m_config, m_arena); });
  if (!options.resume) take_given_times();
  require_reachable_budgets(elastic_space(m_config, m_state.model->shape()));
  require_stored_teachers();
  on_root([&] {
    m_data_files = data_files(m_config.data);
    check_data_files(m_choice.head.data_files, m_data_files, m_choice.path,
                     options.resuming.accept_changes);
  });
  if (options.resume)
    restore();
  else
    start_new();
  on_root([&] { write_file_durably(m_folder.deck(), m_deck.text); });
  open_history();
  if (m_comm.is_root()) stop_request::watch_folder(m_folder.root);
}

template <class T>
void Run<T>::open_history() {
  const index_t rows_until = m_state.step - (m_pending ? 1 : 0);
  m_history.reset();
  on_root([&] { m_history = std::make_unique<RunHistory>(m_folder, m_config, rows_until, true); });
  if (!m_history) m_history = std::make_unique<RunHistory>(m_folder, m_config, rows_until, false);
}

template <class T>
std::unique_ptr<RunLock> Run<T>::take_lock(const RunOptions& options) {
  std::unique_ptr<RunLock> lock;
  on_root([&] {
    if (options.resume)
      require_run_folder(m_folder);
    else
      require_no_other_files(m_folder);
    lock = std::make_unique<RunLock>(m_folder.root, options.break_lock);
  });
  return lock;
}

template <class T>
void Run<T>::start_new() {
  if (!m_config.job.parent.empty()) read_parent();  // it may lie in the folder of the earlier run
  on_root([&] {
    m_identity.id = new_run_id();
    const auto aside = prepare_new_run(m_folder, m_identity.id, *m_lock);
    if (!aside.empty())
      log::info("the earlier run in {} was moved to {}", m_folder.root.string(), aside.string());
  });
}

template <class T>
void Run<T>::require_reachable_budgets(const ElasticSpace& space) const {
  if (m_config.job.has(Phase::elastic) || m_config.job.has(Phase::slice))
    all_ranks_agree(m_comm, [&] { plan_budgets(m_config, m_state.model->shape(), space); });
}

template <class T>
void Run<T>::read_together(const std::filesystem::path& path, const ReadFile& read) {
  std::optional<CheckpointReader> file;
  all_ranks_agree(m_comm, [&] { file.emplace(path); });
  read(StateReader(*file, m_grid));
}

template <class T>
void Run<T>::read_parent() {
  read_together(m_config.job.parent, [&](const StateReader& reader) {
    reader.agree([&] { reader.file().verify({m_comm.rank(), m_comm.size()}); });
    read_model(reader, *m_state.model);
    if (m_state.optimizer) m_state.optimizer->restart_masters();
    reader.agree([&] {
      if (reader.file().contains("ranking/hidden"))
        m_given_ranking = read_ranking(reader.file(), m_state.model->shape());
    });
  });
  log::info("parent read from {}", m_config.job.parent);
}

template <class T>
void Run<T>::restore() {
  const std::string path = m_choice.path.string();
  m_identity = m_choice.run;
  m_parent_hash = m_choice.head.identity.parent_hash;
  if (!m_parent_hash.empty()) require_parent(m_comm, m_folder, m_parent_hash);
  read_together(path, [&](const StateReader& reader) {
    take_stored_times(reader);
    read_state(reader, m_config, m_state);
    reader.agree([&] {
      m_pending = read_pending_step(reader.file());
      m_guard.read(reader.file());
    });
  });
  if (m_state.step > m_curriculum.total_steps)
    throw InputError(fmt::format("{}: step {} lies beyond the {} steps of this deck", path,
                                 m_state.step, m_curriculum.total_steps));
  if (m_state.elastic && m_state.elastic->teacher)
    read_together(m_folder.parent(), [&](const StateReader& reader) {
      read_model(reader, *m_state.elastic->teacher);
    });
  on_root([&] {
    write_run_identity(m_folder.id(), m_identity);
    if (m_state.elastic && m_parent_hash.empty()) {
      log::warn(
          "{}: nothing in {}, of an earlier version, says which parent is its teacher; this "
          "one is taken",
          m_folder.parent().string(), path);
      m_parent_hash = keep_parent_copy(m_folder);
    }
    if (m_choice.later.empty()) return;
    const auto aside = abandon_later(m_folder, m_choice.later, m_state.elastic.has_value());
    log::info("goes back to step {}; what was saved after it is in {}", m_state.step,
              aside.string());
  });
  broadcast(m_comm, m_parent_hash);
  log::info("resumed from {} at step {} of {}", path, m_state.step, m_curriculum.total_steps);
}

template <class T>
ExitCode Run<T>::execute() {
  log::info("{}", describe(m_curriculum, m_config));
  try {
    if (!run_phases()) return ExitCode::requeue;
  } catch (const Stopped&) {
    follow_save(/*wait=*/true);
    log::info("stopped as asked; --resume continues after step {}", m_state.step);
    return ExitCode::requeue;
  } catch (const NumericsError&) {  // on all ranks
    follow_save(/*wait=*/true);     // what was good before is not given up
    throw;
  }
  const index_t router = m_state.elastic ? m_state.elastic->router->parameters().num_elements() : 0;
  const PlanMemory plan = plan_memory(m_config, m_state.model->shape(), router, m_comm.size());
  log::info("{}", peak_memory_line(m_comm, m_bytes_before, plan.total()));
  require_folder();
  return ExitCode::success;
}

template <class T>
bool Run<T>::run_phases() {
  if (!train()) return false;
  m_arena.clear();  // what follows copies submodels, and needs little for single sequences
  return_freed_arrays();
  if (m_config.job.has(Phase::slice) && m_state.elastic) slice_phase();
  if (m_config.job.has(Phase::evaluate)) {
    if (!evaluate_phase()) return false;
    measure_budgets();
  }
  if (m_config.job.has(Phase::report)) report_phase();
  return true;
}

template <class T>
bool Run<T>::train() {
  start_clock();
  TrainStep<T> step(m_grid, m_config, m_curriculum, m_arena, &m_guard);
  Progress progress(m_curriculum, m_state.step, m_config.output.every_steps, m_comm.is_root());
  const index_t first_step = m_state.step;
  double seconds = 0;  // of the steps alone
  bool enters = true;  // a stage, or the middle of one
  if (m_pending && report_again()) return false;
  while (m_state.step < m_curriculum.total_steps) {
    const Stage& stage = m_curriculum.stage_of(m_state.step + 1);
    if (std::exchange(enters, false) || m_state.step == stage.first_step) {
      progress.finish_line();
      enter_stage(stage);
      m_results.stages.push_back({.name = stage.config.name, .step_seconds = {}});
    }
    const double start = wall_seconds();
    StepMetrics metrics;
    try {
      metrics = step.run(m_state);
    } catch (const RollBack& reason) {
      progress.finish_line();
      go_back(reason);
      enters = true;
      if (m_pending && report_again()) return false;
      continue;
    }
    m_results.stages.back().step_seconds.push_back(wall_seconds() - start);
    seconds += m_results.stages.back().step_seconds.back();
    progress.report(m_state.step, metrics);
    if (after_step(stage, metrics)) {
      progress.finish_line();
      log::info("stopped after step {}; {}", m_state.step,
                m_config.checkpoint.save ? "continue with --resume" : "no checkpoint was saved");
      return false;
    }
  }
  progress.finish_line();
  m_results.seconds = seconds;
  if (seconds > 0)
    m_results.tokens_per_second = static_cast<double>(m_curriculum.tokens_after(m_state.step) -
                                                      m_curriculum.tokens_after(first_step)) /
                                  seconds;
  const bool teaches = m_config.job.has(Phase::teach);
  if (!m_state.elastic && (teaches || m_config.job.has(Phase::rank))) begin_elastic_training();
  measure_phase();  // where there is nothing elastic to do
  if (teaches && !m_config.job.has(Phase::elastic)) prepare_teachers();
  return true;
}

template <class T>
bool Run<T>::report_again() {
  return after_step(m_curriculum.stage_of(m_state.step), *std::exchange(m_pending, {}),
                    /*again=*/true);
}

template <class T>
void Run<T>::enter_stage(const Stage& stage) {
  if (stage.elastic && !m_state.elastic) begin_elastic_training();
  if (stage.elastic) prepare_teachers();
  log::info("step {}: stage {} begins: {} steps of {} sequences of {} tokens", m_state.step,
            stage.config.name, stage.steps, stage.config.global_batch_size,
            stage.config.seq_length);
}

template <class T>
void Run<T>::begin_elastic_training() {
  Ranking ranking = identity_ranking(m_state.model->shape());
  if (m_config.job.has(Phase::rank)) {
    const RankOrder order = m_config.rank.order;
    if (order == RankOrder::random || order == RankOrder::identity)
      log::info("the parent is not ranked: {}", ranking_text(m_config));
    else
      log::info("ranking the parent on {} sequences of {} tokens", m_config.rank.samples,
                m_config.rank.seq_length);
    ranking = ImportancePass<T>(m_grid, m_config, m_arena).ranking(*m_state.model);
  } else if (!m_given_ranking.drop_order.empty()) {
    ranking.drop_order = m_given_ranking.drop_order;
  }
  measure_phase();
  // Now in the order of the ranking.
  require_reachable_budgets(ranked_space(m_config, m_state.model->shape(), ranking.drop_order));
  begin_elastic(m_config, ranking, m_state);
  auto& elastic = *m_state.elastic;
  if (!m_given_ranking.hidden.empty()) {
    elastic.ranking = compose(m_given_ranking, ranking);
    elastic.ranking.drop_order = ranking.drop_order;
  }
  write_file(m_folder.parent(), [&](const StateWriter& writer) {
    write_model(writer, *m_state.model, m_deck.text, "parent");
    write_ranking(writer, elastic.ranking);
  });
  on_root([&] { m_parent_hash = keep_parent_copy(m_folder); });
  broadcast(m_comm, m_parent_hash);
}

template <class T>
StepValidation Run<T>::validate(const Stage& stage) {
  StepValidation validation;
  const auto& model = *m_state.model;
  if (!stage.elastic) {
    validation.budgets.push_back(
        m_validation->losses(model, full_spec(model.shape()), nullptr, stage.config.seq_length));
    return validation;
  }
  const bool trainable = stage.config.teacher == TeacherKind::trainable;
  const auto* teacher = trainable ? &model : m_state.elastic->teacher.get();
  std::vector<SubmodelSpec> family;
  try {
    family = submodels_for(m_config, m_state, /*with_extra_budgets=*/false);
  } catch (const InputError& error) {  // training goes on; slicing would be an error
    if (!m_warned_of_budgets) log::warn("step {}: not validated: {}", m_state.step, error.what());
    m_warned_of_budgets = true;
  }
  for (const SubmodelSpec& spec : family) {
    validation.budgets.push_back(
        m_validation->losses(model, spec, teacher, stage.config.seq_length));
    validation.parameters.push_back(parameter_count(model.shape(), spec));
  }
  return validation;
}

template <class T>
void Run<T>::report_step(const Stage& stage, const StepMetrics& metrics, bool validates) {
  const index_t step = m_state.step;
  StepValidation validation;
  try {
    if (validates) validation = validate(stage);
  } catch (const NumericsError& error) {
    throw NumericsError(fmt::format("step {} ({}): {}", step, stage.config.name, error.what()));
  }
  require_folder();
  on_root([&] {
    m_history->append(step, stage, m_curriculum.tokens_after(step), metrics, validation);
    if (const auto& elastic = m_state.elastic)
      m_history->append_router(step, *elastic->router, elastic->decisions, elastic->fixed);
  });
}

template <class T>
bool Run<T>::after_step(const Stage& stage, const StepMetrics& metrics, bool again) {
  const index_t step = m_state.step;
  const bool stage_ends = step == stage.last_step();
  const auto due = [&](index_t interval) { return interval > 0 && step % interval == 0; };
  const bool validates = stage_ends || due(m_config.evaluate.every_steps);
  follow_save(/*wait=*/false);
  if (validates || due(m_config.output.every_steps)) try {
      report_step(stage, metrics, validates);
    } catch (const Stopped&) {
      save_checkpoint(&metrics);
      follow_save(/*wait=*/true);
      return true;
    }
  const bool saves = stage_ends || due(m_config.checkpoint.every_steps);
  const auto [stop_asked, save_asked] = asked(saves ? 2 : 1);
  const bool stops = stop_asked || (!again && step == m_config.job.stop_after_step &&
                                    step < m_curriculum.total_steps);
  if (saves || save_asked || stops) save_checkpoint();
  if (stops || save_asked || step == m_curriculum.total_steps) follow_save(/*wait=*/true);
  if (save_asked) log::info("step {}: saved as asked", step);
  return stops;
}

template <class T>
void Run<T>::start_clock() {
  constexpr double bytes_per_second = 2e8;  // of a slow file system, until a checkpoint was timed
  on_root([&] {
    if (const auto left = wall_time_left(m_config.job.walltime)) {
      const auto values =
          static_cast<double>(m_state.model->parameters().num_elements() * m_grid.tensor.size());
      m_wall_time = WallTime(*left, 3 * sum_bytes * values / bytes_per_second);
    }
  });
}

template <class T>
StopSignal::Answer Run<T>::asked(int num_saves) {
  return m_signal.asked(m_comm, !m_wall_time.another_step_fits(num_saves));
}

template class Run<float>;
template class Run<bfloat16>;

}  // namespace elastic
