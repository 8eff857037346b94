// SPDX-License-Identifier: Apache-2.0
#include "run/batch_system.hpp"

#include <time.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <map>
#include <sstream>
#include <string>

#include "base/error.hpp"
#include "base/log.hpp"
#include "config/wall_time_text.hpp"
#include "base/ask_command.hpp"

namespace elastic {
namespace {
constexpr std::int64_t ten_years = 10LL * 366 * 24 * 3600;

std::string variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "" : text;
}

std::optional<std::int64_t> integer(const std::string& text) {
  std::int64_t number = 0;
  const auto [stop, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return number;
}

/// Text without the blanks around it.
std::string trimmed(const std::string& text) {
  const char* blanks = " \t\r\n";
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

void no_answer(const char* system, const std::string& job, const std::string& question) {
  log::warn(
      "wall time: `{}` gives no answer on job {} of {}; no limit is taken. Expected that command "
      "in the PATH of rank 0; or give the time: --walltime",
      question, job, system);
}

void odd_answer(const std::string& question, const std::string& answer, const char* expected) {
  log::warn(
      "wall time: `{}` says '{}'; expected {}; no limit is taken. Give the time with --walltime",
      question, answer, expected);
}

/// Seconds until a time that Slurm gives in seconds since 1970. Nothing, with a warning, for a text
/// that is no such time, or one of which the job cannot be: over already, or years ahead.
std::optional<double> seconds_until(const char* name, const std::string& text) {
  const auto end = integer(text);
  const std::int64_t left = end ? *end - static_cast<std::int64_t>(std::time(nullptr)) : 0;
  if (end && *end > 0 && left > 0 && left < ten_years) return static_cast<double>(left);
  log::warn(
      "wall time: {} = {} is not taken for the end of this job; expected seconds since 1970, "
      "ahead by less than ten years",
      name, text);
  return std::nullopt;
}

/// What squeue says of the time left.
std::optional<double> time_left_by_squeue() {
  const char* question = "squeue --noheader --jobs=\"$SLURM_JOB_ID\" --format=%L";
  const auto answer = ask_command(question);
  if (!answer) {
    no_answer("Slurm", variable("SLURM_JOB_ID"), question);
    return std::nullopt;
  }
  const std::string left = trimmed(answer->substr(0, answer->find('\n')));
  if (left == "UNLIMITED" || left == "NOT_SET") {
    log::info("wall time: Slurm names no limit");
    return std::nullopt;
  }
  try {
    return parse_wall_time(left);
  } catch (const InputError&) {
    odd_answer(question, left, "a time as D-HH:MM:SS, or UNLIMITED");
    return std::nullopt;
  }
}

/// Slurm 23.02 and later say when the job ends, earlier ones answer a question.
std::optional<double> time_left_by_slurm() {
  if (variable("SLURM_JOB_ID").empty()) return std::nullopt;
  const char* end = "SLURM_JOB_END_TIME";
  if (const std::string text = variable(end); !text.empty())
    if (const auto left = seconds_until(end, text)) return left;
  return time_left_by_squeue();
}

/// Lines `    name = value` of qstat -f.
std::map<std::string, std::string> attributes(const std::string& text) {
  std::map<std::string, std::string> found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (const auto equals = line.find(" = "); equals != std::string::npos)
      found[trimmed(line.substr(0, equals))] = trimmed(line.substr(equals + 3));
  return found;
}

/// Seconds that a job runs by its start ("Sat Nov 28 05:10:40 2026", local time).
std::optional<double> seconds_since(const std::string& text) {
  std::tm start = {};
  if (text.empty() || ::strptime(text.c_str(), "%a %b %d %H:%M:%S %Y", &start) == nullptr)
    return std::nullopt;
  start.tm_isdst = -1;
  const double seconds = std::difftime(std::time(nullptr), std::mktime(&start));
  return seconds < 0 ? std::nullopt : std::optional(seconds);
}

/// Seconds of its walltime that a job has used. PBS takes that down every two minutes or so; since
/// its start is more exact, unless the job was suspended for a while.
double time_used(const std::map<std::string, std::string>& job) {
  constexpr double seconds_between_records = 300;
  const auto value = [&](const char* name) {
    const auto found = job.find(name);
    return found == job.end() ? std::string() : found->second;
  };
  const std::string text = value("resources_used.walltime");
  const double recorded = text.empty() ? 0 : parse_pbs_time(text);
  const auto since_start = seconds_since(value("stime"));
  if (since_start && *since_start >= recorded &&
      (text.empty() || *since_start - recorded < seconds_between_records))
    return *since_start;
  return recorded;
}

std::optional<double> time_left_by_pbs() {
  if (variable("PBS_JOBID").empty()) return std::nullopt;
  const char* question = "qstat -f \"$PBS_JOBID\"";
  const auto answer = ask_command(question);
  if (!answer) {
    no_answer("PBS", variable("PBS_JOBID"), question);
    return std::nullopt;
  }
  const auto job = attributes(*answer);
  const auto limit = job.find("Resource_List.walltime");
  if (limit == job.end()) {
    log::info("wall time: PBS names no limit");
    return std::nullopt;
  }
  try {
    return std::max(0.0, parse_pbs_time(limit->second) - time_used(job));
  } catch (const InputError& error) {
    odd_answer(question, error.what(), "times as HH:MM:SS");
    return std::nullopt;
  }
}

/// What Flux says, in whole seconds; 2^32 - 1 stands for no limit.
std::optional<double> time_left_by_flux() {
  constexpr std::int64_t no_limit = 0xffffffff;
  const std::string job = variable("FLUX_JOB_ID"), around = variable("FLUX_ENCLOSING_ID");
  if (job.empty() && around.empty()) return std::nullopt;
  const char* question = "flux job timeleft";
  // A job without a limit of its own ends with the instance (of a batch job) that runs it.
  const char* of_instance = "env -u FLUX_JOB_ID flux job timeleft";
  for (const char* asked : {question, of_instance}) {
    if (asked == of_instance && (job.empty() || around.empty())) break;
    const auto answer = ask_command(asked);
    if (!answer) {
      no_answer("Flux", job.empty() ? around : job, asked);
      return std::nullopt;
    }
    const auto left = integer(trimmed(*answer));
    if (!left || *left < 0) {
      odd_answer(asked, trimmed(*answer), "seconds");
      return std::nullopt;
    }
    if (*left < no_limit) return static_cast<double>(*left);
  }
  log::info("wall time: Flux names no limit");
  return std::nullopt;
}
}  // namespace

std::optional<double> time_left_of_the_job() {
  std::optional<double> least;
  for (const auto left : {time_left_by_slurm(), time_left_by_pbs(), time_left_by_flux()})
    if (left) least = std::min(*left, least.value_or(*left));
  return least;
}

}  // namespace elastic
