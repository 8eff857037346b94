// SPDX-License-Identifier: Apache-2.0
// An error of one rank becomes the error of all ranks, so that nobody waits for a rank that left.
//
//   const Deck deck = all_ranks_agree(world, [&] { return read_deck(path); });
#pragma once
#include <exception>
#include <optional>
#include <type_traits>

#include "comm/collective_guard.hpp"

namespace elastic {

/// Collective. Returns on every rank if `failure` is null everywhere. Otherwise every rank throws
/// the error of the lowest rank that failed (type, code and message). Exceptions that are not
/// elastic::Error become RunError; Stopped stays what it is, and any error goes before it.
void agree_on_failure(const Communicator& comm, const std::exception_ptr& failure);

/// Collective. As above, and throws Stopped on every rank if one of them was asked to stop
/// (base/stop_request.hpp).
void agree_to_go_on(const Communicator& comm, const std::exception_ptr& failure = {});

/// Collective. Runs `work` on every rank and returns its result, or throws on every rank as
/// agree_on_failure does. `work` must not hold collectives of its own: a rank that fails would
/// leave the others waiting inside. A collective over several ranks in there is a ContractError.
template <class Work>
auto all_ranks_agree(const Communicator& comm, Work&& work) {
  using Result = std::invoke_result_t<Work>;
  std::exception_ptr failure;
  if constexpr (std::is_void_v<Result>) {
    try {
      const impl::NoCollectives alone(comm);
      work();
    } catch (...) {
      failure = std::current_exception();
    }
    agree_on_failure(comm, failure);
  } else {
    std::optional<Result> result;
    try {
      const impl::NoCollectives alone(comm);
      result.emplace(work());
    } catch (...) {
      failure = std::current_exception();
    }
    agree_on_failure(comm, failure);
    return Result(std::move(*result));
  }
}

}  // namespace elastic
