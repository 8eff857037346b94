// SPDX-License-Identifier: Apache-2.0
#include "run/folder/data_files.hpp"

#include <algorithm>
#include <sstream>

#include "base/error.hpp"
#include "base/log.hpp"
#include "io/content_hash.hpp"
#include "io/disk_file.hpp"
#include "io/sealed_file.hpp"

namespace elastic {
namespace {

constexpr std::uint64_t end_bytes = std::uint64_t(1) << 20;

std::string line_of(const std::string& path) {
  const DiskFile file = DiskFile::open(path);
  const std::uint64_t bytes = file.size(), part = std::min(bytes, end_bytes);
  std::vector<char> buffer;
  const std::uint64_t both[] = {hash_of_range(file, 0, part, buffer),
                                hash_of_range(file, bytes - part, part, buffer)};
  ContentHasher hasher;
  hasher.add(both, sizeof both);
  return fmt::format("{} {} {}\n", bytes, spell_hash(hasher.value()), path);
}

struct Line {
  std::string bytes, hash, path;
};
std::vector<Line> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<Line> lines;
  for (Line line; stream >> line.bytes >> line.hash && std::getline(stream >> std::ws, line.path);)
    lines.push_back(line);
  return lines;
}

}  // namespace

std::string data_files(const DataConfig& data) {
  std::string lines;
  for (const auto& name : data.train) {
    if (data.source == SourceKind::text) lines += line_of(name);
    if (data.source == SourceKind::indexed)
      lines += line_of(name + ".idx") + line_of(name + ".bin");
  }
  return lines;
}

void check_data_files(const std::string& before, const std::string& now,
                      const std::filesystem::path& checkpoint, bool accept_changes) {
  const auto known = lines_of(before), present = lines_of(now);
  std::string changes;
  for (std::size_t i = 0; i < std::min(known.size(), present.size()); ++i)
    if (known[i].bytes != present[i].bytes || known[i].hash != present[i].hash)
      changes +=
          fmt::format("\n  {}: {} bytes with the hash {} before, {} with {} now", present[i].path,
                      known[i].bytes, known[i].hash, present[i].bytes, present[i].hash);
  if (changes.empty()) return;
  const std::string message =
      fmt::format("{}: its steps were done with other data:{}", checkpoint.string(), changes);
  if (!accept_changes)
    throw InputError(message +
                     "\nPut the files back, start a new run in another job/folder, or go on all "
                     "the same with --accept-changes.");
  log::warn("{}", message);
}

}  // namespace elastic
