// SPDX-License-Identifier: Apache-2.0
// Writing of checkpoints (checkpoint_file.hpp). HDF5 builds the structure in memory and says where
// the tensors lie; a BlockWriter writes all bytes. Several ranks may write the tensors of a file:
//
//   const Placement place = writer.place("model/w", Extents::matrix(D, F), StorageType::float32);
//   ...  // on any rank, with a BlockWriter that joins writer.temporary(), for some blocks b:
//   hashes.push_back(blocks.write(place.offset_of(b), rows, place.bytes_of(b)));
//   ...  // back on the rank of the writer
//   writer.add_hashes(place, 0, hashes);
//   writer.commit();
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <span>

#include "io/block_writer.hpp"
#include "io/hdf5_file.hpp"
#include "io/sealed_file.hpp"

namespace elastic {

/// Where the bytes of a tensor lie in a file, and how they are cut into blocks: whole rows, as many
/// as fit into 8 MiB (at least one), whatever the layout of ranks.
struct Placement {
  std::string name;
  StorageType type = StorageType::float32;
  Extents extents;
  std::uint64_t offset = 0;

  std::uint64_t row_bytes() const;
  index_t rows_per_block() const;
  index_t num_blocks() const;
  /// Rows, place in the file and size of block b.
  Range rows_of(index_t b) const;
  std::uint64_t offset_of(index_t b) const;
  std::size_t bytes_of(index_t b) const;
};

/// Writes a checkpoint; nothing is seen of it before commit().
class CheckpointWriter {
 public:
  /// Writes to a temporary name in the folder of `path`, which must exist. Throws RunError.
  explicit CheckpointWriter(const std::filesystem::path& path);
  /// Without commit: removes the temporary file; an older `path` stays.
  ~CheckpointWriter();

  const std::filesystem::path& path() const { return m_path; }
  /// What is written until commit().
  const std::filesystem::path& temporary() const { return m_temporary; }

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

  /// Makes room for a tensor whose values come later, from here or from other ranks.
  Placement place(const std::string& name, const Extents& extents, StorageType type,
                  const Attributes& attributes = {});
  /// Rows of a placed tensor, as stored, from its first to its last over several calls.
  void write_rows(const Placement& placement, Range rows, const void* data);
  /// The hashes of blocks that others have written, verified and forced to disk, from
  /// `first_block` on.
  void add_hashes(const Placement& placement, index_t first_block,
                  std::span<const std::uint64_t> hashes);

  /// Completes what HDF5 has to do, here, where no other thread uses it: commit() then may be
  /// called by any thread. No further tensor, text or attribute.
  void finish_structure();
  /// Completes the file, forces it to disk, reads it back from there, compares and gives it its
  /// name. Throws RunError; an older `path` is then as it was.
  void commit();

 private:
  /// What is known of the blocks of a tensor.
  struct Progress {
    Placement placement;
    std::vector<std::optional<std::uint64_t>> hashes;
    index_t next_row = 0;
    std::vector<char> partial;  // rows of a block that is not complete
  };
  Progress& progress(const Placement& placement);
  void write_block(Progress& tensor, index_t block, const void* data);
  void write_structure(std::uint64_t begin, std::uint64_t end, std::vector<Segment>& segments);
  std::vector<Segment> tensor_segments() const;
  void write_frame();

  std::filesystem::path m_path, m_temporary;
  bool m_done = false;
  std::unique_ptr<Hdf5File> m_structure;
  bool m_structure_complete = false;
  std::unique_ptr<BlockWriter> m_blocks;
  std::map<std::string, Progress> m_tensors;
  std::uint64_t m_file_bytes = 0;
};

}  // namespace elastic
