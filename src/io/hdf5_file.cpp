// SPDX-License-Identifier: Apache-2.0
// One HDF5 file: opening, groups and datasets (attributes: hdf5_attributes.cpp).
#include "io/hdf5_file.hpp"

#include "base/error.hpp"
#include "io/disk_file.hpp"
#include "io/hdf5_memory.hpp"
#include "io/sealed_file.hpp"

#include <algorithm>
#include <limits>

namespace elastic {

using hdf5::Handle;

namespace {

constexpr std::size_t max_objects = 100'000;
constexpr int max_depth = 32;
constexpr std::uint64_t largest_text = std::uint64_t(1) << 28;

}  // namespace

// --- opening and closing -------------------------------------------------------------------------

Hdf5File::Hdf5File(const std::filesystem::path& path, std::unique_ptr<MemoryImage> image)
    : m_path(path), m_image(std::move(image)) {}

Hdf5File Hdf5File::create(const std::filesystem::path& path) {
  Hdf5File file(path, std::make_unique<MemoryImage>());
  file.m_writing = true;
  const Handle access = hdf5::access_in_memory(*file.m_image);
  // Object headers of format 1.8 and later carry checksums.
  H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST);
  const Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_obj_track_times(creation, 0);  // equal contents, equal file
  H5Pset_userblock(creation, user_block_bytes);
  file.m_file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, access);
  if (file.m_file < 0) file.fail("create", "");
  return file;
}

Hdf5File Hdf5File::open(const std::filesystem::path& path) {
  Hdf5File file(path, nullptr);
  file.m_bytes = DiskFile::open(path).size();
  hdf5::initialize_library();
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
#if H5_VERSION_GE(1, 10, 7)
  // Parallel file systems often cannot lock. Our files are written once, under a name nobody reads.
  H5Pset_file_locking(access, 0, 1);
#endif
  file.m_file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access);
  if (file.m_file < 0) file.fail("open as HDF5", "");
  return file;
}

Hdf5File Hdf5File::open(const std::filesystem::path& path, std::unique_ptr<MemoryImage> image) {
  Hdf5File file(path, std::move(image));
  file.m_bytes = file.m_image->size();
  const Handle access = hdf5::access_in_memory(*file.m_image);
  file.m_file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access);
  if (file.m_file < 0) file.fail("open as HDF5", "");
  return file;
}

Hdf5File::Hdf5File(Hdf5File&& other) noexcept
    : m_path(std::move(other.m_path)),
      m_image(std::move(other.m_image)),
      m_writing(other.m_writing),
      m_file(std::exchange(other.m_file, -1)),
      m_bytes(other.m_bytes) {}

Hdf5File::~Hdf5File() { close_file(); }

void Hdf5File::close() {
  if (!close_file()) fail("close", "");
}

bool Hdf5File::close_file() {
  const hid_t file = std::exchange(m_file, -1);
  if (file < 0 || H5Fclose(file) >= 0) return true;
  static_cast<void>(m_image.release());  // HDF5 still has it and tries again when the program ends
  return false;
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
  const Handle group(open_object(group_name), H5Oclose);
  std::vector<std::string> names;
  std::size_t num_objects = 0;
  list(group, group_name == "/" ? "" : group_name, 1, num_objects, names);
  std::sort(names.begin(), names.end());
  return names;
}

/// Adds the datasets below an open group. What a checkpoint never holds is refused before it costs
/// time.
void Hdf5File::list(std::int64_t group, const std::string& name, int depth,
                    std::size_t& num_objects, std::vector<std::string>& datasets) const {
  if (depth > max_depth) refuse(name, fmt::format("is nested more than {} deep", max_depth));
  H5G_info_t group_info;
  checked(H5Gget_info(group, &group_info), "list", name);
  if (group_info.nlinks > max_objects - num_objects)
    refuse(name.empty() ? "/" : name,
           fmt::format("is one too many: a file may hold {} objects", max_objects));
  num_objects += group_info.nlinks;
  struct Link {
    std::string name;
    bool hard;
  };
  std::vector<Link> links;
  const auto take = [](hid_t, const char* link, const H5L_info_t* link_info, void* out) -> herr_t {
    static_cast<std::vector<Link>*>(out)->push_back({link, link_info->type == H5L_TYPE_HARD});
    return 0;
  };
  checked(H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, take, &links), "list", name);
  for (const auto& link : links) {
    const std::string path = name.empty() ? link.name : name + "/" + link.name;
    if (!link.hard) refuse(path, "is a soft or external link, which is not followed");
    const Handle object(checked(H5Oopen(group, link.name.c_str(), H5P_DEFAULT), "open", path),
                        H5Oclose);
    hdf5::ObjectInfo info;
    checked(hdf5::object_info(object, &info, H5O_INFO_BASIC), "read", path);
    if (info.rc != 1) refuse(path, "has several names, which is not supported");
    if (info.type == H5O_TYPE_DATASET)
      datasets.push_back(path);
    else if (info.type == H5O_TYPE_GROUP)
      list(object, path, depth + 1, num_objects, datasets);
    else
      refuse(path, "is neither a group nor a dataset");
  }
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

