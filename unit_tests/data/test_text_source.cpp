// SPDX-License-Identifier: Apache-2.0
// Random windows of text files.
#include "data/text_source.hpp"

#include <sys/stat.h>

#include <map>
#include <set>

#include "unit_tests/data/data_support.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

/// Text in which every four bytes occur once: a window says where in the file it is.
std::string numbered_text(std::size_t bytes) {
  std::string result;
  for (std::uint32_t i = 0; result.size() < bytes; ++i)
    for (const std::uint32_t part : {i >> 14 | 128u, (i >> 7 & 127u), i & 127u})
      result += static_cast<char>(part);
  result.resize(bytes);
  return result;
}

std::string bytes_of(const Batch& batch) { return {batch.tokens.begin(), batch.tokens.end()}; }

TEST(TextSource, RowsArePureFunctionsAndWellFormed) {
  TemporaryFolder folder;
  const std::string file = folder.write("a.txt", numbered_text(35149));
  const TextSource source({{file}}, 1), another({{file}}, 1);
  for (const index_t length : {128, 512}) expect_pure(source, another, length);
}

TEST(TextSource, ARowIsAWindowWithItsLastTarget) {
  TemporaryFolder folder;
  const std::string text = numbered_text(35149);
  const TextSource source({{folder.write("a.txt", text)}}, 1);
  for (const Split split : {Split::train, Split::validation})
    for (index_t sample = 0; sample < 100; ++sample) {
      const Batch batch = make_batch(source, split, sample, 1, 256);
      const auto at = text.find(bytes_of(batch));
      ASSERT_NE(at, std::string::npos);
      for (std::size_t i = 0; i < 256; ++i) {
        ASSERT_EQ(batch.targets[i], static_cast<unsigned char>(text[at + i + 1]));
        ASSERT_EQ(batch.weight[i], 1);
        ASSERT_EQ(batch.segment[i], 0);
      }
    }
}

/// Bytes of each file seen in many windows, targets included.
std::set<std::size_t> bytes_seen(const TextSource& source, Split split, const std::string& text,
                                 index_t length, index_t samples) {
  std::set<std::size_t> seen;
  for (index_t sample = 0; sample < samples; ++sample) {
    const auto at = text.find(bytes_of(make_batch(source, split, sample, 1, length)));
    EXPECT_NE(at, std::string::npos);
    for (std::size_t i = 0; i <= static_cast<std::size_t>(length); ++i) seen.insert(at + i);
  }
  return seen;
}

TEST(TextSource, SplitsAreDisjointAndCoverTheFile) {
  TemporaryFolder folder;
  const std::string text = numbered_text(20000);
  const std::string file = folder.write("a.txt", text);
  // One held-out stretch at the end, and many of 100 bytes.
  for (const index_t held_out_bytes : {65536, 100}) {
    std::set<std::size_t> train, validation;
    for (const std::uint64_t stream : {0u, 1u}) {
      const TextSource source({{file}, 0.1, held_out_bytes}, 5, stream);
      train.merge(bytes_seen(source, Split::train, text, 20, 6000));
      validation.merge(bytes_seen(source, Split::validation, text, 20, 1500));
    }
    for (const std::size_t at : validation) ASSERT_FALSE(train.count(at)) << "byte " << at;
    EXPECT_GT(train.size(), 17500u);
    EXPECT_LE(train.size(), 18020u);
    EXPECT_GT(validation.size(), 1900u);
    EXPECT_LE(validation.size(), 2020u);
    if (held_out_bytes == 100) {  // held out all along the file
      EXPECT_LT(*validation.begin(), 1000u);
    } else {
      EXPECT_GE(*validation.begin(), 18000u);
    }
  }
}

