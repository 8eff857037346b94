// SPDX-License-Identifier: Apache-2.0
// results.json holds every number under its name, and the table for people the same.
#include "run/results.hpp"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "unit_tests/io/io_support.hpp"

namespace elastic::test {
namespace {
using testing::HasSubstr;

RunResults some_results() {
  RunResults results{.name = "little",
                     .version = "1.2.3",
                     .deck_hash = 0xABCDEF,
                     .ranks = 4,
                     .steps = 60,
                     .tokens = 1234567,
                     .parent_parameters = 4000,
                     .parent_valid_loss = 0.4321,
                     .parent_accuracy = 0.75,
                     .model_file_bytes = 65432,
                     .extra_bytes_per_submodel = 987,
                     .seconds = 12.5,
                     .tokens_per_second = 98765,
                     .stages = {{"pretrain", {9, 1, 3, 2, 4}}, {"stage1", {}}},
                     .budgets = {}};
  BudgetResult budget;
  budget.spec.name = "half";
  budget.spec.budget = 0.5;
  budget.trained = false;
  budget.description = "hidden 32";
  budget.parameters = 2010;
  budget.costs = {{BudgetKind::parameters, 2010, 0.5025}, {BudgetKind::flops, 5e3, 0.625}};
  budget.forward_flops_per_token = 5e3;
  budget.validation = {.cross_entropy = 0.5, .kl = 1.5e-3};
  budget.accuracy = 0.875;
  budget.valid_loss_cut_untrained = 2.5;
  budget.max_abs_diff_sliced_vs_prefix = 3e-7;
  budget.max_abs_diff_masked_vs_prefix = 4e-7;
  budget.sliced_file_bytes = 321;
  results.budgets.push_back(budget);
  return results;
}

class Results : public InFolder {};

TEST_F(Results, EveryNumberUnderItsName) {
  const RunFolder run{folder};
  write_results(run, some_results());
  const auto json = nlohmann::json::parse(bytes_of(run.results()));
  EXPECT_EQ(json["name"], "little");
  EXPECT_EQ(json["version"], "1.2.3");
  EXPECT_EQ(json["deck_hash"], "0000000000abcdef");
  EXPECT_EQ(json["ranks"], 4);
  EXPECT_EQ(json["steps"], 60);
  EXPECT_EQ(json["tokens"], 1234567);
  EXPECT_EQ(json["parent"]["parameters"], 4000);
  EXPECT_EQ(json["parent"]["valid_loss"], 0.4321);
  EXPECT_EQ(json["parent"]["accuracy"], 0.75);
  EXPECT_EQ(json["model_file_bytes"], 65432);
  EXPECT_EQ(json["extra_bytes_per_submodel"], 987);
  EXPECT_EQ(json["training_seconds"], 12.5);
  EXPECT_EQ(json["tokens_per_second"], 98765);
  const auto& budget = json["budgets"].at(0);
  EXPECT_EQ(budget["name"], "half");
  EXPECT_EQ(budget["budget"], 0.5);
  EXPECT_EQ(budget["trained"], false);
  EXPECT_EQ(budget["widths"], "hidden 32");
  EXPECT_EQ(budget["parameters"], 2010);
  EXPECT_EQ(budget["relative_cost"], 0.5025);
  EXPECT_EQ(budget["costs"]["parameters"]["value"], 2010);
  EXPECT_EQ(budget["costs"]["parameters"]["relative"], 0.5025);
  EXPECT_EQ(budget["costs"]["flops"]["relative"], 0.625);
  EXPECT_EQ(budget["forward_flops_per_token"], 5e3);
  EXPECT_EQ(budget["valid_loss"], 0.5);
  EXPECT_EQ(budget["kl_to_parent"], 1.5e-3);
  EXPECT_EQ(budget["accuracy"], 0.875);
  EXPECT_EQ(budget["valid_loss_cut_untrained"], 2.5);
  EXPECT_TRUE(budget["accuracy_cut_untrained"].is_null());
  EXPECT_EQ(budget["max_abs_diff_sliced_vs_prefix"], 3e-7);
  EXPECT_EQ(budget["max_abs_diff_masked_vs_prefix"], 4e-7);
  EXPECT_EQ(budget["sliced_file_bytes"], 321);
}

TEST_F(Results, PairsWhereThereAreSome) {
  const RunFolder run{folder};
  auto results = some_results();
  write_results(run, results);
  EXPECT_FALSE(nlohmann::json::parse(bytes_of(run.results())).contains("pairs"));
  results.switch_marker = "#";
  results.pairs = {{.thinks = "half",
                    .answers = "1",
                    .accuracy = 0.75,
                    .thought_tokens = 12.5,
                    .answer_tokens = 2.5,
                    .parameters = 3000,
                    .relative_cost = 0.6,
                    .flops_per_token = 5500}};
  write_results(run, results);
  const auto json = nlohmann::json::parse(bytes_of(run.results()));
  EXPECT_EQ(json["switch_marker"], "#");
  const auto& pair = json["pairs"].at(0);
  EXPECT_EQ(pair["thinks"], "half");
  EXPECT_EQ(pair["answers"], "1");
  EXPECT_EQ(pair["accuracy"], 0.75);
  EXPECT_EQ(pair["thought_tokens"], 12.5);
  EXPECT_EQ(pair["answer_tokens"], 2.5);
  EXPECT_EQ(pair["parameters_per_token"], 3000);
  EXPECT_EQ(pair["relative_cost_per_token"], 0.6);
  EXPECT_EQ(pair["forward_flops_per_token"], 5500);
}

TEST_F(Results, StagesGiveTheMedianOfTheirSteps) {
  const RunFolder run{folder};
  write_results(run, some_results());
  const auto stages = nlohmann::json::parse(bytes_of(run.results()))["stages"];
  ASSERT_EQ(stages.size(), 2u);
  EXPECT_EQ(stages[0]["name"], "pretrain");
  EXPECT_EQ(stages[0]["steps"], 5);
  EXPECT_EQ(stages[0]["median_step_seconds"], 3);
  EXPECT_EQ(stages[1]["steps"], 0);  // a resumed run may have none
  EXPECT_EQ(stages[1]["median_step_seconds"], 0);
}

TEST_F(Results, TheTableForPeople) {
  const std::string table = describe(some_results());
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 2);
  for (const char* part :
       {"parent           4000   1.000      0.4321", "75.0%",
        "half             2010   0.502      0.5000   1.50e-03     87.5%", "-  hidden 32"})
    EXPECT_THAT(table, HasSubstr(part));
}

}  // namespace
}  // namespace elastic::test
