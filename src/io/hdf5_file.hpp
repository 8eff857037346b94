// SPDX-License-Identifier: Apache-2.0
// One HDF5 file: groups, attributes, 1-D and 2-D datasets and texts, used by one rank at a time.
//
//   Hdf5File file = Hdf5File::create("a.h5");
//   file.write_dataset("model/w", StorageType::float32, Extents::matrix(3, 4), w.data());
//   file.write_attribute("model/w", "axes", std::string("D F"));
//   file.close();
//
// Only what the file itself holds is ever read: soft and external links, external, virtual
// and chunked storage and filter plugins are refused. Object names are paths ("model/w");
// groups in between are made as needed; "/" is the file itself. Errors name file and object:
// RunError for a file being written, InputError for a file being read.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "io/storage.hpp"

namespace elastic {

/// An open file, either being written or being read.
class Hdf5File {
 public:
  /// A new file; an old one of that name is overwritten.
  static Hdf5File create(const std::filesystem::path& path);
  /// An existing file, read only.
  static Hdf5File open(const std::filesystem::path& path);
  Hdf5File(Hdf5File&& other) noexcept;
  Hdf5File& operator=(Hdf5File&&) = delete;
  ~Hdf5File();

  /// Closes the file and reports what the destructor would have to hide.
  void close();
  const std::filesystem::path& path() const { return m_path; }

  void create_group(const std::string& name);
  bool exists(const std::string& name) const;
  /// All datasets below a group, with their full names, sorted.
  std::vector<std::string> datasets(const std::string& group = "/") const;

  /// Type and extents of a dataset.
  struct DatasetInfo {
    StorageType type = StorageType::float32;
    Extents extents;
  };
  /// Element type and extents; the bytes they promise are known to fit into the file.
  DatasetInfo info(const std::string& name) const;
  /// `data` holds extents.size() elements of this type.
  void write_dataset(const std::string& name, StorageType type, const Extents& extents,
                     const void* data);
  /// A dataset without values, to be filled by write_rows.
  void create_dataset(const std::string& name, StorageType type, const Extents& extents);
  /// Rows [begin, end) of a dataset from compact row-major memory of its type.
  void write_rows(const std::string& name, Range rows, const void* data);
  /// Block [rows) x [columns) of a dataset into compact row-major memory of the stored type.
  void read_block(const std::string& name, Range rows, Range columns, void* out) const;

  void write_text(const std::string& name, const std::string& text);
  std::string read_text(const std::string& name) const;

  void write_attribute(const std::string& object, const std::string& name, const Attribute& value);
  Attribute read_attribute(const std::string& object, const std::string& name) const;
  bool has_attribute(const std::string& object, const std::string& name) const;
  Attributes attributes(const std::string& object) const;

 private:
  Hdf5File(const std::filesystem::path& path, bool writing);
  /// Reserves space before it is needed:
  /// HDF5 cannot recover from a write that fails (it crashes at exit).
  void reserve(std::size_t bytes);
  /// Closes the file and gives back what was reserved too much; false if HDF5 cannot.
  bool close_file();
  [[noreturn]] void fail(const std::string& action, const std::string& object) const;
  [[noreturn]] void refuse(const std::string& object, const std::string& reason) const;
  std::int64_t checked(std::int64_t status, const char* action, const std::string& object) const;
  std::int64_t open_object(const std::string& name) const;
  std::int64_t open_dataset(const std::string& name) const;
  void create_parents(const std::string& name);
  std::int64_t create_stored(const std::string& name, std::int64_t type, std::int64_t space,
                             std::size_t bytes);

  std::filesystem::path m_path;
  bool m_writing;
  std::int64_t m_file = -1;  // hid_t
  std::size_t m_reserved = 0;
};

}  // namespace elastic
