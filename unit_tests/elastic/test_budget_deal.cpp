// SPDX-License-Identifier: Apache-2.0
// Every step trains the stated mix to within a sample, every sample the stated number of different
// budgets; the deal depends on seed, stage and step alone; micro-batches are parts of its groups.
#include "elastic/budget_deal.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "base/error.hpp"

namespace elastic::test {
namespace {

void expect_shares(const std::vector<double>& probabilities, index_t count,
                   const std::vector<double>& expected) {
  const auto shares = budget_shares(probabilities, count);
  ASSERT_EQ(shares.size(), expected.size());
  for (std::size_t b = 0; b < shares.size(); ++b) EXPECT_NEAR(shares[b], expected[b], 1e-12) << b;
}

TEST(BudgetShares, AreProportionalUntilABudgetHasAllSamples) {
  expect_shares({1, 1, 1}, 1, {1.0 / 3, 1.0 / 3, 1.0 / 3});
  expect_shares({5, 0, 3, 2}, 1, {0.5, 0, 0.3, 0.2});
  expect_shares({5, 3, 2}, 2, {1, 0.6, 0.4});
  expect_shares({8, 1, 1}, 2, {1, 0.5, 0.5});
  expect_shares({80, 17, 2, 1}, 3, {1, 1, 2.0 / 3, 1.0 / 3});  // two rounds
  expect_shares({5, 3, 2}, 3, {1, 1, 1});
  expect_shares({0, 3, 0}, 1, {0, 1, 0});
}

TEST(BudgetShares, RefuseMoreBudgetsThanHaveAProbability) {
  EXPECT_THROW(budget_shares({1, 0, 2}, 3), ContractError);
  EXPECT_THROW(budget_shares({1, 2}, 0), ContractError);
  EXPECT_THROW(budget_shares({0, 0}, 1), ContractError);
  EXPECT_THROW(budget_shares({1, -1}, 1), ContractError);
  EXPECT_THROW(budget_shares({}, 1), ContractError);
}

struct Mix {
  std::vector<double> probabilities;
  index_t samples, per_sample;
};
const std::vector<Mix> mixes = {
    {{1, 1, 1}, 32, 1}, {{0.5, 0.3, 0.2}, 16, 1},    {{0.5, 0, 0.3, 0.2}, 7, 1},
    {{1, 1, 1}, 1, 1},  {{0.6, 0.25, 0.15}, 2, 1},   {{0.97, 0.01, 0.02}, 3, 1},
    {{5, 3, 2}, 5, 2},  {{8, 1, 1}, 6, 2},           {{1, 1, 1}, 4, 3},
    {{1}, 3, 1},        {{7, 5, 3, 2, 1, 1}, 11, 3}, {{1, 1, 1, 1, 1, 1, 1}, 3, 2}};

BudgetDeal deal_of(const Mix& mix, std::uint32_t seed = 7, std::uint64_t stage = 1) {
  return BudgetDeal({.seed = seed,
                     .stage = stage,
                     .probabilities = mix.probabilities,
                     .samples = mix.samples,
                     .budgets_per_sample = mix.per_sample,
                     .samples_per_draw = 4});
}

TEST(BudgetDeal, EveryStepTrainsTheStatedMixToWithinASample) {
  for (const auto& mix : mixes) {
    BudgetDeal deal = deal_of(mix);
    const auto shares = budget_shares(mix.probabilities, mix.per_sample);
    std::vector<double> all(shares.size(), 0.0);
    for (index_t step = 1; step <= 300; ++step) {
      const auto counts = deal.counts(step);
      EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), index_t{0}),
                mix.samples * mix.per_sample);
      for (std::size_t b = 0; b < counts.size(); ++b) {
        const double quota = static_cast<double>(mix.samples) * shares[b];
        ASSERT_LE(counts[b], mix.samples);
        ASSERT_LT(std::abs(static_cast<double>(counts[b]) - quota), 2) << step;
        if (quota == std::round(quota)) {
          ASSERT_EQ(static_cast<double>(counts[b]), quota) << step;
        }
        all[b] += static_cast<double>(counts[b]);
        // What is rounded off is made up for: all steps together are within about a sample, too.
        ASSERT_LT(std::abs(all[b] - static_cast<double>(step) * quota), 1.5) << step << " " << b;
        if (shares[b] == 0) {
          ASSERT_EQ(counts[b], 0);
        }
      }
    }
  }
}

TEST(BudgetDeal, SmallStepsTakeTurns) {
  BudgetDeal deal = deal_of({{1, 1, 1}, 1, 1});
  std::vector<index_t> trained;
  for (index_t step = 1; step <= 6; ++step)
    for (std::size_t b = 0; b < 3; ++b)
      if (deal.counts(step)[b] == 1) trained.push_back(static_cast<index_t>(b));
  ASSERT_EQ(trained.size(), 6u);
  for (const index_t first : {0, 3})
    EXPECT_EQ(std::set<index_t>(trained.begin() + first, trained.begin() + first + 3).size(), 3u);
}

