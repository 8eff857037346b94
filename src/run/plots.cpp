// SPDX-License-Identifier: Apache-2.0
#include "run/plots.hpp"

#include <fmt/format.h>

#include <cstdlib>

#include "base/run_program.hpp"
#include "io/durable_file.hpp"
#include "run/plot_script.hpp"

namespace elastic {
namespace {

std::optional<std::string> write_and_run(const RunFolder& folder, double limit_seconds) {
  const auto script = folder.root / "plot.py";
  write_file_durably(script, plot_script_text);
  const char* given = std::getenv("ELASTIC_PYTHON");
  const std::string python = given && *given ? given : plot_python;
  std::string output;
  const auto status =
      run_program({python, "-B", script.string(), folder.root.string()}, limit_seconds, output);
  if (status == 0) return std::nullopt;
  if (!output.empty()) return output;
  return fmt::format("{} failed, is missing or needs more than {} s", python, limit_seconds);
}
}  // namespace

std::optional<std::string> draw_plots(const RunFolder& folder, double limit_seconds) {
  try {
    return write_and_run(folder, limit_seconds);
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace elastic
