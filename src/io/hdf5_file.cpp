// SPDX-License-Identifier: Apache-2.0
// One HDF5 file: opening, groups and datasets (attributes: hdf5_attributes.cpp).
#include "io/hdf5_file.hpp"

#include "base/error.hpp"
#include "io/durable_file.hpp"
#include "io/hdf5_handle.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

namespace elastic {

using hdf5::Handle;

namespace {

/// Bytes kept ready for what HDF5 writes besides the data.
constexpr std::size_t metadata_slack = std::size_t(1) << 17;

/// Even a new file without contents needs some space when it is closed.
void require_space_for_new_file(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
  if (file < 0) return;  // H5Fcreate tells why
  try {
    reserve_space(file, 3 * metadata_slack, path);
  } catch (...) {
    ::close(file);
    ::unlink(path.c_str());
    throw;
  }
  ::close(file);
}

}  // namespace

// --- opening and closing -------------------------------------------------------------------------

Hdf5File::Hdf5File(const std::filesystem::path& path, bool writing)
    : m_path(path), m_writing(writing) {
  hdf5::initialize_library();
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose),
      creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
#if H5_VERSION_GE(1, 10, 7)
  // Parallel file systems often cannot lock. Our files are written once, under a name nobody reads.
  H5Pset_file_locking(access, 0, 1);
#endif
  if (writing) {
    // Object headers of format 1.8 and later carry checksums.
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST);
    H5Pset_obj_track_times(creation, 0);  // equal contents, equal file
    require_space_for_new_file(path);
    m_file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, access);
    if (m_file < 0) fail("create", "");
    reserve(0);
    return;
  }
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored))
    throw InputError(fmt::format("{}: no such file", path.string()));
  m_file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access);
  if (m_file < 0) fail("open as HDF5", "");
}

Hdf5File Hdf5File::create(const std::filesystem::path& path) { return Hdf5File(path, true); }
Hdf5File Hdf5File::open(const std::filesystem::path& path) { return Hdf5File(path, false); }

Hdf5File::Hdf5File(Hdf5File&& other) noexcept
    : m_path(std::move(other.m_path)),
      m_writing(other.m_writing),
      m_file(std::exchange(other.m_file, -1)),
      m_reserved(other.m_reserved) {}

Hdf5File::~Hdf5File() { close_file(); }

void Hdf5File::close() {
  if (m_file < 0) return;
  if (m_writing) checked(H5Fflush(m_file, H5F_SCOPE_LOCAL), "write to disk", "");
  if (!close_file()) fail("close", "");
}

bool Hdf5File::close_file() {
  const hid_t file = std::exchange(m_file, -1);
  if (file < 0) return true;
  hsize_t size = 0;
  const bool flushed =
      !m_writing || (H5Fflush(file, H5F_SCOPE_LOCAL) >= 0 && H5Fget_filesize(file, &size) >= 0);
  if (H5Fclose(file) < 0 || !flushed) return false;
  std::error_code status;
  if (m_writing) std::filesystem::resize_file(m_path, size, status);
  return !status;
}

void Hdf5File::reserve(std::size_t bytes) {
  hsize_t size = 0;
  checked(H5Fget_filesize(m_file, &size), "measure", "");
  if (size + bytes + metadata_slack <= m_reserved) return;
  void* file = nullptr;
  checked(H5Fget_vfd_handle(m_file, H5P_DEFAULT, &file), "access", "");
  m_reserved = size + bytes + 2 * metadata_slack;
  reserve_space(*static_cast<int*>(file), m_reserved, m_path);
}

// --- errors --------------------------------------------------------------------------------------

void Hdf5File::fail(const std::string& action, const std::string& object) const {
  const auto message = fmt::format("{}: cannot {}{}{}: {}", m_path.string(), action,
                                   object.empty() ? "" : " ", object, hdf5::last_error());
  if (m_writing) throw RunError(message);
  throw InputError(message);
}

void Hdf5File::refuse(const std::string& object, const std::string& reason) const {
  throw InputError(fmt::format("{}: {} {}", m_path.string(), object, reason));
}

std::int64_t Hdf5File::checked(std::int64_t status, const char* action,
                               const std::string& object) const {
  if (status < 0) fail(action, object);
  return status;
}

// --- objects -------------------------------------------------------------------------------------

void Hdf5File::create_group(const std::string& name) {
  create_parents(name);
  reserve(0);
  const Handle properties(H5Pcreate(H5P_GROUP_CREATE), H5Pclose);
  H5Pset_obj_track_times(properties, 0);
  const Handle group(H5Gcreate2(m_file, name.c_str(), H5P_DEFAULT, properties, H5P_DEFAULT),
                     H5Gclose);
  checked(group, "create group", name);
}

