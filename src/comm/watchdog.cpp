// SPDX-License-Identifier: Apache-2.0
#include "comm/watchdog.hpp"

#include <csignal>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <new>

#include "base/region.hpp"
#include "comm/collectives.hpp"
#include "comm/mpi_environment.hpp"
#include "comm/stall_detector.hpp"

namespace elastic {
namespace {
constexpr double period = 0.2;  // seconds between two beats
constexpr auto relaxed = std::memory_order_relaxed;

void sleep_for(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

/// No signal of the process is delivered to a thread that is started meanwhile.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &m_before);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &m_before, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t m_before;
};

RankSign read_sign(const LifeSign& sign) {
  return {.rank = sign.rank.load(relaxed),
          .beats = sign.beats.load(relaxed),
          .progress = sign.progress.load(relaxed),
          .step = sign.step.load(relaxed),
          .waits = sign.collectives.load(relaxed) > 0,
          .left = sign.left.load(relaxed) != 0,
          .region = region_of(sign)};
}

/// To standard error in one piece; a lock that somebody holds cannot stop it.
void print(const std::string& text) {
  std::size_t begin = 0;
  while (begin < text.size()) {
    const ssize_t written = write(STDERR_FILENO, text.data() + begin, text.size() - begin);
    if (written <= 0) return;
    begin += static_cast<std::size_t>(written);
  }
}
}  // namespace

/// In memory of all ranks of a node: whether somebody has reported, then a sign for each.
struct alignas(64) Watchdog::Shared {
  std::atomic<int> reported = 0;
  LifeSign* signs() { return reinterpret_cast<LifeSign*>(this + 1); }
};

Watchdog::Watchdog(const Communicator& world, double patience) : m_patience(patience) {
  if (patience <= 0) return;
  const Communicator node = world.split_by_node();
  m_other_nodes = node.size() < world.size();
  m_ranks = node.size();
  m_place = node.rank();
  share_signs(node);
  LifeSign& mine = m_shared->signs()[m_place];
  mine.rank.store(world.rank(), relaxed);
  mine.process.store(static_cast<int>(getpid()), relaxed);
  barrier(node);
  show_life_sign_in(&mine);
  const BlockedSignals blocked;
  m_thread = std::thread([this] { watch(); });
}

void Watchdog::share_signs(const Communicator& node) {
  const auto bytes = sizeof(Shared) + static_cast<std::size_t>(node.size()) * sizeof(LifeSign);
  MPI_Win window = MPI_WIN_NULL;
  void* memory = nullptr;
  ELASTIC_CHECK_MPI(MPI_Win_allocate_shared(node.is_root() ? static_cast<MPI_Aint>(bytes) : 0, 1,
                                            MPI_INFO_NULL, node.handle(), &memory, &window));
  MPI_Aint size = 0;
  int unit = 1;
  ELASTIC_CHECK_MPI(MPI_Win_shared_query(window, 0, &size, &unit, &memory));
  m_shared = static_cast<Shared*>(memory);
  if (node.is_root()) {
    new (m_shared) Shared;
    for (int i = 0; i < node.size(); ++i) new (m_shared->signs() + i) LifeSign;
  }
  barrier(node);
}

Watchdog::~Watchdog() {
  if (!m_thread.joinable()) return;
  m_shared->signs()[m_place].left.store(1, relaxed);
  m_ends.store(true);
  m_thread.join();
  show_life_sign_in(nullptr);
}

void Watchdog::watch() {
  StallDetector detector(m_patience, m_other_nodes);
  std::vector<RankSign> signs(static_cast<std::size_t>(m_ranks));
  double last = wall_seconds();
  while (!m_ends.load()) {
    m_shared->signs()[m_place].beats.fetch_add(1, relaxed);
    sleep_for(period);
    const double now = wall_seconds();
    // A look that comes late says nothing of the others: this process itself was stopped.
    const double seconds = std::min(now - last, 2 * period);
    last = now;
    for (int i = 0; i < m_ranks; ++i)
      signs[static_cast<std::size_t>(i)] = read_sign(m_shared->signs()[i]);
    const Stall stall = detector.look(signs, seconds);
    if (m_ends.load()) return;
    if (stall.found && stall.speaker == m_place)
      end_all(m_shared->reported.exchange(1) == 0, stall);
    if (m_shared->reported.load() != 0) {
      sleep_for(2);  // the speaker first, as the launcher reports its exit code
      end_all(false, stall);
    }
  }
}

void Watchdog::end_all(bool speaks, const Stall& stall) {
  for (int i = 0; i < m_ranks; ++i) m_shared->signs()[i].given_up.store(1, relaxed);
  if (speaks) {
    print("elastic.x: " + stall.report + "\n");
    sleep_for(0.2);  // until the launcher has read it
  } else {
    for (const int place : stall.missing)
      if (place != m_place) kill(m_shared->signs()[place].process.load(relaxed), SIGKILL);
  }
  _exit(static_cast<int>(ExitCode::runtime));
}

}  // namespace elastic
