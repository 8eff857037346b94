// SPDX-License-Identifier: Apache-2.0
// An error of one rank becomes the error of all ranks.
#include "comm/all_ranks_agree.hpp"

#include "base/error.hpp"
#include "base/stop_request.hpp"
#include "comm/collectives.hpp"

#include <new>

namespace elastic {

namespace {

enum class Kind : int { error, input, run, numerics, contract };

struct Description {
  Kind kind = Kind::run;
  ExitCode code = ExitCode::runtime;
  std::string message;
};

Kind kind_of(const Error& error) {
  if (dynamic_cast<const InputError*>(&error)) return Kind::input;
  if (dynamic_cast<const RunError*>(&error)) return Kind::run;
  if (dynamic_cast<const NumericsError*>(&error)) return Kind::numerics;
  if (dynamic_cast<const ContractError*>(&error)) return Kind::contract;
  return Kind::error;
}

Description describe(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return {kind_of(error), error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {Kind::run, ExitCode::runtime, "out of memory"};
  } catch (const std::exception& error) {
    return {Kind::run, ExitCode::runtime, error.what()};
  } catch (...) {
    return {Kind::run, ExitCode::runtime, "an exception of unknown type"};
  }
}

[[noreturn]] void throw_described(const Description& failure) {
  switch (failure.kind) {
    case Kind::input:
      throw InputError(failure.message);
    case Kind::run:
      throw RunError(failure.message);
    case Kind::numerics:
      throw NumericsError(failure.message);
    case Kind::contract:
      throw ContractError(failure.message);
    case Kind::error:
      break;
  }
  throw Error(failure.code, failure.message);
}

bool is_stop(const std::exception_ptr& failure) {
  if (!failure) return false;
  try {
    std::rethrow_exception(failure);
  } catch (const Stopped&) {
    return true;
  } catch (...) {
    return false;
  }
}

/// One number of all ranks decides: the first rank with an error, then a wish to stop, then none.
void agree(const Communicator& comm, const std::exception_ptr& failure, bool wants_to_stop) {
  const int stop = comm.size(), nothing = comm.size() + 1;
  const bool stops = wants_to_stop || is_stop(failure);
  const int first =
      all_reduce_min(comm, failure && !is_stop(failure) ? comm.rank() : (stops ? stop : nothing));
  if (first == nothing) return;
  if (first == stop) throw Stopped();
  Description description;
  if (comm.rank() == first) description = describe(failure);
  broadcast(comm, &description.kind, sizeof description.kind, first);
  broadcast(comm, &description.code, sizeof description.code, first);
  broadcast(comm, description.message, first);
  throw_described(description);
}

}  // namespace

void agree_on_failure(const Communicator& comm, const std::exception_ptr& failure) {
  agree(comm, failure, false);
}
void agree_to_go_on(const Communicator& comm, const std::exception_ptr& failure) {
  agree(comm, failure, stop_request::stop_asked());
}

}  // namespace elastic
