// SPDX-License-Identifier: Apache-2.0
// One process at a time holds a run folder.
#include "run/folder/run_lock.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {
namespace fs = std::filesystem;

class RunLockTest : public InFolder {
 protected:
  fs::path run() const { return folder / "run"; }
  fs::path lock() const { return run() / "run.lock"; }
  /// Runs work() in a process of its own; its exit code.
  template <class Work>
  static int in_child(const Work& work) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(work());
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  /// 0 if a lock can be had, 1 if another process holds it.
  int try_lock(bool break_lock = false) const {
    try {
      const RunLock lock(run(), break_lock);
      return 0;
    } catch (const InputError&) {
      return 1;
    }
  }
  void leave(const LockHolder& holder) const {
    fs::create_directories(run());
    write_bytes(lock(), to_text(holder));
  }
  static LockHolder on_another_machine() {
    LockHolder other = this_process();
    other.host = "elsewhere";
    other.boot = "another";
    return other;
  }
  std::size_t num_files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(run()), fs::directory_iterator()));
  }
};

TEST_F(RunLockTest, NamesItsHolderAndGoesAway) {
  {
    const RunLock held(run(), false);
    EXPECT_EQ(read_lock_holder(bytes_of(lock()), "").process, ::getpid());
    EXPECT_EQ(num_files(), 1u);
    held.require_held();
  }
  EXPECT_FALSE(fs::exists(run())) << "a folder made for the lock alone";
}

TEST_F(RunLockTest, FilesPutBesideItKeepTheFolder) {
  {
    const RunLock held(run(), false);
    write_bytes(run() / "x", "x");
  }
  EXPECT_EQ(num_files(), 1u);
}

TEST_F(RunLockTest, AnotherProcessIsRefusedWithTheHolderNamed) {
  const RunLock held(run(), false);
  const std::string before = bytes_of(lock());
  EXPECT_EQ(in_child([&] { return try_lock(); }), 1);
  EXPECT_EQ(in_child([&] { return try_lock(true); }), 1) << "--break-lock spares who lives";
  contains(message_of<InputError>([&] { RunLock(run(), false); }),
           fmt::format("in use by process {} on host", ::getpid()));
  EXPECT_EQ(bytes_of(lock()), before);
  EXPECT_EQ(num_files(), 1u);
  held.require_held();
}

TEST_F(RunLockTest, AProcessThatWasKilledLosesIt) {
  EXPECT_EQ(in_child([&]() -> int {
              new RunLock(run(), false);
              ::kill(::getpid(), SIGKILL);
              return 0;
            }),
            -1);
  EXPECT_TRUE(fs::exists(lock()));
  const RunLock held(run(), false);
  EXPECT_EQ(read_lock_holder(bytes_of(lock()), "").process, ::getpid());
}

TEST_F(RunLockTest, OfSeveralThatFindAnOldLockOneGoesOn) {
  LockHolder ended = this_process();
  ended.process_start += 1;
  for (int round = 0; round < 5; ++round) {
    leave(ended);
    std::vector<pid_t> children;
    for (int i = 0; i < 6; ++i) {
      children.push_back(::fork());
      if (children.back() == 0) {
        try {
          const RunLock held(run(), false);
          ::usleep(1500000);  // longer than the others look
          ::_exit(0);
        } catch (const Error&) {
          ::_exit(1);
        }
      }
    }
    int winners = 0;
    for (const pid_t child : children) {
      int status = 0;
      ::waitpid(child, &status, 0);
      winners += WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : 0;
    }
    EXPECT_EQ(winners, 1);
  }
}

TEST_F(RunLockTest, OnAnotherMachineItIsTakenOnlyByForce) {
  leave(on_another_machine());
  const auto message = message_of<InputError>([&] { RunLock(run(), false); });
  for (const char* part : {"host elsewhere", "--break-lock", "run.lock"}) contains(message, part);
  EXPECT_EQ(num_files(), 1u);
  const RunLock held(run(), true);
  held.require_held();
}

TEST_F(RunLockTest, AFileThatNamesNobodyIsTakenOnlyByForce) {
  fs::create_directories(run());
  write_bytes(lock(), "");
  contains(message_of<InputError>([&] { RunLock(run(), false); }), "does not say who");
  EXPECT_EQ(try_lock(true), 0);
}

TEST_F(RunLockTest, ALockOfTheFileSystemIsRespectedWhateverTheFileSays) {
  leave(on_another_machine());
  const int file = ::open(lock().c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(::flock(file, LOCK_EX), 0);
  EXPECT_EQ(try_lock(true), 1);
  ::close(file);
  EXPECT_EQ(try_lock(true), 0);
}

TEST_F(RunLockTest, ARemovedFolderIsNoticed) {
  const RunLock held(run(), false);
  fs::remove_all(run());
  contains(message_of<RunError>([&] { held.require_held(); }), run().string());
  fs::create_directories(run());
  contains(message_of<RunError>([&] { held.require_held(); }), "the lock of this run is gone");
}

TEST_F(RunLockTest, ALockOfAnotherStaysWhenThisOneEnds) {
  const std::string other = to_text(on_another_machine());
  {
    const RunLock held(run(), false);
    fs::remove(lock());
    write_bytes(lock(), other);
    contains(message_of<RunError>([&] { held.require_held(); }), "host elsewhere");
  }
  EXPECT_EQ(bytes_of(lock()), other);
}

TEST_F(RunLockTest, FollowsTheFolderThatIsMadeAnew) {
  RunLock held(run(), false);
  write_bytes(run() / "resolved.in", "");
  fs::rename(run(), folder / "run.1");
  held.follow_move(folder / "run.1");
  EXPECT_FALSE(fs::exists(folder / "run.1" / "run.lock"));
  held.require_held();
  EXPECT_EQ(in_child([&] { return try_lock(); }), 1);
}

TEST_F(RunLockTest, AFolderThatCannotBeMadeIsAFailure) {
  write_bytes(folder / "file", "");
  contains(message_of<RunError>([&] { RunLock(folder / "file" / "run", false); }), "file/run");
}

}  // namespace
}  // namespace elastic::test
