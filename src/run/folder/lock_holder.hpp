// SPDX-License-Identifier: Apache-2.0
// Who holds a run folder, and whether that process is still there.
#pragma once
#include <functional>
#include <optional>
#include <set>
#include <string>

#include "base/types.hpp"

namespace elastic {

/// A process, the machine it runs on and the job that it belongs to. Empty: not known.
struct LockHolder {
  std::string host;
  std::string boot;           ///< id that the kernel took when the machine was started
  std::string pid_namespace;  ///< in which the process has its number (containers)
  index_t process = 0;
  index_t process_start = 0;  ///< clock ticks since the machine was started
  bool flocked = false;       ///< the file system keeps a lock for it, which ends with the process
  index_t user = 0;           ///< its number
  std::string slurm_cluster, slurm_job;
  index_t slurm_restart = 0;  ///< times that Slurm has requeued the job
  std::string time;           ///< UTC
  bool operator==(const LockHolder&) const = default;
};

/// This process, now.
LockHolder this_process();
/// Lines `name = value`, and back. Throws InputError naming `file` for a text that is not complete.
std::string to_text(const LockHolder& holder);
LockHolder read_lock_holder(const std::string& text, const std::string& file);
/// "process 12 on host a since 2026-01-01T00:00:00Z (Slurm job 7)"
std::string describe(const LockHolder& holder);

/// What this machine tells of others.
struct MachineView {
  /// Start of a process; nothing if there is none, or only what its parent has not yet collected.
  std::function<std::optional<index_t>(index_t process)> start_of;
  /// Jobs of this user that Slurm still knows as waiting or running; nothing if it does not answer.
  std::function<std::optional<std::set<std::string>>()> slurm_jobs;
};
MachineView this_machine();

enum class HolderState { lives, ended, not_known };
/// `flock_is_free`: the file system's lock could be taken. `ended` only if that is certain:
/// * the machine is this one, and its kernel keeps no lock for the holder, or has no such process,
///   or was started anew since;
/// * the job of the holder is this one, requeued since, or one that Slurm no longer runs.
HolderState state_of(const LockHolder& holder, const LockHolder& me, bool flock_is_free,
                     const MachineView& machine);

}  // namespace elastic
