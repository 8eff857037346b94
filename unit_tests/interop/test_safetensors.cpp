// SPDX-License-Identifier: Apache-2.0
// Files as others write them, and files that lie.
#include "interop/safetensors.hpp"

#include <cstring>

#include <sys/stat.h>

#include "interop/strict_json.hpp"
#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

class Safetensors : public InFolder {
 protected:
  /// A file of this header (length in front) and so many bytes of data.
  std::filesystem::path file(const std::string& header, std::size_t data_bytes = 0) {
    return file_of(header, header.size(), data_bytes);
  }
  std::filesystem::path file_of(const std::string& header, std::uint64_t length,
                                std::size_t data_bytes) {
    std::string bytes(sizeof length, '\0');
    std::memcpy(bytes.data(), &length, sizeof length);
    write_bytes(folder / "a.safetensors", bytes + header + std::string(data_bytes, '\1'));
    return folder / "a.safetensors";
  }
  std::string error_of(const std::filesystem::path& path) {
    return message_of<InputError>([&] { SafetensorsReader reader(path); });
  }
  /// The error of one tensor "w" described so, with 24 bytes of data.
  std::string entry_error(const std::string& entry, std::size_t data_bytes = 24) {
    return error_of(file("{\"w\":" + entry + "}", data_bytes));
  }
};

TEST_F(Safetensors, WhatIsWrittenIsRead) {
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};
  const std::vector<std::uint16_t> b = {7, 8};
  const double c = 0.5;
  {
    SafetensorsWriter writer(folder / "w.safetensors", {{"b", ElementType::bf16, {2, 1}},
                                                        {"a", ElementType::f32, {3, 2}},
                                                        {"c", ElementType::f64, {}},
                                                        {"none", ElementType::f32, {0, 5}}});
    writer.write("b", b.data());
    writer.write("none", nullptr);
    writer.write("c", &c);
    EXPECT_FALSE(std::filesystem::exists(folder / "w.safetensors"));
    writer.write("a", a.data());
    writer.commit();
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "w.safetensors.tmp"));
  const SafetensorsReader reader(folder / "w.safetensors");
  ASSERT_EQ(reader.entries().size(), 4u);
  EXPECT_EQ(reader.metadata().at("format"), "pt");
  std::vector<float> read_a(6);
  reader.read(reader.at("a"), 0, 24, read_a.data());
  EXPECT_EQ(read_a, a);
  reader.read(reader.at("a"), 8, 8, read_a.data());
  EXPECT_EQ(read_a[0], 3);
  EXPECT_EQ(reader.at("b").shape, (std::vector<index_t>{2, 1}));
  EXPECT_EQ(reader.at("c").bytes(), 8u);
  EXPECT_EQ(reader.find("d"), nullptr);
  contains(message_of<InputError>([&] { reader.at("d"); }), "no tensor 'd'");
  for (const auto& entry : reader.entries())
    EXPECT_EQ(entry.begin % size_of(entry.type), 0u) << entry.name;
  const std::string bytes = bytes_of(folder / "w.safetensors");
  std::uint64_t length;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  EXPECT_EQ(bytes[8], '{');
}

TEST_F(Safetensors, AnUnfinishedFileIsNotThere) {
  {
    SafetensorsWriter writer(folder / "w.safetensors", {{"a", ElementType::f32, {1}}});
    EXPECT_TRUE(std::filesystem::exists(folder / "w.safetensors.tmp"));
    EXPECT_THROW(writer.commit(), ContractError);  // not all is written
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  SafetensorsWriter writer(folder / "w.safetensors", {{"a", ElementType::f32, {1}}});
  const float value = 1;
  EXPECT_THROW(writer.write("b", &value), ContractError);
  writer.write("a", &value);
  EXPECT_THROW(writer.write("a", &value), ContractError);
  EXPECT_THROW(SafetensorsWriter(folder / "no" / "w", {}), RunError);
}

TEST_F(Safetensors, Legal) {
  const SafetensorsReader empty(file("{}"));
  EXPECT_TRUE(empty.entries().empty());
  const SafetensorsReader padded(file(
      R"({"z":{"dtype":"U8","shape":[0],"data_offsets":[4,4]},"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},
          "__metadata__":{"any":"thing"}}    )",
      4));
  EXPECT_EQ(padded.at("s").bytes(), 4u);
  EXPECT_EQ(padded.metadata().at("any"), "thing");
}

