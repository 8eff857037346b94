// SPDX-License-Identifier: Apache-2.0
#include "train/stop_signal.hpp"

#include <array>
#include <csignal>

#include "comm/collectives.hpp"

namespace elastic {
namespace {
constexpr std::array kSignals = {SIGTERM, SIGINT, SIGUSR1};
volatile std::sig_atomic_t g_received = 0;
std::array<struct sigaction, kSignals.size()> g_previous;
extern "C" void remember_signal(int) { g_received = 1; }
}  // namespace

StopSignal::StopSignal() {
  g_received = 0;
  struct sigaction action = {};
  action.sa_handler = remember_signal;
  action.sa_flags = SA_RESTART;
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &g_previous[i]);
}

StopSignal::~StopSignal() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &g_previous[i], nullptr);
}

bool StopSignal::requested(const Communicator& comm) const {
  return all_reduce_max(comm, static_cast<int>(g_received)) != 0;
}

}  // namespace elastic