std::int64_t Hdf5File::create_stored(const std::string& name, std::int64_t type,
                                     std::int64_t space) {
  create_parents(name);
  const Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(properties, 0);
  H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER);
  return checked(
      H5Dcreate2(m_file, name.c_str(), type, space, H5P_DEFAULT, properties, H5P_DEFAULT),
      "create dataset", name);
}

void Hdf5File::create_dataset(const std::string& name, StorageType type, const Extents& extents) {
  const hsize_t dimensions[2] = {static_cast<hsize_t>(extents.rows),
                                 static_cast<hsize_t>(extents.columns)};
  const Handle space(H5Screate_simple(extents.rank, dimensions, nullptr), H5Sclose);
  const Handle dataset(create_stored(name, hdf5::element_type(type), space), H5Dclose);
}

/// Refuses `count` values of `size` bytes that are not all in the file, or more than so many bytes.
void Hdf5File::require_in_file(const std::string& what, std::uint64_t count, std::uint64_t size,
                               std::uint64_t limit) const {
  if (m_writing) return;
  if (count > 0 && (size == 0 || count > m_bytes / size))
    refuse(what, "promises more bytes than the file holds");
  if (count * size > limit)
    refuse(what, fmt::format("has {} bytes, expected at most {}", count * size, limit));
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

  constexpr hsize_t largest_extent = std::numeric_limits<index_t>::max();
  if (dimensions[0] > largest_extent || dimensions[1] > largest_extent)
    refuse(name, "promises more rows or columns than can be counted");
  result.extents = {rank, static_cast<index_t>(dimensions[0]), static_cast<index_t>(dimensions[1])};
  if (dimensions[0] == 0 || dimensions[1] == 0) return result;
  if (dimensions[0] > largest_extent / size_of(result.type) / dimensions[1])
    refuse(name, "promises more bytes than the file holds");
  require_in_file(name, dimensions[0] * dimensions[1], size_of(result.type), largest_extent);
  H5D_space_status_t space_status;
  checked(H5Dget_space_status(dataset, &space_status), "read the storage of", name);
  const haddr_t offset = H5Dget_offset(dataset);
  if (space_status != H5D_SPACE_STATUS_ALLOCATED || offset == HADDR_UNDEF)
    refuse(name, "has no place in the file");
  if (!m_writing && offset > m_bytes - result.bytes())
    refuse(name, "promises more bytes than the file holds");
  result.offset = offset;
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
  const Handle dataset(create_stored(name, type, space), H5Dclose);
  const std::string padded = text.empty() ? std::string(1, '\0') : text;
  checked(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, padded.data()), "write", name);
}

std::string Hdf5File::read_text(const std::string& name) const {
  const Handle dataset(open_dataset(name), H5Dclose);
  const Handle type(checked(H5Dget_type(dataset), "read the type of", name), H5Tclose);
  const Handle space(checked(H5Dget_space(dataset), "read the extents of", name), H5Sclose);
  const bool is_text = H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0;
  if (!is_text || H5Sget_simple_extent_type(space) != H5S_SCALAR) refuse(name, "is not a text");
  require_in_file(name, 1, H5Tget_size(type), largest_text);
  std::string text(H5Tget_size(type), '\0');
  checked(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()), "read", name);
  text.erase(text.find_last_not_of('\0') + 1);
  return text;
}

}  // namespace elastic
