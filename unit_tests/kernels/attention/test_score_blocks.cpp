// SPDX-License-Identifier: Apache-2.0
// How many scores are in memory at a time.
#include "kernels/attention/score_blocks.hpp"

#include <gtest/gtest.h>

namespace elastic::kernels {
namespace {

constexpr index_t most = index_t(1) << 26;

TEST(ScoreBlocks, OfTheLargestModelFillTheirLimit) {
  // All heads of the 12B model with 8,192 tokens, and an eighth of them.
  const ScoreBlocks all = score_blocks({1, 8192, 40, 8, 128});
  EXPECT_EQ(all.queries, 256);
  EXPECT_EQ(all.scores, most);
  const ScoreBlocks eighth = score_blocks({1, 8192, 5, 1, 128});
  EXPECT_EQ(eighth.queries, 1024);
  EXPECT_EQ(eighth.scores, 1024 * 5 * 8192);
}

TEST(ScoreBlocks, OfSmallProblemsAreTheWholeProblem) {
  const ScoreBlocks blocks = score_blocks({8, 128, 4, 2, 32});
  EXPECT_EQ(blocks.queries, 128);
  EXPECT_EQ(blocks.scores, 8 * 4 * 128 * 128);
  EXPECT_EQ(score_blocks({0, 0, 2, 1, 4}).queries, 1);
}

/// One KV head of one sequence always fits: with ever fewer queries, at last with more memory.
TEST(ScoreBlocks, OfLongSequencesHoldOneKvHead) {
  for (const index_t length : {1 << 16, 1 << 20, 1 << 25, 1 << 27}) {
    const AttentionShape shape{1, length, 16, 2, 64};
    const ScoreBlocks blocks = score_blocks(shape);
    EXPECT_GE(blocks.queries, 1);
    EXPECT_GE(blocks.scores, scores_of_kv_head(shape, blocks.queries, length)) << length;
    EXPECT_TRUE(blocks.queries == 1 || blocks.scores <= most) << length;
  }
}

TEST(ScoreBlocks, OfSpansCountAllKeys) {
  EXPECT_EQ(score_blocks({1, 100, 2, 1, 8, 300, 500}).scores, 100 * 2 * score_row(500));
  EXPECT_EQ(score_row(1), 16);
  EXPECT_EQ(score_row(16), 16);
  EXPECT_EQ(scores_of_kv_head({1, 100, 6, 2, 8}, 10, 17), 10 * 3 * 32);
}

TEST(ScoreBlocks, WorkspaceHoldsTwoMatricesAndSums) {
  const AttentionShape shape{2, 64, 4, 2, 8};
  const index_t scores = score_blocks(shape).scores;
  EXPECT_EQ(batched_attention_workspace_size<float>(shape), 2 * scores);
  EXPECT_EQ(batched_attention_workspace_size<bfloat16>(shape), 2 * scores + 2 * 2 * 64 * 2 * 8);
}

}  // namespace
}  // namespace elastic::kernels
