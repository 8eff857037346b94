// SPDX-License-Identifier: Apache-2.0
// Files of stored distributions: what is written comes back, in any order and after any stop; every
// damaged byte is found; files of other fields stay as they are.
#include "io/teacher_file.hpp"

#include <cmath>
#include <functional>

#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

constexpr TeacherLayout small{.top_k = 2, .vocab_size = 10, .seq_length = 3};

std::vector<TeacherField> fields(const std::string& parent = "0123456789abcdef") {
  return {{"parent", parent, "job/parent"}, {"top_k", "2", "teach/top_k"}};
}

TeacherBlock block(index_t sample, const TeacherLayout& layout = small) {
  TeacherBlock made;
  made.identity = 100u + static_cast<std::uint64_t>(sample);
  for (index_t t = 0; t < layout.seq_length; ++t) {
    made.log_rest.emplace_back(layout.top_k < layout.vocab_size ? -0.25f * float(t + 1)
                                                                : -INFINITY);
    for (index_t i = 0; i < layout.top_k; ++i) {
      made.log_p.emplace_back(-0.5f * float(i + sample));
      made.ids.push_back(static_cast<token_t>(layout.vocab_size - layout.top_k + i));
    }
  }
  return made;
}
void expect_equal(const TeacherBlock& a, const TeacherBlock& b) {
  EXPECT_EQ(a.identity, b.identity);
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.log_p, b.log_p);
  EXPECT_EQ(a.log_rest, b.log_rest);
}

class TeacherFileTest : public InFolder {
 protected:
  std::filesystem::path path() const { return folder / "stage1.teacher"; }
  void write_whole(index_t samples = 4, const TeacherLayout& layout = small) {
    auto file = TeacherFile::begin(path(), fields(), layout, samples);
    for (index_t s = samples; s-- > 0;) file.write(s, block(s, layout));
    file.sync();
    TeacherFile::finish(path());
  }
  std::string message(const std::vector<TeacherField>& expected) {
    return message_of<InputError>([&] { TeacherFile::open(path(), expected, small); });
  }
};

/// Few and many words, some and all of them known.
TEST_F(TeacherFileTest, GivesBackWhatWasWritten) {
  for (const TeacherLayout& layout : {small, TeacherLayout{3, 3, 2}, TeacherLayout{1, 65536, 1},
                                      TeacherLayout{2, 65537, 2}, TeacherLayout{1, 200000, 1}}) {
    std::filesystem::remove(path());
    write_whole(4, layout);
    const auto file = TeacherFile::open(path(), fields(), layout);
    EXPECT_EQ(file.samples(), 4);
    EXPECT_EQ(std::filesystem::file_size(path()), teacher_header_bytes + 4 * layout.block_bytes());
    for (const index_t s : {2, 0, 3, 1}) expect_equal(file.read(s), block(s, layout));
  }
  EXPECT_EQ((TeacherLayout{2, 65536, 3}.block_bytes()), 16u + 3 * (2 + 2 * 4));
  EXPECT_EQ((TeacherLayout{2, 65537, 3}.block_bytes()), 16u + 3 * (2 + 2 * 6));
}

TEST_F(TeacherFileTest, IsTheSameForAnyOrderAndAnyWriters) {
  write_whole();
  const std::string bytes = bytes_of(path());
  std::filesystem::remove(path());
  auto first = TeacherFile::begin(path(), fields(), small, 4);
  auto second = TeacherFile::join(path(), small);
  second.write(1, block(1));
  first.write(0, block(0));
  second.write(3, block(3));
  EXPECT_FALSE(second.holds(2));
  EXPECT_TRUE(first.holds(1) && first.holds(3) && second.holds(0));
  // Stopped here: another writer finds what there is.
  auto third = TeacherFile::begin(path(), fields(), small, 4);
  EXPECT_TRUE(third.holds(0) && !third.holds(2));
  third.write(2, block(2));
  TeacherFile::finish(path());
  EXPECT_EQ(bytes_of(path()), bytes);
}

TEST_F(TeacherFileTest, IsNotThereBeforeItIsFinished) {
  EXPECT_TRUE(contains(message(fields()), "stage1.teacher: is missing"));
  TeacherFile::begin(path(), fields(), small, 4);
  EXPECT_TRUE(contains(message(fields()), "is not finished (there is stage1.teacher.part)"));
}

