// SPDX-License-Identifier: Apache-2.0
// Rows of reasoning problems.
#include "data/reasoning_source.hpp"

#include "data/character_vocabulary.hpp"
#include "unit_tests/data/data_support.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

TEST(ReasoningSource, RowsArePureFunctionsAndWellFormed) {
  const ReasoningSource source({}, 1), another({}, 1);
  for (const index_t length : {48, 128, 256}) expect_pure(source, another, length);
}

/// Every row is documents of its problem numbers, whole and in order, then padding of weight 0.
TEST(ReasoningSource, PacksWholeDocuments) {
  const ReasoningSource source({}, 2);
  const index_t length = 128;
  index_t used = 0;
  for (index_t sample = 0; sample < 200; ++sample) {
    const Batch batch = make_batch(source, Split::train, sample, 1, length);
    std::size_t at = 0;
    token_t segment = 0;
    for (index_t i = 0, misses = 0; i < length && misses < 4; ++i) {
      const auto document =
          source.problems().document(source.problems().problem(Split::train, sample * length + i));
      const std::size_t n = document.tokens.size();
      if (at + n > batch.tokens.size()) {
        ++misses;
        continue;
      }
      for (std::size_t j = 0; j < n; ++j) {
        ASSERT_EQ(batch.tokens[at + j], document.tokens[j]);
        ASSERT_EQ(batch.segment[at + j], segment);
        ASSERT_EQ(batch.weight[at + j], j + 1 < n ? document.weight[j + 1] : 0);
      }
      at += n;
      ++segment;
    }
    ASSERT_GE(segment, 3);
    used += static_cast<index_t>(at);
    for (; at < batch.tokens.size(); ++at) {
      ASSERT_EQ(batch.tokens[at], CharacterVocabulary::pad);
      ASSERT_EQ(batch.segment[at], segment);
      ASSERT_EQ(batch.weight[at], 0);
    }
  }
  EXPECT_GT(static_cast<double>(used) / (200.0 * length), 0.85) << "too much padding";
}

TEST(ReasoningSource, RowsDiffer) {
  const ReasoningSource source({}, 3);
  const Batch a = make_batch(source, Split::train, 0, 1, 128);
  EXPECT_FALSE(same(a, make_batch(source, Split::train, 1, 1, 128)));
  EXPECT_FALSE(same(a, make_batch(source, Split::validation, 0, 1, 128)));
}

TEST(ReasoningSource, RowsShorterThanAProblemAreAnError) {
  const ReasoningSource source({}, 1);
  const index_t longest = source.problems().longest_document();
  EXPECT_NO_THROW(make_batch(source, Split::train, 0, 4, longest));
  EXPECT_THAT(input_error([&] { make_batch(source, Split::train, 0, 1, longest - 1); }),
              HasSubstr(fmt::format("need up to {}", longest)));
}

}  // namespace
}  // namespace elastic::test
