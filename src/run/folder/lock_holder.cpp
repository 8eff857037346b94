// SPDX-License-Identifier: Apache-2.0
#include "run/folder/lock_holder.hpp"

#include <fmt/chrono.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/ask_command.hpp"

namespace elastic {
namespace {

std::string first_word_of(const char* path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}
std::string variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "" : text;
}
std::optional<index_t> integer(const std::string& text) {
  index_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, status] = std::from_chars(text.data(), end, number);
  if (status != std::errc() || stop != end) return std::nullopt;
  return number;
}

/// How often Slurm has started the job anew; the variable is missing at first.
index_t restarts_of_the_job() {
  const std::string text = variable("SLURM_RESTART_COUNT");
  const auto count = integer(text);
  if (count && *count >= 0) return *count;
  if (!text.empty())
    log::warn("SLURM_RESTART_COUNT = {} is taken for 0; expected an integer >= 0", text);
  return 0;
}

/// Field 22 of /proc/PID/stat (man 5 proc); the name of the program, which may hold blanks, ends
/// with the last parenthesis.
std::optional<index_t> start_of_process(index_t process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::string line;
  if (!std::getline(file, line) || line.rfind(')') == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(line.rfind(')') + 1));
  std::string field;
  for (int number = 3; number <= 22 && fields >> field; ++number)
    if (number == 3 && (field == "Z" || field == "X")) return std::nullopt;  // has ended
  return integer(field);
}

std::optional<std::set<std::string>> active_slurm_jobs() {
  const auto text = ask_command("squeue --noheader --user=\"$(id -un)\" --format=%A");
  if (!text) return std::nullopt;
  std::istringstream lines(*text);
  std::set<std::string> jobs;
  for (std::string job; lines >> job;) jobs.insert(job);
  return jobs;
}

/// The job of the holder has ended: it is this one, requeued, or Slurm does not know it any more.
bool job_has_ended(const LockHolder& holder, const LockHolder& me, const MachineView& machine) {
  if (holder.slurm_job.empty() || holder.slurm_cluster != me.slurm_cluster) return false;
  if (holder.slurm_job == me.slurm_job) return me.slurm_restart > holder.slurm_restart;
  if (holder.user != me.user) return false;  // Slurm may hide the jobs of others
  const auto jobs = machine.slurm_jobs();
  return jobs && jobs->count(holder.slurm_job) == 0;
}
}  // namespace

LockHolder this_process() {
  LockHolder me;
  std::array<char, 256> host = {};
  if (::gethostname(host.data(), host.size() - 1) == 0) me.host = host.data();
  me.boot = first_word_of("/proc/sys/kernel/random/boot_id");
  std::error_code unknown;
  me.pid_namespace = std::filesystem::read_symlink("/proc/self/ns/pid", unknown).string();
  me.process = ::getpid();
  me.process_start = start_of_process(me.process).value_or(0);
  me.user = ::getuid();
  me.slurm_cluster = variable("SLURM_CLUSTER_NAME");
  me.slurm_job = variable("SLURM_JOB_ID");
  me.slurm_restart = restarts_of_the_job();
  me.time = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  return me;
}

std::string to_text(const LockHolder& holder) {
  return fmt::format(
      "host = {}\nboot = {}\npid_namespace = {}\nprocess = {}\nprocess_start = {}\nflocked = {}\n"
      "user = {}\nslurm_cluster = {}\nslurm_job = {}\nslurm_restart = {}\ntime = {}\n",
      holder.host, holder.boot, holder.pid_namespace, holder.process, holder.process_start,
      holder.flocked ? 1 : 0, holder.user, holder.slurm_cluster, holder.slurm_job,
      holder.slurm_restart, holder.time);
}

LockHolder read_lock_holder(const std::string& text, const std::string& file) {
  std::map<std::string, std::string> values;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto equals = line.find(" = ");
    if (equals != std::string::npos) values[line.substr(0, equals)] = line.substr(equals + 3);
  }
  const auto value = [&](const char* name) {
    const auto found = values.find(name);
    if (found == values.end())
      throw InputError(
          fmt::format("{}: does not say who holds the run folder ('{}' is missing)", file, name));
    return found->second;
  };
  const auto number = [&](const char* name) {
    const auto read = integer(value(name));
    if (!read)
      throw InputError(fmt::format("{}: {} = {}; expected an integer", file, name, value(name)));
    return *read;
  };
  return {.host = value("host"),
          .boot = value("boot"),
          .pid_namespace = value("pid_namespace"),
          .process = number("process"),
          .process_start = number("process_start"),
          .flocked = number("flocked") != 0,
          .user = number("user"),
          .slurm_cluster = value("slurm_cluster"),
          .slurm_job = value("slurm_job"),
          .slurm_restart = number("slurm_restart"),
          .time = value("time")};
}

std::string describe(const LockHolder& holder) {
  const std::string job =
      holder.slurm_job.empty() ? "" : fmt::format(" (Slurm job {})", holder.slurm_job);
  return fmt::format("process {} on host {} since {}{}", holder.process, holder.host, holder.time,
                     job);
}

MachineView this_machine() {
  return {.start_of = start_of_process, .slurm_jobs = active_slurm_jobs};
}

HolderState state_of(const LockHolder& holder, const LockHolder& me, bool flock_is_free,
                     const MachineView& machine) {
  if (!holder.boot.empty() && holder.boot == me.boot) {  // one kernel
    if (holder.flocked && flock_is_free) return HolderState::ended;
    if (holder.pid_namespace == me.pid_namespace)
      return machine.start_of(holder.process) == holder.process_start ? HolderState::lives
                                                                      : HolderState::ended;
  } else if (!holder.host.empty() && holder.host == me.host && !holder.boot.empty() &&
             !me.boot.empty()) {
    return HolderState::ended;  // the machine was started anew
  }
  return job_has_ended(holder, me, machine) ? HolderState::ended : HolderState::not_known;
}

}  // namespace elastic