/// Parent groups are not left to HDF5, which would note the time in them.
void Hdf5File::create_parents(const std::string& name) {
  const std::size_t end = name.rfind('/');
  if (end == std::string::npos || end == 0) return;
  const std::string parent = name.substr(0, end);
  if (!exists(parent)) create_group(parent);
}

bool Hdf5File::exists(const std::string& name) const {
  for (std::size_t end = name.find('/', 1);; end = name.find('/', end + 1)) {
    const std::string part = name.substr(0, end);
    if (part != "/" && H5Lexists(m_file, part.c_str(), H5P_DEFAULT) <= 0) return false;
    if (end == std::string::npos) return true;
  }
}

std::int64_t Hdf5File::open_object(const std::string& name) const {
  if (name != "/") {
    if (!exists(name)) refuse(name, "does not exist");
    for (std::size_t end = name.find('/', 1);; end = name.find('/', end + 1)) {
      H5L_info_t link;
      checked(H5Lget_info(m_file, name.substr(0, end).c_str(), &link, H5P_DEFAULT),
              "read the link of", name);
      if (link.type != H5L_TYPE_HARD)
        refuse(name, "is reached through a soft or external link, which is not followed");
      if (end == std::string::npos) break;
    }
  }
  return checked(H5Oopen(m_file, name.c_str(), H5P_DEFAULT), "open", name);
}

std::vector<std::string> Hdf5File::datasets(const std::string& group_name) const {
  struct Visit {
    std::vector<std::string> names, soft_links;
  } visit;
  const auto take = [](hid_t group, const char* name, const H5L_info_t* link,
                       void* data) -> herr_t {
    auto& found = *static_cast<Visit*>(data);
    if (link->type != H5L_TYPE_HARD) {
      found.soft_links.emplace_back(name);
      return 0;
    }
    const Handle object(H5Oopen(group, name, H5P_DEFAULT), H5Oclose);
    if (object < 0) return -1;
    if (H5Iget_type(object) == H5I_DATASET) found.names.emplace_back(name);
    return 0;
  };
  const Handle group(open_object(group_name), H5Oclose);
  checked(H5Lvisit(group, H5_INDEX_NAME, H5_ITER_INC, take, &visit), "list", group_name);
  if (!visit.soft_links.empty())
    refuse(visit.soft_links.front(), "is a soft or external link, which is not followed");
  const std::string parent = group_name == "/" ? "" : group_name + "/";
  for (auto& name : visit.names) name = parent + name;
  std::sort(visit.names.begin(), visit.names.end());
  return visit.names;
}

std::int64_t Hdf5File::open_dataset(const std::string& name) const {
  Handle object(open_object(name), H5Oclose);
  if (H5Iget_type(object) != H5I_DATASET) refuse(name, "is not a dataset");
  const Handle properties(checked(H5Dget_create_plist(object), "read the properties of", name),
                          H5Pclose);
  const auto layout = H5Pget_layout(properties);
  if (H5Pget_external_count(properties) != 0 || (layout != H5D_CONTIGUOUS && layout != H5D_COMPACT))
    refuse(name, "is stored in chunks or outside the file, which is not supported");
  return object.release();
}

// --- datasets ------------------------------------------------------------------------------------

std::int64_t Hdf5File::create_stored(const std::string& name, std::int64_t type, std::int64_t space,
                                     std::size_t bytes) {
  create_parents(name);
  reserve(bytes);
  const Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(properties, 0);
  H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER);
  return checked(
      H5Dcreate2(m_file, name.c_str(), type, space, H5P_DEFAULT, properties, H5P_DEFAULT),
      "create dataset", name);
}

void Hdf5File::create_dataset(const std::string& name, StorageType type, const Extents& extents) {
  const hsize_t dimensions[2] = {static_cast<hsize_t>(extents.rows),
                                 static_cast<hsize_t>(extents.columns)};
  const Handle space(H5Screate_simple(extents.rank, dimensions, nullptr), H5Sclose);
  const Handle dataset(create_stored(name, hdf5::element_type(type), space,
                                     static_cast<std::size_t>(extents.size()) * size_of(type)),
                       H5Dclose);
}

void Hdf5File::write_dataset(const std::string& name, StorageType type, const Extents& extents,
                             const void* data) {
  create_dataset(name, type, extents);
  write_rows(name, {0, extents.rows}, data);
}

