// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint_reader.hpp"

#include "io/checkpoint_version1.hpp"
#include "io/content_hash.hpp"
#include "io/hdf5_memory.hpp"
#include "io/stored_values.hpp"

#include <algorithm>
#include <cstring>

namespace elastic {

namespace {

/// Texts, attributes and headers; far more than any checkpoint has.
constexpr std::uint64_t largest_structure = std::uint64_t(1) << 30;

std::uint64_t row_bytes(const TensorInfo& tensor) {
  return static_cast<std::uint64_t>(tensor.extents.columns) * size_of(tensor.type);
}

bool is_hdf5(const DiskFile& file) {
  constexpr std::string_view signature = "\x89HDF\r\n\x1a\n";
  std::string start(signature.size(), '\0');
  if (file.size() < start.size()) return false;
  file.read_at(0, start.data(), start.size());
  return start == signature;
}

}  // namespace

// --- opening -------------------------------------------------------------------------------------

CheckpointReader::CheckpointReader(const std::filesystem::path& path)
    : m_disk(DiskFile::open(path)) {
  if (is_hdf5(m_disk))
    open_version1();
  else
    open_sealed();
}

void CheckpointReader::open_version1() {
  m_file.emplace(Hdf5File::open(path()));
  m_tensors = checkpoint::read_version1(*m_file);
}

void CheckpointReader::open_sealed() {
  m_seal = read_seal(m_disk);
  std::uint64_t structure = 0;
  for (const auto& segment : m_seal->segments)
    if (segment.is_structure()) structure += segment.bytes;
  if (structure > largest_structure)
    refuse(
        fmt::format("its structure (names, shapes, attributes, texts) has {} bytes, expected at "
                    "most {}",
                    structure, largest_structure));
  auto image = std::make_unique<MemoryImage>();
  std::vector<char> bytes;
  for (const auto& segment : m_seal->segments) {
    if (!segment.is_structure()) continue;
    bytes.resize(segment.bytes);
    read_segment(m_disk, segment, bytes.data());
    image->write(segment.offset, bytes.data(), bytes.size());
  }
  image->resize(m_seal->begin);
  m_file.emplace(Hdf5File::open(path(), std::move(image)));
  if (!m_file->has_attribute("/", "format") ||
      m_file->read_attribute("/", "format") != Attribute(checkpoint::format_name) ||
      m_file->read_attribute("/", "format_version") != Attribute(index_t(2)))
    refuse("not a checkpoint of elastic.x (attributes format, format_version)");
  list_sealed_tensors();
}

/// Every tensor must be what the seal says: the segments of its name, one after the other, are its
/// rows.
void CheckpointReader::list_sealed_tensors() {
  std::map<std::string, Blocks> blocks;
  const auto& segments = m_seal->segments;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (segments[i].is_structure()) continue;
    auto& found = blocks.try_emplace(segments[i].name, Blocks{i, 0}).first->second;
    if (found.first + found.count != i)
      refuse(fmt::format("{} is not in one piece according to its seal", segments[i].name));
    ++found.count;
  }
  for (const auto& name : m_file->datasets()) {
    if (name.starts_with("text/")) continue;
    const auto dataset = m_file->info(name);
    const auto found = blocks.find(name);
    m_blocks.push_back(found == blocks.end() ? Blocks{} : found->second);
    m_tensors.push_back({name, dataset.type, dataset.extents, m_file->attributes(name), 0});
    check_blocks(dataset);
    if (found != blocks.end()) blocks.erase(found);
  }
  if (!blocks.empty())
    refuse(fmt::format("its seal names {}, which is not among its tensors", blocks.begin()->first));
}

