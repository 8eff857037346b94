// SPDX-License-Identifier: Apache-2.0
// HDF5 wrapper: round trips, blocks, attributes, and what is refused.
#include "io/hdf5_file.hpp"

#include <hdf5.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "io/hdf5_memory.hpp"
#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

class Hdf5FileTest : public InFolder {};

/// A dataset with these values, whose bytes go where HDF5 says that they lie.
template <class T>
void put(Hdf5File& file, const char* name, const Extents& extents, const std::vector<T>& values) {
  file.create_dataset(name, storage_type_of<T>(), extents);
  file.image().write(file.info(name).offset, values.data(), values.size() * sizeof(T));
}
/// Writes what was created in memory to a file of its name.
void to_disk(Hdf5File& file) {
  file.close();
  std::string bytes(file.image().size(), '\0');
  file.image().read(0, bytes.data(), bytes.size());
  write_bytes(file.path(), bytes);
}

template <class T>
std::vector<T> counted(index_t n) {
  std::vector<T> values(static_cast<std::size_t>(n));
  std::iota(values.begin(), values.end(), T(1));
  return values;
}

TEST_F(Hdf5FileTest, DatasetsOfEveryTypeComeBack) {
  const auto path = folder / "a.h5";
  const auto f32 = counted<float>(12);
  const std::vector<double> f64 = {0.1, -0.0, std::numeric_limits<double>::denorm_min()};
  const std::vector<index_t> i64 = {index_t(1) << 62, -5};
  const std::vector<std::uint16_t> bf16 = {0x3f80, 0x8001, 0x7f80, 0x0000};
  {
    auto file = Hdf5File::create(path);
    put(file, "m/w", Extents::matrix(3, 4), f32);
    put(file, "v", Extents::vector(3), f64);
    put(file, "m/deeper/i", Extents::matrix(2, 1), i64);
    put(file, "b", Extents::matrix(2, 2), bf16);
    file.create_dataset("empty", StorageType::float32, Extents::matrix(0, 7));
    to_disk(file);
  }
  const auto file = Hdf5File::open(path);
  EXPECT_EQ(file.datasets(), (std::vector<std::string>{"b", "empty", "m/deeper/i", "m/w", "v"}));
  EXPECT_EQ(file.datasets("m"), (std::vector<std::string>{"m/deeper/i", "m/w"}));
  EXPECT_EQ(file.info("v").extents, Extents::vector(3));
  EXPECT_EQ(file.info("empty").extents, Extents::matrix(0, 7));
  EXPECT_EQ(file.info("b").type, StorageType::bfloat16);
  const auto expect = [&](const char* name, const auto& written) {
    auto read = written;
    std::fill(read.begin(), read.end(), 0);
    const auto extents = file.info(name).extents;
    file.read_block(name, Range(0, extents.rows), Range(0, extents.columns), read.data());
    EXPECT_EQ(read, written) << name;
  };
  expect("m/w", f32);
  expect("v", f64);
  expect("m/deeper/i", i64);
  expect("b", bf16);
}

TEST_F(Hdf5FileTest, BlocksArePrefixesOrAnyRange) {
  auto file = Hdf5File::create(folder / "a.h5");
  const auto values = counted<float>(12);
  put(file, "w", Extents::matrix(3, 4), values);
  put(file, "v", Extents::vector(12), values);
  std::vector<float> block(4);
  file.read_block("w", Range(0, 2), Range(0, 2), block.data());
  EXPECT_EQ(block, (std::vector<float>{1, 2, 5, 6}));
  file.read_block("w", Range(1, 3), Range(2, 4), block.data());
  EXPECT_EQ(block, (std::vector<float>{7, 8, 11, 12}));
  file.read_block("v", Range(3, 7), Range(0, 1), block.data());
  EXPECT_EQ(block, (std::vector<float>{4, 5, 6, 7}));
  contains(
      message_of<InputError>([&] { file.read_block("w", Range(0, 4), Range(0, 1), block.data()); }),
      "w is [3, 4]");
}

TEST_F(Hdf5FileTest, Bfloat16IsANumberForOtherReaders) {
  const auto path = folder / "a.h5";
  const std::vector<std::uint16_t> bits = {bfloat16_bits(1.0f), bfloat16_bits(-3.140625f),
                                           bfloat16_bits(1e38f)};
  {
    auto file = Hdf5File::create(path);
    put(file, "b", Extents::vector(3), bits);
    to_disk(file);
  }
  // HDF5's own conversion, as h5py would do it.
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT),
              set = H5Dopen2(file, "b", H5P_DEFAULT);
  std::vector<float> values(3);
  EXPECT_GE(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
  H5Dclose(set);
  H5Fclose(file);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(values[i], float_from_bfloat16(bits[i]));
  EXPECT_EQ(values[1], -3.140625f);
}

