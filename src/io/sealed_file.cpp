// SPDX-License-Identifier: Apache-2.0
#include "io/sealed_file.hpp"

#include "base/error.hpp"
#include "io/content_hash.hpp"

#include <algorithm>
#include <charconv>

namespace elastic {

namespace {

constexpr std::string_view magic = "elastic.x checkpoint, format 2\n";
/// More than a file of 20 TB needs.
constexpr std::uint64_t largest_seal = std::uint64_t(1) << 28;
/// The last line of the user block: its hash.
constexpr std::size_t hash_line_bytes = sizeof("block_xxh3_64 0123456789abcdef\n") - 1;

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& reason) {
  throw InputError(fmt::format("{}: {}", path.string(), reason));
}

std::string encode_fields(std::uint64_t file_bytes, std::uint64_t seal_begin,
                          std::uint64_t seal_bytes, std::uint64_t seal_hash) {
  std::string block = fmt::format(
      "{}HDF5 begins at byte {}; the seal is a table of the XXH3-64 hashes of all bytes before "
      "it.\n"
      "file_bytes {}\nseal_begin {}\nseal_bytes {}\nseal_xxh3_64 {}\n",
      magic, user_block_bytes, file_bytes, seal_begin, seal_bytes, spell_hash(seal_hash));
  block.resize(user_block_bytes - hash_line_bytes - 1, ' ');
  block += '\n';
  return block + fmt::format("block_xxh3_64 {}\n", spell_hash(content_hash(block)));
}

/// Takes what a text spells from its beginning; fails for anything that is not spelled so.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : m_text(text) {}
  bool at_end() const { return m_text.empty(); }
  bool failed() const { return m_failed; }
  std::string_view until(char end) {
    const std::size_t size = m_text.find(end);
    if (size == std::string_view::npos) {
      m_failed = true;
      return {};
    }
    const auto part = m_text.substr(0, size);
    m_text.remove_prefix(size + 1);
    return part;
  }
  std::uint64_t number(char end) {
    const auto digits = until(end);
    std::uint64_t value = 0;
    const char* stop = digits.data() + digits.size();
    const auto [at, status] = std::from_chars(digits.data(), stop, value);
    m_failed |= digits.empty() || at != stop || status != std::errc();
    return value;
  }
  std::uint64_t hash(char end) {
    const auto value = parse_hash(until(end));
    m_failed |= !value;
    return value.value_or(0);
  }

 private:
  std::string_view m_text;
  bool m_failed = false;
};

struct UserBlock {
  std::uint64_t file_bytes = 0, seal_begin = 0, seal_bytes = 0, seal_hash = 0;
};

UserBlock read_user_block(const DiskFile& file) {
  const std::uint64_t size = file.size();
  if (!is_sealed(file)) refuse(file.path(), "not a checkpoint, or damaged at its beginning");
  if (size < user_block_bytes)
    refuse(file.path(), fmt::format("damaged: cut off after {} bytes", size));
  std::string block(user_block_bytes, '\0');
  file.read_at(0, block.data(), block.size());
  Scanner lines(block);
  lines.until('\n');
  lines.until('\n');
  const auto field = [&](std::string_view name) {
    return lines.until(' ') == name ? lines.number('\n') : 0;
  };
  UserBlock found;
  found.file_bytes = field("file_bytes");
  found.seal_begin = field("seal_begin");
  found.seal_bytes = field("seal_bytes");
  lines.until(' ');
  found.seal_hash = lines.hash('\n');
  // Whatever differs in any of the 512 bytes, this finds it.
  if (encode_fields(found.file_bytes, found.seal_begin, found.seal_bytes, found.seal_hash) != block)
    refuse(file.path(), "its user block (bytes 0 to 512) is damaged");
  if (found.file_bytes != size)
    refuse(file.path(), fmt::format("damaged: it has {} bytes, {} were written{}", size,
                                    found.file_bytes, size < found.file_bytes ? " (cut off)" : ""));
  const bool fits = found.seal_begin > user_block_bytes && found.seal_begin <= size &&
                    found.seal_bytes == size - found.seal_begin && found.seal_bytes <= largest_seal;
  if (!fits) refuse(file.path(), "its user block places the seal where it cannot be");
  return found;
}

