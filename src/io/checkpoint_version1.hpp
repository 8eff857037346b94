// SPDX-License-Identifier: Apache-2.0
// Files of format 1, which are read, no longer written: plain HDF5 files in which every tensor has
// its hash as an attribute, and the file the hash of all names, types, extents, texts and
// attributes (the manifest).
#pragma once
#include "io/checkpoint_reader.hpp"

namespace elastic::checkpoint {

/// All tensors of a file of format 1, sorted by name. Throws InputError for one without a readable
/// hash, and if the manifest is not that of the file.
std::vector<TensorInfo> read_version1(const Hdf5File& file);
/// Reads a whole tensor and compares its hash.
void read_version1(const Hdf5File& file, const TensorInfo& tensor, void* out);
/// As read_version1, keeping nothing.
void verify_version1(const Hdf5File& file, const TensorInfo& tensor);

}  // namespace elastic::checkpoint
