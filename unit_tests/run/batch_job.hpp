// SPDX-License-Identifier: Apache-2.0
// Tests inside a made-up batch job: variables of this process, and commands that answer as told.
#pragma once
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace elastic::test {

/// Variables of this process that are put back; an empty value removes one.
class Environment {
 public:
  explicit Environment(const std::vector<std::pair<std::string, std::string>>& values) {
    for (const auto& [name, value] : values) {
      const char* before = std::getenv(name.c_str());
      m_before.emplace_back(name, before ? std::optional<std::string>(before) : std::nullopt);
      if (value.empty())
        unsetenv(name.c_str());
      else
        setenv(name.c_str(), value.c_str(), 1);
    }
  }
  ~Environment() {
    for (const auto& [name, value] : m_before)
      value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::vector<std::pair<std::string, std::optional<std::string>>> m_before;
};

/// The variables by which batch systems tell a process of its job.
inline std::vector<std::pair<std::string, std::string>> no_job() {
  return {{"SLURM_JOB_ID", ""},
          {"SLURM_JOB_END_TIME", ""},
          {"PBS_JOBID", ""},
          {"FLUX_JOB_ID", ""},
          {"FLUX_ENCLOSING_ID", ""}};
}

/// A folder of shell scripts that comes first in the PATH while it lives.
class FakeCommands {
 public:
  FakeCommands() { std::filesystem::create_directory(m_folder); }
  ~FakeCommands() { std::filesystem::remove_all(m_folder); }
  FakeCommands(const FakeCommands&) = delete;
  FakeCommands& operator=(const FakeCommands&) = delete;
  void set(const std::string& name, const std::string& script) const {
    std::ofstream(m_folder / name) << "#!/bin/sh\n" << script << "\n";
    std::filesystem::permissions(m_folder / name, std::filesystem::perms::owner_all);
  }

 private:
  const std::filesystem::path m_folder =
      std::filesystem::temp_directory_path() / ("fake_commands_" + std::to_string(getpid()));
  const Environment m_path{{{"PATH", m_folder.string() + ":" + std::getenv("PATH")}}};
};

}  // namespace elastic::test
