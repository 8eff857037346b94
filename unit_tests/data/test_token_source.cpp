// SPDX-License-Identifier: Apache-2.0
// Batches of rows: which samples they ask for, and where each row lies.
#include "data/token_source.hpp"

#include "unit_tests/data/data_support.hpp"

namespace elastic::test {
namespace {

/// Rows that say which sample, split and place they are.
class Numbers : public TokenSource {
 public:
  index_t vocab_size() const override { return 10000; }
  void fill(Split split, index_t sample, Row row) const override {
    for (index_t t = 0; t < row.length(); ++t) {
      const auto i = static_cast<std::size_t>(t);
      row.tokens[i] = static_cast<token_t>(100 * sample + t);
      row.targets[i] = row.tokens[i] + 1;
      row.segment[i] = split == Split::train ? 0 : 7;
      row.weight[i] = 0.5f * static_cast<float>(t);
    }
  }
};

TEST(Batch, RowsFollowEachOther) {
  const Batch batch = make_batch(Numbers(), Split::train, 5, 2, 3);
  EXPECT_EQ(batch.batch, 2);
  EXPECT_EQ(batch.seq_length, 3);
  EXPECT_THAT(batch.tokens, testing::ElementsAre(500, 501, 502, 600, 601, 602));
  EXPECT_THAT(batch.targets, testing::ElementsAre(501, 502, 503, 601, 602, 603));
  EXPECT_THAT(batch.weight, testing::ElementsAre(0, 0.5f, 1, 0, 0.5f, 1));
  EXPECT_THAT(batch.segment, testing::Each(0));
  EXPECT_THAT(make_batch(Numbers(), Split::validation, 5, 2, 3).segment, testing::Each(7));
}

TEST(Batch, TheSameSamplesInOtherBatches) {
  const Batch whole = make_batch(Numbers(), Split::train, 2, 4, 5);
  for (index_t b = 0; b < 4; ++b) {
    Batch one = make_batch(Numbers(), Split::train, 2 + b, 1, 5);
    EXPECT_TRUE(std::equal(one.tokens.begin(), one.tokens.end(), whole.tokens.begin() + 5 * b));
  }
}

TEST(Batch, ARowIsWrittenInPlace) {
  Batch batch(3, 4);
  Row row = batch.row(1);
  EXPECT_EQ(row.length(), 4);
  row.tokens[0] = 9;
  row.weight[3] = 2;
  EXPECT_EQ(batch.tokens[4], 9);
  EXPECT_EQ(batch.weight[7], 2);
  EXPECT_THROW(batch.row(3), ContractError);
  EXPECT_THROW(batch.row(-1), ContractError);
}

TEST(Batch, EmptyOnesAreRefused) {
  EXPECT_THROW(Batch(0, 4), ContractError);
  EXPECT_THROW(Batch(4, 0), ContractError);
}

}  // namespace
}  // namespace elastic::test
