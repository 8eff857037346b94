// SPDX-License-Identifier: Apache-2.0
// Errors. main.cpp prints one message and leaves with the exit code of its type.
//
//   InputError     what the user did wrong
//   RunError       what broke while running
//   NumericsError  a loss or gradient that is not finite
//   ContractError  a broken precondition inside the code
#pragma once
#include <fmt/format.h>

#include <source_location>
#include <stdexcept>
#include <string>

namespace elastic {

/// Documented exit codes of elastic.x.
enum class ExitCode : int { success = 0, input = 1, runtime = 2, numerics = 3, requeue = 85 };

/// The base of all errors of the program: a message and the exit code.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), m_code(code) {}
  ExitCode code() const { return m_code; }

 private:
  ExitCode m_code;
};
/// A deck, data file, checkpoint, command line or environment that cannot be used as given.
struct InputError : Error {
  explicit InputError(const std::string& message) : Error(ExitCode::input, message) {}
};
/// A failure outside the user's input: disk, MPI, HDF5, memory.
struct RunError : Error {
  explicit RunError(const std::string& message) : Error(ExitCode::runtime, message) {}
};
/// A loss or gradient that is not finite.
struct NumericsError : Error {
  explicit NumericsError(const std::string& message) : Error(ExitCode::numerics, message) {}
};
/// A broken precondition: a defect of this program, not of its input.
struct ContractError : Error {
  explicit ContractError(const std::string& message) : Error(ExitCode::runtime, message) {}
};

[[noreturn]] void throw_contract(const std::string& message,
                                 std::source_location where = std::source_location::current());

}  // namespace elastic

/// Throws ContractError with the expression, the place and the message unless `condition` holds.
#define ELASTIC_REQUIRE(condition, ...)                                           \
  do {                                                                            \
    if (!(condition))                                                             \
      ::elastic::throw_contract(                                                  \
          fmt::format("required: {}; {}", #condition, fmt::format(__VA_ARGS__))); \
  } while (false)
