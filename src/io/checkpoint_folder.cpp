// SPDX-License-Identifier: Apache-2.0
// A folder of step-numbered checkpoints.
#include "io/checkpoint_folder.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "io/durable_file.hpp"

#include <algorithm>
#include <charconv>

namespace elastic {

namespace {

constexpr std::string_view name_start = "checkpoint_", name_end = ".h5";

/// The step in "checkpoint_000100.h5", nothing for any other name.
std::optional<index_t> step_of(std::string_view name) {
  if (!name.starts_with(name_start) || !name.ends_with(name_end)) return std::nullopt;
  if (name.size() <= name_start.size() + name_end.size()) return std::nullopt;
  const auto digits =
      name.substr(name_start.size(), name.size() - name_start.size() - name_end.size());
  index_t step = 0;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (status != std::errc() || end != digits.data() + digits.size() || step < 0)
    return std::nullopt;
  return step;
}

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::error_code status;
  auto entry = std::filesystem::directory_iterator(folder, status);
  if (status == std::errc::no_such_file_or_directory) return names;
  const std::filesystem::directory_iterator end;
  while (!status && entry != end) {
    names.push_back(entry->path().filename().string());
    entry.increment(status);
  }
  if (status)
    throw RunError(
        fmt::format("{}: cannot read the folder: {}", folder.string(), status.message()));
  return names;
}

void remove_or_warn(const std::filesystem::path& path) {
  std::error_code status;
  std::filesystem::remove(path, status);
  if (status) log::warn("{}: cannot remove: {}", path.string(), status.message());
}

}  // namespace

CheckpointFolder::CheckpointFolder(std::filesystem::path folder, index_t keep_last,
                                   index_t keep_every)
    : m_folder(std::move(folder)), m_keep_last(keep_last), m_keep_every(keep_every) {
  ELASTIC_REQUIRE(keep_last >= 0 && keep_every >= 0, "keep_last is {}, keep_every {}", keep_last,
                  keep_every);
}

std::filesystem::path CheckpointFolder::path_of(index_t step) const {
  return m_folder / fmt::format("{}{:06}{}", name_start, step, name_end);
}

// --- what is there -------------------------------------------------------------------------------

std::vector<StoredCheckpoint> CheckpointFolder::checkpoints() const {
  std::vector<StoredCheckpoint> found;
  for (const auto& name : names_in(m_folder))
    if (const auto step = step_of(name)) found.push_back({*step, m_folder / name});
  // Should two names spell one step, the one that save() writes comes last.
  std::sort(found.begin(), found.end(), [&](const auto& a, const auto& b) {
    if (a.step != b.step) return a.step < b.step;
    const auto own = path_of(a.step);
    return std::pair(a.path == own, a.path) < std::pair(b.path == own, b.path);
  });
  return found;
}

std::vector<index_t> CheckpointFolder::steps() const {
  std::vector<index_t> steps;
  for (const auto& checkpoint : checkpoints()) steps.push_back(checkpoint.step);
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
  return steps;
}

std::optional<StoredCheckpoint> CheckpointFolder::find(index_t step) const {
  std::optional<StoredCheckpoint> found;
  for (auto& checkpoint : checkpoints())
    if (checkpoint.step == step) found = std::move(checkpoint);
  return found;
}

// --- saving --------------------------------------------------------------------------------------

void CheckpointFolder::prepare() const {
  make_folder(m_folder);
  remove_leftovers();
}

void CheckpointFolder::remove_leftovers() const {
  for (const auto& name : names_in(m_folder)) {
    const bool temporary = name.ends_with(temporary_suffix);
    if (temporary && step_of(name.substr(0, name.size() - temporary_suffix.size())))
      remove_or_warn(m_folder / name);
  }
}

void CheckpointFolder::rotate(index_t newest) const {
  if (m_keep_last == 0) return;
  // A newer checkpoint belongs to a course that was left when the run went back to an older one: it
  // never pushes out a checkpoint of the present course.
  auto course = steps();
  std::erase_if(course, [&](index_t step) { return step > newest; });
  if (course.empty() || course.back() != newest) return;  // only a good one pushes others out
  const auto kept = static_cast<std::size_t>(m_keep_last);
  course.resize(course.size() - std::min(kept, course.size()));
  for (const auto& [step, path] : checkpoints()) {
    const bool surplus = std::binary_search(course.begin(), course.end(), step);
    if (surplus && (m_keep_every == 0 || step % m_keep_every != 0)) remove_or_warn(path);
  }
}

}  // namespace elastic
