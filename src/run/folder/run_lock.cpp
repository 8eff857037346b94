// SPDX-License-Identifier: Apache-2.0
#include "run/folder/run_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.hpp"
#include "base/log.hpp"
#include "io/durable_file.hpp"

namespace elastic {
namespace fs = std::filesystem;
namespace {

/// A file descriptor that is closed.
class OpenFile {
 public:
  OpenFile(const fs::path& path, int flags)
      : m_file(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  ~OpenFile() {
    if (m_file >= 0) ::close(m_file);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int get() const { return m_file; }
  int release() { return std::exchange(m_file, -1); }

 private:
  int m_file;
};

/// Whether `path` is the name of the open file.
bool is_linked(int file, const fs::path& path) {
  struct stat open_file = {}, named = {};
  return ::fstat(file, &open_file) == 0 && ::stat(path.c_str(), &named) == 0 &&
         open_file.st_dev == named.st_dev && open_file.st_ino == named.st_ino;
}

/// Waits a moment for another process that takes an old lock over.
bool is_replaced_soon(int file, const fs::path& path) {
  for (int i = 0; i < 10 && is_linked(file, path); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  return !is_linked(file, path);
}

enum class Flock { taken, held_by_another, impossible };
Flock try_flock(int file) {
  if (::flock(file, LOCK_EX | LOCK_NB) == 0) return Flock::taken;
  return errno == EWOULDBLOCK ? Flock::held_by_another : Flock::impossible;
}

[[noreturn]] void fail(const fs::path& path, const char* what, int reason) {
  throw RunError(fmt::format("{}: cannot {}: {}", path.string(), what, std::strerror(reason)));
}

void write_all(int file, const std::string& text, const fs::path& path) {
  std::size_t done = 0;
  while (done < text.size()) {
    const auto count =
        ::pwrite(file, text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(path, "write the lock", count < 0 ? errno : EIO);
    done += static_cast<std::size_t>(count);
  }
  if (::ftruncate(file, static_cast<off_t>(text.size())) != 0) fail(path, "write the lock", errno);
}

/// The holder that a lock names; nothing if it says so little that nobody can be found.
std::optional<LockHolder> holder_in(const fs::path& path) {
  try {
    return read_lock_holder(read_file(path), path.string());
  } catch (const InputError&) {
    return std::nullopt;
  }
}

std::string how_to_go_on(const fs::path& lock) {
  return fmt::format(
      "whether it still runs cannot be told from here. If it has ended, go on with --break-lock, "
      "or remove {}",
      lock.string());
}

[[noreturn]] void refuse(const fs::path& folder, const fs::path& lock) {
  const auto holder = holder_in(lock);
  throw InputError(fmt::format(
      "{}: in use by {}; let that run end, or choose another job/folder", folder.string(),
      holder ? describe(*holder) : "a process that holds " + lock.string()));
}

}  // namespace

RunLock::RunLock(fs::path folder, bool break_lock)
    : m_folder(std::move(folder)), m_me(this_process()) {
  make_folder();
  try {
    take(break_lock);
  } catch (...) {
    if (m_made_folder) ::rmdir(m_folder.c_str());
    throw;
  }
}

RunLock::~RunLock() {
  if (m_file >= 0) {
    if (is_linked(m_file, path())) ::unlink(path().c_str());
    ::close(m_file);
  }
  if (m_made_folder) ::rmdir(m_folder.c_str());  // fails if something is in it
}

void RunLock::make_folder() {
  std::error_code status;
  m_made_folder = fs::create_directories(m_folder, status);
  if (status)
    throw RunError(
        fmt::format("{}: cannot make the run folder: {}", m_folder.string(), status.message()));
}

void RunLock::take(bool break_lock) {
  const fs::path made = m_folder / fmt::format("{}.{}.{}", name, m_me.host, m_me.process);
  ::unlink(made.c_str());
  OpenFile file(made, O_RDWR | O_CREAT | O_EXCL);
  if (file.get() < 0) fail(m_folder, "write into the run folder", errno);
  try {
    m_me.flocked = try_flock(file.get()) == Flock::taken;
    write_all(file.get(), to_text(m_me), made);
    ::fsync(file.get());
    while (!try_to_take(made, break_lock)) {
    }
  } catch (...) {
    ::unlink(made.c_str());
    throw;
  }
  ::unlink(made.c_str());
  m_file = file.release();
}

/// False: the lock that was there is gone or another one meanwhile.
bool RunLock::try_to_take(const fs::path& made, bool break_lock) {
  if (::link(made.c_str(), path().c_str()) == 0) return true;
  if (errno != EEXIST) {  // a file system without links: a rename that replaces nothing
    if (::renameat2(AT_FDCWD, made.c_str(), AT_FDCWD, path().c_str(), RENAME_NOREPLACE) == 0)
      return true;
    if (errno != EEXIST) fail(path(), "make the lock", errno);
  }
  const OpenFile old(path(), O_RDWR);
  if (old.get() < 0 && errno == ENOENT) return false;
  if (old.get() < 0) fail(path(), "open the lock", errno);
  const Flock flock = try_flock(old.get());
  if (flock == Flock::held_by_another && !is_replaced_soon(old.get(), path()))
    refuse(m_folder, path());
  if (!is_linked(old.get(), path())) return false;
  const auto holder = holder_in(path());
  const HolderState state = holder ? state_of(*holder, m_me, flock == Flock::taken, this_machine())
                                   : HolderState::not_known;
  const std::string who = holder ? describe(*holder) : "somebody (the file does not say who)";
  if (state == HolderState::lives) refuse(m_folder, path());
  if (state == HolderState::not_known && !break_lock)
    throw InputError(fmt::format("{}: held by {}; {}", path().string(), who, how_to_go_on(path())));
  replace(made);
  log::info("{}: taken over from {}{}", path().string(), who,
            state == HolderState::ended ? ", which has ended" : " (--break-lock)");
  return true;
}

/// Puts the new lock in place of the old one, which nobody else replaces meanwhile: the file
/// system's lock is held. Where there is none, the last of several wins, and the others see it.
void RunLock::replace(const fs::path& made) {
  const OpenFile mine(made, O_RDONLY);
  if (::rename(made.c_str(), path().c_str()) != 0) fail(path(), "replace the lock", errno);
  if (m_me.flocked) return;
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  if (!is_linked(mine.get(), path())) refuse(m_folder, path());
}

void RunLock::follow_move(const fs::path& aside) {
  const int old = std::exchange(m_file, -1);
  const fs::path left = aside / name;
  try {
    make_folder();
    take(false);
  } catch (...) {
    ::unlink(left.c_str());
    ::close(old);
    throw;
  }
  ::unlink(left.c_str());
  ::close(old);
}

void RunLock::require_held() const {
  if (is_linked(m_file, path())) {
    if (::access(m_folder.c_str(), W_OK) == 0) return;
    fail(m_folder, "write into the run folder any more", errno);
  }
  if (!fs::exists(m_folder))
    throw RunError(
        fmt::format("{}: the run folder was removed while the run goes on", m_folder.string()));
  const auto holder = fs::exists(path()) ? holder_in(path()) : std::nullopt;
  throw RunError(fmt::format(
      "{}: the lock of this run is gone{}; it writes nothing more", path().string(),
      holder ? fmt::format(", the folder is held by {}", describe(*holder)) : std::string()));
}

}  // namespace elastic