TEST_F(Hdf5FileTest, AttributesOfEveryTypeComeBack) {
  const Attributes all = {{"i", index_t(-7)},
                          {"d", 0.1},
                          {"s", std::string("axes: D F")},
                          {"none", std::string()},
                          {"vi", std::vector<index_t>{1, 2, index_t(1) << 60}},
                          {"vd", std::vector<double>(20000, 1.0 / 3)},  // over 64 KiB
                          {"vs", std::vector<std::string>{"a", "", "longer"}},
                          {"nothing", std::vector<double>{}}};
  {
    auto file = Hdf5File::create(folder / "a.h5");
    file.create_group("g");
    for (const auto& [name, value] : all) file.write_attribute("g", name, value);
    file.write_attribute("/", "i", index_t(3));
    to_disk(file);
  }
  const auto file = Hdf5File::open(folder / "a.h5");
  EXPECT_EQ(file.attributes("g"), all);
  EXPECT_EQ(file.read_attribute("/", "i"), Attribute(index_t(3)));
  EXPECT_TRUE(file.has_attribute("g", "vs"));
  EXPECT_FALSE(file.has_attribute("g", "other"));
  contains(message_of<InputError>([&] { file.read_attribute("g", "other"); }),
           "g lacks the attribute other");
}

TEST_F(Hdf5FileTest, TextsComeBack) {
  const std::string deck = "<job>\nname = x # \xc3\xa4\n";
  auto file = Hdf5File::create(folder / "a.h5");
  file.write_text("text/deck", deck);
  file.write_text("text/none", "");
  file.write_text("text/long", std::string(100000, 'x'));
  EXPECT_EQ(file.read_text("text/deck"), deck);
  EXPECT_EQ(file.read_text("text/none"), "");
  EXPECT_EQ(file.read_text("text/long").size(), 100000u);
}

TEST_F(Hdf5FileTest, ErrorsNameFileAndObject) {
  contains(message_of<InputError>([&] { Hdf5File::open(folder / "none.h5"); }),
           "none.h5: cannot read: No such file");
  write_bytes(folder / "text.h5", "this is no HDF5");
  contains(message_of<InputError>([&] { Hdf5File::open(folder / "text.h5"); }),
           "text.h5: cannot open as HDF5: ");
  auto file = Hdf5File::create(folder / "a.h5");
  file.create_dataset("w", StorageType::float32, Extents::vector(1));
  contains(message_of<InputError>([&] { file.info("x/y"); }), "a.h5: x/y does not exist");
  contains(message_of<InputError>([&] { file.read_text("w"); }), "w is not a text");
  contains(message_of<RunError>(
               [&] { file.create_dataset("w", StorageType::float32, Extents::vector(1)); }),
           "w");
}

TEST_F(Hdf5FileTest, LinksAndForeignStorageAreRefused) {
  const std::vector<float> secret = {1, 2, 3, 4};
  {
    auto other = Hdf5File::create(folder / "other.h5");
    put(other, "g/w", Extents::vector(4), secret);
    to_disk(other);
  }
  write_bytes(folder / "raw.bin", std::string(16, '\0'));
  const auto path = folder / "links.h5";
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  const auto add = [&](const char* name, const auto& set_properties) {
    const hsize_t n = 4;
    const hid_t space = H5Screate_simple(1, &n, nullptr),
                properties = H5Pcreate(H5P_DATASET_CREATE);
    set_properties(properties);
    H5Dclose(H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT));
    H5Pclose(properties);
    H5Sclose(space);
  };
  add("plain", [](hid_t properties) { H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY); });
  add("outside", [](hid_t properties) { H5Pset_external(properties, "raw.bin", 0, 16); });
  add("chunked", [](hid_t properties) {
    const hsize_t chunk = 2;
    H5Pset_chunk(properties, 1, &chunk);
  });
  H5Gclose(H5Gcreate2(file, "sub", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  H5Lcreate_external("other.h5", "g", file, "sub/away", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_soft("/plain", file, "sub/soft", H5P_DEFAULT, H5P_DEFAULT);
  H5Fclose(file);

  const auto links = Hdf5File::open(path);
  EXPECT_NO_THROW(links.info("plain"));
  for (const char* name : {"sub/away", "sub/away/w", "sub/soft", "outside", "chunked"})
    contains(message_of<InputError>([&] { links.info(name); }), name);
  contains(message_of<InputError>([&] { links.datasets(); }), "which is not followed");
}

TEST_F(Hdf5FileTest, EqualContentsGiveEqualFiles) {
  const auto values = counted<double>(50);
  for (const char* name : {"a.h5", "b.h5"}) {
    auto file = Hdf5File::create(folder / name);
    put(file, "g/w", Extents::vector(50), values);
    file.write_attribute("g/w", "axes", std::string("D"));
    file.write_text("text/deck", "x = 1");
    to_disk(file);
  }
  EXPECT_EQ(bytes_of(folder / "a.h5"), bytes_of(folder / "b.h5"));
}

}  // namespace
}  // namespace elastic::test
