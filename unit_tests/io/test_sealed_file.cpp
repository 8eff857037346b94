// SPDX-License-Identifier: Apache-2.0
// User block and seal: every flipped byte, every other length is found and named, before HDF5 sees
// the file; shares of ranks; identity of contents.
#include "io/sealed_file.hpp"

#include "io/content_hash.hpp"
#include "unit_tests/io/small_checkpoint.hpp"

namespace elastic::test {
namespace {

class SealedFileTest : public InFolder {
 protected:
  void SetUp() override {
    InFolder::SetUp();
    good = folder / "good.h5";
    bad = folder / "bad.h5";
    write_small(good);
    bytes = bytes_of(good);
  }
  const std::filesystem::path& with(const std::string& changed) const {
    write_bytes(bad, changed);
    return bad;
  }

  std::filesystem::path good, bad;
  std::string bytes;
};

TEST_F(SealedFileTest, TheSealCoversEveryByte) {
  const Seal seal = read_seal(good);
  EXPECT_EQ(seal.file_bytes, bytes.size());
  std::uint64_t at = user_block_bytes;
  std::vector<std::string> names;
  for (const auto& segment : seal.segments) {
    EXPECT_EQ(segment.offset, at);
    EXPECT_EQ(segment.hash, content_hash(std::string_view(bytes).substr(at, segment.bytes)));
    at += segment.bytes;
    if (!segment.is_structure()) names.push_back(segment.name);
  }
  EXPECT_EQ(at, seal.begin);
  EXPECT_EQ(names,
            (std::vector<std::string>{"model/up", "model/half", "optimizer/m", "ranking/order"}));
  EXPECT_EQ(encode_seal(seal.segments), bytes.substr(seal.begin));
  EXPECT_EQ(encode_user_block(seal.begin, bytes.substr(seal.begin)),
            bytes.substr(0, user_block_bytes));
  EXPECT_EQ(seal_hash(good), spell_hash(seal.hash));
}

TEST_F(SealedFileTest, EveryFlippedByteIsFoundAndNamed) {
  const Seal seal = read_seal(good);
  const auto expected_at = [&](std::size_t at) -> std::string {
    if (at < std::string_view("elastic.x checkpoint, format 2\n").size())
      return "not a checkpoint, or damaged at its beginning";
    if (at < user_block_bytes) return "its user block (bytes 0 to 512) is damaged";
    if (at >= seal.begin) return "its seal (bytes ";
    for (const auto& segment : seal.segments)
      if (at < segment.offset + segment.bytes)
        return segment.is_structure()
                   ? "its structure (names, shapes, attributes, texts) is damaged"
                   : segment.name + " is damaged";
    return "";
  };
  with(bytes);
  std::fstream file(bad, std::ios::binary | std::ios::in | std::ios::out);
  const auto put = [&](std::size_t at, int byte) {
    file.seekp(static_cast<std::streamoff>(at)).put(static_cast<char>(byte)).flush();
  };
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    put(at, bytes[at] ^ (1 << at % 8));
    const auto message = message_of<InputError>([&] { CheckpointReader(bad).verify(); });
    ASSERT_TRUE(contains(message, bad.string() + ": " + expected_at(at))) << at;
    // Without any HDF5: user block, seal and segments tell the same.
    const auto plain = message_of<InputError>([&] { verify_segments(bad, read_seal(bad)); });
    ASSERT_EQ(plain, message) << at;
    put(at, bytes[at]);
  }
  EXPECT_NO_THROW(CheckpointReader(bad).verify());
}

// A damaged structure never gets as far as HDF5: the constructor refuses it with the words of the
// seal. A damaged tensor does not stop the others from being read.
TEST_F(SealedFileTest, StructureIsComparedAtOnceTensorsWhenTheyAreRead) {
  for (const auto& segment : read_seal(good).segments) {
    auto changed = bytes;
    changed[segment.offset + segment.bytes / 2] ^= 0x20;
    const auto& path = with(changed);
    if (segment.is_structure()) {
      contains(message_of<InputError>([&] { CheckpointReader reader(path); }), "its structure");
      continue;
    }
    const CheckpointReader reader(path);
    for (const auto& tensor : reader.tensors()) {
      const auto read = [&] {
        if (tensor.type == StorageType::int64)
          reader.read<index_t>(tensor.name);
        else
          reader.read<double>(tensor.name);
      };
      if (tensor.name == segment.name)
        contains(message_of<InputError>(read), segment.name + " is damaged: bytes ");
      else
        EXPECT_NO_THROW(read()) << tensor.name;
    }
    if (segment.name != "model/up") continue;
    std::vector<float> part(2);
    contains(message_of<InputError>(
                 [&] { reader.read_block("model/up", Range(0, 1), Range(0, 2), part.data()); }),
             "model/up is damaged");
  }
}

TEST_F(SealedFileTest, EveryOtherLengthIsFound) {
  with(bytes);
  for (std::size_t length = bytes.size() - 1;; --length) {
    std::filesystem::resize_file(bad, length);
    const auto message = message_of<InputError>([&] { CheckpointReader reader(bad); });
    ASSERT_TRUE(contains(message, bad.string() + ": "));
    ASSERT_TRUE(contains(message, length < 31    ? "not a checkpoint, or damaged at its beginning"
                                  : length < 512 ? "cut off"
                                                 : "(cut off)"))
        << length;
    if (length == 0) break;
  }
  for (const std::size_t more : {1, 2, 511, 4096}) {
    const auto message = message_of<InputError>(
        [&] { CheckpointReader reader(with(bytes + std::string(more, '\0'))); });
    contains(message,
             fmt::format("it has {} bytes, {} were written", bytes.size() + more, bytes.size()));
  }
}

TEST_F(SealedFileTest, TwoFilesJoinedAreRefused) {
  EXPECT_THROW(CheckpointReader reader(with(bytes + bytes)), InputError);
  EXPECT_THROW(CheckpointReader reader(with(bytes.substr(512))), InputError);
  // The HDF5 part alone, which HDF5 itself could read, is no checkpoint of format 1 either.
  contains(message_of<InputError>([&] { CheckpointReader reader(bad); }), bad.string());
}

TEST_F(SealedFileTest, TheSharesOfRanksAreTheFile) {
  const Seal seal = read_seal(good);
  for (const int size : {1, 2, 3, 7, 64})
    for (const auto& segment : seal.segments) {
      auto changed = bytes;
      changed[segment.offset] ^= 1;
      const auto& path = with(changed);
      int found = 0;
      for (int rank = 0; rank < size; ++rank) try {
          verify_segments(path, seal, {rank, size});
        } catch (const InputError&) {
          ++found;
        }
      EXPECT_EQ(found, 1) << segment.offset << " of " << size;
    }
}

TEST_F(SealedFileTest, TheHashStandsForTheContents) {
  const auto other = folder / "a.h5";
  write_small(other);
  EXPECT_EQ(bytes_of(other), bytes);
  EXPECT_EQ(seal_hash(other), seal_hash(good));
  write_small(other, 2);
  EXPECT_NE(seal_hash(other), seal_hash(good));
  EXPECT_EQ(seal_hash(other).size(), 16u);
  write_bytes(other, "any other file");
  EXPECT_EQ(seal_hash(other), spell_hash(content_hash("any other file")));
}

TEST_F(SealedFileTest, WhatIsNoFileIsRefused) {
  contains(message_of<InputError>([&] { read_seal(folder); }), "it is a folder");
  contains(message_of<InputError>([&] { CheckpointReader reader("/dev/zero"); }),
           "/dev/zero: cannot read: it is not a regular file");
  contains(message_of<InputError>([&] { read_seal(folder / "none.h5"); }),
           "none.h5: cannot read: No such file or directory");
}

TEST(ContentHash, PiecesGiveTheHashOfTheWhole) {
  std::string text(100'003, 'a');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * i % 251);
  ContentHasher hasher;
  for (std::size_t at = 0; at < text.size(); at += 777)
    hasher.add(text.data() + at, std::min<std::size_t>(777, text.size() - at));
  EXPECT_EQ(hasher.value(), content_hash(text));
  // Values of the specification (XXH3-64, seed 0): the empty text.
  EXPECT_EQ(spell_hash(content_hash("")), "2d06800538d394c2");
  EXPECT_EQ(parse_hash("2d06800538d394c2"), content_hash(""));
  for (const char* text : {"", "2d06800538d394c", "2D06800538D394C2", "-d06800538d394c2",
                           "2d06800538d394c2 ", "0x06800538d394c2"})
    EXPECT_FALSE(parse_hash(text)) << text;
}

}  // namespace
}  // namespace elastic::test
