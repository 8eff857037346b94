// SPDX-License-Identifier: Apache-2.0
// The lines that a run prints into a log file, and times as text.
#include "run/progress.hpp"

#include <gmock/gmock.h>

#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {
using testing::HasSubstr;

TEST(Progress, TimesAsText) {
  EXPECT_EQ(clock_text(0), "0:00");
  EXPECT_EQ(clock_text(59.4), "0:59");
  EXPECT_EQ(clock_text(59.6), "1:00");
  EXPECT_EQ(clock_text(3599), "59:59");
  EXPECT_EQ(clock_text(3600), "1:00:00");
  EXPECT_EQ(clock_text(7 * 3600 + 5 * 60 + 9), "7:05:09");
}

/// What is printed when the steps 1 to 8 of the small run are reported; output is no terminal.
std::string printed(index_t interval, bool speaks) {
  const ResolvedDeck deck = small_deck();
  const Curriculum curriculum = make_curriculum(deck.config);
  testing::internal::CaptureStdout();
  Progress progress(curriculum, 0, interval, speaks);
  for (index_t step = 1; step <= 8; ++step)
    progress.report(
        step, {.loss = 0.5 + static_cast<double>(step), .gradient_norm = 3.25, .budgets = {}});
  progress.finish_line();
  return testing::internal::GetCapturedStdout();
}

TEST(Progress, OneLinePerInterval) {
  const std::string text = printed(3, true);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_THAT(text, HasSubstr("pretrain  step     3/8  loss  3.50000  |g|   3.250"));
  EXPECT_THAT(text, HasSubstr("stage1    step     6/8  loss  6.50000"));
  EXPECT_THAT(text, HasSubstr("tokens/s  ETA "));
}

TEST(Progress, OtherRanksAreSilent) { EXPECT_EQ(printed(1, false), ""); }

}  // namespace
}  // namespace elastic::test
