// SPDX-License-Identifier: Apache-2.0
#include "run/plots.hpp"

#include "io/drawing.hpp"
#include "run/plot_script.hpp"

namespace elastic {

std::optional<std::string> draw_plots(const RunFolder& folder, double limit_seconds) {
  try {
    return draw_folder(folder.root, plot_script_text, plot_python, limit_seconds);
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace elastic
