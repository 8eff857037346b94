// SPDX-License-Identifier: Apache-2.0
#include "io/drawing.hpp"

#include <fmt/format.h>

#include "base/run_program.hpp"
#include "io/durable_file.hpp"

namespace elastic {

std::optional<std::string> draw_folder(const std::filesystem::path& folder,
                                       const std::string& script, const std::string& python,
                                       double limit_seconds) {
  const auto file = folder / "plot.py";
  write_file_durably(file, script);
  const std::string program = chosen_python(python);
  std::string output;
  const auto status =
      run_program({program, "-B", file.string(), folder.string()}, limit_seconds, output);
  if (status == 0) return std::nullopt;
  if (!output.empty()) return output;
  return fmt::format("{} failed, is missing or needs more than {} s", program, limit_seconds);
}

}  // namespace elastic
