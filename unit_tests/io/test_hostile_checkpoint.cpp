// SPDX-License-Identifier: Apache-2.0
// Files made to harm, with right hashes: whatever HDF5 can hold and no checkpoint does is refused
// at once and before memory is taken for it.
#include <hdf5.h>

#include <chrono>
#include <functional>

#include "io/content_hash.hpp"
#include "unit_tests/io/small_checkpoint.hpp"

namespace elastic::test {
namespace {

class HostileCheckpointTest : public InFolder {
 protected:
  /// A file whose HDF5 part is made by `fill` with the C API, with the attributes of a checkpoint
  /// and a right user block and seal; `tensors`: the segments that are no structure.
  std::filesystem::path forge(const std::function<void(hid_t)>& fill,
                              const std::vector<Segment>& tensors = {}) const {
    const auto path = folder / "forged.h5";
    const hid_t creation = H5Pcreate(H5P_FILE_CREATE), access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_userblock(creation, user_block_bytes);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST);
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, access);
    H5Pclose(creation);
    H5Pclose(access);
    for (const char* group : {"text", "attributes"})
      H5Gclose(H5Gcreate2(file, group, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    fill(file);
    const hid_t scalar = H5Screate(H5S_SCALAR), text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, 18);
    const hid_t format = H5Acreate2(file, "format", text, scalar, H5P_DEFAULT, H5P_DEFAULT),
                version = H5Acreate2(file, "format_version", H5T_STD_I64LE, scalar, H5P_DEFAULT,
                                     H5P_DEFAULT);
    const std::int64_t two = 2;
    H5Awrite(format, text, "elastic checkpoint");
    H5Awrite(version, H5T_NATIVE_INT64, &two);
    H5Aclose(format);
    H5Aclose(version);
    H5Tclose(text);
    H5Sclose(scalar);
    H5Fclose(file);
    seal(path, tensors);
    return path;
  }

  /// Puts user block and seal around an HDF5 file.
  static void seal(const std::filesystem::path& path, const std::vector<Segment>& tensors) {
    std::string bytes = bytes_of(path);
    std::vector<Segment> segments;
    const auto structure_until = [&](std::uint64_t end) {
      std::uint64_t begin =
          segments.empty() ? user_block_bytes : segments.back().offset + segments.back().bytes;
      for (; begin < end; begin = segments.back().offset + segments.back().bytes)
        segments.push_back({"/", 0, begin, std::min(end - begin, bytes_per_segment), 0});
    };
    for (const auto& tensor : tensors) {
      structure_until(tensor.offset);
      segments.push_back(tensor);
    }
    structure_until(bytes.size());
    for (auto& segment : segments)
      segment.hash = content_hash(std::string_view(bytes).substr(segment.offset, segment.bytes));
    const std::string table = encode_seal(segments);
    bytes.replace(0, user_block_bytes, encode_user_block(bytes.size(), table));
    write_bytes(path, bytes + table);
  }

  static hid_t add_dataset(hid_t file, const char* name, hid_t type, std::vector<hsize_t> extents,
                           bool early = true) {
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE),
                space = H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr);
    if (early) H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY);
    const hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    H5Pclose(properties);
    H5Sclose(space);
    return set;
  }
  void expect_refused(const std::filesystem::path& path, const std::string& part) const {
    const auto start = std::chrono::steady_clock::now();
    const auto message = message_of<InputError>([&] { CheckpointReader(path).verify(); });
    contains(message, path.string() + ": ");
    contains(message, part);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    EXPECT_LT(took.count(), 5) << part;
  }
};

