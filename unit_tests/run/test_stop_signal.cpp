// SPDX-License-Identifier: Apache-2.0
// Signals are remembered, handlers are put back, and matrix products survive signals at any moment.
#include "run/stop_signal.hpp"

#include <sys/time.h>

#include <csignal>

#include "kernels/products/gemm.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

volatile std::sig_atomic_t g_alarms = 0;
extern "C" void count_alarm(int) { g_alarms = g_alarms + 1; }

/// The handler of StopSignal goes on with every alarm, `microseconds` apart.
class Alarms {
 public:
  explicit Alarms(int microseconds) {
    struct sigaction action = {};
    sigaction(SIGUSR1, nullptr, &action);
    m_flags = action.sa_flags;
    action.sa_handler = count_alarm;
    sigaction(SIGALRM, &action, &m_previous);
    const timeval period{.tv_sec = 0, .tv_usec = microseconds};
    const itimerval timer{.it_interval = period, .it_value = period};
    setitimer(ITIMER_REAL, &timer, nullptr);
  }
  ~Alarms() {
    const itimerval none = {};
    setitimer(ITIMER_REAL, &none, nullptr);
    sigaction(SIGALRM, &m_previous, nullptr);
  }
  int flags() const { return m_flags; }

 private:
  struct sigaction m_previous = {};
  int m_flags = 0;
};

TEST(StopSignal, EverySignalIsRemembered) {
  const Communicator self = Communicator::self();
  for (const int number : {SIGTERM, SIGINT, SIGUSR1}) {
    const StopSignal signal;
    EXPECT_FALSE(signal.requested(self)) << number;
    std::raise(number);
    EXPECT_TRUE(signal.requested(self)) << number;
    EXPECT_TRUE(signal.requested(self)) << number;
  }
}

TEST(StopSignal, AWishToSaveIsAnsweredOnce) {
  const Communicator self = Communicator::self();
  const StopSignal signal;
  std::raise(SIGUSR2);
  StopSignal::Answer answer = signal.asked(self);
  EXPECT_TRUE(answer.save);
  EXPECT_FALSE(answer.stop);
  answer = signal.asked(self);
  EXPECT_FALSE(answer.save);
  EXPECT_TRUE(signal.asked(self, /*own_reason=*/true).stop);
  std::raise(SIGTERM);
  std::raise(SIGTERM);
  answer = signal.asked(self);
  EXPECT_TRUE(answer.stop);
  EXPECT_FALSE(answer.save);
}

TEST(StopSignal, HandlersAndStackArePutBack) {
  struct sigaction action = {}, before = {}, after = {};
  action.sa_handler = count_alarm;
  sigaction(SIGUSR1, &action, &before);
  stack_t stack_before = {}, stack_after = {};
  sigaltstack(nullptr, &stack_before);
  { const StopSignal signal; }
  sigaltstack(nullptr, &stack_after);
  sigaction(SIGUSR1, &before, &after);
  EXPECT_EQ(after.sa_handler, &count_alarm);
  EXPECT_EQ(stack_after.ss_sp, stack_before.ss_sp);
  EXPECT_EQ(stack_after.ss_flags, stack_before.ss_flags);
}

// Fails (usually by a message of the heap) if the handler runs on the stack of the thread.
TEST(StopSignal, MatrixProductsSurviveSignals) {
  constexpr int alarm_period = 50, enough = 200;  // microseconds, signals
  const ExecutionSpace exec;
  const auto a = random_matrix<float>(200, 230, 1), b = random_matrix<float>(230, 190, 2);
  const View2<float> quiet("elastic::quiet", 200, 190), disturbed("elastic::disturbed", 200, 190);
  using kernels::Transpose;
  kernels::gemm<float>({exec}, Transpose::no, Transpose::no, 1, a, b, 0, quiet);
  g_alarms = 0;
  const StopSignal signal;
  const Alarms alarms(alarm_period);
  for (int i = 0; i < 20000 && g_alarms < enough; ++i) {
    kernels::gemm<float>({exec}, Transpose::no, Transpose::no, 1, a, b, 0, disturbed);
    ASSERT_TRUE(bitwise_equal(disturbed, quiet)) << i;
  }
  EXPECT_TRUE(alarms.flags() & SA_ONSTACK);
  EXPECT_GE(g_alarms, enough);
}

}  // namespace
}  // namespace elastic::test
