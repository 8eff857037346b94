// SPDX-License-Identifier: Apache-2.0
// Writer of Megatron's .bin/.idx files.
#include <fstream>

#include "base/error.hpp"
#include "data/dataset_summary.hpp"
#include "data/indexed_format.hpp"

namespace elastic {
namespace {
class BinaryFile {
 public:
  explicit BinaryFile(const std::string& path) : m_path(path), m_file(path, std::ios::binary) {}
  template <class T>
  void put(T value) {
    m_file.write(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void put(const std::string& text) { put(std::string_view(text)); }
  void put(std::string_view text) {
    m_file.write(text.data(), static_cast<std::streamsize>(text.size()));
  }
  void close() {
    m_file.close();
    if (!m_file) throw RunError(fmt::format("{}: cannot be written", m_path));
  }

 private:
  std::string m_path;
  std::ofstream m_file;
};

using Documents = std::span<const std::vector<token_t>>;

template <class Id>
void write_ids(const std::string& path, index_t vocab_size, Documents documents) {
  BinaryFile file(path);
  for (const auto& document : documents)
    for (const token_t id : document) {
      if (id < 0 || id >= vocab_size)
        throw InputError(
            fmt::format("{}: id {}; expected one of the vocabulary [0, {})", path, id, vocab_size));
      file.put(static_cast<Id>(id));
    }
  file.close();
}

void write_index(const std::string& path, unsigned dtype_code, Documents documents) {
  using namespace indexed_format;
  BinaryFile file(path);
  file.put(magic);
  file.put(version);
  file.put(static_cast<std::uint8_t>(dtype_code));
  file.put(static_cast<std::uint64_t>(documents.size()));
  file.put(static_cast<std::uint64_t>(documents.size() + 1));
  for (const auto& document : documents) file.put(static_cast<std::int32_t>(document.size()));
  std::int64_t offset = 0;
  for (const auto& document : documents) {
    file.put(offset);
    offset += static_cast<std::int64_t>(document.size() * item_size(dtype_code));
  }
  for (std::size_t d = 0; d <= documents.size(); ++d) file.put(static_cast<std::int64_t>(d));
  file.close();
}
}  // namespace

void write_indexed_dataset(const std::string& prefix, index_t vocab_size, Documents documents,
                           std::span<const std::vector<std::uint8_t>> masks) {
  const bool small = vocab_size < 65500;  // upstream's limit of u16
  if (small)
    write_ids<std::uint16_t>(prefix + ".bin", vocab_size, documents);
  else
    write_ids<std::int32_t>(prefix + ".bin", vocab_size, documents);
  write_index(prefix + ".idx", small ? 8 : 4, documents);
  if (!masks.empty()) {
    BinaryFile mask(prefix + ".mask");
    for (const auto& bytes : masks)
      for (const std::uint8_t counts : bytes) mask.put(counts);
    mask.close();
  }
  BinaryFile summary(prefix + ".json");
  summary.put(to_json(summarize(IndexedDataset(prefix, vocab_size, !masks.empty()), "")));
  summary.close();
}

}  // namespace elastic
