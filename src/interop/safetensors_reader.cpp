// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "base/error.hpp"
#include "interop/safetensors.hpp"
#include "interop/strict_json.hpp"

namespace elastic {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little endian");

/// Reads until all is there; false at an error or the end of the file.
bool read_all(int file, std::uint64_t offset, std::size_t count, void* out) {
  char* at = static_cast<char*>(out);
  while (count > 0) {
    const ssize_t got = ::pread(file, at, count, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      if (got == 0) errno = EIO;  // the file has become shorter
      return false;
    }
    at += got;
    offset += static_cast<std::uint64_t>(got);
    count -= static_cast<std::size_t>(got);
  }
  return true;
}

/// What is wrong with a header, thrown as one InputError naming file and tensor.
struct Place {
  const std::string& file;
  const std::string& tensor;
  [[noreturn]] void refuse(const std::string& reason) const {
    throw InputError(fmt::format("{}: tensor '{}': {}", file, tensor, reason));
  }
};

const OrderedJson& member(const OrderedJson& entry, const char* key, const Place& place) {
  if (!entry.contains(key)) place.refuse(fmt::format("lacks {}", key));
  return entry.at(key);
}

std::uint64_t unsigned_number(const OrderedJson& value, const char* what, const Place& place) {
  if (!value.is_number_unsigned())
    place.refuse(fmt::format("{} is {}, expected a whole number from 0 to 2^64-1", what,
                             value.dump().substr(0, 40)));
  return value.get<std::uint64_t>();
}

std::vector<index_t> shape_of(const OrderedJson& entry, const Place& place) {
  const auto& json = member(entry, "shape", place);
  if (!json.is_array() || json.size() > 8) place.refuse("shape is not a list of at most 8 numbers");
  std::vector<index_t> shape;
  for (const auto& extent : json) {
    const auto value = unsigned_number(extent, "an extent", place);
    if (value > std::uint64_t(std::numeric_limits<index_t>::max()))
      place.refuse(fmt::format("extent {} is too large", value));
    shape.push_back(static_cast<index_t>(value));
  }
  return shape;
}

/// product(shape) * size, or nothing if that overflows.
std::optional<std::uint64_t> bytes_of(ElementType type, const std::vector<index_t>& shape) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  std::uint64_t bytes = size_of(type);
  for (const index_t extent : shape)
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes))
      return std::nullopt;
  return bytes;
}

SafetensorsEntry parse_entry(const std::string& name, const OrderedJson& json,
                             const std::string& file) {
  const Place place{file, name};
  if (!json.is_object()) place.refuse("is not an object with dtype, shape and data_offsets");
  for (const auto& [key, value] : json.items())
    if (key != "dtype" && key != "shape" && key != "data_offsets")
      place.refuse(fmt::format("has the unknown key '{}'", key));
  const auto& dtype = member(json, "dtype", place);
  const auto type = dtype.is_string() ? element_type_of(dtype.get<std::string>()) : std::nullopt;
  if (!type) place.refuse(fmt::format("dtype {} is not supported", dtype.dump().substr(0, 40)));
  const auto shape = shape_of(json, place);
  const auto& offsets = member(json, "data_offsets", place);
  if (!offsets.is_array() || offsets.size() != 2) place.refuse("data_offsets are not two numbers");
  const auto begin = unsigned_number(offsets[0], "data_offsets", place),
             end = unsigned_number(offsets[1], "data_offsets", place);
  if (end < begin) place.refuse(fmt::format("ends at {} before it begins at {}", end, begin));
  const auto bytes = bytes_of(*type, shape);
  if (!bytes || *bytes != end - begin)
    place.refuse(fmt::format("{} needs {} bytes, data_offsets give {}", describe(*type, shape),
                             bytes ? fmt::format("{}", *bytes) : "more than 2^64", end - begin));
  return {name, *type, shape, begin, end};
}

std::map<std::string, std::string> parse_metadata(const OrderedJson& json,
                                                  const std::string& file) {
  std::map<std::string, std::string> metadata;
  if (!json.is_object()) throw InputError(fmt::format("{}: __metadata__ is not an object", file));
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string())
      throw InputError(fmt::format("{}: __metadata__ of '{}' is not a string", file, key));
    metadata.emplace(key, value.get<std::string>());
  }
  return metadata;
}

}  // namespace

