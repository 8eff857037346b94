// SPDX-License-Identifier: Apache-2.0
#include "run/run_folder.hpp"

#include "base/error.hpp"

namespace elastic {
namespace fs = std::filesystem;

std::filesystem::path prepare_new_run(const RunFolder& folder) {
  try {
    fs::path aside;
    if (fs::exists(folder.root) && !fs::is_empty(folder.root)) {
      if (!fs::exists(folder.deck()))
        throw InputError(
            fmt::format("{}: holds files that are not of a run (no {}); choose another job/folder",
                        folder.root.string(), folder.deck().filename().string()));
      for (int i = 1; aside.empty() || fs::exists(aside); ++i)
        aside = fmt::format("{}.{}", folder.root.string(), i);
      fs::rename(folder.root, aside);
    }
    fs::create_directories(folder.root / "submodels");
    return aside;
  } catch (const fs::filesystem_error& error) {
    throw RunError(fmt::format("{}: cannot make the run folder: {}", folder.root.string(),
                               error.code().message()));
  }
}

}  // namespace elastic
