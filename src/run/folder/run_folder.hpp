// SPDX-License-Identifier: Apache-2.0
// Where a run writes, and how a folder that already holds a run is treated:
// nothing saved is ever overwritten.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace elastic {

class RunLock;

/// Names of everything in a run folder.
struct RunFolder {
  std::filesystem::path root;
  std::filesystem::path id() const { return root / "run.id"; }
  std::filesystem::path deck() const { return root / "resolved.in"; }
  std::filesystem::path history() const { return root / "history.csv"; }
  std::filesystem::path router() const { return root / "router.csv"; }
  std::filesystem::path results() const { return root / "results.json"; }
  std::filesystem::path report() const { return root / "report.md"; }
  std::filesystem::path report_html() const { return root / "report.html"; }
  std::filesystem::path checkpoints() const { return root / "checkpoints"; }
  /// Measured times of inference (phase measure).
  std::filesystem::path seconds() const { return root / "seconds.json"; }
  /// The ranked parent, untrained by the elastic phase.
  std::filesystem::path parent() const { return root / "parent.h5"; }
  std::filesystem::path model() const { return root / "model.h5"; }  ///< all submodels in one
  std::filesystem::path submodels() const { return root / "submodels"; }
  std::filesystem::path submodel(const std::string& name) const {
    return submodels() / (name + ".h5");
  }
  /// What a run left behind when it went back to an earlier step.
  std::filesystem::path abandoned() const { return root / "abandoned"; }
};

/// Throws InputError if the folder holds files, but not those of a run. One in which a run has only
/// begun to make its folder counts as empty.
void require_no_other_files(const RunFolder& folder);

/// Throws InputError unless the folder is there.
void require_run_folder(const RunFolder& folder);

/// Makes the folder for a new run, with the run's id. An earlier run there is moved aside to
/// ROOT.1, ROOT.2, ... Returns where to, or an empty path. Throws RunError if the folder cannot be
/// made, InputError as require_no_other_files.
std::filesystem::path prepare_new_run(const RunFolder& folder, const std::string& id,
                                      RunLock& lock);

/// Before a run goes back to `step`: moves what it saved after that (`later`: its checkpoints of
/// later steps, the models and results of its end, and its parent if `step` lies before the
/// ranking) to a new folder in `abandoned`, with a copy of its tables. Returns that folder.
std::filesystem::path abandon_later(const RunFolder& folder,
                                    const std::vector<std::filesystem::path>& later, bool ranked);

/// Moves one file to a new folder in `abandoned`, and says so in the log. Throws RunError.
void set_aside(const RunFolder& folder, const std::filesystem::path& file);

}  // namespace elastic
