// SPDX-License-Identifier: Apache-2.0
#include "io/teacher_file.hpp"

#include <cmath>
#include <cstring>

#include "base/error.hpp"
#include "io/content_hash.hpp"
#include "io/durable_file.hpp"

namespace elastic {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view magic = "elastic.x stored teacher, format 1\n";
/// The last line of the header: its hash.
constexpr std::size_t hash_line_bytes = sizeof("header_xxh3_64 0123456789abcdef\n") - 1;

[[noreturn]] void refuse(const fs::path& path, const std::string& reason) {
  throw InputError(fmt::format("{}: {}", path.string(), reason));
}

std::string header_text(const std::vector<TeacherField>& fields) {
  std::string text(magic);
  for (const auto& field : fields) text += fmt::format("{} {}\n", field.name, field.value);
  ELASTIC_REQUIRE(text.size() + hash_line_bytes < teacher_header_bytes,
                  "{} bytes of fields for a header of {}", text.size(), teacher_header_bytes);
  text.resize(teacher_header_bytes - hash_line_bytes - 1, ' ');
  text += '\n';
  return text + fmt::format("header_xxh3_64 {}\n", spell_hash(content_hash(text)));
}

/// Compares the header with what is expected.
void check_header(const DiskFile& file, const std::vector<TeacherField>& fields) {
  std::string text(std::min<std::uint64_t>(file.size(), teacher_header_bytes), '\0');
  file.read_at(0, text.data(), text.size());
  if (text.substr(0, magic.size()) != magic)
    refuse(file.path(), "not a file of the phase teach (format 1), or damaged at its beginning");
  if (text.size() < teacher_header_bytes)
    refuse(file.path(), fmt::format("damaged: cut off after {} bytes", text.size()));
  const std::string before = text.substr(0, teacher_header_bytes - hash_line_bytes);
  if (before + fmt::format("header_xxh3_64 {}\n", spell_hash(content_hash(before))) != text)
    refuse(file.path(),
           fmt::format("damaged: the hash of its header (bytes 0 to {}) is another one",
                       teacher_header_bytes));
  std::size_t at = magic.size();
  for (const auto& field : fields) {
    const std::size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at), start = field.name + " ";
    if (line.compare(0, start.size(), start) != 0)
      refuse(file.path(),
             fmt::format("its header says '{}', expected the field {}", line, field.name));
    const std::string value = line.substr(start.size());
    if (!field.value.empty() && value != field.value)
      refuse(file.path(), fmt::format("is of {} {}, expected {} ({})", field.name, value,
                                      field.value, field.source));
    at = end + 1;
  }
}

/// Integers of a block.
template <class Id>
void put_ids(const std::vector<token_t>& ids, char* to) {
  for (const token_t id : ids) {
    const auto stored = static_cast<Id>(id);
    std::memcpy(to, &stored, sizeof stored);
    to += sizeof stored;
  }
}
template <class Id>
void get_ids(const char* from, std::vector<token_t>& ids) {
  for (token_t& id : ids) {
    Id stored;
    std::memcpy(&stored, from, sizeof stored);
    id = static_cast<token_t>(stored);
    from += sizeof stored;
  }
}

std::uint64_t hash_of_block(index_t sample, const std::vector<char>& bytes) {
  ContentHasher hasher;
  hasher.add(&sample, sizeof sample);
  hasher.add(bytes.data() + sizeof(std::uint64_t), bytes.size() - sizeof(std::uint64_t));
  return hasher.value();
}

/// What a hash cannot tell: numbers that no teacher says.
void check_numbers(const fs::path& path, index_t sample, const TeacherLayout& layout,
                   const TeacherBlock& block) {
  const auto k = static_cast<std::size_t>(layout.top_k);
  const bool has_rest = layout.top_k < layout.vocab_size;
  for (std::size_t t = 0; t < block.log_rest.size(); ++t) {
    const auto rest = static_cast<float>(block.log_rest[t]);
    bool good = has_rest ? std::isfinite(rest) && rest <= 0 : rest == -INFINITY;
    for (std::size_t i = t * k; i < (t + 1) * k; ++i) {
      const auto log_p = static_cast<float>(block.log_p[i]);
      good = good && std::isfinite(log_p) && log_p <= 0 && block.ids[i] >= 0 &&
             block.ids[i] < layout.vocab_size && (i == t * k || block.ids[i] > block.ids[i - 1]);
    }
    if (!good)
      refuse(path, fmt::format("block {} (of sequence {}) holds what is no distribution, at token "
                               "{}",
                               sample, sample, t));
  }
}

}  // namespace

fs::path TeacherFile::unfinished(const fs::path& path) {
  fs::path name = path;
  name += ".part";
  return name;
}

TeacherFile::TeacherFile(DiskFile file, const TeacherLayout& layout)
    : m_file(std::move(file)), m_layout(layout) {
  const std::uint64_t blocks = m_file.size() - teacher_header_bytes;
  m_samples = static_cast<index_t>(blocks / layout.block_bytes());
  if (blocks % layout.block_bytes() != 0)
    refuse(m_file.path(),
           fmt::format("damaged: cut off in block {}, after {} bytes", m_samples, m_file.size()));
}

