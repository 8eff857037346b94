// SPDX-License-Identifier: Apache-2.0
#include "base/run_program.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>

#include "base/region.hpp"

extern char** environ;

namespace elastic {
namespace {

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

std::string last_line(std::FILE* file) {
  std::rewind(file);
  std::string line, last;
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) {
    if (c != '\n') {
      line += static_cast<char>(c);
    } else if (!line.empty()) {
      last.swap(line);
      line.clear();
    }
  }
  return line.empty() ? last : line;
}

/// Starts the program with its output in `output`; -1 if that fails.
pid_t start(const std::vector<std::string>& command, int output) {
  std::vector<char*> arguments;
  for (const auto& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
  pid_t id = -1;
  const int error = posix_spawnp(&id, arguments[0], &files, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  return error == 0 ? id : -1;
}

/// The status of waitpid, or nothing if the program had to be ended.
std::optional<int> wait_for(pid_t id, double limit_seconds) {
  constexpr auto pause = std::chrono::milliseconds(20);
  const double end = wall_seconds() + limit_seconds;
  int status = 0;
  pid_t ended = 0;
  while ((ended = waitpid(id, &status, WNOHANG)) == 0 && wall_seconds() < end)
    std::this_thread::sleep_for(pause);
  if (ended == id) return status;
  if (ended == 0) {
    kill(id, SIGKILL);
    waitpid(id, &status, 0);
  }
  return std::nullopt;
}

}  // namespace

std::optional<int> run_program(const std::vector<std::string>& command, double limit_seconds,
                               std::string& output) {
  output.clear();
  const File log(std::tmpfile(), std::fclose);
  if (!log) return std::nullopt;
  const pid_t id = start(command, fileno(log.get()));
  if (id < 0) return std::nullopt;
  const auto status = wait_for(id, limit_seconds);
  output = last_line(log.get());
  if (!status || !WIFEXITED(*status)) return std::nullopt;
  return WEXITSTATUS(*status);
}

std::string chosen_python(const std::string& otherwise) {
  const char* given = std::getenv("ELASTIC_PYTHON");
  return given != nullptr && *given != '\0' ? given : otherwise;
}

}  // namespace elastic
