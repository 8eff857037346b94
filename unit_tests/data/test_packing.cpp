// SPDX-License-Identifier: Apache-2.0
// Documents in rows.
#include "data/packing.hpp"

#include "unit_tests/data/data_support.hpp"

namespace elastic::test {
namespace {

using testing::ElementsAre;

TEST(Packing, DocumentsPaddingAndWeights) {
  Batch batch(1, 9);
  RowPacker packer(batch.row(0));
  EXPECT_TRUE(packer.add({{1, 5, 6, 2}, {9, 0.5f, 1, 0.25f}}));
  EXPECT_FALSE(packer.add({{1, 2, 3, 4, 5, 6}, {0, 1, 1, 1, 1, 1}}));
  EXPECT_TRUE(packer.add({{}, {}}));
  EXPECT_TRUE(packer.add({{7, 8, 9}, {1, 1, 1}}));
  EXPECT_EQ(packer.space(), 2);
  packer.finish(4);
  EXPECT_EQ(packer.space(), 0);
  EXPECT_THAT(batch.tokens, ElementsAre(1, 5, 6, 2, 7, 8, 9, 4, 4));
  EXPECT_THAT(batch.targets, ElementsAre(5, 6, 2, 0, 8, 9, 0, 0, 0));
  EXPECT_THAT(batch.segment, ElementsAre(0, 0, 0, 0, 1, 1, 1, 2, 2));
  EXPECT_THAT(batch.weight, ElementsAre(0.5f, 1, 0.25f, 0, 1, 1, 0, 0, 0));
}

TEST(Packing, ADocumentMayFillTheRowExactly) {
  Batch batch(1, 3);
  RowPacker packer(batch.row(0));
  EXPECT_TRUE(packer.add({{7, 8, 9}, {1, 1, 1}}));
  packer.finish(0);
  EXPECT_THAT(batch.segment, ElementsAre(0, 0, 0));
}

TEST(Packing, PiecesMayKnowTheTokenAfterTheRow) {
  Batch batch(1, 4);
  RowPacker packer(batch.row(0));
  const std::vector<token_t> first = {1, 2}, second = {3, 4, 5};
  packer.add_piece(first, 2);
  packer.add_piece(second, 2);
  EXPECT_THAT(batch.targets, ElementsAre(2, 0, 4, 5));
  EXPECT_THAT(batch.weight, ElementsAre(1, 0, 1, 1));
  EXPECT_THAT(batch.segment, ElementsAre(0, 0, 1, 1));
  EXPECT_THROW(packer.add_piece(first, 1), ContractError);
}

TEST(Packing, PiecesMayHaveTokensThatAreNoTargets) {
  Batch batch(1, 6);
  RowPacker packer(batch.row(0));
  const std::vector<token_t> first = {1, 2, 3}, second = {4, 5, 6};
  const std::vector<float> counts = {1, 0, 1};
  packer.add_piece(first, 3, counts);
  packer.add_piece(second, 2, counts);
  packer.finish(0);
  EXPECT_THAT(batch.targets, ElementsAre(2, 3, 0, 5, 6, 0));
  EXPECT_THAT(batch.weight, ElementsAre(0, 1, 0, 0, 1, 0));
  EXPECT_THROW(RowPacker(batch.row(0)).add_piece(first, 3, std::span(counts).first(2)),
               ContractError);
}

TEST(Packing, BatchRowsAreDisjoint) {
  Batch batch(3, 5);
  for (index_t b = 0; b < 3; ++b) {
    RowPacker packer(batch.row(b));
    packer.finish(static_cast<token_t>(b + 1));
  }
  EXPECT_THAT(batch.tokens, ElementsAre(1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3));
  EXPECT_THROW(batch.row(3), ContractError);
}

}  // namespace
}  // namespace elastic::test
