// SPDX-License-Identifier: Apache-2.0
// A program is run without a shell, and never beyond its time.
#include "base/run_program.hpp"

#include <gtest/gtest.h>

#include "base/region.hpp"

namespace elastic::test {
namespace {

TEST(RunProgram, ReturnsStatusAndLastLine) {
  std::string output;
  EXPECT_EQ(run_program({"sh", "-c", "echo a; echo; echo \"$0\"; exit 7", "b; c"}, 10, output), 7);
  EXPECT_EQ(output, "b; c");
  EXPECT_EQ(run_program({"cat"}, 10, output), 0) << "its input is empty";
  EXPECT_EQ(run_program({"/nowhere/program"}, 10, output), std::nullopt);
  EXPECT_EQ(run_program({"sh", "-c", "kill -9 $$"}, 10, output), std::nullopt);
}

TEST(RunProgram, EndsWhatTakesTooLong) {
  std::string output;
  const double start = wall_seconds();
  EXPECT_EQ(run_program({"sleep", "30"}, 0.1, output), std::nullopt);
  EXPECT_LT(wall_seconds() - start, 10);
}

}  // namespace
}  // namespace elastic::test
