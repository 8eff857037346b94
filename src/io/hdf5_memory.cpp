// SPDX-License-Identifier: Apache-2.0
// A file driver of HDF5 (H5FD_class_t) over a MemoryImage. No exception may pass through HDF5.
#include "io/hdf5_memory.hpp"

#include <algorithm>
#include <cstring>
#include <new>

namespace elastic {

// --- bytes ---------------------------------------------------------------------------------------

void MemoryImage::write(std::uint64_t offset, const void* data, std::size_t bytes) {
  const char* from = static_cast<const char*>(data);
  m_size = std::max(m_size, offset + bytes);
  while (bytes > 0) {
    const std::size_t start = offset % page_bytes, part = std::min(bytes, page_bytes - start);
    Page& page = m_pages[offset / page_bytes];
    if (!page) page = std::make_unique<char[]>(page_bytes);
    std::memcpy(page.get() + start, from, part);
    from += part;
    offset += part;
    bytes -= part;
  }
}

void MemoryImage::read(std::uint64_t offset, void* out, std::size_t bytes) const {
  char* to = static_cast<char*>(out);
  while (bytes > 0) {
    const std::size_t start = offset % page_bytes, part = std::min(bytes, page_bytes - start);
    const auto page = m_pages.find(offset / page_bytes);
    if (page == m_pages.end() || !page->second)
      std::memset(to, 0, part);
    else
      std::memcpy(to, page->second.get() + start, part);
    to += part;
    offset += part;
    bytes -= part;
  }
}

void MemoryImage::clear() {
  m_pages.clear();
  m_size = 0;
}

// --- driver --------------------------------------------------------------------------------------

namespace hdf5 {
namespace {

/// What the access properties carry.
struct DriverInfo {
  MemoryImage* image;
};
/// An open file; HDF5 knows its first member only.
struct OpenImage {
  H5FD_t base;
  MemoryImage* image;
  haddr_t allocated;
};
OpenImage& opened(H5FD_t* file) { return *reinterpret_cast<OpenImage*>(file); }
const OpenImage& opened(const H5FD_t* file) { return *reinterpret_cast<const OpenImage*>(file); }

H5FD_t* open_image(const char*, unsigned flags, hid_t access, haddr_t) {
  const auto* info = static_cast<const DriverInfo*>(H5Pget_driver_info(access));
  if (!info) return nullptr;
  auto* file = new (std::nothrow) OpenImage{};
  if (!file) return nullptr;
  file->image = info->image;
  if (flags & H5F_ACC_TRUNC) file->image->clear();
  return &file->base;
}

herr_t close_image(H5FD_t* file) {
  delete &opened(file);
  return 0;
}

int compare(const H5FD_t* a, const H5FD_t* b) {
  const auto *first = opened(a).image, *second = opened(b).image;
  return first == second ? 0 : std::less<>()(first, second) ? -1 : 1;
}

herr_t query(const H5FD_t*, unsigned long* flags) {
  if (flags) *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA;
  return 0;
}

haddr_t get_eoa(const H5FD_t* file, H5FD_mem_t) { return opened(file).allocated; }
herr_t set_eoa(H5FD_t* file, H5FD_mem_t, haddr_t end) {
  opened(file).allocated = end;
  return 0;
}
haddr_t get_eof(const H5FD_t* file, H5FD_mem_t) { return opened(file).image->size(); }

herr_t read(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t offset, size_t bytes, void* out) {
  if (offset == HADDR_UNDEF || offset + bytes < offset) return -1;
  opened(file).image->read(offset, out, bytes);
  return 0;
}
herr_t write(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t offset, size_t bytes, const void* data) {
  if (offset == HADDR_UNDEF || offset + bytes < offset) return -1;
  try {
    opened(file).image->write(offset, data, bytes);
    return 0;
  } catch (const std::bad_alloc&) {
    return -1;
  }
}

/// The file ends where HDF5's allocations end, as a file on disk would.
herr_t truncate(H5FD_t* file, hid_t, hbool_t) {
  opened(file).image->resize(opened(file).allocated);
  return 0;
}

hid_t driver() {
  static const hid_t id = [] {
    H5FD_class_t memory{};
#ifdef H5FD_CLASS_VERSION
    memory.version = H5FD_CLASS_VERSION;
    memory.value = static_cast<H5FD_class_value_t>(511);  // one of those that need no registration
#endif
    memory.name = "elastic_memory";
    memory.maxaddr = HADDR_MAX - 1;
    memory.fc_degree = H5F_CLOSE_STRONG;
    memory.fapl_size = sizeof(DriverInfo);
    memory.open = open_image;
    memory.close = close_image;
    memory.cmp = compare;
    memory.query = query;
    memory.get_eoa = get_eoa;
    memory.set_eoa = set_eoa;
    memory.get_eof = get_eof;
    memory.read = read;
    memory.write = write;
    memory.truncate = truncate;
    constexpr H5FD_mem_t map[H5FD_MEM_NTYPES] = H5FD_FLMAP_DICHOTOMY;
    std::copy(std::begin(map), std::end(map), std::begin(memory.fl_map));
    return H5FDregister(&memory);
  }();
  return id;
}

}  // namespace

Handle access_in_memory(MemoryImage& image) {
  initialize_library();
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  const DriverInfo info{&image};
  H5Pset_driver(access, driver(), &info);
  return access;
}

}  // namespace hdf5
}  // namespace elastic
