// SPDX-License-Identifier: Apache-2.0
// One run at a time writes to a run folder. The file run.lock names its process; the file system
// keeps a lock (flock) on that file too, where it can, and gives it back when the process ends.
//
// A lock is made under another name and linked to its own, so that it is whole from the first
// moment; one that is left is replaced under the file system's lock, so that of several processes
// that find it one goes on.
#pragma once
#include <filesystem>

#include "run/folder/lock_holder.hpp"

namespace elastic {

class RunLock {
 public:
  /// Takes the lock of `folder`, which is made if it is not there. Throws InputError naming the
  /// holder if another process holds it, or may hold it; RunError if the folder cannot be made or
  /// written to. `break_lock`: takes it from a holder of whom nothing is known (on another
  /// machine), never from one that lives.
  RunLock(std::filesystem::path folder, bool break_lock);
  /// Removes the lock, and a folder that was made for it and in which nothing else was put.
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  /// After the folder was moved to `aside`: makes it anew, with its lock, and removes the old lock.
  void follow_move(const std::filesystem::path& aside);
  /// Throws RunError if the folder is gone, cannot be written to, or was taken by another process.
  void require_held() const;

  /// Name of the lock in a run folder, and the beginning of the names of locks in the making.
  static constexpr std::string_view name = "run.lock";

 private:
  std::filesystem::path path() const { return m_folder / name; }
  void take(bool break_lock);
  bool try_to_take(const std::filesystem::path& made, bool break_lock);
  void replace(const std::filesystem::path& made);
  void make_folder();

  std::filesystem::path m_folder;
  LockHolder m_me;
  int m_file = -1;  // of the lock, flocked where the file system can
  bool m_made_folder = false;
};

}  // namespace elastic
