// SPDX-License-Identifier: Apache-2.0
// A whole run: the phases of the deck in order, in one job, stoppable and resumable at any step.
// run.cpp: start, resume and training; run_saving.cpp: files; run_teaching.cpp: the phase teach;
// run_phases.cpp: what comes after.
//
//   pretrain (or read) the parent -> rank -> measure -> teach -> elastic stages -> slice ->
//   evaluate -> report
#pragma once
#include "comm/all_ranks_agree.hpp"
#include "config/curriculum.hpp"
#include "io/checkpoint_folder.hpp"
#include "parallel/process_grid.hpp"
#include "run/folder/checkpoint_choice.hpp"
#include "run/folder/run_lock.hpp"
#include "run/pending_step.hpp"
#include "run/progress.hpp"
#include "run/results.hpp"
#include "run/run_history.hpp"
#include "run/stop_signal.hpp"
#include "run/wall_time.hpp"
#include "state/checkpoint_saver.hpp"
#include "state/state_reader.hpp"
#include "state/stored_teacher.hpp"
#include "state/train_state.hpp"

namespace elastic {

/// How a run begins.
struct RunOptions {
  bool resume = false;      ///< from a checkpoint of the run folder
  ResumeOptions resuming;   ///< which one, and with which deck
  bool break_lock = false;  ///< of a run of which it is not known whether it still goes on
};

/// T: stored values and activations.
template <class T>
class Run {
 public:
  /// Collective. Holds the lock of the run folder as long as it lives. Throws InputError, before
  /// anything is changed, if another run holds it, or if what is to be resumed is damaged, of
  /// another run, or had another deck.
  Run(const Communicator& comm, const ResolvedDeck& deck, const RunOptions& options);
  /// success, or requeue if the run was asked to stop (a checkpoint is saved, --resume continues).
  ExitCode execute();

 private:
  std::unique_ptr<RunLock> take_lock(const RunOptions& options);
  void start_new();
  void restore();
  void read_parent();
  /// Collective. Opens a file on every rank, to be read together.
  using ReadFile = std::function<void(const StateReader&)>;
  void read_together(const std::filesystem::path& path, const ReadFile& read);
  /// Refuses unreachable budgets (InputError) now rather than after hours of training.
  void require_reachable_budgets(const ElasticSpace& space) const;
  bool train();  // false: stopped before the end
  void start_clock();
  /// Collective. What signals and files ask for; a stop also if the time is up. `num_saves`:
  /// checkpoints that will be written until the end of another step.
  StopSignal::Answer asked(int num_saves);
  /// The phases of execute(). Throws Stopped on all ranks if asked to stop after training.
  bool run_phases();
  void enter_stage(const Stage& stage);
  void begin_elastic_training();
  /// Collective. Without a phase teach: throws InputError before anything is done unless what
  /// stages read is there.
  void require_stored_teachers();
  /// Collective. After the ranking: writes what is missing for stages that read their teacher, if
  /// the deck lists the phase teach, and throws InputError unless all of it is there. Stopped.
  void prepare_teachers();
  /// Collective. Times of the inference that budgets in seconds count: `text` of rank 0, from
  /// `file`; those that the deck names, or that a checkpoint holds; those that the phase measure
  /// takes, unless there are some.
  void give_measured_times(std::string text, const std::string& file);
  void take_given_times();
  void take_stored_times(const StateReader& reader);
  void measure_phase();
  /// Collective. How long the submodels of the results really take.
  void measure_budgets();
  void teach(const std::vector<StoredTeacher>& wanted, const std::string& parent_identity);
  /// True: stop here. `again`: after a resume, as the job before was stopped in it.
  bool after_step(const Stage& stage, const StepMetrics& metrics, bool again = false);
  /// after_step for a step whose row was not written.
  bool report_again();
  void report_step(const Stage& stage, const StepMetrics& metrics, bool validates);
  StepValidation validate(const Stage& stage);
  /// Collective. Goes back to the newest checkpoint that is good, for `reason`.
  void go_back(const RollBack& reason);
  void open_history();
  /// `pending`: of a step whose row was not written.
  void save_checkpoint(const StepMetrics* pending = nullptr);
  /// Collective. Completes a save under way if it is ready, or waits for it.
  void follow_save(bool wait);
  void slice_phase();
  bool evaluate_phase();  // false: stopped, as there is no time left
  /// Collective. The ranked parent as it was before elastic training.
  const LanguageModel<T>& parent();
  /// Adds what every pair of the submodels evaluated does with the problems.
  void evaluate_pairs();
  BudgetResult evaluate_budget(const SubmodelSpec& spec, bool trained);
  void write_model_file();
  void write_file(const std::filesystem::path& path, const FillFile& fill);
  /// Adds to a file which run it is of.
  void write_identity(const StateWriter& writer) const;
  /// Collective. Throws RunError if the run folder is gone, or no longer this run's.
  void require_folder();
  void report_phase();
  /// Runs `work` on rank 0 while the others wait. Its error becomes the error of all.
  template <class Work>
  void on_root(const Work& work) {
    all_ranks_agree(m_comm, [&] {
      if (m_comm.is_root()) work();
    });
  }

  const double m_bytes_before;  // held by the program when the run begins
  const Communicator& m_comm;
  ResolvedDeck m_deck;  // its costs get the times that the phase measure finds
  const RunConfig& m_config;
  const ProcessGrid m_grid;
  Curriculum m_curriculum;
  RunFolder m_folder;
  CheckpointFolder m_checkpoints;
  std::unique_ptr<RunLock> m_lock;  // on rank 0
  CheckpointChoice m_choice;        // what is resumed
  RunIdentity m_identity;
  std::string m_parent_hash;  // of parent.h5; empty before the ranking
  std::string m_times;        // measured, as text; empty: none
  std::string m_data_files;   // on rank 0
  CheckpointSaver m_saver{m_grid};
  double m_save_waited = 0;  // seconds that steps have waited for the save under way
  Arena m_arena;
  TrainState<T> m_state;
  Ranking m_given_ranking;  // of a parent that was read
  std::unique_ptr<RunHistory> m_history;
  std::unique_ptr<Validation<T>> m_validation;
  LossGuard m_guard{m_config.guard};
  std::optional<StepMetrics> m_pending;  // of the last step, if its row is to be written
  StopSignal m_signal;
  WallTime m_wall_time;  // of rank 0; the others have no limit
  std::vector<SubmodelSpec> m_specs;
  bool m_warned_of_budgets = false;
  RunResults m_results;
};

}  // namespace elastic
