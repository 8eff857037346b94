// SPDX-License-Identifier: Apache-2.0
#include "run/folder/run_folder.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "io/durable_file.hpp"
#include "run/folder/run_identity.hpp"
#include "run/folder/run_lock.hpp"

namespace elastic {
namespace fs = std::filesystem;
namespace {

/// What stands in a folder before the run has written its deck.
bool is_of_a_start(const RunFolder& folder, const fs::path& entry) {
  const std::string name = entry.filename().string();
  return name.starts_with(RunLock::name) || entry == folder.id() ||
         name.ends_with(temporary_suffix) || (entry == folder.submodels() && fs::is_empty(entry));
}

/// The folder holds nothing that is worth keeping.
bool is_unused(const RunFolder& folder) {
  if (!fs::exists(folder.root)) return true;
  for (const auto& entry : fs::directory_iterator(folder.root))
    if (!is_of_a_start(folder, entry.path())) return false;
  return true;
}

/// Runs work() with errors of the file system as RunError.
template <class Work>
auto with_run_errors(const char* what, const RunFolder& folder, const Work& work) {
  try {
    return work();
  } catch (const fs::filesystem_error& error) {
    throw RunError(
        fmt::format("{}: cannot {}: {}", folder.root.string(), what, error.code().message()));
  }
}

fs::path first_free(const std::string& start) {
  for (int i = 1;; ++i)
    if (const fs::path path = fmt::format("{}{}", start, i); !fs::exists(path)) return path;
}

void move_if_there(const fs::path& file, const fs::path& folder) {
  if (fs::exists(file)) fs::rename(file, folder / file.filename());
}

}  // namespace

void require_no_other_files(const RunFolder& folder) {
  with_run_errors("read the run folder", folder, [&] {
    if (is_unused(folder) || fs::exists(folder.deck()) || fs::exists(folder.id())) return;
    throw InputError(
        fmt::format("{}: holds files that are not of a run (no {}); choose another job/folder",
                    folder.root.string(), folder.deck().filename().string()));
  });
}

void require_run_folder(const RunFolder& folder) {
  if (fs::is_directory(folder.root)) return;
  throw InputError(
      fmt::format("{}: no checkpoint to resume from, since there is no such folder; "
                  "start without --resume",
                  folder.root.string()));
}

fs::path prepare_new_run(const RunFolder& folder, const std::string& id, RunLock& lock) {
  require_no_other_files(folder);
  fs::path aside;
  with_run_errors("make the run folder", folder, [&] {
    if (!is_unused(folder)) {
      aside = first_free(folder.root.string() + ".");
      fs::rename(folder.root, aside);
      lock.follow_move(aside);
    }
    fs::create_directories(folder.submodels());
  });
  write_run_identity(folder.id(), {.id = id});
  return aside;
}

fs::path abandon_later(const RunFolder& folder, const std::vector<fs::path>& later, bool ranked) {
  return with_run_errors("set aside what was saved later", folder, [&] {
    const fs::path aside = first_free(folder.abandoned().string() + "/");
    fs::create_directories(aside);
    for (const auto& table : {folder.history(), folder.router(), folder.deck()})
      if (fs::exists(table)) fs::copy_file(table, aside / table.filename());
    for (const auto& file : {folder.model(), folder.submodels(), folder.results(), folder.report(),
                             folder.report_html()})
      move_if_there(file, aside);
    if (!ranked) move_if_there(folder.parent(), aside);
    fs::create_directories(folder.submodels());
    for (const auto& checkpoint : later) move_if_there(checkpoint, aside);
    return aside;
  });
}

void set_aside(const RunFolder& folder, const fs::path& file) {
  with_run_errors("set a file aside", folder, [&] {
    const fs::path aside = first_free(folder.abandoned().string() + "/");
    fs::create_directories(aside);
    move_if_there(file, aside);
    log::info("{} was moved to {}", file.string(), aside.string());
  });
}

}  // namespace elastic
