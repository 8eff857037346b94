// SPDX-License-Identifier: Apache-2.0
// A trained budget is one-hot; any other lies between its neighbours.
#include "elastic/budgets.hpp"

#include <gmock/gmock.h>

#include "base/error.hpp"

namespace elastic::test {
namespace {
using testing::DoubleEq;
using testing::ElementsAre;
const std::vector<double> trained_budgets = {1, 0.75, 0.5};

TEST(Budgets, TrainedOnesAreOneHot) {
  EXPECT_THAT(budget_blend(trained_budgets, 1), ElementsAre(1, 0, 0));
  EXPECT_THAT(budget_blend(trained_budgets, 0.75), ElementsAre(0, 1, 0));
  EXPECT_THAT(budget_blend(trained_budgets, 0.5), ElementsAre(0, 0, 1));
}

TEST(Budgets, OthersBlendTheirNeighboursLinearly) {
  EXPECT_THAT(budget_blend(trained_budgets, 0.8),
              ElementsAre(DoubleEq((0.8 - 0.75) / 0.25), DoubleEq(0.8), 0));
  EXPECT_THAT(budget_blend(trained_budgets, 0.625), ElementsAre(0, 0.5, 0.5));
}

TEST(Budgets, OutsideTheTrainedOnesTheNearestCounts) {
  EXPECT_THAT(budget_blend(trained_budgets, 2), ElementsAre(1, 0, 0));
  EXPECT_THAT(budget_blend(trained_budgets, 0.1), ElementsAre(0, 0, 1));
  EXPECT_THROW(budget_blend({}, 0.5), ContractError);
}

}  // namespace
}  // namespace elastic::test
