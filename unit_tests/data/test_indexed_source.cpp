// SPDX-License-Identifier: Apache-2.0
// Rows of indexed datasets.
#include "data/indexed_source.hpp"

#include <map>
#include <numeric>
#include <set>

#include "unit_tests/data/data_support.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

/// Documents of 0 to 40 tokens; all tokens of the dataset differ: token = 1 + its number.
std::vector<std::vector<token_t>> numbered_documents(index_t count) {
  std::vector<std::vector<token_t>> result;
  token_t next = 1;
  for (index_t d = 0; d < count; ++d) {
    result.emplace_back(static_cast<std::size_t>((d * 17) % 41));
    std::iota(result.back().begin(), result.back().end(), next);
    next += static_cast<token_t>(result.back().size());
  }
  return result;
}

class IndexedSourceTest : public testing::Test {
 protected:
  IndexedSourceTest() : m_documents(numbered_documents(60)) {
    write_indexed_dataset(config().prefix, config().vocab_size, m_documents);
  }
  IndexedSourceConfig config(index_t validation_every = 10) const {
    return {m_folder.path("data"), 5000, validation_every};
  }
  /// Document of each token.
  std::map<token_t, index_t> documents_of_tokens() const {
    std::map<token_t, index_t> result;
    for (std::size_t d = 0; d < m_documents.size(); ++d)
      for (const token_t token : m_documents[d]) result[token] = static_cast<index_t>(d);
    return result;
  }

  TemporaryFolder m_folder;
  std::vector<std::vector<token_t>> m_documents;
};

TEST_F(IndexedSourceTest, RowsArePureFunctionsAndWellFormed) {
  const IndexedSource source(config(), 1), another(config(), 1);
  for (const index_t length : {16, 64, 2000}) expect_pure(source, another, length);
}

TEST_F(IndexedSourceTest, AnEpochVisitsEveryTokenOfItsSplitOnce) {
  const IndexedSource source(config(), 3);
  const auto owner = documents_of_tokens();
  for (const Split split : {Split::train, Split::validation})
    for (const index_t length : {7, 64, 5000})
      for (const index_t epoch : {0, 1, 5}) {
        const index_t rows = source.rows_per_epoch(split, length);
        const Batch batch = make_batch(source, split, epoch * rows, rows, length);
        std::multiset<token_t> seen;
        for (const token_t token : batch.tokens)
          if (token != 0) seen.insert(token);
        std::multiset<token_t> expected;
        for (const auto& [token, d] : owner)
          if ((d % 10 == 9) == (split == Split::validation)) expected.insert(token);
        EXPECT_EQ(seen, expected) << "length " << length << ", epoch " << epoch;
      }
}

TEST_F(IndexedSourceTest, TargetsStayInTheDocumentAndCrossRows) {
  const IndexedSource source(config(), 4);
  const auto owner = documents_of_tokens();
  const index_t length = 16, rows = source.rows_per_epoch(Split::train, length);
  const Batch batch = make_batch(source, Split::train, 0, rows, length);
  index_t at_row_end = 0;
  for (std::size_t i = 0; i < batch.tokens.size(); ++i) {
    const token_t token = batch.tokens[i];
    if (token == 0) continue;
    const index_t d = owner.at(token);
    const bool last = token == m_documents[static_cast<std::size_t>(d)].back();
    ASSERT_EQ(batch.targets[i], last ? 0 : token + 1);
    ASSERT_EQ(batch.weight[i], last ? 0 : 1);
    const bool row_end = (i + 1) % static_cast<std::size_t>(length) == 0;
    at_row_end += row_end && !last;
    if (!row_end) {
      const token_t next = batch.tokens[i + 1];
      const bool same_document = next != 0 && owner.at(next) == d;
      ASSERT_EQ(batch.segment[i + 1] == batch.segment[i], same_document);
    }
  }
  EXPECT_GT(at_row_end, 10);
}

TEST_F(IndexedSourceTest, EpochsSeedsAndStreamsHaveOrdersOfTheirOwn) {
  const index_t length = 16;
  const IndexedSource source(config(), 5);
  const index_t rows = source.rows_per_epoch(Split::train, length);
  const Batch first = make_batch(source, Split::train, 0, rows, length);
  EXPECT_FALSE(same(first, make_batch(source, Split::train, rows, rows, length)));
  EXPECT_FALSE(same(first, make_batch(IndexedSource(config(), 6), Split::train, 0, rows, length)));
  EXPECT_FALSE(
      same(first, make_batch(IndexedSource(config(), 5, 1), Split::train, 0, rows, length)));
}

TEST_F(IndexedSourceTest, DocumentsWithoutTargetsAmongOthersHaveNoWeight) {
  std::vector<std::vector<token_t>> documents(60, {1});
  documents[0] = documents[9] = {1, 2, 3};
  write_indexed_dataset(config().prefix, 5000, documents);
  const IndexedSource source(config(), 1), another(config(), 1);
  expect_pure(source, another, 4);
  const index_t rows = source.rows_per_epoch(Split::train, 4);
  const Batch batch = make_batch(source, Split::train, 0, rows, 4);
  EXPECT_EQ(std::accumulate(batch.weight.begin(), batch.weight.end(), 0.0), 2.0);
  index_t empty = 0;
  for (index_t r = 0; r < rows; ++r) {
    const auto row = batch.weight.begin() + 4 * r;
    empty += std::accumulate(row, row + 4, 0.0) == 0;
  }
  EXPECT_GT(empty, 10);
}

TEST_F(IndexedSourceTest, Errors) {
  EXPECT_THAT(
      input_error([&] { IndexedSource(config(61), 1); }),
      testing::AllOf(HasSubstr("data.idx"), HasSubstr("no tokens are left for validation")));
  EXPECT_THAT(input_error([&] { IndexedSource(config(1), 1); }), HasSubstr("2 or more"));
  write_indexed_dataset(config().prefix, 5000, {});
  EXPECT_THAT(input_error([&] { IndexedSource(config(), 1); }),
              HasSubstr("no tokens are left for training"));
  write_indexed_dataset(config().prefix, 5000, std::vector(60, std::vector<token_t>{1}));
  EXPECT_THAT(input_error([&] { IndexedSource(config(), 1); }),
              HasSubstr("data.idx: no token has a target for training: each of its 54 documents"));
  std::vector<std::vector<token_t>> some(60, {1, 2});
  for (std::size_t d = 9; d < 60; d += 10) some[d] = {1};
  write_indexed_dataset(config().prefix, 5000, some);
  EXPECT_THAT(input_error([&] { IndexedSource(config(), 1); }),
              HasSubstr("no token has a target for validation: each of its 6 documents"));
  IndexedSourceConfig small = config();
  write_indexed_dataset(config().prefix, 5000, m_documents);
  small.vocab_size = 3;
  const IndexedSource source(small, 1);
  EXPECT_THAT(input_error([&] { make_batch(source, Split::train, 0, 8, 64); }),
              HasSubstr("vocabulary [0, 3)"));
}

}  // namespace
}  // namespace elastic::test
