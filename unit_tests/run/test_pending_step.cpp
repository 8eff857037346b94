// SPDX-License-Identifier: Apache-2.0
// The numbers of a step come back from a checkpoint to the bit, NaN included.
#include "run/pending_step.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {

StepMetrics example() {
  return {.loss = 1.0 / 3,
          .gradient_norm = 1e-300,
          .learning_rate = 3e-3,
          .tau = 0.1,
          .logit_scale = NAN,
          .budgets = {{0.1, 0.2, 0.3, 0.7, 0.5}, {1e10, -0.0, 5e-324, 2.0 / 3, 0.25}}};
}

TEST(PendingStep, EveryNumberComesBack) {
  const std::string text = step_to_text(example());
  const StepMetrics read = step_from_text(text, "file");
  EXPECT_EQ(step_to_text(read), text);
  EXPECT_EQ(read.loss, 1.0 / 3);
  EXPECT_EQ(read.gradient_norm, 1e-300);
  EXPECT_EQ(read.learning_rate, 3e-3);
  EXPECT_EQ(read.tau, 0.1);
  EXPECT_TRUE(std::isnan(read.logit_scale));
  EXPECT_TRUE(std::isnan(read.teacher_cross_entropy));
  ASSERT_EQ(read.budgets.size(), 2u);
  EXPECT_EQ(read.budgets[1].kl, 1e10);
  EXPECT_TRUE(std::signbit(read.budgets[1].cross_entropy));
  EXPECT_EQ(read.budgets[1].budget_loss, 5e-324);
  EXPECT_EQ(read.budgets[1].relative_cost, 2.0 / 3);
  EXPECT_EQ(read.budgets[1].share, 0.25);
}

TEST(PendingStep, OtherTextsAreRefused) {
  for (const char* text :
       {"", "x", "-1 0 0 0 0 0 0", "99999999999 1", "0 1 2 3 4 5", "0 1 2 3 4 5 x"})
    EXPECT_THROW(step_from_text(text, "file"), InputError) << text;
}

}  // namespace
}  // namespace elastic::test