TEST(TextSource, WindowsAreUniformOverAllPlacesOfAllFiles) {
  TemporaryFolder folder;
  const std::string one(3000, 'a'), two(9000, 'b');
  const TextSource source({{folder.write("1", one), folder.write("2", two)}}, 3);
  index_t from_second = 0;
  const index_t samples = 4000;
  for (index_t i = 0; i < samples; ++i) {
    const std::string row = bytes_of(make_batch(source, Split::train, i, 1, 100));
    EXPECT_TRUE(row == std::string(100, 'a') || row == std::string(100, 'b')) << "crosses files";
    from_second += row[0] == 'b';
  }
  // 2700 - 100 and 8100 - 100 places; 5 standard deviations of a share of 0.755.
  const double expected = 8000.0 / 10600.0;
  EXPECT_NEAR(static_cast<double>(from_second) / samples, expected, 5 * 0.43 / std::sqrt(4000.0));
}

TEST(TextSource, SeedsAndStreamsDiffer) {
  TemporaryFolder folder;
  const std::string file = folder.write("a.txt", numbered_text(35149));
  const Batch a = make_batch(TextSource({{file}}, 1, 0), Split::train, 0, 8, 64);
  EXPECT_FALSE(same(a, make_batch(TextSource({{file}}, 2, 0), Split::train, 0, 8, 64)));
  EXPECT_FALSE(same(a, make_batch(TextSource({{file}}, 1, 1), Split::train, 0, 8, 64)));
}

TEST(TextSource, AStretchShorterThanARowIsPadded) {
  TemporaryFolder folder;
  const std::string text = numbered_text(3000);  // 300 bytes are held out
  const TextSource source({{folder.write("a.txt", text)}}, 1);
  const Batch batch = make_batch(source, Split::validation, 0, 1, 512);
  EXPECT_EQ(bytes_of(batch).substr(0, 300), text.substr(2700));
  EXPECT_EQ(batch.weight[298], 1);
  EXPECT_EQ(batch.weight[299], 0);
  EXPECT_EQ(batch.segment[299], 0);
  for (std::size_t i = 300; i < 512; ++i)
    EXPECT_TRUE(batch.tokens[i] == 0 && batch.weight[i] == 0 && batch.segment[i] == 1);
}

TEST(TextSource, ReadsALicenceOfTheSystem) {
  const std::string file = "/usr/share/common-licenses/GPL-3";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "no " << file;
  const TextSource source({{file}}, 1);
  for (const index_t length : {128, 256, 512})
    for (const Split split : {Split::train, Split::validation}) {
      const Batch batch = make_batch(source, split, 0, 16, length);
      for (const float w : batch.weight) ASSERT_EQ(w, 1);  // no padding
    }
}

TEST(TextSource, Errors) {
  TemporaryFolder folder;
  const auto open = [](std::vector<std::string> files, double fraction = 0.1) {
    return input_error([&] { TextSource({std::move(files), fraction}, 1); });
  };
  EXPECT_THAT(open({}), HasSubstr("no file given"));
  EXPECT_THAT(open({folder.path("absent")}), HasSubstr(folder.path("absent")));
  EXPECT_THAT(open({folder.path("")}), HasSubstr("expected a regular file"));
  EXPECT_THAT(open({folder.write("empty", "")}), HasSubstr("is empty"));
  std::vector<std::string> tiny;
  for (int i = 0; i < 200; ++i) tiny.push_back(folder.write(fmt::format("t{}", i), "abc"));
  EXPECT_THAT(open(tiny, 0.5), HasSubstr("no byte has a target for training"));
  ASSERT_EQ(::mkfifo(folder.path("pipe").c_str(), 0600), 0);
  EXPECT_THAT(open({folder.path("pipe")}), HasSubstr("expected a regular file"));
  EXPECT_THAT(open({"/dev/zero"}), HasSubstr("expected a regular file"));
  const std::string small = folder.write("small", std::string(2000, 'x'));
  EXPECT_THAT(open({small}), HasSubstr("2000 bytes, of which 200 are held out"));
  EXPECT_THAT(open({small}), HasSubstr("expected at least 2560 bytes"));
  EXPECT_THAT(open({small}, 0), HasSubstr("validation fraction of 0"));
  EXPECT_NO_THROW(TextSource({{small, folder.write("b", std::string(600, 'y'))}}, 1));
  EXPECT_THROW(TextSource({{small}, 0.5, 1}, 1), InputError);
}

}  // namespace
}  // namespace elastic::test
