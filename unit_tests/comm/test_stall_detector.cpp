// SPDX-License-Identifier: Apache-2.0
// Who is missing, by signs of ranks that tests make up: stopped, busy for ever, waiting for others.
#include "comm/stall_detector.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace elastic::test {
namespace {

/// Ranks of a node that live, work and wait as told; a look every half second, patience 3 s.
class Node {
 public:
  explicit Node(int ranks, bool other_nodes = false, int first_rank = 0)
      : m_detector(3, other_nodes) {
    for (int i = 0; i < ranks; ++i)
      m_signs.push_back({.rank = first_rank + i, .step = 12, .region = "step/forward"});
  }
  RankSign& rank(int place) { return m_signs[static_cast<std::size_t>(place)]; }
  void stops(int place) { m_stopped.push_back(place); }
  /// Ranks that make progress at every look.
  std::vector<int> working;

  /// Seconds until a stall is found, at most 20.
  double until_stall() {
    for (int look = 1; look <= 40; ++look) {
      for (int i = 0; i < static_cast<int>(m_signs.size()); ++i)
        if (std::find(m_stopped.begin(), m_stopped.end(), i) == m_stopped.end()) ++rank(i).beats;
      for (const int place : working) ++rank(place).progress;
      stall = m_detector.look(m_signs, 0.5);
      if (stall.found) return 0.5 * look;
    }
    return 20;
  }
  Stall stall;

 private:
  StallDetector m_detector;
  std::vector<RankSign> m_signs;
  std::vector<int> m_stopped;
};

void wait_in(RankSign& sign, const char* region) {
  sign.waits = true;
  sign.region = region;
}

TEST(StallDetector, IsContentWhileAnyRankGetsOn) {
  Node node(2);
  wait_in(node.rank(0), "step/agree");
  node.working = {1};
  EXPECT_EQ(node.until_stall(), 20);
}

TEST(StallDetector, NamesAStoppedRank) {
  Node node(3);
  wait_in(node.rank(1), "step/all_reduce");
  wait_in(node.rank(2), "step/all_reduce");
  node.stops(0);
  EXPECT_EQ(node.until_stall(), 3.5);
  EXPECT_EQ(node.stall.missing, (std::vector<int>{0}));
  EXPECT_EQ(node.stall.speaker, 1);
  EXPECT_EQ(node.stall.report,
            "watchdog: no progress for 3 s\n"
            "  stopped or dead: rank 0 in step/forward of step 12\n"
            "  waiting: ranks 1, 2 in step/all_reduce of step 12");
}

TEST(StallDetector, NamesAStoppedRankAlthoughOthersStillWork) {
  Node node(2);
  node.stops(1);
  node.working = {0};
  EXPECT_EQ(node.until_stall(), 3.5);
  EXPECT_EQ(node.stall.missing, (std::vector<int>{1}));
  EXPECT_EQ(node.stall.speaker, 0);
}

TEST(StallDetector, NamesARankThatIsBusyForEver) {
  Node node(3);
  wait_in(node.rank(0), "step/agree");
  wait_in(node.rank(2), "rank/depth");
  node.rank(1).step = 11;
  EXPECT_EQ(node.until_stall(), 3.5);
  EXPECT_EQ(node.stall.missing, (std::vector<int>{1}));
  EXPECT_EQ(node.stall.speaker, 0);
  EXPECT_EQ(node.stall.report,
            "watchdog: no progress for 3 s\n"
            "  does not arrive: rank 1 in step/forward of step 11\n"
            "  waiting: rank 0 in step/agree of step 12; rank 2 in rank/depth of step 12");
}

TEST(StallDetector, SaysWhereRanksWaitForEachOther) {
  Node node(2);
  wait_in(node.rank(0), "step/agree");
  wait_in(node.rank(1), "checkpoint");
  EXPECT_EQ(node.until_stall(), 3.5);
  EXPECT_TRUE(node.stall.missing.empty());
  EXPECT_EQ(node.stall.report,
            "watchdog: no progress for 3 s\n"
            "  all ranks wait for each other: rank 0 in step/agree of step 12; "
            "rank 1 in checkpoint of step 12");
}

TEST(StallDetector, LetsTheNodeOfTheMissingRankSpeakFirst) {
  Node waiting(2, /*other_nodes=*/true, 4);
  wait_in(waiting.rank(0), "step/agree");
  wait_in(waiting.rank(1), "step/agree");
  EXPECT_EQ(waiting.until_stall(), 6.5);
  EXPECT_EQ(
      waiting.stall.report,
      "watchdog: no progress for 3 s\n"
      "  all ranks here wait for a rank of another node: ranks 4, 5 in step/agree of step 12");
  Node guilty(2, /*other_nodes=*/true);
  wait_in(guilty.rank(0), "step/agree");
  EXPECT_EQ(guilty.until_stall(), 3.5);
  EXPECT_EQ(guilty.stall.missing, (std::vector<int>{1}));
}

TEST(StallDetector, LeavesAnErrorToMain) {
  Node node(2);
  wait_in(node.rank(0), "step/agree");
  node.rank(1).left = true;
  node.stops(1);
  EXPECT_EQ(node.until_stall(), 20);
}

}  // namespace
}  // namespace elastic::test
