// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint_writer.hpp"

#include "io/durable_file.hpp"
#include "io/hdf5_memory.hpp"
#include "io/stored_values.hpp"

#include <algorithm>

namespace elastic {

namespace {

constexpr index_t format_version = 2;

/// Names end up in lines of the seal, and as paths in HDF5.
void check_name(const std::string& name) {
  const bool plain = std::none_of(name.begin(), name.end(),
                                  [](char c) { return static_cast<unsigned char>(c) < 0x20; });
  ELASTIC_REQUIRE(plain && !name.empty() && !name.starts_with('/') && !name.ends_with('/') &&
                      name.find("//") == std::string::npos &&
                      std::count(name.begin(), name.end(), '/') < 30,
                  "not a name of a tensor: '{}'", name);
  ELASTIC_REQUIRE(!name.starts_with("text/") && !name.starts_with("attributes/"),
                  "reserved name {}", name);
}

}  // namespace

// --- blocks --------------------------------------------------------------------------------------

std::uint64_t Placement::row_bytes() const {
  return static_cast<std::uint64_t>(extents.columns) * size_of(type);
}
index_t Placement::rows_per_block() const {
  return std::max<index_t>(
      1, static_cast<index_t>(bytes_per_segment / std::max<std::uint64_t>(1, row_bytes())));
}
index_t Placement::num_blocks() const {
  if (extents.size() == 0) return 0;
  return (extents.rows - 1) / rows_per_block() + 1;
}
Range Placement::rows_of(index_t b) const {
  const index_t first = b * rows_per_block();
  return {first, std::min(extents.rows, first + rows_per_block())};
}
std::uint64_t Placement::offset_of(index_t b) const {
  return offset + static_cast<std::uint64_t>(rows_of(b).first) * row_bytes();
}
std::size_t Placement::bytes_of(index_t b) const {
  const Range rows = rows_of(b);
  return static_cast<std::size_t>(rows.second - rows.first) * row_bytes();
}

// --- opening and closing -------------------------------------------------------------------------

CheckpointWriter::CheckpointWriter(const std::filesystem::path& path)
    : m_path(path),
      m_temporary(temporary_name(path)),
      m_structure(std::make_unique<Hdf5File>(Hdf5File::create(path))),
      m_blocks(std::make_unique<BlockWriter>(m_temporary, BlockWriter::Mode::create)) {
  m_structure->create_group("text");
  m_structure->create_group("attributes");
}

CheckpointWriter::~CheckpointWriter() {
  if (m_done) return;
  m_blocks.reset();
  std::error_code ignored;
  std::filesystem::remove(m_temporary, ignored);
}

// --- contents ------------------------------------------------------------------------------------

Placement CheckpointWriter::place(const std::string& name, const Extents& extents, StorageType type,
                                  const Attributes& attributes) {
  ELASTIC_REQUIRE(!m_structure_complete, "{}: written after commit", m_path.string());
  check_name(name);
  ELASTIC_REQUIRE(!m_structure->exists(name), "{} is written twice", name);
  m_structure->create_dataset(name, type, extents);
  for (const auto& [key, value] : attributes) m_structure->write_attribute(name, key, value);
  const auto stored = m_structure->info(name);
  const Placement placement{name, type, extents, stored.offset};
  m_blocks->reserve(stored.offset + stored.bytes());
  m_tensors.emplace(name, Progress{placement,
                                   std::vector<std::optional<std::uint64_t>>(
                                       static_cast<std::size_t>(placement.num_blocks())),
                                   0,
                                   {}});
  return placement;
}

CheckpointWriter::Progress& CheckpointWriter::progress(const Placement& placement) {
  const auto found = m_tensors.find(placement.name);
  ELASTIC_REQUIRE(found != m_tensors.end() && found->second.placement.offset == placement.offset,
                  "{}: {} has no place in this file", m_path.string(), placement.name);
  return found->second;
}

void CheckpointWriter::write_block(Progress& tensor, index_t block, const void* data) {
  const Placement& place = tensor.placement;
  auto& hash = tensor.hashes[static_cast<std::size_t>(block)];
  ELASTIC_REQUIRE(!hash, "block {} of {} is written twice", block, place.name);
  hash = m_blocks->write(place.offset_of(block), data, place.bytes_of(block));
}

void CheckpointWriter::write_rows(const Placement& placement, Range rows, const void* data) {
  ELASTIC_REQUIRE(m_blocks && !m_done, "{}: written after commit", m_path.string());
  Progress& tensor = progress(placement);
  const Placement& place = tensor.placement;
  ELASTIC_REQUIRE(rows.first == tensor.next_row && rows.first <= rows.second &&
                      rows.second <= place.extents.rows,
                  "{}: rows {} to {} are written, expected rows from {} on", place.name, rows.first,
                  rows.second, tensor.next_row);
  tensor.next_row = rows.second;
  if (place.num_blocks() == 0) return;
  const char* at = static_cast<const char*>(data);
  for (index_t row = rows.first; row < rows.second;) {
    const index_t block = row / place.rows_per_block();
    const Range whole = place.rows_of(block);
    const index_t end = std::min(rows.second, whole.second);
    const std::size_t bytes = static_cast<std::size_t>(end - row) * place.row_bytes();
    if (row == whole.first && end == whole.second) {
      write_block(tensor, block, at);
    } else {
      tensor.partial.insert(tensor.partial.end(), at, at + bytes);
      if (end == whole.second) {
        write_block(tensor, block, tensor.partial.data());
        tensor.partial.clear();
      }
    }
    at += bytes;
    row = end;
  }
}

void CheckpointWriter::add_hashes(const Placement& placement, index_t first_block,
                                  std::span<const std::uint64_t> hashes) {
  Progress& tensor = progress(placement);
  const auto count = static_cast<index_t>(hashes.size());
  ELASTIC_REQUIRE(first_block >= 0 && first_block + count <= placement.num_blocks(),
                  "{} has {} blocks: {} from {} on are not among them", placement.name,
                  placement.num_blocks(), count, first_block);
  for (index_t i = 0; i < count; ++i) {
    auto& hash = tensor.hashes[static_cast<std::size_t>(first_block + i)];
    ELASTIC_REQUIRE(!hash, "block {} of {} is written twice", first_block + i, placement.name);
    hash = hashes[static_cast<std::size_t>(i)];
  }
}

template <class T>
void CheckpointWriter::write(const std::string& name, const Extents& extents, const T* data,
                             StorageType stored_as, const Attributes& attributes) {
  const bool same = stored_as == storage_type_of<T>();
  ELASTIC_REQUIRE(same || (checkpoint::is_real<T> && stored_as != StorageType::int64),
                  "{} cannot be stored as {}", name, name_of(stored_as));
  const Placement placement = place(name, extents, stored_as, attributes);
  if (same) return write_rows(placement, {0, extents.rows}, data);
  checkpoint::with_real_type(stored_as, [&]<class Stored>(Stored*) {
    std::vector<Stored> stored;
    for (index_t block = 0; block < placement.num_blocks(); ++block) {
      const Range rows = placement.rows_of(block);
      stored.resize(static_cast<std::size_t>((rows.second - rows.first) * extents.columns));
      checkpoint::convert(data + rows.first * extents.columns, stored.size(), stored.data());
      write_rows(placement, rows, stored.data());
    }
  });
}

void CheckpointWriter::attribute(const std::string& name, const Attribute& value) {
  ELASTIC_REQUIRE(!m_structure_complete, "{}: written after commit", m_path.string());
  m_structure->write_attribute("/attributes", name, value);
}

void CheckpointWriter::text(const std::string& name, const std::string& text) {
  ELASTIC_REQUIRE(!m_structure_complete, "{}: written after commit", m_path.string());
  m_structure->write_text("text/" + name, text);
}

// --- completion ----------------------------------------------------------------------------------

void CheckpointWriter::finish_structure() {
  if (m_structure_complete) return;
  m_structure->write_attribute("/", "format", std::string(checkpoint::format_name));
  m_structure->write_attribute("/", "format_version", format_version);
  m_structure->close();
  m_structure_complete = true;
}

std::vector<Segment> CheckpointWriter::tensor_segments() const {
  std::vector<Segment> segments;
  for (const auto& [name, tensor] : m_tensors) {
    const Placement& place = tensor.placement;
    for (index_t block = 0; block < place.num_blocks(); ++block) {
      const auto& hash = tensor.hashes[static_cast<std::size_t>(block)];
      ELASTIC_REQUIRE(hash, "{}: block {} of {} was not written", m_path.string(), block, name);
      segments.push_back(
          {name, place.rows_of(block).first, place.offset_of(block), place.bytes_of(block), *hash});
    }
  }
  std::sort(segments.begin(), segments.end(),
            [](const Segment& a, const Segment& b) { return a.offset < b.offset; });
  return segments;
}

/// Writes the bytes [begin, end) that HDF5 has built and adds their segments.
void CheckpointWriter::write_structure(std::uint64_t begin, std::uint64_t end,
                                       std::vector<Segment>& segments) {
  std::vector<char> bytes;
  while (begin < end) {
    bytes.resize(std::min(end - begin, bytes_per_segment));
    m_structure->image().read(begin, bytes.data(), bytes.size());
    segments.push_back(
        {"/", 0, begin, bytes.size(), m_blocks->write(begin, bytes.data(), bytes.size())});
    begin += bytes.size();
  }
}

/// Writes what is not a tensor: structure, seal and, last, the user block. Sets the size.
void CheckpointWriter::write_frame() {
  const std::uint64_t end = m_structure->image().size();
  std::vector<Segment> segments;
  std::uint64_t at = user_block_bytes;
  for (auto& tensor : tensor_segments()) {
    write_structure(at, tensor.offset, segments);
    at = tensor.offset + tensor.bytes;
    segments.push_back(std::move(tensor));
  }
  write_structure(at, end, segments);
  const std::string seal = encode_seal(segments), block = encode_user_block(end, seal);
  m_blocks->write(end, seal.data(), seal.size());
  m_blocks->write(0, block.data(), block.size());
  m_blocks->resize(end + seal.size());
  m_file_bytes = end + seal.size();
}

void CheckpointWriter::commit() {
  ELASTIC_REQUIRE(!m_done && m_blocks, "{}: committed twice", m_path.string());
  finish_structure();
  write_frame();
  m_blocks->sync_and_verify();
  if (m_blocks->size() != m_file_bytes)
    throw RunError(fmt::format("{}: has {} bytes, {} were written", m_temporary.string(),
                               m_blocks->size(), m_file_bytes));
  m_blocks->close();
  rename_durably(m_temporary, m_path);
  m_done = true;
}

#define ELASTIC_INSTANTIATE(T)                                                           \
  template void CheckpointWriter::write<T>(const std::string&, const Extents&, const T*, \
                                           StorageType, const Attributes&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
ELASTIC_INSTANTIATE(index_t)
ELASTIC_INSTANTIATE(std::uint16_t)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