std::string describe(ElementType type, const std::vector<index_t>& shape) {
  return fmt::format("{} [{}]", name_of(type), fmt::join(shape, ", "));
}

FileHandle::~FileHandle() {
  if (m_descriptor >= 0) ::close(m_descriptor);
}

SafetensorsReader::SafetensorsReader(const std::filesystem::path& path)
    : m_path(path), m_file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  const auto refuse = [&](const std::string& reason) {
    throw InputError(fmt::format("{}: {}", path.string(), reason));
  };
  struct stat status {};
  if (m_file.get() < 0 || ::fstat(m_file.get(), &status) != 0)
    refuse(fmt::format("cannot open: {}", std::strerror(errno)));
  if (!S_ISREG(status.st_mode)) refuse("is not a file");
  const auto size = static_cast<std::uint64_t>(status.st_size);
  std::uint64_t length = 0;
  if (size < sizeof length) refuse("is too short for a safetensors file");
  if (!read_all(m_file.get(), 0, sizeof length, &length))
    refuse(fmt::format("cannot read: {}", std::strerror(errno)));
  if (length > max_json_bytes)
    refuse(fmt::format("the header claims {} bytes, at most {} are read", length, max_json_bytes));
  if (length > size - sizeof length)
    refuse(fmt::format("the header claims {} bytes, the file has {}", length, size));
  std::string header(length, '\0');
  if (!read_all(m_file.get(), sizeof length, length, header.data()))
    refuse(fmt::format("cannot read: {}", std::strerror(errno)));
  if (!header.starts_with('{')) refuse("the header does not begin with '{'");
  parse(header, sizeof length + length, size);
}

void SafetensorsReader::parse(const std::string& header, std::uint64_t data_begin,
                              std::uint64_t file_size) {
  const std::string file = m_path.string();
  const OrderedJson json = parse_json(header, file);
  for (const auto& [name, value] : json.items()) {
    if (name == "__metadata__")
      m_metadata = parse_metadata(value, file);
    else
      m_entries.push_back(parse_entry(name, value, file));
  }
  std::sort(m_entries.begin(), m_entries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  std::uint64_t end = 0;
  for (const auto& entry : m_entries) {
    if (entry.begin != end)
      Place{file, entry.name}.refuse(fmt::format(
          "begins at {}, expected {}: tensors must follow each other without holes or overlaps",
          entry.begin, end));
    end = entry.end;
  }
  if (end != file_size - data_begin)
    throw InputError(fmt::format("{}: the tensors have {} bytes, the file holds {}", file, end,
                                 file_size - data_begin));
  for (auto& entry : m_entries) {
    entry.begin += data_begin;
    entry.end += data_begin;
  }
  std::sort(m_entries.begin(), m_entries.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
}

const SafetensorsEntry* SafetensorsReader::find(const std::string& name) const {
  const auto at = std::lower_bound(m_entries.begin(), m_entries.end(), name,
                                   [](const auto& entry, const auto& n) { return entry.name < n; });
  return at != m_entries.end() && at->name == name ? &*at : nullptr;
}

const SafetensorsEntry& SafetensorsReader::at(const std::string& name) const {
  if (const auto* entry = find(name)) return *entry;
  throw InputError(
      fmt::format("{}: no tensor '{}' among its {}", m_path.string(), name, m_entries.size()));
}

void SafetensorsReader::read(const SafetensorsEntry& entry, std::uint64_t offset, std::size_t count,
                             void* out) const {
  ELASTIC_REQUIRE(offset <= entry.bytes() && count <= entry.bytes() - offset, "bytes {} + {} of {}",
                  offset, count, entry.bytes());
  if (!read_all(m_file.get(), entry.begin + offset, count, out))
    throw InputError(fmt::format("{}: cannot read tensor '{}': {}", m_path.string(), entry.name,
                                 std::strerror(errno)));
}

}  // namespace elastic
