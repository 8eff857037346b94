// SPDX-License-Identifier: Apache-2.0
// Times as Slurm and PBS write them.
#include "config/wall_time_text.hpp"

#include <gtest/gtest.h>

#include "base/error.hpp"

namespace elastic::test {
namespace {

TEST(WallTimeText, FormatsOfSlurm) {
  EXPECT_EQ(parse_wall_time("90"), 90 * 60);
  EXPECT_EQ(parse_wall_time("0"), 0);
  EXPECT_EQ(parse_wall_time("1:30"), 90);
  EXPECT_EQ(parse_wall_time("0:08"), 8);
  EXPECT_EQ(parse_wall_time("02:03:04"), 2 * 3600 + 3 * 60 + 4);
  EXPECT_EQ(parse_wall_time("1-0"), 86400);
  EXPECT_EQ(parse_wall_time("1-12"), 36 * 3600);
  EXPECT_EQ(parse_wall_time("1-12:30"), 36 * 3600 + 30 * 60);
  EXPECT_EQ(parse_wall_time("2-01:00:05"), 49 * 3600 + 5);
}

TEST(WallTimeText, OtherTextsAreRefused) {
  for (const char* text : {"", "UNLIMITED", "1h", "1:2:3:4", "-5", "1-", "1:", ":30", "5 ", "1.5",
                           "1-2-3", "99999999999"})
    EXPECT_THROW(parse_wall_time(text), InputError) << text;
}

TEST(WallTimeText, FormatsOfPbs) {
  EXPECT_EQ(parse_pbs_time("90"), 90);
  EXPECT_EQ(parse_pbs_time("1:30"), 90);
  EXPECT_EQ(parse_pbs_time("02:03:04"), 2 * 3600 + 3 * 60 + 4);
  EXPECT_EQ(parse_pbs_time("120:00:00"), 120 * 3600);
  EXPECT_EQ(parse_pbs_time("00:00:01.5"), 1.5);
  EXPECT_EQ(parse_pbs_time("864000"), 864000);
  for (const char* text : {"", "UNLIMITED", "1h", "1:2:3:4", "-5", "1-00:00:00", ":30", "5 ", "1:"})
    EXPECT_THROW(parse_pbs_time(text), InputError) << text;
}

}  // namespace
}  // namespace elastic::test
