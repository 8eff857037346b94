// SPDX-License-Identifier: Apache-2.0
#include "comm/collective_guard.hpp"

#include <unistd.h>

#include "base/error.hpp"
#include "base/life_sign.hpp"

namespace elastic::impl {
namespace {
thread_local int t_agreements = 0;  // whose work this thread does

/// A rank that was stopped may go on after the watchdog has ended the others, and would then take
/// what a broken collective gave it for numbers.
void leave_if_given_up(const LifeSign& sign) {
  if (sign.given_up.load(std::memory_order_relaxed) != 0)
    _exit(static_cast<int>(ExitCode::runtime));
}
}  // namespace

InCollective::InCollective(const Communicator& comm, const char* name) {
  ELASTIC_REQUIRE(t_agreements == 0 || comm.size() == 1,
                  "{} over {} ranks within the work of all_ranks_agree: a rank that fails there "
                  "would leave the others waiting",
                  name, comm.size());
  LifeSign& sign = life_sign();
  leave_if_given_up(sign);
  sign.progress.fetch_add(1, std::memory_order_relaxed);
  sign.collectives.fetch_add(1, std::memory_order_relaxed);
}
InCollective::~InCollective() {
  LifeSign& sign = life_sign();
  leave_if_given_up(sign);
  sign.collectives.fetch_sub(1, std::memory_order_relaxed);
  sign.progress.fetch_add(1, std::memory_order_relaxed);
}

NoCollectives::NoCollectives(const Communicator& comm) : m_counts(comm.size() > 1) {
  if (m_counts) ++t_agreements;
}
NoCollectives::~NoCollectives() {
  if (m_counts) --t_agreements;
}

}  // namespace elastic::impl
