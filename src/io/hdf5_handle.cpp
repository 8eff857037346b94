// SPDX-License-Identifier: Apache-2.0
// HDF5 library set-up, element types and error texts.
#include "io/hdf5_handle.hpp"

#include <cstdlib>

namespace elastic::hdf5 {

void initialize_library() {
  static const bool done = [] {
    ::setenv("HDF5_PLUGIN_PRELOAD", "::", 1);  // read when the library starts
    H5open();
    H5PLset_loading_state(0);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    return true;
  }();
  static_cast<void>(done);
}

std::string last_error() {
  std::string text;
  const auto take_first = [](unsigned, const H5E_error2_t* error, void* text) -> herr_t {
    auto& result = *static_cast<std::string*>(text);
    if (result.empty() && error->desc) result = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &text);
  H5Eclear2(H5E_DEFAULT);
  return text.empty() ? "unknown HDF5 error" : text;
}

Handle element_type(StorageType type) {
  switch (type) {
    case StorageType::float32:
      return {H5Tcopy(H5T_IEEE_F32LE), H5Tclose};
    case StorageType::float64:
      return {H5Tcopy(H5T_IEEE_F64LE), H5Tclose};
    case StorageType::int64:
      return {H5Tcopy(H5T_STD_I64LE), H5Tclose};
    case StorageType::bfloat16:
      break;
  }
  Handle bfloat16(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  // Sign bit, exponent position and bits, mantissa position and bits.
  H5Tset_fields(bfloat16, 15, 7, 8, 0, 7);
  H5Tset_size(bfloat16, 2);
  H5Tset_ebias(bfloat16, 127);
  return bfloat16;
}

Handle string_type(std::size_t size) {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type, size > 0 ? size : 1);
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  H5Tset_cset(type, H5T_CSET_UTF8);
  return type;
}

}  // namespace elastic::hdf5