/// Compares the last tensor of the list with its segments and sets its checksum.
void CheckpointReader::check_blocks(const Hdf5File::DatasetInfo& dataset) {
  TensorInfo& tensor = m_tensors.back();
  const auto segments = blocks(tensor);
  const std::uint64_t row = row_bytes(tensor);
  std::uint64_t bytes = 0;
  std::string hashes;
  for (const auto& segment : segments) {
    const auto done = static_cast<std::uint64_t>(segment.first_row) * row;
    const bool fits = row > 0 && segment.offset == dataset.offset + bytes && done == bytes &&
                      segment.bytes % row == 0 && segment.bytes <= std::max(row, bytes_per_segment);
    if (!fits) break;
    bytes += segment.bytes;
    for (int byte = 0; byte < 8; ++byte)
      hashes += static_cast<char>(segment.hash >> (8 * byte) & 0xff);
  }
  if (bytes != dataset.bytes() || hashes.size() != 8 * segments.size())
    refuse(fmt::format("{} is {} of {}, but its seal has not these {} bytes at {}", tensor.name,
                       to_string(tensor.extents), name_of(tensor.type), dataset.bytes(),
                       dataset.offset));
  tensor.checksum = segments.size() == 1 ? segments.front().hash : content_hash(hashes);
}

// --- descriptions --------------------------------------------------------------------------------

void CheckpointReader::refuse(const std::string& reason) const {
  throw InputError(fmt::format("{}: {}", path().string(), reason));
}

const TensorInfo* CheckpointReader::find(const std::string& name) const {
  const auto at = std::lower_bound(
      m_tensors.begin(), m_tensors.end(), name,
      [](const TensorInfo& tensor, const std::string& n) { return tensor.name < n; });
  return at != m_tensors.end() && at->name == name ? &*at : nullptr;
}

const TensorInfo& CheckpointReader::info(const std::string& name) const {
  const TensorInfo* tensor = find(name);
  if (!tensor) refuse(fmt::format("no tensor {} among its {} tensors", name, m_tensors.size()));
  return *tensor;
}

void CheckpointReader::refuse_type(const TensorInfo& tensor, StorageType expected) const {
  refuse(fmt::format("{} holds {}, expected {}", tensor.name, name_of(tensor.type),
                     name_of(expected)));
}

std::vector<std::string> CheckpointReader::texts() const {
  std::vector<std::string> names = m_file->datasets("text");
  for (auto& name : names) name.erase(0, std::string("text/").size());
  return names;
}

// --- values --------------------------------------------------------------------------------------

std::span<const Segment> CheckpointReader::blocks(const TensorInfo& tensor) const {
  const Blocks& found = m_blocks[static_cast<std::size_t>(&tensor - m_tensors.data())];
  return std::span(m_seal->segments).subspan(found.first, found.count);
}

Range CheckpointReader::rows_of(const TensorInfo& tensor, const Segment& block) const {
  return {block.first_row, block.first_row + static_cast<index_t>(block.bytes / row_bytes(tensor))};
}

/// Rows that are read and verified together: blocks, or, in format 1, all of them.
std::vector<Range> CheckpointReader::pieces(const TensorInfo& tensor) const {
  if (!m_seal) return {Range(0, tensor.extents.rows)};
  std::vector<Range> pieces;
  for (const auto& block : blocks(tensor)) pieces.push_back(rows_of(tensor, block));
  return pieces;
}

/// The bytes of a block, verified, until the next call.
const char* CheckpointReader::load(const Segment& block) const {
  if (m_loaded_offset == block.offset) return m_loaded.data();
  m_loaded_offset = 0;
  m_loaded.resize(block.bytes);
  read_segment(m_disk, block, m_loaded.data());
  m_loaded_offset = block.offset;
  return m_loaded.data();
}

