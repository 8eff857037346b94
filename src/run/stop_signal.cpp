// SPDX-License-Identifier: Apache-2.0
#include "run/stop_signal.hpp"

#include <array>
#include <csignal>

#include "base/stop_request.hpp"
#include "comm/collectives.hpp"

namespace elastic {
namespace {
constexpr std::array signals = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2};
std::array<struct sigaction, signals.size()> g_previous;
extern "C" void remember_signal(int number) {
  if (number == SIGUSR2)
    stop_request::ask_to_save();
  else
    stop_request::ask_to_stop();
}

// oneDNN's generated sgemm code uses the stack pointer as one more register, pointing into the heap
// (issue 4845 of oneDNN; releases before 3.12). A handler that ran on the stack of the thread would
// write over whatever lies there; hence a stack of its own.
std::array<char, 65536> g_stack;
stack_t g_previous_stack;
}  // namespace

StopSignal::StopSignal() {
  stop_request::forget();
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

StopSignal::Answer StopSignal::asked(const Communicator& comm, bool own_reason) const {
  std::array<int, 2> wishes = {stop_request::stop_asked() || own_reason ? 1 : 0,
                               stop_request::take_save() ? 1 : 0};
  all_reduce_max(comm, wishes.data(), static_cast<index_t>(wishes.size()));
  return {.stop = wishes[0] != 0, .save = wishes[1] != 0};
}

bool StopSignal::requested(const Communicator& comm, bool own_reason) const {
  return all_reduce_max(comm, stop_request::stop_asked() || own_reason ? 1 : 0) != 0;
}

}  // namespace elastic