TEST(BudgetDeal, EverySampleTrainsItsNumberOfDifferentBudgets) {
  for (const auto& mix : mixes) {
    BudgetDeal deal = deal_of(mix);
    for (index_t step = 1; step <= 20; ++step) {
      std::map<index_t, std::size_t> budgets_of;
      std::vector<index_t> counts(mix.probabilities.size(), 0);
      index_t number = 0;
      for (const auto& group : deal.groups(step)) {
        EXPECT_EQ(group.number, number++);
        EXPECT_GE(group.samples.size(), 1u);
        EXPECT_LE(group.samples.size(), 4u);
        EXPECT_EQ(std::set<std::size_t>(group.budgets.begin(), group.budgets.end()).size(),
                  static_cast<std::size_t>(mix.per_sample));
        for (const index_t sample : group.samples) {
          EXPECT_TRUE(budgets_of.emplace(sample, group.budgets.size()).second) << "dealt twice";
          for (const std::size_t b : group.budgets) ++counts[b];
        }
      }
      EXPECT_EQ(static_cast<index_t>(budgets_of.size()), mix.samples);
      EXPECT_EQ(budgets_of.begin()->first, 0);
      EXPECT_EQ(budgets_of.rbegin()->first, mix.samples - 1);
      EXPECT_EQ(counts, deal.counts(step));
    }
  }
}

bool operator==(const DrawGroup& a, const DrawGroup& b) {
  return a.number == b.number && a.samples == b.samples && a.budgets == b.budgets;
}
bool equal(const std::vector<DrawGroup>& a, const std::vector<DrawGroup>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return x == y; });
}

TEST(BudgetDeal, IsTheSameFromWhereverItStarts) {
  for (const auto& mix : mixes) {
    BudgetDeal through = deal_of(mix);
    for (index_t step = 1; step <= 40; ++step) {
      const auto groups = through.groups(step);
      if (step % 13 != 0) continue;
      BudgetDeal resumed = deal_of(mix);
      EXPECT_TRUE(equal(resumed.groups(step), groups));
    }
    BudgetDeal fresh = deal_of(mix);
    EXPECT_TRUE(equal(through.groups(5), fresh.groups(5))) << "back to an earlier step";
  }
}

/// For each sample the first budget that it trains.
std::vector<std::size_t> first_budgets(BudgetDeal deal, index_t step) {
  std::vector<std::size_t> budgets;
  for (const auto& group : deal.groups(step))
    for (const index_t sample : group.samples) {
      budgets.resize(std::max(budgets.size(), static_cast<std::size_t>(sample) + 1));
      budgets[static_cast<std::size_t>(sample)] = group.budgets[0];
    }
  return budgets;
}

double agreement(const std::vector<std::size_t>& a, const std::vector<std::size_t>& b) {
  double same = 0;
  for (std::size_t i = 0; i < a.size(); ++i) same += a[i] == b.at(i) ? 1 : 0;
  return same / static_cast<double>(a.size());
}

TEST(BudgetDeal, SamplesLieInAnotherOrderForEverySeedStageAndStep) {
  const Mix mix{{1, 1}, 2000, 1};
  const auto here = first_budgets(deal_of(mix, 1, 1), 3);
  EXPECT_EQ(agreement(here, first_budgets(deal_of(mix, 1, 1), 3)), 1);
  // Independent orders agree on half of the samples; four standard deviations are 0.045.
  for (const auto& other :
       {first_budgets(deal_of(mix, 2, 1), 3), first_budgets(deal_of(mix, 1, 2), 3),
        first_budgets(deal_of(mix, 1, 1), 4), first_budgets(deal_of(mix, 0, 1), 4)})
    EXPECT_NEAR(agreement(here, other), 0.5, 0.045);
  // No trend along the step.
  const auto half = static_cast<std::ptrdiff_t>(here.size() / 2);
  EXPECT_NEAR(static_cast<double>(std::count(here.begin(), here.begin() + half, 0u)), 500, 70);
}

TEST(BudgetDeal, EveryDrawHasAStreamOfItsOwn) {
  std::set<std::uint64_t> streams;
  index_t count = 0;
  for (const std::uint32_t seed : {1, 2})
    for (const std::uint64_t stage : {1, 2})
      for (index_t step = 1; step <= 20; ++step) {
        const BudgetDeal deal = deal_of({{1, 1, 1}, 32, 1}, seed, stage);
        for (index_t group = 0; group < 9; ++group)
          for (std::size_t b = 0; b < 3; ++b, ++count) streams.insert(deal.stream(step, group, b));
      }
  EXPECT_EQ(static_cast<index_t>(streams.size()), count);
}

TEST(BudgetDeal, MicroBatchesArePartsOfGroups) {
  BudgetDeal deal = deal_of({{0.5, 0.3, 0.2}, 23, 1});
  const auto groups = deal.groups(1);
  for (const index_t size : {1, 2, 3, 4, 9}) {
    std::vector<DrawGroup> joined;
    for (const auto& part : cut_groups(groups, size)) {
      EXPECT_LE(static_cast<index_t>(part.samples.size()), size);
      if (joined.empty() || joined.back().number != part.number)
        joined.push_back({part.number, {}, part.budgets});
      joined.back().samples.insert(joined.back().samples.end(), part.samples.begin(),
                                   part.samples.end());
    }
    EXPECT_TRUE(equal(joined, groups)) << size;
  }
}

}  // namespace
}  // namespace elastic::test
