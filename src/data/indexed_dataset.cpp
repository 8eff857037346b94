// SPDX-License-Identifier: Apache-2.0
// Reader of Megatron's .bin/.idx files. Nothing found in a file is trusted before it is compared
// with the size of the file.
#include "data/indexed_dataset.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/error.hpp"
#include "data/indexed_format.hpp"

namespace elastic {
namespace {
static_assert(std::endian::native == std::endian::little, "the files are little-endian");

template <class... Args>
[[noreturn]] void refuse(const MappedFile& file, fmt::format_string<Args...> format,
                         Args&&... args) {
  throw InputError(file.path() + ": " + fmt::format(format, std::forward<Args>(args)...));
}
}  // namespace

IndexedDataset::IndexedDataset(const std::string& prefix, index_t vocab_size, bool with_mask)
    : m_idx(prefix + ".idx"), m_bin(prefix + ".bin"), m_vocab_size(vocab_size) {
  if (vocab_size < 1 || vocab_size > std::numeric_limits<token_t>::max())
    throw InputError(fmt::format("{}: vocabulary of {}; expected 1 to {}", prefix, vocab_size,
                                 std::numeric_limits<token_t>::max()));
  if (with_mask) m_mask.emplace(prefix + ".mask");
  check_header();
  check_sequences();
  check_documents();
  if (with_mask) check_mask();
}

void IndexedDataset::check_header() {
  using namespace indexed_format;
  const std::size_t size = m_idx.bytes().size();
  if (size < header_bytes)
    refuse(m_idx, "{} bytes; expected at least the {} bytes of a header", size, header_bytes);
  if (std::memcmp(m_idx.bytes().data(), magic.data(), magic.size()) != 0)
    refuse(m_idx, "does not start with \"MMIDIDX\"; expected the index of a Megatron dataset");
  if (const auto found = m_idx.load<std::uint64_t>(version_byte); found != version)
    refuse(m_idx, "version {}; expected {}", found, version);
  m_dtype_code = m_idx.load<std::uint8_t>(dtype_byte);
  m_item_size = item_size(m_dtype_code);
  if (m_item_size == 0)
    refuse(m_idx, "dtype code {}{}; expected integers: 1 u8, 2 i8, 3 i16, 4 i32, 5 i64 or 8 u16",
           m_dtype_code, m_dtype_code == 6 || m_dtype_code == 7 ? " (floating point)" : "");

  const auto sequences = m_idx.load<std::uint64_t>(sequences_byte);
  const auto document_indices = m_idx.load<std::uint64_t>(documents_byte);
  const std::uint64_t rest = size - header_bytes;  // divisions cannot overflow, products could
  if (sequences > rest / 12)
    refuse(m_idx, "{} sequences do not fit into its {} bytes; truncated?", sequences, size);
  if (document_indices < 1) refuse(m_idx, "no document index; expected at least the final one");
  if (document_indices > (rest - 12 * sequences) / 8)
    refuse(m_idx, "{} sequences and {} document indices do not fit into its {} bytes; truncated?",
           sequences, document_indices, size);
  const std::uint64_t excess = rest - 12 * sequences - 8 * document_indices;
  if (excess != 0)
    refuse(m_idx, "{} bytes after the last index{}; expected none", excess,
           excess == sequences ? " (modes of a multimodal dataset, which is not supported)" : "");
  m_num_sequences = sequences;
  m_num_document_indices = document_indices;
}

std::int64_t IndexedDataset::sequence_length(std::size_t s) const {
  return m_idx.load<std::int32_t>(indexed_format::header_bytes + 4 * s);
}
std::int64_t IndexedDataset::sequence_offset(std::size_t s) const {
  return m_idx.load<std::int64_t>(indexed_format::header_bytes + 4 * m_num_sequences + 8 * s);
}
std::size_t IndexedDataset::first_sequence(index_t d) const {
  return m_idx.load<std::uint64_t>(indexed_format::header_bytes + 12 * m_num_sequences +
                                   8 * static_cast<std::size_t>(d));
}

void IndexedDataset::check_sequences() {
  const std::int64_t bytes = m_bin.size(), item = static_cast<std::int64_t>(m_item_size);
  m_sequence_start.assign(m_num_sequences + 1, 0);
  for (std::size_t s = 0; s < m_num_sequences; ++s) {
    const std::int64_t length = sequence_length(s), offset = sequence_offset(s);
    if (length < 0) refuse(m_idx, "sequence {} has length {}; expected >= 0", s, length);
    if (offset < 0 || offset > bytes || length > (bytes - offset) / item)
      refuse(m_idx, "sequence {}: {} tokens of {} bytes from byte {} on; {} has only {} bytes", s,
             length, item, offset, m_bin.path(), bytes);
    m_sequence_start[s + 1] = m_sequence_start[s] + length;
    if (m_sequence_start[s + 1] > bytes / item)  // also keeps the sum from overflowing
      refuse(m_idx, "sequences 0 to {} have {} tokens, {} holds {}; expected no overlap", s,
             m_sequence_start[s + 1], m_bin.path(), bytes / item);
  }
}

void IndexedDataset::check_documents() const {
  std::uint64_t previous = first_sequence(0);
  if (previous != 0)
    refuse(m_idx, "document 0 starts at sequence {}; expected 0",
           static_cast<std::int64_t>(previous));
  for (index_t d = 1; d <= num_documents(); ++d) {
    const std::uint64_t first = first_sequence(d);
    if (first < previous)
      refuse(m_idx, "document index {} is {}, less than the {} before it; expected ascending", d,
             static_cast<std::int64_t>(first), previous);
    if (first > m_num_sequences)
      refuse(m_idx, "document index {} is {}; expected at most the {} sequences", d,
             static_cast<std::int64_t>(first), m_num_sequences);
    previous = first;
  }
  if (previous != m_num_sequences)
    refuse(m_idx, "the last document ends at sequence {}; expected all {}", previous,
           m_num_sequences);
}

std::int64_t IndexedDataset::id_at(std::size_t byte) const {
  switch (m_dtype_code) {
    case 1:
      return m_bin.load<std::uint8_t>(byte);
    case 2:
      return m_bin.load<std::int8_t>(byte);
    case 3:
      return m_bin.load<std::int16_t>(byte);
    case 4:
      return m_bin.load<std::int32_t>(byte);
    case 5:
      return m_bin.load<std::int64_t>(byte);
    default:
      return m_bin.load<std::uint16_t>(byte);
  }
}

void IndexedDataset::read(index_t d, index_t begin, std::span<token_t> out) const {
  const auto count = static_cast<index_t>(out.size());
  ELASTIC_REQUIRE(d >= 0 && d < num_documents(), "document {} of {}", d, num_documents());
  ELASTIC_REQUIRE(begin >= 0 && count <= document_length(d) - begin, "[{}, {}) of {} tokens", begin,
                  begin + count, document_length(d));
  read_tokens(document_start(d) + begin, out);
}

/// Tokens in the order of the index.
void IndexedDataset::read_tokens(index_t first, std::span<token_t> out) const {
  if (out.empty()) return;
  index_t token = first;
  const auto after = std::upper_bound(m_sequence_start.begin(), m_sequence_start.end(), token);
  auto s = static_cast<std::size_t>(after - m_sequence_start.begin()) - 1;
  for (token_t& value : out) {
    while (token == m_sequence_start[s + 1]) ++s;  // sequences may be empty
    const auto offset = static_cast<std::size_t>(sequence_offset(s)) +
                        static_cast<std::size_t>(token - m_sequence_start[s]) * m_item_size;
    const std::int64_t id = id_at(offset);
    if (id < 0 || id >= m_vocab_size) refuse_id(token, id);
    value = static_cast<token_t>(id);
    ++token;
  }
}

void IndexedDataset::refuse_id(index_t token, std::int64_t id) const {
  index_t d = 0, end = num_documents();  // the document lies in [d, end)
  while (end - d > 1) {
    const index_t middle = d + (end - d) / 2;
    (document_start(middle) <= token ? d : end) = middle;
  }
  refuse(m_bin, "token {} of document {} is {}; expected an id of the vocabulary [0, {})",
         token - document_start(d), d, id, m_vocab_size);
}

void IndexedDataset::check_ids(const Shard& share, index_t most) const {
  constexpr index_t block = 65536;
  const index_t blocks = (num_tokens() + block - 1) / block,
                every = std::max<index_t>(1, num_tokens() / most);
  std::vector<token_t> ids;
  std::vector<float> counts;
  for (index_t b = share.rank * every; b < blocks; b += share.size * every) {
    ids.resize(static_cast<std::size_t>(std::min(block, num_tokens() - b * block)));
    read_tokens(b * block, ids);
    counts.resize(ids.size());
    read_counts(b * block, counts);
  }
}

}  // namespace elastic
