// SPDX-License-Identifier: Apache-2.0
// Reads datasets through the HDF5 C API.
#include "unit_tests/support/fixture.hpp"

#include <hdf5.h>

#include <filesystem>
#include <stdexcept>

#include "unit_tests/support/source_folder.hpp"

namespace elastic::test {
namespace {

/// A handle that closes itself; throws if it is invalid.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t), const std::string& what) : m_id(id), m_close(close) {
    if (id < 0) throw std::runtime_error("fixture: cannot open " + what);
  }
  ~Handle() { m_close(m_id); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator hid_t() const { return m_id; }

 private:
  hid_t m_id;
  herr_t (*m_close)(hid_t);
};

}  // namespace

Fixture::Fixture(const std::string& name) : m_path((fixtures_folder() / name).string()) {
  if (!std::filesystem::exists(m_path)) throw std::runtime_error("fixture: no file " + m_path);
}

Fixture::Data Fixture::read(const std::string& dataset) const {
  const std::string what = dataset + " in " + m_path;
  const Handle file(H5Fopen(m_path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose, m_path);
  if (H5Lexists(file, dataset.c_str(), H5P_DEFAULT) <= 0)
    throw std::runtime_error("fixture: no " + what);
  const Handle set(H5Dopen2(file, dataset.c_str(), H5P_DEFAULT), H5Dclose, what);
  const Handle space(H5Dget_space(set), H5Sclose, what);
  std::vector<hsize_t> extents(static_cast<std::size_t>(H5Sget_simple_extent_ndims(space)));
  if (!extents.empty()) H5Sget_simple_extent_dims(space, extents.data(), nullptr);

  Data data{{}, 1, extents.empty() ? 1 : static_cast<index_t>(extents.back())};
  for (std::size_t i = 0; i + 1 < extents.size(); ++i)
    data.rows *= static_cast<index_t>(extents[i]);
  data.values.resize(static_cast<std::size_t>(data.rows * data.columns));
  if (H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, data.values.data()) < 0)
    throw std::runtime_error("fixture: cannot read " + what);
  return data;
}

}  // namespace elastic::test
