// SPDX-License-Identifier: Apache-2.0
// A loop over shared work whose passes hold collectives of a team (a model spread over ranks).
// What can fail on one rank alone, reading data, is done and agreed on before the pass begins.
//
//   for round = 0, 1, ...:   fetch(round) | all ranks agree: error? stop? | work(round)
//
// One small sum over `all` per round, and one at the end.
#pragma once
#include "base/error.hpp"
#include "base/stop_request.hpp"
#include "base/types.hpp"
#include "comm/all_ranks_agree.hpp"

namespace elastic {

/// Collective over `all`; `rounds` is equal on all ranks. fetch(round) must not hold collectives;
/// work(round) may hold those of this rank's team, the `team_size` ranks that do the same work.
///
/// An error of fetch becomes that of all ranks, as in all_ranks_agree. So does one of work if a
/// whole team throws it (NumericsError, as all of a team see the same numbers) or the team is one
/// rank. Any other error of work is thrown at once: the others of the team wait and
/// cannot be told; main ends them. Throws Stopped on all ranks if one of `all` was asked to stop,
/// or if a team has thrown it together.
template <class Fetch, class Work>
void for_each_round(const Communicator& all, int team_size, index_t rounds, const Fetch& fetch,
                    const Work& work) {
  std::exception_ptr failure;
  for (index_t round = 0; round < rounds; ++round) {
    if (!failure) try {
        const impl::NoCollectives alone(all);
        fetch(round);
      } catch (...) {
        failure = std::current_exception();
      }
    agree_to_go_on(all, failure);
    try {
      work(round);
    } catch (const Stopped&) {
      failure = std::current_exception();
    } catch (const NumericsError&) {
      failure = std::current_exception();
    } catch (...) {
      if (team_size > 1) throw;
      failure = std::current_exception();
    }
  }
  agree_to_go_on(all, failure);
}

}  // namespace elastic
