// SPDX-License-Identifier: Apache-2.0
// Attributes of the objects of an HDF5 file. Strings have a fixed length and use no heap, so that
// HDF5's own checksums cover them all.
#include "base/error.hpp"
#include "io/hdf5_file.hpp"
#include "io/hdf5_handle.hpp"

#include <algorithm>
#include <cstring>

namespace elastic {

using hdf5::Handle;

namespace {

template <class T>
constexpr bool is_vector = false;
template <class T>
constexpr bool is_vector<std::vector<T>> = true;

constexpr std::uint64_t largest_attribute = std::uint64_t(1) << 24;
constexpr std::size_t max_attributes = 10'000;

/// What H5Awrite needs: type, extents (none for a scalar) and bytes.
struct Encoded {
  Handle type;
  const void* data;
  std::string packed;  // backing of `data` for strings
};

Encoded encode(const index_t* values, std::size_t) {
  return {Handle(H5Tcopy(H5T_STD_I64LE), H5Tclose), values, {}};
}
Encoded encode(const double* values, std::size_t) {
  return {Handle(H5Tcopy(H5T_IEEE_F64LE), H5Tclose), values, {}};
}
Encoded encode(const std::string* values, std::size_t count) {
  std::size_t longest = 1;
  for (std::size_t i = 0; i < count; ++i) longest = std::max(longest, values[i].size());
  std::string packed(longest * count, '\0');
  for (std::size_t i = 0; i < count; ++i)
    std::memcpy(packed.data() + i * longest, values[i].data(), values[i].size());
  return {hdf5::string_type(longest), nullptr, std::move(packed)};
}

std::vector<std::string> unpack(const std::string& packed, std::size_t length) {
  std::vector<std::string> result;
  for (std::size_t begin = 0; begin < packed.size(); begin += length) {
    std::string text = packed.substr(begin, length);
    text.erase(text.find_last_not_of('\0') + 1);
    result.push_back(std::move(text));
  }
  return result;
}

template <class T>
Attribute scalar_or_vector(std::vector<T> values, bool scalar) {
  if (scalar) return std::move(values.front());
  return values;
}

}  // namespace

void Hdf5File::write_attribute(const std::string& object_name, const std::string& name,
                               const Attribute& value) {
  const std::string what = name + " of " + object_name;
  const Handle object(open_object(object_name), H5Oclose);
  const auto write = [&](const auto* values, std::size_t count, bool scalar) {
    const hsize_t extent = count;
    const Handle space(scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &extent, nullptr),
                       H5Sclose);
    const Encoded encoded = encode(values, count);
    const Handle attribute(
        H5Acreate2(object, name.c_str(), encoded.type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    checked(attribute, "create attribute", what);
    const void* data = encoded.data ? encoded.data : encoded.packed.data();
    if (count > 0) checked(H5Awrite(attribute, encoded.type, data), "write attribute", what);
  };
  std::visit(
      [&](const auto& v) {
        if constexpr (is_vector<std::decay_t<decltype(v)>>)
          write(v.data(), v.size(), false);
        else
          write(&v, 1, true);
      },
      value);
}

Attribute Hdf5File::read_attribute(const std::string& object_name, const std::string& name) const {
  const std::string what = "attribute " + name + " of " + object_name;
  const Handle object(open_object(object_name), H5Oclose);
  if (H5Aexists(object, name.c_str()) <= 0) refuse(object_name, "lacks the attribute " + name);
  const Handle attribute(checked(H5Aopen(object, name.c_str(), H5P_DEFAULT), "open", what),
                         H5Aclose);
  const Handle space(checked(H5Aget_space(attribute), "read the extents of", what), H5Sclose);
  const Handle type(checked(H5Aget_type(attribute), "read the type of", what), H5Tclose);
  const bool scalar = H5Sget_simple_extent_type(space) == H5S_SCALAR;
  const auto count = static_cast<std::size_t>(
      checked(H5Sget_simple_extent_npoints(space), "read the extents of", what));
  const std::size_t bytes = H5Tget_size(type);
  require_in_file(what, count, bytes, largest_attribute);
  const auto read = [&](hid_t memory_type, void* out) {
    if (count > 0) checked(H5Aread(attribute, memory_type, out), "read", what);
  };
  const H5T_class_t kind = H5Tget_class(type);
  if (kind == H5T_INTEGER) {
    std::vector<index_t> values(count);
    read(H5T_NATIVE_INT64, values.data());
    return scalar_or_vector(std::move(values), scalar);
  }
  if (kind == H5T_FLOAT) {
    std::vector<double> values(count);
    read(H5T_NATIVE_DOUBLE, values.data());
    return scalar_or_vector(std::move(values), scalar);
  }
  if (kind != H5T_STRING || H5Tis_variable_str(type) != 0)
    refuse(what, "is neither an integer, a real number nor a string of fixed length");
  std::string packed(bytes * count, '\0');
  read(type, packed.data());
  return scalar_or_vector(unpack(packed, bytes), scalar);
}

bool Hdf5File::has_attribute(const std::string& object_name, const std::string& name) const {
  const Handle object(open_object(object_name), H5Oclose);
  return H5Aexists(object, name.c_str()) > 0;
}

Attributes Hdf5File::attributes(const std::string& object_name) const {
  std::vector<std::string> names;
  const auto take = [](hid_t, const char* name, const H5A_info_t*, void* data) -> herr_t {
    static_cast<std::vector<std::string>*>(data)->emplace_back(name);
    return 0;
  };
  {
    const Handle object(open_object(object_name), H5Oclose);
    hdf5::ObjectInfo info;
    checked(hdf5::object_info(object, &info, H5O_INFO_NUM_ATTRS), "list attributes of",
            object_name);
    if (info.num_attrs > max_attributes)
      refuse(object_name,
             fmt::format("has {} attributes, expected at most {}", info.num_attrs, max_attributes));
    hsize_t position = 0;
    checked(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, &position, take, &names),
            "list attributes of", object_name);
  }
  Attributes result;
  for (const auto& name : names) result.emplace(name, read_attribute(object_name, name));
  return result;
}

}  // namespace elastic