TEST_F(HostileCheckpointTest, AForgedFileWithoutMischiefIsRead) {
  haddr_t offset = 0;
  const auto fill = [&](hid_t file) {
    const hid_t set = add_dataset(file, "w", H5T_IEEE_F32LE, {2, 3});
    const float values[6] = {1, 2, 3, 4, 5, 6};
    H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    offset = H5Dget_offset(set);
    H5Dclose(set);
  };
  forge(fill);
  const CheckpointReader reader(
      forge(fill, {{"w", 0, offset, 12, 0}, {"w", 1, offset + 12, 12, 0}}));
  EXPECT_EQ(reader.read<float>("w"), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  // Wrong in the seal: rows, name, a half row, a gap in the tensor, a tensor that is not there.
  const std::vector<std::vector<Segment>> seals = {
      {{"w", 1, offset, 12, 0}, {"w", 0, offset + 12, 12, 0}},
      {{"w", 0, offset, 12, 0}, {"v", 1, offset + 12, 12, 0}},
      {{"w", 0, offset, 4, 0}, {"w", 0, offset + 4, 20, 0}},
      {{"w", 0, offset, 12, 0}},
      {{"w", 0, offset + 12, 12, 0}},
      {{"w", 0, offset, 24, 0}, {"w", 2, offset + 24, 12, 0}},
      {{"x", 0, offset, 24, 0}},
      {}};
  for (const auto& tensors : seals) expect_refused(forge(fill, tensors), "seal");
}

TEST_F(HostileCheckpointTest, AShapeIsThatOfItsBytes) {
  // 2^33 values promised, none stored.
  expect_refused(forge([](hid_t file) {
                   H5Dclose(add_dataset(file, "w", H5T_IEEE_F32LE, {hsize_t(1) << 33}, false));
                 }),
                 "w promises more bytes than the file holds");
  expect_refused(forge([](hid_t file) {
                   H5Dclose(add_dataset(file, "w", H5T_IEEE_F64LE,
                                        {hsize_t(1) << 32, hsize_t(1) << 32}, false));
                 }),
                 "w promises more bytes than the file holds");
  expect_refused(
      forge([](hid_t file) { H5Dclose(add_dataset(file, "w", H5T_IEEE_F32LE, {4}, false)); }),
      "w has no place in the file");
  expect_refused(forge([](hid_t file) {
                   H5Dclose(add_dataset(file, "w", H5T_IEEE_F32LE, {2, 2, 2}));
                 }),
                 "w has 3 dimensions, expected 1 or 2");
  expect_refused(forge([](hid_t file) { H5Dclose(add_dataset(file, "w", H5T_STD_U8LE, {4})); }),
                 "w has an element type other than");
}

TEST_F(HostileCheckpointTest, NestedGroupsAreRefusedAtOnce) {
  const auto path = forge([](hid_t file) {
    hid_t group = H5Gcreate2(file, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    for (int i = 0; i < 5000; ++i) {
      const hid_t inner = H5Gcreate2(group, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
      H5Gclose(group);
      group = inner;
    }
    H5Gclose(group);
  });
  expect_refused(path, "is nested more than 32 deep");
  // Files of format 1 are listed by the same code.
  contains(message_of<InputError>([&] { Hdf5File::open(path).datasets(); }),
           "is nested more than 32 deep");
}

TEST_F(HostileCheckpointTest, TooManyObjectsAreRefused) {
  expect_refused(forge([](hid_t file) {
                   const hid_t group = H5Gcreate2(file, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
                   for (int i = 0; i < 100'001; ++i)
                     H5Lcreate_soft("/nowhere", group, fmt::format("{}", i).c_str(), H5P_DEFAULT,
                                    H5P_DEFAULT);
                   H5Gclose(group);
                 }),
                 "a file may hold 100000 objects");
}

TEST_F(HostileCheckpointTest, OneObjectUnderManyNamesIsRefused) {
  expect_refused(forge([](hid_t file) {
                   H5Gclose(H5Gcreate2(file, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
                   H5Lcreate_hard(file, "g", file, "g/again", H5P_DEFAULT, H5P_DEFAULT);
                 }),
                 "has several names");
  expect_refused(forge([](hid_t file) {
                   H5Dclose(add_dataset(file, "w", H5T_IEEE_F32LE, {4}));
                   H5Lcreate_hard(file, "w", file, "v", H5P_DEFAULT, H5P_DEFAULT);
                 }),
                 "has several names");
  expect_refused(forge([](hid_t file) {
                   const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
                   H5Tcommit2(file, "type", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
                   H5Tclose(type);
                 }),
                 "is neither a group nor a dataset");
}

TEST_F(HostileCheckpointTest, LinksAreNotFollowed) {
  expect_refused(forge([](hid_t file) {
                   H5Lcreate_external("/etc/hostname", "x", file, "w", H5P_DEFAULT, H5P_DEFAULT);
                 }),
                 "w is a soft or external link");
}

TEST_F(HostileCheckpointTest, TextsAndAttributesHaveTheirSize) {
  // A text of 1 GiB that takes no space in the file.
  const auto path = forge([](hid_t file) {
    const hid_t type = H5Tcopy(H5T_C_S1), scalar = H5Screate(H5S_SCALAR);
    H5Tset_size(type, std::size_t(1) << 30);
    H5Dclose(H5Dcreate2(file, "text/deck", type, scalar, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Tclose(type);
    H5Sclose(scalar);
  });
  const CheckpointReader reader(path);
  contains(message_of<InputError>([&] { reader.text("deck"); }),
           "text/deck promises more bytes than the file holds");
  const auto many = forge([](hid_t file) {
    const hid_t scalar = H5Screate(H5S_SCALAR), group = H5Gopen2(file, "attributes", H5P_DEFAULT);
    for (int i = 0; i < 10'001; ++i)
      H5Aclose(H5Acreate2(group, fmt::format("a{}", i).c_str(), H5T_STD_I64LE, scalar, H5P_DEFAULT,
                          H5P_DEFAULT));
    H5Gclose(group);
    H5Sclose(scalar);
  });
  contains(message_of<InputError>([&] { CheckpointReader(many).attributes(); }),
           "/attributes has 10001 attributes, expected at most 10000");
}

// HDF5 reads the verified copy: what is no HDF5 at all, and what is half of it, under right hashes.
TEST_F(HostileCheckpointTest, AnythingElseUnderRightHashesIsRefused) {
  const auto path = folder / "forged.h5";
  write_bytes(path, std::string(4096, 'x'));
  seal(path, {});
  expect_refused(path, "cannot open as HDF5");
  write_small(path);
  const std::string bytes = bytes_of(path);
  write_bytes(path, bytes.substr(0, 1000));
  seal(path, {});
  expect_refused(path, "cannot open as HDF5");
}

}  // namespace
}  // namespace elastic::test
