// SPDX-License-Identifier: Apache-2.0
// Rank 0 speaks plainly; other ranks only say what went wrong, and who they are.
#include "base/log.hpp"

#include <gtest/gtest.h>

#include <string>

namespace elastic::test {
namespace {

/// What one rank prints of a message of each kind.
std::string said_by(int rank) {
  testing::internal::CaptureStdout();
  log::initialize(rank);
  log::info("step {}", 3);
  log::warn("slow");
  log::error("lost");
  spdlog::default_logger()->flush();
  return testing::internal::GetCapturedStdout();
}

TEST(Log, RankZeroSpeaks) { EXPECT_EQ(said_by(0), "step 3\nslow\nlost\n"); }

TEST(Log, OtherRanksOnlySayWhatWentWrong) {
  EXPECT_EQ(said_by(5), "[rank 5] lost\n");
  log::initialize(0);
}

}  // namespace
}  // namespace elastic::test
