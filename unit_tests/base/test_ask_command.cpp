// SPDX-License-Identifier: Apache-2.0
// Commands that answer, fail, or hang.
#include "base/ask_command.hpp"

#include <gtest/gtest.h>

#include "base/region.hpp"

namespace elastic::test {
namespace {

TEST(AskCommand, ReturnsAllThatIsPrintedButErrors) {
  EXPECT_EQ(ask_command("printf 'a\\nb\\n'"), "a\nb\n");
  EXPECT_EQ(ask_command("sh -c 'echo wrong >&2; echo right'"), "right\n");
  EXPECT_EQ(ask_command("head -c 100000 /dev/zero | tr '\\0' x").value().size(), 100000u);
  EXPECT_EQ(ask_command("true"), "");
}

TEST(AskCommand, NothingOfACommandThatFailsOrIsNotThere) {
  EXPECT_EQ(ask_command("sh -c 'echo half; exit 3'"), std::nullopt);
  EXPECT_EQ(ask_command("no_such_command"), std::nullopt);
}

TEST(AskCommand, EndsOneThatHangsWithAllItStarted) {
  const double start = wall_seconds();
  EXPECT_EQ(ask_command("sh -c 'echo late; sleep 60 & wait'", 1), std::nullopt);
  EXPECT_LT(wall_seconds() - start, 20);
}

}  // namespace
}  // namespace elastic::test
