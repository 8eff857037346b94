// SPDX-License-Identifier: Apache-2.0
// Internals of hdf5_file*.cpp: ownership of HDF5 identifiers, element types, error texts.
#pragma once
#include <hdf5.h>

#include <string>
#include <utility>

#include "io/storage.hpp"

namespace elastic::hdf5 {

static_assert(std::is_same_v<hid_t, std::int64_t>, "HDF5 1.10 or newer");
static_assert(std::endian::native == std::endian::little,
              "files hold little-endian numbers, written as they are");

/// Owns an identifier; may be invalid (negative) until checked.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t)) : m_id(id), m_close(close) {}
  Handle(Handle&& other) noexcept : m_id(std::exchange(other.m_id, -1)), m_close(other.m_close) {}
  Handle& operator=(Handle&&) = delete;
  ~Handle() {
    if (m_id >= 0) m_close(m_id);
  }
  operator hid_t() const { return m_id; }
  hid_t release() { return std::exchange(m_id, -1); }

 private:
  hid_t m_id;
  herr_t (*m_close)(hid_t);
};

#if H5_VERSION_GE(1, 12, 0)
using ObjectInfo = H5O_info2_t;
#else
using ObjectInfo = H5O_info_t;
#endif
/// The named fields of what the library knows of an object.
inline herr_t object_info(hid_t object, ObjectInfo* info, unsigned fields) {
#if H5_VERSION_GE(1, 12, 0)
  return H5Oget_info3(object, info, fields);
#else
  return H5Oget_info2(object, info, fields);
#endif
}

/// Once per process: errors are returned, not printed; no plugin is ever loaded from disk.
void initialize_library();
/// The innermost message on the error stack, like "unable to open file:
/// ... 'No such file or directory'".
std::string last_error();
/// The HDF5 type of a dataset element, in the file and in memory.
Handle element_type(StorageType type);
/// A string type of `size` bytes, padded with zeros, UTF-8.
Handle string_type(std::size_t size);

}  // namespace elastic::hdf5
