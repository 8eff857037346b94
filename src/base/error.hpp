// SPDX-License-Identifier: Apache-2.0
// Errors. main.cpp prints one message and leaves with the exit code of its type.
//
//   InputError     what the user did wrong
//   RunError       what broke while running
//   NumericsError  a loss or gradient that is not finite
//   ContractError  a broken precondition inside the code
#pragma once
#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <version>
#ifdef __cpp_lib_source_location
#include <source_location>
#endif

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

#ifdef __cpp_lib_source_location
using SourceLocation = std::source_location;
#else
/// What is needed of std::source_location, which clang 14 does not have.
class SourceLocation {
 public:
  static constexpr SourceLocation current(const char* file = __builtin_FILE(),
                                          int line = __builtin_LINE()) {
    return {file, line};
  }
  constexpr const char* file_name() const { return m_file; }
  constexpr int line() const { return m_line; }

 private:
  constexpr SourceLocation(const char* file, int line) : m_file(file), m_line(line) {}
  const char* m_file;
  int m_line;
};
#endif

[[noreturn]] void throw_contract(const std::string& message,
                                 SourceLocation where = SourceLocation::current());

}  // namespace elastic

/// Throws ContractError with the expression, the place and the message unless `condition` holds.
#define ELASTIC_REQUIRE(condition, ...)                                           \
  do {                                                                            \
    if (!(condition))                                                             \
      ::elastic::throw_contract(                                                  \
          fmt::format("required: {}; {}", #condition, fmt::format(__VA_ARGS__))); \
  } while (false)
