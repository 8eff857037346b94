// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "interop/safetensors.hpp"
#include "interop/strict_json.hpp"
#include "io/durable_file.hpp"

namespace elastic {
namespace {

/// The first bytes of the file: length and JSON, padded to a multiple of 8.
std::string header_of(const std::vector<SafetensorsTensor>& tensors) {
  OrderedJson json = OrderedJson::object();
  json["__metadata__"] = {{"format", "pt"}};
  std::uint64_t begin = 0;
  for (const auto& tensor : tensors) {
    const std::uint64_t end = begin + tensor.bytes();
    json[tensor.name] = {
        {"dtype", name_of(tensor.type)}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
    begin = end;
  }
  std::string text = json.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  std::string head(sizeof length, '\0');
  std::memcpy(head.data(), &length, sizeof length);
  return head + text;
}

}  // namespace

std::uint64_t SafetensorsTensor::bytes() const {
  std::uint64_t bytes = size_of(type);
  for (const index_t extent : shape) bytes *= static_cast<std::uint64_t>(extent);
  return bytes;
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::vector<SafetensorsTensor> tensors)
    : m_path(path), m_temporary(temporary_name(path)) {
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    const auto width_a = size_of(a.type), width_b = size_of(b.type);
    return width_a != width_b ? width_a > width_b : a.name < b.name;
  });
  const std::string header = header_of(tensors);
  std::uint64_t end = header.size();
  for (const auto& tensor : tensors) {
    ELASTIC_REQUIRE(m_places.emplace(tensor.name, Place{end, tensor.bytes()}).second,
                    "{} stands twice in {}", tensor.name, path.string());
    end += tensor.bytes();
  }
  m_file = std::make_unique<DiskFile>(DiskFile::create(m_temporary));
  m_file->reserve(end);
  m_file->write_at(0, header.data(), header.size());
}

SafetensorsWriter::~SafetensorsWriter() {
  if (!m_file) return;
  std::error_code ignored;
  std::filesystem::remove(m_temporary, ignored);
}

void SafetensorsWriter::write(const std::string& name, const void* data) {
  ELASTIC_REQUIRE(m_file, "{}: written after commit", m_path.string());
  const auto at = m_places.find(name);
  ELASTIC_REQUIRE(at != m_places.end() && !at->second.written, "{}: {} is unknown or written twice",
                  m_path.string(), name);
  m_file->write_at(at->second.begin, data, at->second.bytes);
  at->second.written = true;
}

void SafetensorsWriter::commit() {
  ELASTIC_REQUIRE(m_file, "{}: committed twice", m_path.string());
  for (const auto& [name, place] : m_places)
    ELASTIC_REQUIRE(place.written, "{}: {} was not written", m_path.string(), name);
  m_file->sync();
  m_file->close();
  rename_durably(m_temporary, m_path);
  m_file.reset();
}

}  // namespace elastic
