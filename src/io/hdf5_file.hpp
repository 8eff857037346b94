// SPDX-License-Identifier: Apache-2.0
// One HDF5 file: groups, attributes, 1-D and 2-D datasets and texts, used by one rank at a time.
//
//   Hdf5File file = Hdf5File::create("a.h5");          // in memory; the name is for messages
//   file.create_dataset("model/w", StorageType::float32, Extents::matrix(3, 4));
//   file.write_attribute("model/w", "axes", std::string("D F"));
//   file.close();                                      // file.image() has the bytes, without w's
//
// Only what the file itself holds is ever read: soft and external links, external, virtual
// and chunked storage and filter plugins are refused, and so is what no checkpoint holds: more than
// 100,000 objects, groups more than 32 deep, several names of one object, attributes and texts of
// hundreds of MiB. Object names are paths ("model/w"); groups in between are made as needed; "/" is
// the file itself. Errors name file and object: RunError for a file being written, InputError for a
// file being read.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "io/storage.hpp"

namespace elastic {

class MemoryImage;

/// An open file, either being written or being read.
class Hdf5File {
 public:
  /// A new file in memory, behind a user block; `path` is its name in messages.
  static Hdf5File create(const std::filesystem::path& path);
  /// An existing file on disk, read only.
  static Hdf5File open(const std::filesystem::path& path);
  /// A file in memory, read only; `path` is its name in messages.
  static Hdf5File open(const std::filesystem::path& path, std::unique_ptr<MemoryImage> image);
  Hdf5File(Hdf5File&& other) noexcept;
  Hdf5File& operator=(Hdf5File&&) = delete;
  ~Hdf5File();

  /// Closes the file and reports what the destructor would have to hide.
  void close();
  const std::filesystem::path& path() const { return m_path; }
  /// What was created, complete after close().
  MemoryImage& image() const { return *m_image; }

  void create_group(const std::string& name);
  bool exists(const std::string& name) const;
  /// All datasets below a group, with their full names, sorted.
  std::vector<std::string> datasets(const std::string& group = "/") const;

  /// What the file says of a dataset.
  struct DatasetInfo {
    StorageType type = StorageType::float32;
    Extents extents;
    std::uint64_t offset = 0;  ///< of its bytes in the file; 0 if it has none
    std::uint64_t bytes() const {
      return static_cast<std::uint64_t>(extents.size()) * size_of(type);
    }
  };
  /// The bytes of the dataset are known to lie in the file.
  DatasetInfo info(const std::string& name) const;
  /// A dataset whose bytes have their place in the file and are written by somebody else.
  void create_dataset(const std::string& name, StorageType type, const Extents& extents);
  /// Block [rows) x [columns) of a dataset into compact row-major memory of the stored type.
  void read_block(const std::string& name, Range rows, Range columns, void* out) const;

  void write_text(const std::string& name, const std::string& text);
  std::string read_text(const std::string& name) const;

  void write_attribute(const std::string& object, const std::string& name, const Attribute& value);
  Attribute read_attribute(const std::string& object, const std::string& name) const;
  bool has_attribute(const std::string& object, const std::string& name) const;
  Attributes attributes(const std::string& object) const;

 private:
  Hdf5File(const std::filesystem::path& path, std::unique_ptr<MemoryImage> image);
  bool close_file();
  [[noreturn]] void fail(const std::string& action, const std::string& object) const;
  [[noreturn]] void refuse(const std::string& object, const std::string& reason) const;
  std::int64_t checked(std::int64_t status, const char* action, const std::string& object) const;
  std::int64_t open_object(const std::string& name) const;
  std::int64_t open_dataset(const std::string& name) const;
  void create_parents(const std::string& name);
  std::int64_t create_stored(const std::string& name, std::int64_t type, std::int64_t space);
  void list(std::int64_t group, const std::string& name, int depth, std::size_t& num_objects,
            std::vector<std::string>& datasets) const;
  void require_in_file(const std::string& what, std::uint64_t count, std::uint64_t size,
                       std::uint64_t limit) const;

  std::filesystem::path m_path;
  std::unique_ptr<MemoryImage> m_image;  // null for a file on disk
  bool m_writing = false;
  std::int64_t m_file = -1;   // hid_t
  std::uint64_t m_bytes = 0;  // of a file being read
};

}  // namespace elastic