std::vector<Segment> parse_segments(const std::filesystem::path& path, std::string_view table,
                                    std::uint64_t end) {
  std::vector<Segment> segments;
  std::uint64_t at = user_block_bytes;
  for (Scanner lines(table); !lines.at_end();) {
    Segment segment;
    segment.offset = lines.number(' ');
    segment.bytes = lines.number(' ');
    segment.hash = lines.hash(' ');
    const std::uint64_t first_row = lines.number(' ');
    segment.name = lines.until('\n');
    segment.first_row = static_cast<index_t>(first_row);
    const bool fits = !lines.failed() && segment.offset == at && segment.bytes > 0 &&
                      segment.bytes <= end - at && segment.first_row >= 0 && !segment.name.empty();
    if (!fits)
      refuse(path, fmt::format("line {} of its seal does not describe the bytes from {} on",
                               segments.size() + 1, at));
    at += segment.bytes;
    segments.push_back(std::move(segment));
  }
  if (at != end) refuse(path, fmt::format("its seal ends at byte {}, expected {}", at, end));
  return segments;
}

void expect_hash(const std::filesystem::path& path, const Segment& segment, std::uint64_t found) {
  if (found == segment.hash) return;
  refuse(path,
         fmt::format("{} is damaged: bytes {} to {} have the XXH3-64 hash {}, written was {}",
                     segment.is_structure() ? "its structure (names, shapes, attributes, texts)"
                                            : segment.name,
                     segment.offset, segment.offset + segment.bytes, spell_hash(found),
                     spell_hash(segment.hash)));
}

}  // namespace

// --- writing -------------------------------------------------------------------------------------

std::string encode_seal(const std::vector<Segment>& segments) {
  fmt::memory_buffer table;
  for (const auto& segment : segments)
    fmt::format_to(std::back_inserter(table), "{} {} {:016x} {} {}\n", segment.offset,
                   segment.bytes, segment.hash, segment.first_row, segment.name);
  return fmt::to_string(table);
}

std::string encode_user_block(std::uint64_t seal_begin, std::string_view seal) {
  return encode_fields(seal_begin + seal.size(), seal_begin, seal.size(), content_hash(seal));
}

// --- reading -------------------------------------------------------------------------------------

bool is_sealed(const DiskFile& file) {
  std::string start(magic.size(), '\0');
  if (file.size() < start.size()) return false;
  file.read_at(0, start.data(), start.size());
  return start == magic;
}
bool is_sealed(const std::filesystem::path& path) { return is_sealed(DiskFile::open(path)); }

Seal read_seal(const DiskFile& file) {
  const UserBlock block = read_user_block(file);
  std::string table(block.seal_bytes, '\0');
  file.read_at(block.seal_begin, table.data(), table.size());
  if (content_hash(table) != block.seal_hash)
    refuse(file.path(),
           fmt::format("its seal (bytes {} to {}) is damaged", block.seal_begin, block.file_bytes));
  return {parse_segments(file.path(), table, block.seal_begin), block.seal_begin, block.file_bytes,
          block.seal_hash};
}
Seal read_seal(const std::filesystem::path& path) { return read_seal(DiskFile::open(path)); }

void read_segment(const DiskFile& file, const Segment& segment, void* out) {
  ContentHasher hasher;
  for (std::uint64_t done = 0; done < segment.bytes;) {
    char* at = static_cast<char*>(out) + done;
    const std::size_t bytes = std::min<std::uint64_t>(bytes_per_piece, segment.bytes - done);
    file.read_at(segment.offset + done, at, bytes);
    hasher.add(at, bytes);
    done += bytes;
  }
  expect_hash(file.path(), segment, hasher.value());
}

void verify_segments(const DiskFile& file, const Seal& seal, Shard share) {
  const auto size = static_cast<std::uint64_t>(share.size);
  const auto rank = static_cast<std::uint64_t>(share.rank);
  // A segment belongs to the rank in whose equal part of the bytes it begins.
  const std::uint64_t part = (seal.begin + size - 1) / size;
  file.expect_sequential_reads();
  std::vector<char> buffer;
  for (const auto& segment : seal.segments)
    if (segment.offset / part == rank)
      expect_hash(file.path(), segment, hash_of_range(file, segment.offset, segment.bytes, buffer));
}
void verify_segments(const std::filesystem::path& path, const Seal& seal, Shard share) {
  verify_segments(DiskFile::open(path), seal, share);
}

std::uint64_t hash_of_range(const DiskFile& file, std::uint64_t offset, std::uint64_t bytes,
                            std::vector<char>& buffer) {
  buffer.resize(bytes_per_piece);
  ContentHasher hasher;
  while (bytes > 0) {
    const std::size_t piece = std::min<std::uint64_t>(bytes_per_piece, bytes);
    file.read_at(offset, buffer.data(), piece);
    hasher.add(buffer.data(), piece);
    offset += piece;
    bytes -= piece;
  }
  return hasher.value();
}

std::string seal_hash(const std::filesystem::path& path) {
  const DiskFile file = DiskFile::open(path);
  if (is_sealed(file)) return spell_hash(read_seal(file).hash);
  std::vector<char> buffer;
  return spell_hash(hash_of_range(file, 0, file.size(), buffer));
}

}  // namespace elastic
