// SPDX-License-Identifier: Apache-2.0
// A checkpoint with right hashes and wrong values: a copy in which some things are others.
#pragma once
#include <optional>

#include "io/checkpoint_file.hpp"

namespace elastic::test {

/// What differs from the file that is copied; nothing: it is left out.
struct Forgery {
  std::map<std::string, std::optional<std::string>> texts = {};
  std::map<std::string, std::optional<Attribute>> attributes = {};
  std::map<std::string, std::optional<std::vector<index_t>>> orders = {};  ///< int64 vectors
  std::map<std::string, std::pair<Extents, float>> tensors = {};  ///< float32, all elements equal
};

inline void copy_tensor(const CheckpointReader& reader, const TensorInfo& tensor,
                        CheckpointWriter& writer) {
  const auto copy = [&](auto zero) {
    const auto values = reader.read<decltype(zero)>(tensor.name);
    writer.write(tensor.name, tensor.extents, values.data(), tensor.type, tensor.attributes);
  };
  if (tensor.type == StorageType::int64) return copy(index_t{});
  if (tensor.type == StorageType::bfloat16) return copy(std::uint16_t{});
  tensor.type == StorageType::float64 ? copy(double{}) : copy(float{});
}

inline void write_forged(const std::filesystem::path& from, const std::filesystem::path& to,
                         const Forgery& forgery) {
  const CheckpointReader reader(from);
  CheckpointWriter writer(to);
  auto attributes = reader.attributes();
  for (const auto& [name, value] : forgery.attributes) {
    attributes.erase(name);
    if (value) attributes[name] = *value;
  }
  for (const auto& [name, value] : attributes) writer.attribute(name, value);
  std::map<std::string, std::string> texts;
  for (const auto& name : reader.texts()) texts[name] = reader.text(name);
  for (const auto& [name, text] : forgery.texts) {
    texts.erase(name);
    if (text) texts[name] = *text;
  }
  for (const auto& [name, text] : texts) writer.text(name, text);
  for (const auto& tensor : reader.tensors())
    if (!forgery.orders.contains(tensor.name) && !forgery.tensors.contains(tensor.name))
      copy_tensor(reader, tensor, writer);
  for (const auto& [name, order] : forgery.orders)
    if (order) writer.vector(name, order->data(), static_cast<index_t>(order->size()));
  for (const auto& [name, tensor] : forgery.tensors) {
    const std::vector<float> values(static_cast<std::size_t>(tensor.first.size()), tensor.second);
    writer.write(name, tensor.first, values.data(), StorageType::float32, {});
  }
  writer.commit();
}

/// `text` with the first `from` replaced.
inline std::string with(std::string text, const std::string& from, const std::string& to) {
  const auto place = text.find(from);
  if (place == std::string::npos) throw std::runtime_error("no '" + from + "' in " + text);
  return text.replace(place, from.size(), to);
}

}  // namespace elastic::test