void Hdf5File::write_rows(const std::string& name, Range rows, const void* data) {
  const DatasetInfo stored = info(name);
  ELASTIC_REQUIRE(
      0 <= rows.first && rows.first <= rows.second && rows.second <= stored.extents.rows,
      "{} is {}: rows {} to {}", name, to_string(stored.extents), rows.first, rows.second);
  const hsize_t start[2] = {static_cast<hsize_t>(rows.first), 0};
  const hsize_t count[2] = {static_cast<hsize_t>(rows.second - rows.first),
                            static_cast<hsize_t>(stored.extents.columns)};
  if (count[0] == 0 || count[1] == 0) return;
  const Handle dataset(open_dataset(name), H5Dclose);
  const Handle space(checked(H5Dget_space(dataset), "read the extents of", name), H5Sclose);
  const Handle memory(H5Screate_simple(stored.extents.rank, count, nullptr), H5Sclose);
  checked(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, count, nullptr),
          "select rows of", name);
  checked(H5Dwrite(dataset, hdf5::element_type(stored.type), memory, space, H5P_DEFAULT, data),
          "write", name);
}

Hdf5File::DatasetInfo Hdf5File::info(const std::string& name) const {
  const Handle dataset(open_dataset(name), H5Dclose);
  const Handle space(checked(H5Dget_space(dataset), "read the extents of", name), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank != 1 && rank != 2) refuse(name, fmt::format("has {} dimensions, expected 1 or 2", rank));
  hsize_t dimensions[2] = {0, 1};
  checked(H5Sget_simple_extent_dims(space, dimensions, nullptr), "read the extents of", name);

  DatasetInfo result;
  const Handle stored(checked(H5Dget_type(dataset), "read the type of", name), H5Tclose);
  const StorageType types[] = {StorageType::float32, StorageType::float64, StorageType::bfloat16,
                               StorageType::int64};
  const auto* found = std::find_if(std::begin(types), std::end(types), [&](StorageType type) {
    return H5Tequal(stored, hdf5::element_type(type)) > 0;
  });
  if (found == std::end(types))
    refuse(name, "has an element type other than float32, float64, bfloat16 or int64");
  result.type = *found;

  const auto limit =
      static_cast<hsize_t>(std::filesystem::file_size(m_path)) / size_of(result.type);
  const bool fits = dimensions[0] == 0 || dimensions[1] == 0 ||
                    (dimensions[0] <= limit && dimensions[1] <= limit / dimensions[0]);
  if (!m_writing && !fits) refuse(name, "promises more bytes than the file holds");
  result.extents = {rank, static_cast<index_t>(dimensions[0]), static_cast<index_t>(dimensions[1])};
  return result;
}

void Hdf5File::read_block(const std::string& name, Range rows, Range columns, void* out) const {
  const DatasetInfo stored = info(name);
  const bool inside = 0 <= rows.first && rows.first <= rows.second &&
                      rows.second <= stored.extents.rows && 0 <= columns.first &&
                      columns.first <= columns.second && columns.second <= stored.extents.columns;
  if (!inside)
    refuse(name, fmt::format("is {}: rows {} to {}, columns {} to {} are not inside",
                             to_string(stored.extents), rows.first, rows.second, columns.first,
                             columns.second));
  const hsize_t start[2] = {static_cast<hsize_t>(rows.first), static_cast<hsize_t>(columns.first)};
  const hsize_t count[2] = {static_cast<hsize_t>(rows.second - rows.first),
                            static_cast<hsize_t>(columns.second - columns.first)};
  if (count[0] == 0 || count[1] == 0) return;
  const Handle dataset(open_dataset(name), H5Dclose);
  const Handle space(checked(H5Dget_space(dataset), "read the extents of", name), H5Sclose);
  const Handle memory(H5Screate_simple(stored.extents.rank, count, nullptr), H5Sclose);
  checked(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, count, nullptr),
          "select a block of", name);
  checked(H5Dread(dataset, hdf5::element_type(stored.type), memory, space, H5P_DEFAULT, out),
          "read", name);
}

void Hdf5File::write_text(const std::string& name, const std::string& text) {
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose), type = hdf5::string_type(text.size());
  const Handle dataset(create_stored(name, type, space, text.size()), H5Dclose);
  const std::string padded = text.empty() ? std::string(1, '\0') : text;
  checked(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, padded.data()), "write", name);
}

std::string Hdf5File::read_text(const std::string& name) const {
  const Handle dataset(open_dataset(name), H5Dclose);
  const Handle type(checked(H5Dget_type(dataset), "read the type of", name), H5Tclose);
  const Handle space(checked(H5Dget_space(dataset), "read the extents of", name), H5Sclose);
  const bool is_text = H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0;
  if (!is_text || H5Sget_simple_extent_type(space) != H5S_SCALAR) refuse(name, "is not a text");
  if (!m_writing && H5Tget_size(type) > std::filesystem::file_size(m_path))
    refuse(name, "promises more bytes than the file holds");
  std::string text(H5Tget_size(type), '\0');
  checked(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()), "read", name);
  text.erase(text.find_last_not_of('\0') + 1);
  return text;
}

}  // namespace elastic
