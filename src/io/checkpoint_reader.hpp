// SPDX-License-Identifier: Apache-2.0
// Reading of checkpoints (checkpoint_file.hpp). User block, seal and all of the structure are
// compared with their hashes before HDF5 sees any of it; every block of a tensor when it is read.
#pragma once
#include <optional>
#include <span>

#include "base/error.hpp"
#include "io/hdf5_file.hpp"
#include "io/sealed_file.hpp"

namespace elastic {

/// What the file says of a tensor.
struct TensorInfo {
  std::string name;
  StorageType type = StorageType::float32;
  Extents extents;
  Attributes attributes;
  /// XXH3-64 of the stored bytes if they are one block, else of the hashes of the blocks (8 bytes
  /// each, little endian).
  std::uint64_t checksum = 0;
};

/// Reads a checkpoint. Throws InputError naming file and tensor for whatever cannot be
/// read or is not what was written.
class CheckpointReader {
 public:
  /// Opens the file and checks everything but the numbers in the tensors.
  explicit CheckpointReader(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return m_disk.path(); }
  /// All tensors, sorted by name.
  const std::vector<TensorInfo>& tensors() const { return m_tensors; }
  bool contains(const std::string& name) const { return find(name) != nullptr; }
  /// The description of a tensor that must exist.
  const TensorInfo& info(const std::string& name) const;

  /// Reads a whole tensor, which must have these extents, into compact host memory, and checks its
  /// hashes. T = bfloat16, float or double from any real type, index_t from int64, std::uint16_t
  /// from bfloat16.
  template <class T>
  void read(const std::string& name, const Extents& expected, T* out) const;
  template <class T>
  std::vector<T> read(const std::string& name) const {
    const TensorInfo& tensor = info(name);
    std::vector<T> values(static_cast<std::size_t>(tensor.extents.size()));
    read(name, tensor.extents, values.data());
    return values;
  }
  /// Reads the part [rows) x [columns), compact, and checks the hashes of all blocks that it
  /// touches. Not checked in files of format 1, where a tensor has one hash: verify() does that.
  template <class T>
  void read_block(const std::string& name, Range rows, Range columns, T* out) const;

  Attribute attribute(const std::string& name) const {
    return m_file->read_attribute("/attributes", name);
  }
  /// T must be the type that was written: index_t, double, std::string or a vector of these.
  template <class T>
  T attribute_as(const std::string& name) const {
    const Attribute value = attribute(name);
    if (const T* found = std::get_if<T>(&value)) return *found;
    throw InputError(fmt::format("{}: attribute {} has an unexpected type", path().string(), name));
  }
  bool has_attribute(const std::string& name) const {
    return m_file->has_attribute("/attributes", name);
  }
  Attributes attributes() const { return m_file->attributes("/attributes"); }
  std::string text(const std::string& name) const { return m_file->read_text("text/" + name); }
  bool has_text(const std::string& name) const { return m_file->exists("text/" + name); }
  /// Names of all texts.
  std::vector<std::string> texts() const;

  /// Reads this share of the file and compares the hashes; those of all ranks are every byte.
  void verify(Shard share = {}) const;

 private:
  /// The segments of a tensor: [first, first + count) of the seal.
  struct Blocks {
    std::size_t first = 0, count = 0;
  };
  const TensorInfo* find(const std::string& name) const;
  [[noreturn]] void refuse(const std::string& reason) const;
  [[noreturn]] void refuse_type(const TensorInfo& tensor, StorageType expected) const;
  void open_sealed();
  void open_version1();
  void list_sealed_tensors();
  void check_blocks(const Hdf5File::DatasetInfo& dataset);
  std::span<const Segment> blocks(const TensorInfo& tensor) const;
  Range rows_of(const TensorInfo& tensor, const Segment& block) const;
  std::vector<Range> pieces(const TensorInfo& tensor) const;
  void read_part(const TensorInfo& tensor, Range rows, Range columns, void* out) const;
  const char* load(const Segment& block) const;

  DiskFile m_disk;
  std::optional<Seal> m_seal;  // none in format 1
  std::optional<Hdf5File> m_file;
  std::vector<TensorInfo> m_tensors;
  std::vector<Blocks> m_blocks;  // of each tensor
  // The block that was read last: parts of it are often asked for one after the other.
  mutable std::vector<char> m_loaded;
  mutable std::uint64_t m_loaded_offset = 0;
};

}  // namespace elastic
