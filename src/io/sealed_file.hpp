// SPDX-License-Identifier: Apache-2.0
// The frame around the HDF5 part of a file of format 2: a user block before it that says where the
// seal is, and the seal behind it, a table of hashes of all bytes in between. Both are read and
// compared without HDF5 (doc/checkpoint_format.md).
//
//   const Seal seal = read_seal("model.h5");
//   verify_segments("model.h5", seal);     // reads and compares everything
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/shard.hpp"
#include "base/types.hpp"
#include "io/disk_file.hpp"

namespace elastic {

/// Where the HDF5 part begins, and the size of the user block.
inline constexpr std::uint64_t user_block_bytes = 512;
/// Segments hold at most so many bytes, or one row if that is longer.
inline constexpr std::uint64_t bytes_per_segment = std::uint64_t(8) << 20;

/// What is hashed and moved at once: few enough to stay in the processor's caches.
inline constexpr std::size_t bytes_per_piece = std::size_t(1) << 18;

/// Bytes of a file with a hash of their own: whole rows of a tensor, or a piece of the structure
/// (all that HDF5 stores besides the tensors: names, shapes, attributes, texts).
struct Segment {
  std::string name;       ///< of the tensor; "/" for a piece of the structure
  index_t first_row = 0;  ///< of the tensor; 0 for a piece of the structure
  std::uint64_t offset = 0, bytes = 0;
  std::uint64_t hash = 0;  ///< XXH3-64
  bool is_structure() const { return name == "/"; }
};

struct Seal {
  /// In the order of their offsets, without gaps, from the user block to the seal.
  std::vector<Segment> segments;
  std::uint64_t begin = 0;       ///< where the seal begins, and the HDF5 part ends
  std::uint64_t file_bytes = 0;  ///< of the whole file
  std::uint64_t hash = 0;        ///< XXH3-64 of the table; stands for all contents
};

/// The bytes of seal and user block. The segments are those of Seal::segments.
std::string encode_seal(const std::vector<Segment>& segments);
std::string encode_user_block(std::uint64_t seal_begin, std::string_view seal);

/// Whether a file begins as one of format 2 does. Throws InputError if it cannot be read.
bool is_sealed(const std::filesystem::path& path);
bool is_sealed(const DiskFile& file);
/// User block and seal, verified; the size of the file is the one that was written. Throws
/// InputError naming the file.
Seal read_seal(const std::filesystem::path& path);
Seal read_seal(const DiskFile& file);
/// Reads this share of the segments and compares their hashes; the shares of all ranks are about
/// equal in bytes and together are the file. Throws InputError naming file, tensor and bytes.
void verify_segments(const std::filesystem::path& path, const Seal& seal, Shard share = {});
void verify_segments(const DiskFile& file, const Seal& seal, Shard share = {});
/// Reads one segment to `out` and compares its hash; throws as verify_segments.
void read_segment(const DiskFile& file, const Segment& segment, void* out);

/// What identifies the contents of a file, 16 hexadecimal digits: the hash of its seal, or, for a
/// file without one, of all its bytes. Throws InputError.
std::string seal_hash(const std::filesystem::path& path);

/// XXH3-64 of a range of a file, read piece by piece into `buffer`, whose memory can be used again.
std::uint64_t hash_of_range(const DiskFile& file, std::uint64_t offset, std::uint64_t bytes,
                            std::vector<char>& buffer);

}  // namespace elastic