TeacherFile TeacherFile::open(const fs::path& path, const std::vector<TeacherField>& fields,
                              const TeacherLayout& layout, const std::string& remedy) {
  if (!fs::exists(path))
    refuse(path, (fs::exists(unfinished(path))
                      ? "is not finished (there is " + unfinished(path).filename().string() + ")"
                      : std::string("is missing")) +
                     remedy);
  DiskFile file = DiskFile::open(path);
  check_header(file, fields);
  return {std::move(file), layout};
}

TeacherFile TeacherFile::begin(const fs::path& path, const std::vector<TeacherField>& fields,
                               const TeacherLayout& layout, index_t samples) {
  const fs::path part = unfinished(path);
  const std::uint64_t bytes =
      teacher_header_bytes + static_cast<std::uint64_t>(samples) * layout.block_bytes();
  if (fs::exists(path)) {
    check_header(DiskFile::open(path), fields);
    rename_durably(path, part);
  }
  if (!fs::exists(part)) {
    const fs::path made = temporary_name(part);
    DiskFile file = DiskFile::create(made);
    const std::string header = header_text(fields);
    file.write_at(0, header.data(), header.size());
    file.sync();
    file.close();
    rename_durably(made, part);
  }
  check_header(DiskFile::open(part), fields);
  DiskFile file = DiskFile::modify(part);
  if (const std::uint64_t size = file.size(); size < bytes) {
    file.reserve(bytes);
    file.resize(bytes);
  }
  return {std::move(file), layout};
}

TeacherFile TeacherFile::join(const fs::path& path, const TeacherLayout& layout) {
  return {DiskFile::modify(unfinished(path)), layout};
}

void TeacherFile::finish(const fs::path& path) { rename_durably(unfinished(path), path); }

std::uint64_t TeacherFile::offset(index_t sample) const {
  ELASTIC_REQUIRE(0 <= sample && sample < m_samples, "block {} of {} in {}", sample, m_samples,
                  m_file.path().string());
  return teacher_header_bytes + static_cast<std::uint64_t>(sample) * m_layout.block_bytes();
}

bool TeacherFile::load(index_t sample, std::vector<char>& bytes) const {
  bytes.resize(m_layout.block_bytes());
  m_file.read_at(offset(sample), bytes.data(), bytes.size());
  std::uint64_t hash;
  std::memcpy(&hash, bytes.data(), sizeof hash);
  return hash == hash_of_block(sample, bytes);
}

bool TeacherFile::holds(index_t sample) const {
  std::vector<char> bytes;
  return load(sample, bytes);
}

TeacherBlock TeacherFile::read(index_t sample) const {
  std::vector<char> bytes;
  if (!load(sample, bytes))
    refuse(m_file.path(),
           fmt::format("damaged: block {} (bytes {} to {}) has another hash than "
                       "was written",
                       sample, offset(sample), offset(sample) + m_layout.block_bytes()));
  const auto length = static_cast<std::size_t>(m_layout.seq_length),
             words = length * static_cast<std::size_t>(m_layout.top_k);
  TeacherBlock block;
  block.log_rest.resize(length);
  block.log_p.resize(words);
  block.ids.resize(words);
  const char* at = bytes.data() + sizeof(std::uint64_t);
  const auto get = [&](void* to, std::size_t count) {
    std::memcpy(to, at, count);
    at += count;
  };
  get(&block.identity, sizeof block.identity);
  get(block.log_rest.data(), 2 * length);
  get(block.log_p.data(), 2 * words);
  m_layout.id_bytes() == 2 ? get_ids<std::uint16_t>(at, block.ids)
                           : get_ids<std::uint32_t>(at, block.ids);
  check_numbers(m_file.path(), sample, m_layout, block);
  return block;
}

void TeacherFile::write(index_t sample, const TeacherBlock& block) {
  const auto length = static_cast<std::size_t>(m_layout.seq_length),
             words = length * static_cast<std::size_t>(m_layout.top_k);
  ELASTIC_REQUIRE(
      block.log_rest.size() == length && block.log_p.size() == words && block.ids.size() == words,
      "a block of {}, {} and {} numbers", block.log_rest.size(), block.log_p.size(),
      block.ids.size());
  std::vector<char> bytes(m_layout.block_bytes());
  char* at = bytes.data() + sizeof(std::uint64_t);
  const auto put = [&](const void* from, std::size_t count) {
    std::memcpy(at, from, count);
    at += count;
  };
  put(&block.identity, sizeof block.identity);
  put(block.log_rest.data(), 2 * length);
  put(block.log_p.data(), 2 * words);
  m_layout.id_bytes() == 2 ? put_ids<std::uint16_t>(block.ids, at)
                           : put_ids<std::uint32_t>(block.ids, at);
  const std::uint64_t hash = hash_of_block(sample, bytes);
  std::memcpy(bytes.data(), &hash, sizeof hash);
  m_file.write_at(offset(sample), bytes.data(), bytes.size());
}

}  // namespace elastic
