// SPDX-License-Identifier: Apache-2.0
#include "run/stop_signal.hpp"

#include <array>
#include <csignal>

#include "comm/collectives.hpp"

namespace elastic {
namespace {
constexpr std::array signals = {SIGTERM, SIGINT, SIGUSR1};
volatile std::sig_atomic_t g_received = 0;
std::array<struct sigaction, signals.size()> g_previous;
extern "C" void remember_signal(int) { g_received = 1; }

// oneDNN's generated sgemm code uses the stack pointer as one more register, pointing into the heap
// (issue 4845 of oneDNN; releases before 3.12). A handler that ran on the stack of the thread would
// write over whatever lies there; hence a stack of its own.
std::array<char, 65536> g_stack;
stack_t g_previous_stack;
}  // namespace

StopSignal::StopSignal() {
  g_received = 0;
  stack_t stack = {};
  stack.ss_sp = g_stack.data();
  stack.ss_size = g_stack.size();
  sigaltstack(&stack, &g_previous_stack);
  struct sigaction action = {};
  action.sa_handler = remember_signal;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  for (std::size_t i = 0; i < signals.size(); ++i) sigaction(signals[i], &action, &g_previous[i]);
}

StopSignal::~StopSignal() {
  for (std::size_t i = 0; i < signals.size(); ++i) sigaction(signals[i], &g_previous[i], nullptr);
  sigaltstack(&g_previous_stack, nullptr);
}

bool StopSignal::requested(const Communicator& comm, bool own_reason) const {
  return all_reduce_max(comm, g_received != 0 || own_reason ? 1 : 0) != 0;
}

}  // namespace elastic
