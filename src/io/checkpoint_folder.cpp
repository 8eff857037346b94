// SPDX-License-Identifier: Apache-2.0
// A folder of step-numbered checkpoints.
#include "io/checkpoint_folder.hpp"

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
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(folder, missing))
    names.push_back(entry.path().filename().string());
  return names;
}

}  // namespace

CheckpointFolder::CheckpointFolder(std::filesystem::path folder, index_t keep_last)
    : m_folder(std::move(folder)), m_keep_last(keep_last) {
  ELASTIC_REQUIRE(keep_last >= 0, "keep_last is {}", keep_last);
}

std::filesystem::path CheckpointFolder::path_of(index_t step) const {
  return m_folder / fmt::format("{}{:06}{}", name_start, step, name_end);
}

std::vector<index_t> CheckpointFolder::steps() const {
  std::vector<index_t> steps;
  for (const auto& name : names_in(m_folder))
    if (const auto step = step_of(name)) steps.push_back(*step);
  std::sort(steps.begin(), steps.end());
  return steps;
}

void CheckpointFolder::save(index_t step,
                            const std::function<void(CheckpointWriter&)>& fill) const {
  std::error_code status;
  std::filesystem::create_directories(m_folder, status);
  if (status)
    throw RunError(
        fmt::format("{}: cannot make the folder: {}", m_folder.string(), status.message()));
  remove_leftovers();
  CheckpointWriter writer(path_of(step));
  fill(writer);
  writer.commit();
  rotate(step);
}

std::optional<std::filesystem::path> CheckpointFolder::latest() const {
  const auto all = steps();
  std::string damage;
  for (auto step = all.rbegin(); step != all.rend(); ++step) {
    try {
      CheckpointReader(path_of(*step)).verify();
      return path_of(*step);
    } catch (const InputError& error) {
      log::warn("checkpoint of step {} is passed over: {}", *step, error.what());
      damage += fmt::format("\n  {}", error.what());
    }
  }
  if (all.empty()) return std::nullopt;
  throw InputError(fmt::format("{}: none of the {} checkpoints can be read:{}", m_folder.string(),
                               all.size(), damage));
}

void CheckpointFolder::remove_leftovers() const {
  for (const auto& name : names_in(m_folder)) {
    std::error_code ignored;
    const bool temporary = name.ends_with(temporary_suffix);
    if (temporary && step_of(name.substr(0, name.size() - temporary_suffix.size())))
      std::filesystem::remove(m_folder / name, ignored);
  }
}

void CheckpointFolder::rotate(index_t newest) const {
  if (m_keep_last == 0) return;
  // A newer checkpoint belongs to a course that was left when the run went back to an older one: it
  // never pushes out a checkpoint of the present course.
  auto course = steps();
  std::erase_if(course, [&](index_t step) { return step > newest; });
  const auto surplus = std::max<index_t>(0, static_cast<index_t>(course.size()) - m_keep_last);
  for (index_t i = 0; i < surplus; ++i) {
    std::error_code status;
    std::filesystem::remove(path_of(course[static_cast<std::size_t>(i)]), status);
    if (status) log::warn("{}: cannot remove: {}", path_of(course[i]).string(), status.message());
  }
}

}  // namespace elastic