TEST_F(Safetensors, BrokenHeads) {
  contains(error_of(folder / "none.safetensors"), "cannot open");
  contains(error_of(folder), "is not a file");
  contains(error_of("/dev/zero"), "is not a file");
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  contains(error_of(folder / "pipe"), "is not a file");
  contains(error_of(file("{\"w\":" + std::string(1000000, '['))), "is nested too deeply");
  write_bytes(folder / "short", "1234567");
  contains(error_of(folder / "short"), "too short");
  contains(error_of(file_of("{}", max_json_bytes + 1, 0)), "at most");
  contains(error_of(file_of("{}", ~std::uint64_t(0), 0)), "at most");
  contains(error_of(file_of("{}", 3, 0)), "the header claims 3 bytes");
  contains(error_of(file(" {}")), "does not begin with '{'");
  contains(error_of(file("[]")), "does not begin with '{'");
  contains(error_of(file("{\"w\":")), "is not JSON");
  contains(error_of(file("{\"w\":\"\xfe\"}")), "is not JSON");
  contains(error_of(file("{}x")), "is not JSON");
  contains(error_of(file(R"({"__metadata__":[]})")), "__metadata__");
  contains(error_of(file(R"({"__metadata__":{"a":1}})")), "is not a string");
  contains(error_of(file("{}", 1)), "the tensors have 0 bytes, the file holds 1");
}

TEST_F(Safetensors, BrokenEntries) {
  contains(entry_error("1"), "'w': is not an object");
  contains(entry_error(R"({"shape":[6],"data_offsets":[0,24]})"), "lacks dtype");
  contains(entry_error(R"({"dtype":"F32","data_offsets":[0,24]})"), "lacks shape");
  contains(entry_error(R"({"dtype":"F32","shape":[6]})"), "lacks data_offsets");
  contains(entry_error(R"({"dtype":"F33","shape":[6],"data_offsets":[0,24]})"), "not supported");
  contains(entry_error(R"({"dtype":32,"shape":[6],"data_offsets":[0,24]})"), "not supported");
  contains(entry_error(R"({"dtype":"F32","shape":6,"data_offsets":[0,24]})"), "shape is not");
  contains(entry_error(R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,6],"data_offsets":[0,24]})"),
           "at most 8");
  contains(entry_error(R"({"dtype":"F32","shape":[6],"data_offsets":[0]})"), "two numbers");
  contains(entry_error(R"({"dtype":"F32","shape":[6],"data_offsets":[0,24],"extra":1})"),
           "unknown key 'extra'");
  contains(entry_error(R"({"dtype":"F32","shape":[6],"shape":[6],"data_offsets":[0,24]})"),
           "stands twice");
}

TEST_F(Safetensors, BrokenNumbers) {
  const auto shape = [&](const std::string& extents, const std::string& offsets = "0,24") {
    return entry_error("{\"dtype\":\"F32\",\"shape\":[" + extents + "],\"data_offsets\":[" +
                       offsets + "]}");
  };
  contains(shape("-6"), "expected a whole number");
  contains(shape("6.0"), "expected a whole number");
  contains(shape("\"6\""), "expected a whole number");
  contains(shape("18446744073709551622"), "expected a whole number");  // 2^64 + 6
  contains(shape("18446744073709551615"), "too large");
  contains(shape("4294967296,4294967296"), "needs more than 2^64 bytes");  // wraps to 0
  contains(shape("4611686018427387904,2"), "needs more than 2^64 bytes");
  contains(shape("9223372036854775807,9223372036854775807,3"), "needs more than 2^64 bytes");
  contains(shape("5"), "needs 20 bytes, data_offsets give 24");
  contains(shape("0"), "needs 0 bytes");
  contains(shape("6", "24,0"), "ends at 0 before it begins at 24");
  contains(shape("6", "-24,0"), "expected a whole number");
  contains(shape("6", "4,28"), "begins at 4, expected 0");
  contains(shape("7", "0,28"), "the tensors have 28 bytes, the file holds 24");
  contains(shape("6", "18446744073709551592,0"), "ends at 0 before");
}

TEST_F(Safetensors, HolesOverlapsAndDuplicates) {
  const auto two = [&](const std::string& first, const std::string& second,
                       const std::string& name = "b") {
    return error_of(file(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[)" + first + R"(]},")" +
                             name + R"(":{"dtype":"U8","shape":[4],"data_offsets":[)" + second +
                             "]}}",
                         8));
  };
  contains(two("0,4", "0,4"), "without holes or overlaps");
  contains(two("0,4", "3,7"), "without holes or overlaps");
  contains(two("4,8", "5,9"), "begins at 4, expected 0");
  contains(two("0,4", "5,9"), "begins at 5, expected 4");
  contains(two("0,4", "4,8", "a"), "\"a\" stands twice");
  EXPECT_NO_THROW(SafetensorsReader(file(
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
      8)));
}

TEST_F(Safetensors, EveryCutAndEveryFlippedBitOfAHeaderIsHarmless) {
  const auto path = file(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[2,1],"data_offsets":[8,12]}})",
      12);
  const std::string good = bytes_of(path);
  for (std::size_t cut = 0; cut < good.size(); ++cut) {
    write_bytes(path, good.substr(0, cut));
    EXPECT_THROW(SafetensorsReader{path}, InputError) << cut;
  }
  for (std::size_t bit = 0; bit < 8 * (good.size() - 12); ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    write_bytes(path, bad);
    try {  // a changed name is legal; nothing may be read outside the file
      const SafetensorsReader reader(path);
      for (const auto& entry : reader.entries()) EXPECT_LE(entry.end, good.size());
    } catch (const InputError&) {
    }
  }
}

}  // namespace
}  // namespace elastic::test
