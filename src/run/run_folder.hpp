// SPDX-License-Identifier: Apache-2.0
// Where a run writes, and how a folder that already holds a run is treated:
// nothing saved is ever overwritten.
#pragma once
#include <filesystem>
#include <string>

namespace elastic {

/// Names of everything in a run folder.
struct RunFolder {
  std::filesystem::path root;
  std::filesystem::path deck() const { return root / "resolved.in"; }
  std::filesystem::path history() const { return root / "history.csv"; }
  std::filesystem::path router() const { return root / "router.csv"; }
  std::filesystem::path results() const { return root / "results.json"; }
  std::filesystem::path report() const { return root / "report.md"; }
  std::filesystem::path checkpoints() const { return root / "checkpoints"; }
  /// The ranked parent, untrained by the elastic phase.
  std::filesystem::path parent() const { return root / "parent.h5"; }
  std::filesystem::path model() const { return root / "model.h5"; }  ///< all submodels in one
  std::filesystem::path submodel(const std::string& name) const {
    return root / "submodels" / (name + ".h5");
  }
};

/// Makes the folder for a new run. An earlier run there is moved aside to ROOT.1, ROOT.2, ...
/// Returns where to, or an empty path. Throws RunError if the folder cannot be made, InputError if
/// it holds files that no run has written.
std::filesystem::path prepare_new_run(const RunFolder& folder);

}  // namespace elastic
