// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint_version1.hpp"

#include <algorithm>

#include "io/content_hash.hpp"
#include "io/stored_values.hpp"

namespace elastic::checkpoint {

namespace {

constexpr index_t format_version = 1;
constexpr const char* checksum_name = "xxh3_64";
constexpr const char* manifest_name = "manifest_xxh3_64";
/// What verification has in memory at once.
constexpr std::uint64_t bytes_at_once = std::uint64_t(8) << 20;

[[noreturn]] void refuse(const Hdf5File& file, const std::string& reason) {
  throw InputError(fmt::format("{}: {}", file.path().string(), reason));
}

/// A spelling that differs for values that differ in type, length or content.
std::string spell(const std::string& text) { return fmt::format("s{}:{}", text.size(), text); }
std::string spell(index_t value) { return fmt::format("i{}", value); }
std::string spell(double value) { return fmt::format("d{}", value); }
template <class T>
std::string spell(const std::vector<T>& values) {
  std::string result = fmt::format("v{}", values.size());
  for (const auto& value : values) result += fmt::format(" {}", spell(value));
  return result;
}
std::string spell(const Attributes& attributes) {
  std::string result;
  for (const auto& [name, value] : attributes)
    result +=
        fmt::format(" {}={}", name, std::visit([](const auto& v) { return spell(v); }, value));
  return result;
}

std::vector<TensorInfo> list_tensors(const Hdf5File& file) {
  std::vector<TensorInfo> tensors;
  std::uint64_t promised = 0;
  const std::uint64_t size = std::filesystem::file_size(file.path());
  for (const auto& name : file.datasets()) {
    if (name.starts_with("text/")) continue;
    const auto dataset = file.info(name);
    promised += dataset.bytes();
    if (promised > size) refuse(file, "its tensors promise more bytes than the file holds");
    TensorInfo tensor{name, dataset.type, dataset.extents, file.attributes(name), 0};
    const auto stored = tensor.attributes.extract(checksum_name);
    const auto* digits = stored ? std::get_if<std::string>(&stored.mapped()) : nullptr;
    const auto hash = digits ? parse_hash(*digits) : std::nullopt;
    if (!hash) refuse(file, fmt::format("{} lacks its checksum {}", name, checksum_name));
    tensor.checksum = *hash;
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

/// The hash of everything but the numbers: one line per tensor, text and attribute, sorted.
std::string manifest_of(const Hdf5File& file, const std::vector<TensorInfo>& tensors) {
  std::string lines = fmt::format("{} {}\n", format_name, format_version);
  for (const auto& tensor : tensors)
    lines += fmt::format("tensor {} {} {} {}{}\n", tensor.name, name_of(tensor.type),
                         to_string(tensor.extents), spell_hash(tensor.checksum),
                         spell(tensor.attributes));
  for (const auto& name : file.datasets("text")) {
    const std::string text = file.read_text(name);
    lines += fmt::format("{} {} {}\n", name, text.size(), spell_hash(content_hash(text)));
  }
  lines += fmt::format("attributes{}\n", spell(file.attributes("/attributes")));
  return spell_hash(content_hash(lines));
}

void expect_hash(const Hdf5File& file, const TensorInfo& tensor, std::uint64_t hash) {
  if (hash == tensor.checksum) return;
  refuse(file, fmt::format("{} is damaged: its bytes have the XXH3-64 hash {}, written was {}",
                           tensor.name, spell_hash(hash), spell_hash(tensor.checksum)));
}

}  // namespace

std::vector<TensorInfo> read_version1(const Hdf5File& file) {
  if (!file.has_attribute("/", "format") ||
      file.read_attribute("/", "format") != Attribute(format_name))
    refuse(file, "not a checkpoint of elastic.x (attribute format is missing or differs)");
  if (file.read_attribute("/", "format_version") != Attribute(format_version))
    refuse(file, fmt::format("another format version than {}, the one of files without a user "
                             "block: written by another version of elastic.x, or damaged",
                             format_version));
  auto tensors = list_tensors(file);
  if (file.read_attribute("/", manifest_name) != Attribute(manifest_of(file, tensors)))
    refuse(file,
           "damaged: names, extents, texts or attributes are not those that were written (manifest "
           "hash differs)");
  return tensors;
}

void read_version1(const Hdf5File& file, const TensorInfo& tensor, void* out) {
  const auto& extents = tensor.extents;
  file.read_block(tensor.name, Range(0, extents.rows), Range(0, extents.columns), out);
  expect_hash(file, tensor,
              content_hash(out, static_cast<std::size_t>(extents.size()) * size_of(tensor.type)));
}

void verify_version1(const Hdf5File& file, const TensorInfo& tensor) {
  const auto& extents = tensor.extents;
  const std::uint64_t row = static_cast<std::uint64_t>(extents.columns) * size_of(tensor.type);
  const auto rows_at_once = static_cast<index_t>(
      std::max<std::uint64_t>(1, bytes_at_once / std::max<std::uint64_t>(1, row)));
  ContentHasher hasher;
  std::vector<char> bytes;
  for (index_t begin = 0; begin < extents.rows; begin += rows_at_once) {
    const index_t end = std::min(extents.rows, begin + rows_at_once);
    bytes.resize(static_cast<std::size_t>(end - begin) * row);
    file.read_block(tensor.name, Range(begin, end), Range(0, extents.columns), bytes.data());
    hasher.add(bytes.data(), bytes.size());
  }
  expect_hash(file, tensor, hasher.value());
}

}  // namespace elastic::checkpoint
