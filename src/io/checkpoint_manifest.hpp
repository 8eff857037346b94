// SPDX-License-Identifier: Apache-2.0
// Internals of checkpoint_file: names inside the file, hashes, the manifest.
#pragma once
#include "io/checkpoint_file.hpp"

namespace elastic::checkpoint {

inline constexpr const char* format_name = "elastic checkpoint";
inline constexpr index_t format_version = 1;
inline constexpr const char* checksum_name = "xxh3_64";
inline constexpr const char* manifest_name = "manifest_xxh3_64";

/// XXH3-64 of bytes, and its spelling as 16 hexadecimal digits.
std::uint64_t hash_of(const void* data, std::size_t bytes);
std::string spell(std::uint64_t hash);

/// All tensors of a file, sorted by name. Throws InputError for one without a readable hash.
std::vector<TensorInfo> list_tensors(const Hdf5File& file);

/// The hash of everything but the numbers: one line per tensor, text and attribute, sorted.
std::string manifest_of(const Hdf5File& file, const std::vector<TensorInfo>& tensors);

}  // namespace elastic::checkpoint
