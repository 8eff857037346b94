// SPDX-License-Identifier: Apache-2.0
// What becomes of a step whose numbers are not to be trusted (<guard> of the deck): a loss, a
// gradient or an updated value that is not finite, or a loss that is a spike.
//
//   stop       NumericsError
//   skip       no update; the step counts
//   rollback   RollBack: the run goes back to a checkpoint, and the data of the step is left out
//
// Skips and ways back are counted together; one more than <guard>/limit is a NumericsError. All of
// this is a function of the losses, and all it remembers goes into checkpoints: every rank decides
// alike, and so does a run that was resumed.
#pragma once
#include <stdexcept>
#include <string>
#include <vector>

#include "config/run_config.hpp"
#include "io/checkpoint_file.hpp"

namespace elastic {

/// Thrown on all ranks together by a step that is to be undone; says why.
struct RollBack : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Where a step is in the plan, and what data it trains on.
struct GuardedStep {
  index_t step = 0;          ///< of the plan
  std::string stage;         ///< its name
  std::uint64_t stream = 0;  ///< of the stage's data
  index_t local_step = 1;    ///< in the stage: 1, 2, ...
};

class LossGuard {
 public:
  explicit LossGuard(const GuardConfig& config) : m_config(config) {}

  /// Whether losses are compared: the caller then passes equal ones on all ranks.
  bool watches_spikes() const { return m_config.spike_factor > 0; }

  /// What is wrong with a loss that is finite; empty: nothing. A spike is above spike_factor times
  /// the median of the last losses of the stage, of which there are min(spike_window, 5) at least.
  std::string spike(const GuardedStep& step, double loss) const;
  /// Remembers the loss of a step that counts.
  void remember(const GuardedStep& step, double loss);

  /// Answers what is wrong with a step before its update: returns if it is to be skipped. Throws
  /// RollBack or NumericsError with step, stage and `reason`.
  void refuse(const GuardedStep& step, const std::string& reason);
  /// Answers what is wrong after its update, which cannot be skipped any more: always throws.
  [[noreturn]] void refuse_update(const GuardedStep& step, const std::string& reason);

  /// Which block of a stage's data its step number `local_step` trains on, counted from 0:
  /// the blocks in order, without those that are left out.
  index_t data_block(std::uint64_t stream, index_t local_step) const;
  /// Steps skipped and ways back so far.
  index_t events() const { return m_events; }

  /// Everything remembered, as a text that gives the same bits back.
  std::string to_text() const;
  /// Throws InputError naming `file`.
  void from_text(const std::string& text, const std::string& file);
  /// Writes the text, if there is anything to remember; a file without it remembers nothing.
  void write(CheckpointWriter& file) const;
  void read(const CheckpointReader& file);
  /// Takes over the events and the data left out of a run that goes back to this state.
  void keep_events_of(const LossGuard& later);

 private:
  struct Block {
    std::uint64_t stream = 0;
    index_t block = 0;
  };
  /// Throws NumericsError if there were as many events as allowed; else counts one.
  void count_event(const std::string& message);
  [[noreturn]] void roll_back(const GuardedStep& step, const std::string& message);

  GuardConfig m_config;
  std::uint64_t m_stream = 0;    // of the losses
  std::vector<double> m_losses;  // oldest first
  std::vector<Block> m_left_out;
  index_t m_events = 0;
};

}  // namespace elastic
