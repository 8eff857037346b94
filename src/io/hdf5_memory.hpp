// SPDX-License-Identifier: Apache-2.0
// An HDF5 file that is in memory only: HDF5 builds and reads the structure of a checkpoint there,
// so that it never touches a disk (HDF5 1.10 crashes at the end of a program of which a write
// failed, and on damaged metadata).
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "io/hdf5_handle.hpp"

namespace elastic {

/// The bytes of a file. What was never written is zero and takes no memory, so the tensors of a
/// file, whose bytes other code moves, cost nothing.
class MemoryImage {
 public:
  void write(std::uint64_t offset, const void* data, std::size_t bytes);
  void read(std::uint64_t offset, void* out, std::size_t bytes) const;
  std::uint64_t size() const { return m_size; }
  /// Sets the size; nothing is forgotten.
  void resize(std::uint64_t bytes) { m_size = bytes; }
  void clear();

 private:
  static constexpr std::size_t page_bytes = 4096;
  using Page = std::unique_ptr<char[]>;
  std::map<std::uint64_t, Page> m_pages;  // by number
  std::uint64_t m_size = 0;
};

namespace hdf5 {

/// Access properties by which a file is opened, or created, in this image, which must outlive it.
/// The name given to HDF5 then stands for nothing.
Handle access_in_memory(MemoryImage& image);

}  // namespace hdf5
}  // namespace elastic
