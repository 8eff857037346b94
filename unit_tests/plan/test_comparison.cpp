// SPDX-License-Identifier: Apache-2.0
// What models made one by one would take, against the tokens and bytes of one elastic run.
#include "plan/comparison.hpp"

#include <gmock/gmock.h>

#include "plan/run_plan.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

TEST(Comparison, MakingModelsOneByOne) {
  const ResolvedDeck deck =
      small_deck({"comparison/pretrain_tokens=1e6", "comparison/exploratory_tokens=3e4",
                  "comparison/distillation_tokens=2e4", "comparison/separate_parameters=1000,500"});
  const PlanComparison c = plan_comparison(deck.config, 1200);
  EXPECT_EQ(c.models, 2u);  // below budget 1
  EXPECT_EQ(c.elastic_tokens, 4 * 4 * 64);
  EXPECT_EQ(c.pretrain_tokens, 2e6);
  EXPECT_EQ(c.compress_tokens, 1e5);
  EXPECT_EQ(c.nested_bytes, 2400);
  EXPECT_EQ(c.separate_bytes, 3000);
  const std::string text = run_plan(deck, 1);
  for (const char* part : {"2 smaller models made one by one", "1953.1 x this run",
                           "97.7 x this run", "for separate models of 1,000 + 500 parameters"})
    EXPECT_THAT(text, HasSubstr(part));
  EXPECT_THAT(run_plan(small_deck(), 1), testing::Not(HasSubstr("one by one")));
}

}  // namespace
}  // namespace elastic::test
