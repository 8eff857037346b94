// SPDX-License-Identifier: Apache-2.0
// A checkpoint: named tensors, texts and attributes in one HDF5 file that
// is complete or not there at all.
//
//   CheckpointWriter writer("checkpoint_000100.h5");
//   writer.tensor("model/layers.0.mlp.up", up.data(), F, D, StorageType::float32,
//                 {{"axes", "F D"}});
//   writer.text("deck", deck);
//   writer.attribute("step", 100);
//   writer.commit();
//
//   CheckpointReader reader("checkpoint_000100.h5");
//   reader.read("model/layers.0.mlp.up", Extents::matrix(F, D), up.data());
//
// What is where in the file (doc/checkpoint_format.md):
//
//   /model/...         tensors under their names; each dataset has the attribute
//                      xxh3_64, the XXH3-64 hash of its bytes
//   /text/NAME         texts
//   /attributes        attributes
//   the file itself    attributes format, format_version and manifest_xxh3_64, the hash
//                      of a list of all names, types, extents, attributes and hashes
#pragma once
#include <memory>

#include "base/error.hpp"
#include "io/hdf5_file.hpp"

namespace elastic {

/// Writes a checkpoint; nothing is seen of it before commit().
class CheckpointWriter {
 public:
  /// Writes to a temporary name in the folder of `path`, which must exist. Throws RunError.
  explicit CheckpointWriter(const std::filesystem::path& path);
  /// Without commit: removes the temporary file; an older `path` stays.
  ~CheckpointWriter();

  /// Writes a matrix [rows, columns], compact, in host memory. T = bfloat16, float, double, index_t
  /// or std::uint16_t (bfloat16 bits). The first three may be stored as any real type, widened
  /// exactly or rounded to nearest. Throws RunError if the disk fails, ContractError for a type
  /// that cannot be stored so, a name used twice or a name below text/ or attributes/.
  template <class T>
  void tensor(const std::string& name, const T* data, index_t rows, index_t columns,
              StorageType stored_as = storage_type_of<T>(), const Attributes& attributes = {}) {
    write(name, Extents::matrix(rows, columns), data, stored_as, attributes);
  }
  /// Writes a vector [count].
  template <class T>
  void vector(const std::string& name, const T* data, index_t count,
              StorageType stored_as = storage_type_of<T>(), const Attributes& attributes = {}) {
    write(name, Extents::vector(count), data, stored_as, attributes);
  }
  template <class T>
  void write(const std::string& name, const Extents& extents, const T* data, StorageType stored_as,
             const Attributes& attributes);

  void attribute(const std::string& name, const Attribute& value);
  void text(const std::string& name, const std::string& text);

  /// Closes the file, forces it to disk and gives it its name. Throws RunError;
  /// an older `path` is then as it was.
  void commit();

 private:
  void write_stored(const std::string& name, const Extents& extents, StorageType type,
                    const void* data, const Attributes& attributes);

  std::filesystem::path m_path, m_temporary;
  std::unique_ptr<Hdf5File> m_file;
};

/// What the file says of a tensor.
struct TensorInfo {
  std::string name;
  StorageType type = StorageType::float32;
  Extents extents;
  Attributes attributes;
  std::uint64_t checksum = 0;  ///< XXH3-64 of the stored bytes
};

/// Reads a checkpoint. Throws InputError naming file and dataset for whatever cannot be
/// read or is not what was written.
class CheckpointReader {
 public:
  /// Opens the file and checks the manifest, i.e. everything but the numbers in the tensors.
  explicit CheckpointReader(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return m_file.path(); }
  /// All tensors, sorted by name.
  const std::vector<TensorInfo>& tensors() const { return m_tensors; }
  bool contains(const std::string& name) const { return find(name) != nullptr; }
  /// The description of a tensor that must exist.
  const TensorInfo& info(const std::string& name) const;

  /// Reads a whole tensor, which must have these extents, into compact host memory, and checks its
  /// hash. T = bfloat16, float or double from any real type, index_t from int64, std::uint16_t
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
  /// Reads the block [rows) x [columns), compact. The hash is one of the whole tensor and is not
  /// checked; verify() does that.
  template <class T>
  void read_block(const std::string& name, Range rows, Range columns, T* out) const;

  Attribute attribute(const std::string& name) const {
    return m_file.read_attribute("/attributes", name);
  }
  /// T must be the type that was written: index_t, double, std::string or a vector of these.
  template <class T>
  T attribute_as(const std::string& name) const {
    const Attribute value = attribute(name);
    if (const T* found = std::get_if<T>(&value)) return *found;
    throw InputError(fmt::format("{}: attribute {} has an unexpected type", path().string(), name));
  }
  bool has_attribute(const std::string& name) const {
    return m_file.has_attribute("/attributes", name);
  }
  Attributes attributes() const { return m_file.attributes("/attributes"); }
  std::string text(const std::string& name) const { return m_file.read_text("text/" + name); }
  bool has_text(const std::string& name) const { return m_file.exists("text/" + name); }
  /// Names of all texts.
  std::vector<std::string> texts() const;

  /// Reads every tensor and compares the hashes.
  void verify() const;

 private:
  const TensorInfo* find(const std::string& name) const;
  void read_stored(const TensorInfo& tensor, void* out) const;
  [[noreturn]] void refuse_type(const TensorInfo& tensor, StorageType expected) const;

  Hdf5File m_file;
  std::vector<TensorInfo> m_tensors;
};

}  // namespace elastic
