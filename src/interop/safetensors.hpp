// SPDX-License-Identifier: Apache-2.0
// One safetensors file (https://github.com/huggingface/safetensors,
// README and tensor.rs), little endian:
//
//   u64 N, N bytes of JSON, then the bytes of the tensors, row-major
//
//   SafetensorsReader reader("model.safetensors");
//   reader.read(reader.at("lm_head.weight"), 0, bytes, buffer);
//
//   SafetensorsWriter writer("model.safetensors", {{"lm_head.weight", ElementType::bf16, {V, D}}});
//   writer.write("lm_head.weight", buffer);
//   writer.commit();
//
// Everything a header says is checked before anything of it is used. Nothing is mapped:
// the only memory is that of the header.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "interop/element_type.hpp"
#include "io/disk_file.hpp"

namespace elastic {

/// A tensor of a file that was read.
struct SafetensorsEntry {
  std::string name;
  ElementType type = ElementType::f32;
  std::vector<index_t> shape;        ///< any rank; rank 0 is one element
  std::uint64_t begin = 0, end = 0;  ///< bytes in the file
  std::uint64_t bytes() const { return end - begin; }
};
/// "BF16 [3, 4]".
std::string describe(ElementType type, const std::vector<index_t>& shape);

/// An open file descriptor.
class FileHandle {
 public:
  explicit FileHandle(int descriptor = -1) : m_descriptor(descriptor) {}
  FileHandle(FileHandle&& other) noexcept : m_descriptor(std::exchange(other.m_descriptor, -1)) {}
  FileHandle& operator=(FileHandle&&) = delete;
  ~FileHandle();
  int get() const { return m_descriptor; }

 private:
  int m_descriptor;
};

/// Reads a file piece by piece.
class SafetensorsReader {
 public:
  /// Opens the file and checks the header. Throws InputError naming file and tensor unless
  ///
  /// * its length is at most max_json_bytes and within the file,
  /// * no key stands twice and all types are known,
  /// * offsets rise from 0 to the end of the file without holes or overlaps,
  /// * every tensor is as long as type and shape say (products are checked for overflow).
  explicit SafetensorsReader(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return m_path; }
  /// Sorted by name.
  const std::vector<SafetensorsEntry>& entries() const { return m_entries; }
  const std::map<std::string, std::string>& metadata() const { return m_metadata; }
  /// The tensor of this name, or nullptr.
  const SafetensorsEntry* find(const std::string& name) const;
  const SafetensorsEntry& at(const std::string& name) const;
  /// Bytes [offset, offset + count) of a tensor. Throws InputError if the file cannot be read.
  void read(const SafetensorsEntry& entry, std::uint64_t offset, std::size_t count,
            void* out) const;

 private:
  void parse(const std::string& header, std::uint64_t data_begin, std::uint64_t file_size);

  std::filesystem::path m_path;
  FileHandle m_file;
  std::vector<SafetensorsEntry> m_entries;
  std::map<std::string, std::string> m_metadata;
};

/// A tensor of a file that will be written.
struct SafetensorsTensor {
  std::string name;
  ElementType type = ElementType::bf16;
  std::vector<index_t> shape;
  std::uint64_t bytes() const;
};

/// Writes a file that is complete or not there.
class SafetensorsWriter {
 public:
  /// Plans the file and reserves its space under a temporary name. Wide elements come first, then
  /// names in order, so that each tensor is aligned. `__metadata__` is {"format": "pt"}, without
  /// which older transformers refuse the file. Throws RunError.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<SafetensorsTensor> tensors);
  /// Without commit: removes the temporary file.
  ~SafetensorsWriter();
  SafetensorsWriter(SafetensorsWriter&&) = default;

  /// Writes all bytes of one tensor; tensors may come in any order.
  void write(const std::string& name, const void* data);
  /// Forces the file to disk and gives it its name. Every tensor must be written. Throws RunError.
  void commit();

 private:
  std::filesystem::path m_path, m_temporary;
  std::unique_ptr<DiskFile> m_file;
  struct Place {
    std::uint64_t begin, bytes;
    bool written = false;
  };
  std::map<std::string, Place> m_places;
};

}  // namespace elastic
