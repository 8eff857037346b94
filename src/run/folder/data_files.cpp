// SPDX-License-Identifier: Apache-2.0
#include "run/folder/data_files.hpp"

#include <algorithm>
#include <sstream>

#include "base/error.hpp"
#include "base/log.hpp"
#include "config/indexed_data.hpp"
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

/// A mask stands behind its .bin.
bool is_mask(const std::vector<Line>& lines, std::size_t k) {
  if (k == 0 || k >= lines.size()) return false;
  const std::string &bin = lines[k - 1].path, &path = lines[k].path;
  return bin.ends_with(".bin") && path == bin.substr(0, bin.size() - 4) + ".mask";
}

}  // namespace

std::string data_files(const DataConfig& data) {
  std::string lines;
  for (const auto& name : data.train) {
    if (data.source == SourceKind::text) lines += line_of(name);
    if (data.source == SourceKind::indexed)
      lines += line_of(name + ".idx") + line_of(name + ".bin");
    if (uses_mask(data, name)) lines += line_of(name + ".mask");
  }
  return lines;
}

void check_data_files(const std::string& before, const std::string& now,
                      const std::filesystem::path& checkpoint, bool accept_changes) {
  const auto known = lines_of(before), present = lines_of(now);
  if (known.empty()) return;
  std::string changes;
  std::size_t k = 0;  // of known
  const auto skip_mask = [&] {
    if (is_mask(known, k))
      changes += fmt::format("\n  {}: is not there, or ignored, now", known[k++].path);
  };
  for (std::size_t i = 0; i < present.size(); ++i) {
    const Line& line = present[i];
    if (!is_mask(present, i)) {
      skip_mask();
    } else if (!is_mask(known, k)) {
      changes += fmt::format("\n  {}: was not there, or ignored, before", line.path);
      continue;
    }
    if (k < known.size() && (known[k].bytes != line.bytes || known[k].hash != line.hash))
      changes += fmt::format("\n  {}: {} bytes with the hash {} before, {} with {} now", line.path,
                             known[k].bytes, known[k].hash, line.bytes, line.hash);
    ++k;
  }
  skip_mask();
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