/// The part [rows) x [columns) as stored. In format 1, all of the tensor is compared with its hash,
/// a part is not.
void CheckpointReader::read_part(const TensorInfo& tensor, Range rows, Range columns,
                                 void* out) const {
  const bool all_columns = columns == Range(0, tensor.extents.columns);
  if (!m_seal) {
    if (all_columns && rows == Range(0, tensor.extents.rows))
      return checkpoint::read_version1(*m_file, tensor, out);
    return m_file->read_block(tensor.name, rows, columns, out);
  }
  const std::size_t row = row_bytes(tensor), size = size_of(tensor.type);
  const std::size_t part = static_cast<std::size_t>(columns.second - columns.first) * size;
  char* to = static_cast<char*>(out);
  if (part == 0) return;
  for (const auto& block : blocks(tensor)) {
    const Range held = rows_of(tensor, block);
    const index_t begin = std::max(rows.first, held.first),
                  end = std::min(rows.second, held.second);
    if (begin >= end) continue;
    if (all_columns && held == Range(begin, end)) {
      read_segment(m_disk, block, to);
      to += block.bytes;
      continue;
    }
    const char* from = load(block) + static_cast<std::size_t>(begin - held.first) * row +
                       static_cast<std::size_t>(columns.first) * size;
    for (index_t i = begin; i < end; ++i, from += row, to += part) std::memcpy(to, from, part);
  }
}

template <class T>
void CheckpointReader::read(const std::string& name, const Extents& expected, T* out) const {
  const TensorInfo& tensor = info(name);
  if (tensor.extents != expected)
    refuse(
        fmt::format("{} is {}, expected {}", name, to_string(tensor.extents), to_string(expected)));
  const Range columns(0, expected.columns);
  if (tensor.type == storage_type_of<T>())
    return read_part(tensor, Range(0, expected.rows), columns, out);
  if (!checkpoint::is_real<T> || tensor.type == StorageType::int64)
    refuse_type(tensor, storage_type_of<T>());
  checkpoint::with_real_type(tensor.type, [&]<class Stored>(Stored*) {
    std::vector<Stored> stored;
    for (const Range rows : pieces(tensor)) {
      stored.resize(static_cast<std::size_t>((rows.second - rows.first) * expected.columns));
      read_part(tensor, rows, columns, stored.data());
      checkpoint::convert(stored.data(), stored.size(), out + rows.first * expected.columns);
    }
  });
}

template <class T>
void CheckpointReader::read_block(const std::string& name, Range rows, Range columns,
                                  T* out) const {
  const TensorInfo& tensor = info(name);
  const bool inside = 0 <= rows.first && rows.first <= rows.second &&
                      rows.second <= tensor.extents.rows && 0 <= columns.first &&
                      columns.first <= columns.second && columns.second <= tensor.extents.columns;
  if (!inside)
    refuse(fmt::format("{} is {}: rows {} to {}, columns {} to {} are not inside", name,
                       to_string(tensor.extents), rows.first, rows.second, columns.first,
                       columns.second));
  if (tensor.type == storage_type_of<T>()) return read_part(tensor, rows, columns, out);
  if (!checkpoint::is_real<T> || tensor.type == StorageType::int64)
    refuse_type(tensor, storage_type_of<T>());
  checkpoint::with_real_type(tensor.type, [&]<class Stored>(Stored*) {
    std::vector<Stored> stored(
        static_cast<std::size_t>((rows.second - rows.first) * (columns.second - columns.first)));
    read_part(tensor, rows, columns, stored.data());
    checkpoint::convert(stored.data(), stored.size(), out);
  });
}

void CheckpointReader::verify(Shard share) const {
  if (m_seal) return verify_segments(m_disk, *m_seal, share);
  for (std::size_t i = 0; i < m_tensors.size(); ++i)
    if (static_cast<int>(i % static_cast<std::size_t>(share.size)) == share.rank)
      checkpoint::verify_version1(*m_file, m_tensors[i]);
}

#define ELASTIC_INSTANTIATE(T)                                                           \
  template void CheckpointReader::read<T>(const std::string&, const Extents&, T*) const; \
  template void CheckpointReader::read_block<T>(const std::string&, Range, Range, T*) const;
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
ELASTIC_INSTANTIATE(index_t)
ELASTIC_INSTANTIATE(std::uint16_t)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
