// SPDX-License-Identifier: Apache-2.0
// PREFIX.json: what it says, whose it is, and what a run makes of it.
#include "data/dataset_summary.hpp"

#include "unit_tests/data/data_support.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

class DatasetSummaryTest : public testing::Test {
 protected:
  DatasetSummaryTest() {
    write_indexed_dataset(prefix(), 100, std::vector<std::vector<token_t>>{{7, 90, 8}, {}, {3, 4}},
                          std::vector<std::vector<std::uint8_t>>{{0, 1, 1}, {}, {1, 1}});
  }
  std::string prefix() const { return m_folder.path("data"); }
  std::string text() const {
    std::ifstream file(prefix() + ".json");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// "" if the summary is used.
  std::string why_not(bool with_mask = true) const {
    const IndexedDataset dataset(prefix(), 100, with_mask);
    std::string reason;
    const bool used = read_summary(prefix(), dataset, reason).has_value();
    EXPECT_EQ(used, reason.empty());
    return reason;
  }
  void replace(const std::string& from, const std::string& to) const {
    std::string changed = text();
    const auto at = changed.find(from);
    ASSERT_NE(at, std::string::npos) << changed;
    m_folder.write("data.json", changed.replace(at, from.size(), to));
  }
  TemporaryFolder m_folder;
};

TEST_F(DatasetSummaryTest, SaysWhatTheFilesHold) {
  const IndexedDataset dataset(prefix(), 100, true);
  std::string reason;
  const auto s = read_summary(prefix(), dataset, reason);
  ASSERT_TRUE(s) << reason;
  EXPECT_EQ(s->tokens, 5);
  EXPECT_EQ(s->sequences, 3);
  EXPECT_EQ(s->documents, 3);
  EXPECT_EQ(s->targets, 3);
  EXPECT_EQ(s->smallest_id, 3);
  EXPECT_EQ(s->largest_id, 90);
  EXPECT_EQ(s->bin_bytes, 10);
  EXPECT_EQ(to_json(*s), text());
  EXPECT_EQ(why_not(false), "") << "a mask that is ignored does not matter";
}

/// zlib.crc32(b"123456789" * 2), and of a file longer than its ends.
TEST_F(DatasetSummaryTest, ChecksumsAreThoseOfZlib) {
  const std::string digits = "123456789";
  EXPECT_EQ(crc32_of_ends(std::as_bytes(std::span(digits))), 1266907876u);
  std::string large(std::size_t{5} << 19, 'a');
  const auto checksum = [&] { return crc32_of_ends(std::as_bytes(std::span(large))); };
  const std::uint32_t before = checksum();
  EXPECT_EQ(before, 593838807u);
  large[large.size() / 2] = 'b';  // between the ends
  EXPECT_EQ(checksum(), before);
  large.back() = 'b';
  EXPECT_NE(checksum(), before);
}

TEST_F(DatasetSummaryTest, TellsOtherFilesApart) {
  const std::string right = text();
  for (const auto& [from, to, expected] :
       {std::tuple{"\"tokens\": 5", "\"tokens\": 6", "it says 6 tokens, there are 5"},
        {"\"documents\": 3", "\"documents\": 2", "it says 2 documents, there are 3"},
        {"\"bin_bytes\": 10", "\"bin_bytes\": 12", "it says 12 bytes of .bin, there are 10"},
        {"\"bin_crc32\": ", "\"bin_crc32\": 1", "about another .bin"},
        {"\"mask_crc32\": ", "\"mask_crc32\": 1", "about another .mask"},
        {"\"version\": 1", "\"version\": 9", "not a summary"},
        {"\"largest_id\": 90", "\"largest_id\": \"x\"", "not a summary"},
        {"{", "", "not a summary"}}) {
    m_folder.write("data.json", right);
    replace(from, to);
    EXPECT_THAT(why_not(), HasSubstr(expected)) << from;
  }
  m_folder.write("data.json", right);
  const std::uint16_t ids[] = {7, 90, 8, 3, 5};
  m_folder.write("data.bin", {reinterpret_cast<const char*>(ids), sizeof ids});
  EXPECT_THAT(why_not(), HasSubstr("about another .bin"));
  std::filesystem::remove(prefix() + ".json");
  std::filesystem::create_directory(prefix() + ".json");
  EXPECT_THAT(why_not(), HasSubstr("expected a regular file"));
  std::filesystem::remove(prefix() + ".json");
  std::string reason = "something";
  EXPECT_FALSE(read_summary(prefix(), IndexedDataset(prefix(), 100), reason));
  EXPECT_EQ(reason, "");
}

TEST_F(DatasetSummaryTest, RefusesIdsBeyondTheVocabulary) {
  const IndexedDataset wide(prefix(), 91), narrow(prefix(), 90);
  DatasetSummary s = summarize(wide, "");
  EXPECT_NO_THROW(require_known_ids(prefix(), s, wide));
  EXPECT_THAT(input_error([&] { require_known_ids(prefix(), s, narrow); }),
              HasSubstr("data.json: the ids of " + prefix() +
                        ".bin lie between 3 and 90; expected ids of the vocabulary [0, 90)"));
  s.smallest_id = -1;
  EXPECT_THROW(require_known_ids(prefix(), s, wide), InputError);
}

TEST_F(DatasetSummaryTest, OfNoDocuments) {
  write_indexed_dataset(prefix(), 100, {});
  std::filesystem::remove(prefix() + ".mask");
  EXPECT_EQ(why_not(false), "");
  const IndexedDataset empty(prefix(), 100);
  EXPECT_NO_THROW(require_known_ids(prefix(), summarize(empty, ""), empty));
}

}  // namespace
}  // namespace elastic::test