TEST_F(TeacherFileTest, GrowsWithoutLosingWhatItHolds) {
  write_whole(4);
  auto file = TeacherFile::begin(path(), fields(), small, 6);
  EXPECT_FALSE(std::filesystem::exists(path()));
  EXPECT_EQ(file.samples(), 6);
  for (index_t s = 0; s < 6; ++s) EXPECT_EQ(file.holds(s), s < 4) << s;
  EXPECT_EQ(TeacherFile::begin(path(), fields(), small, 2).samples(), 6) << "nothing is cut off";
}

TEST_F(TeacherFileTest, OfOtherFieldsStaysAsItIs) {
  write_whole();
  const std::string bytes = bytes_of(path());
  const auto other = fields("fedcba9876543210");
  EXPECT_TRUE(contains(message(other),
                       "is of parent 0123456789abcdef, expected fedcba9876543210 "
                       "(job/parent)"));
  EXPECT_THROW(TeacherFile::begin(path(), other, small, 9), InputError);
  EXPECT_EQ(bytes_of(path()), bytes);
  EXPECT_FALSE(std::filesystem::exists(TeacherFile::unfinished(path())));
  std::filesystem::rename(path(), TeacherFile::unfinished(path()));
  EXPECT_THROW(TeacherFile::begin(path(), other, small, 9), InputError);
  EXPECT_EQ(bytes_of(TeacherFile::unfinished(path())), bytes);
  std::filesystem::rename(TeacherFile::unfinished(path()), path());
  EXPECT_NO_THROW(TeacherFile::open(path(), fields(""), small)) << "an unknown parent";
  EXPECT_TRUE(contains(message({fields()[0], {"seed", "1", "job/seed"}}),
                       "its header says 'top_k 2', expected the field seed"));
}

/// Every byte of a block, many of the header and of the lengths.
TEST_F(TeacherFileTest, DamageIsFound) {
  write_whole();
  const std::string bytes = bytes_of(path());
  const auto read_all = [&] {
    const auto file = TeacherFile::open(path(), fields(), small);
    if (file.samples() != 4) throw InputError("holds fewer");
    for (index_t s = 0; s < 4; ++s) file.read(s);
  };
  const auto found = [&](const std::string& damaged, const char* what, std::size_t at) {
    write_bytes(path(), damaged);
    EXPECT_THROW(read_all(), InputError) << what << ' ' << at;
  };
  const std::size_t second = teacher_header_bytes + small.block_bytes();
  for (std::size_t at = 0; at < bytes.size();
       at += at < second || at >= second + small.block_bytes() ? 11 : 1) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    found(damaged, "byte", at);
    if (at % 3 == 0) found(bytes.substr(0, at), "length", at);
  }
  for (int blocks = 0; blocks < 4; ++blocks)
    found(bytes.substr(0, teacher_header_bytes + blocks * small.block_bytes()), "blocks", blocks);
  std::string damaged = bytes;
  damaged[teacher_header_bytes + 2 * small.block_bytes() + 30] ^= 1;
  write_bytes(path(), damaged);
  EXPECT_TRUE(contains(message_of<InputError>(read_all),
                       "stage1.teacher: damaged: block 2 (bytes 1116 to 1162)"));
}

/// Blocks of others under a right hash: a hash counts for its place only.
TEST_F(TeacherFileTest, BlocksThatChangePlacesAreFound) {
  write_whole();
  std::string bytes = bytes_of(path());
  const auto size = static_cast<std::size_t>(small.block_bytes());
  const std::string moved = bytes.substr(teacher_header_bytes, size);
  bytes.replace(teacher_header_bytes + size, size, moved);
  write_bytes(path(), bytes);
  const auto file = TeacherFile::open(path(), fields(), small);
  EXPECT_NO_THROW(file.read(0));
  EXPECT_THROW(file.read(1), InputError);
}

TEST_F(TeacherFileTest, WhatIsNoDistributionIsRefused) {
  const std::vector<std::function<void(TeacherBlock&)>> changes = {
      [](TeacherBlock& b) { b.ids[3] = 10; },
      [](TeacherBlock& b) { b.ids[3] = b.ids[2]; },
      [](TeacherBlock& b) { b.log_p[1] = bfloat16(NAN); },
      [](TeacherBlock& b) { b.log_p[1] = bfloat16(0.5f); },
      [](TeacherBlock& b) { b.log_rest[2] = bfloat16(-INFINITY); },
      [](TeacherBlock& b) { b.log_rest[2] = bfloat16(1.0f); }};
  for (const auto& change : changes) {
    auto file = TeacherFile::begin(path(), fields(), small, 1);
    TeacherBlock bad = block(0);
    change(bad);
    file.write(0, bad);
    EXPECT_TRUE(contains(message_of<InputError>([&] { file.read(0); }), "no distribution"));
  }
}

}  // namespace
}  // namespace elastic::test
