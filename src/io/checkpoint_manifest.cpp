// SPDX-License-Identifier: Apache-2.0
// Hashes of a checkpoint: per dataset and over all.
#include "io/checkpoint_manifest.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <charconv>

namespace elastic::checkpoint {

namespace {

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

}  // namespace

std::uint64_t hash_of(const void* data, std::size_t bytes) { return XXH3_64bits(data, bytes); }
std::string spell(std::uint64_t hash) { return fmt::format("{:016x}", hash); }

std::vector<TensorInfo> list_tensors(const Hdf5File& file) {
  std::vector<TensorInfo> tensors;
  for (const auto& name : file.datasets()) {
    if (name.starts_with("text/")) continue;
    const auto [type, extents] = file.info(name);
    TensorInfo tensor{name, type, extents, file.attributes(name), 0};
    const auto stored = tensor.attributes.extract(checksum_name);
    const auto* digits = stored ? std::get_if<std::string>(&stored.mapped()) : nullptr;
    const char* end = digits ? digits->data() + digits->size() : nullptr;
    if (!digits || std::from_chars(digits->data(), end, tensor.checksum, 16).ptr != end)
      throw InputError(
          fmt::format("{}: {} lacks its checksum {}", file.path().string(), name, checksum_name));
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

std::string manifest_of(const Hdf5File& file, const std::vector<TensorInfo>& tensors) {
  std::string lines = fmt::format("{} {}\n", format_name, format_version);
  for (const auto& tensor : tensors)
    lines +=
        fmt::format("tensor {} {} {} {}{}\n", tensor.name, name_of(tensor.type),
                    to_string(tensor.extents), spell(tensor.checksum), spell(tensor.attributes));
  for (const auto& name : file.datasets("text")) {
    const std::string text = file.read_text(name);
    lines += fmt::format("{} {} {}\n", name, text.size(), spell(hash_of(text.data(), text.size())));
  }
  lines += fmt::format("attributes{}\n", spell(file.attributes("/attributes")));
  return spell(hash_of(lines.data(), lines.size()));
}

}  // namespace elastic::checkpoint
