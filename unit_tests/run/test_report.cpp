// SPDX-License-Identifier: Apache-2.0
// report.md, and the pictures: drawn by a script of their own, whose failure is never the run's.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "base/run_program.hpp"
#include "io/durable_file.hpp"
#include "run/plot_script.hpp"
#include "run/plots.hpp"
#include "run/report.hpp"

namespace elastic::test {
namespace {

namespace fs = std::filesystem;

class Report : public testing::Test {
 protected:
  void SetUp() override {
    folder.root = fs::temp_directory_path() / fmt::format("elastic report ;'{}'", ::getpid());
    fs::remove_all(folder.root);
    fs::create_directories(folder.root);
    config.job.name = results.name = "little";
    config.elastic.budgets = {1.0, 0.5};
    config.stages.resize(1);
    config.stages[0].name = "stage1";
    config.stages[0].steps = 30;
    results.version = "1.2.3";
    results.tokens = 1234567;
    results.parent_parameters = 4000;
    results.parent_valid_loss = 0.4321;
    results.model_file_bytes = 65432;
    results.extra_bytes_per_submodel = 987;
    results.budgets = {result("1", 1.0, true), result("0.5", 0.5, true),
                       result("0.75", 0.75, false)};
  }
  void TearDown() override {
    unsetenv("ELASTIC_PYTHON");
    fs::remove_all(folder.root);
  }

  static BudgetResult result(std::string name, double budget, bool trained) {
    BudgetResult r;
    r.trained = trained;
    r.description = "hidden 32";
    r.spec.name = std::move(name);
    r.spec.budget = budget;
    r.parameters = 4000 * budget;
    r.costs = {{BudgetKind::parameters, r.parameters, budget}};
    r.validation = {0.5, 1.5e-3};
    r.accuracy = 0.875;
    r.accuracy_cut_untrained = 0.125;
    r.max_abs_diff_sliced_vs_prefix = 3e-7;
    return r;
  }
  std::string written() {
    write_results(folder, results);
    write_report(folder, config, make_curriculum(config), results, "REGION TABLE");
    return read_file(folder.report());
  }
  void use_python(const std::string& script) {
    const auto path = folder.root / "python";
    write_file_durably(path, "#!/bin/sh\n" + script + "\n");
    fs::permissions(path, fs::perms::owner_all);
    setenv("ELASTIC_PYTHON", path.c_str(), 1);
  }

  RunFolder folder;
  RunConfig config;
  RunResults results;
};

void expect_contains(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << "no " << part << " in\n" << text;
}

TEST_F(Report, HoldsTheResultsThePlanAndTheWayOn) {
  use_python("exit 0");
  std::ofstream(folder.model()) << "here";
  const std::string text = written();
  expect_contains(
      text,
      {"# little\n", "1.2.3", "1,234,567 tokens", "| parent | 4,000 | 1 | 0.4321 |",
       "| 1 | 4,000 | 1.000 |", "| 0.5 | 2,000 | 0.500 | 0.5000 | 1.50e-03 | 87.5% |", "12.5%",
       "| 0.75 * | 3,000 |", "3.0e-07", "65,432", "987", "hidden 32", "stage1", "REGION TABLE",
       "elastic.x slice model.h5 --budget 0.5", "elastic.x inspect model.h5"});
}

TEST_F(Report, SaysHowTheParentWasRanked) {
  use_python("exit 0");
  config.elastic.drop_layers = {0, 2};
  expect_contains(written(),
                  {"Ranking: widths by mean/L2 of outputs; up to 2 layers by the logits' "
                   "error without them."});
  config.rank.order = RankOrder::random;
  expect_contains(written(), {"Ranking: widths at random; up to 2 layers at random."});
  config.job.phases = {"pretrain", "elastic", "report"};
  EXPECT_EQ(written().find("Ranking:"), std::string::npos);
}

TEST_F(Report, SaysWhetherSubmodelsAreNested) {
  use_python("exit 0");
  expect_contains(written(), {"Nested: every submodel is part of every larger one."});
  results.budgets[1].spec.hidden_size = 96;  // of 0.5
  results.budgets[0].spec.hidden_size = 128;
  results.budgets[2].spec.hidden_size = 64;
  expect_contains(written(), {"Not nested, as nothing nested meets the budgets: 0.5 is not part of "
                              "0.75: hidden 96 of 64"});
  EXPECT_EQ(written().find("Widths: fixed"), std::string::npos);
  config.router.widths = WidthChoice::homogeneous;
  expect_contains(written(), {"Widths: fixed before training", "chosen for each budget by itself",
                              "never trained: homogeneous widths"});
}

TEST_F(Report, ListsEveryCostThatBudgetsCount) {
  use_python("exit 0");
  config.elastic.loss.costs = {CostConfig{}, {.kind = BudgetKind::flops}};
  results.budgets[1].costs.push_back({BudgetKind::flops, 1e6, 0.625});
  expect_contains(written(), {"| 0.500 / 0.625 |", "Cost: parameters / FLOPs per token, relative"});
}

TEST_F(Report, LeavesOutWhatARunDoesNotHave) {
  use_python("exit 0");
  results.budgets.clear();
  const std::string text = written();
  expect_contains(text, {"# little\n", "REGION TABLE"});
  EXPECT_EQ(text.find("## Submodels"), std::string::npos);
  EXPECT_EQ(text.find("model.h5"), std::string::npos);
}

TEST_F(Report, LinksThePicturesThatWereDrawn) {
  use_python("touch \"$3/losses.png\"");  // -B SCRIPT FOLDER
  const std::string text = written();
  expect_contains(text, {"](losses.png)"});
  EXPECT_EQ(text.find("](router.png)"), std::string::npos);
  EXPECT_EQ(read_file(folder.root / "plot.py"), plot_script_text);
}

TEST_F(Report, DrawsWithTheRealScriptIfItCan) {
  std::string output;
  if (run_program({plot_python, "-c", "import matplotlib"}, 60, output) != 0)
    GTEST_SKIP() << "no matplotlib: " << output;
  expect_contains(written(), {"](accuracy.png)"});
  EXPECT_GT(fs::file_size(folder.root / "accuracy.png"), 1000u);
}

TEST_F(Report, ShowsPairsOfBudgets) {
  use_python("touch \"$3/switches.png\"");
  EXPECT_EQ(written().find("Think with one budget"), std::string::npos);
  results.switch_marker = "#";
  results.pairs = {{.thinks = "0.5",
                    .answers = "1",
                    .accuracy = 0.625,
                    .thought_tokens = 12.25,
                    .answer_tokens = 2.5,
                    .parameters = 2345.4,
                    .relative_cost = 0.586,
                    .flops_per_token = 3.25e6}};
  expect_contains(written(),
                  {"## Think with one budget, answer with another", "first marker `#`",
                   "| 0.5 | 1 | 62.5% | 2,345 | 0.586 | 3.250 | 12.2 | 2.5 |", "](switches.png)"});
  expect_contains(read_file(folder.report_html()),
                  {"<td class=\"r\">62.5%</td>", "<code>#</code>"});
}

TEST_F(Report, TheHtmlFileHoldsEverything) {
  use_python("printf 'PNG' > \"$3/losses.png\"");
  write_file_durably(folder.deck(), "<job>\nname = \"a & b\"\n");
  results.name = "little <1>";
  const std::string text = written(), html = read_file(folder.report_html());
  expect_contains(
      html, {"<!DOCTYPE html>", "<h1>little &lt;1&gt;</h1>", "src=\"data:image/png;base64,UE5H\"",
             "<td>0.5</td>", "REGION TABLE", "&lt;job&gt;\nname = &quot;a &amp; b&quot;"});
  for (const char* part : {"http", "href", "<script", "losses.png", "](", "`"})
    EXPECT_EQ(html.find(part), std::string::npos) << part;
}

TEST_F(Report, TheHtmlFileAppearsWithoutPictures) {
  setenv("ELASTIC_PYTHON", "/nowhere/python", 1);
  written();
  const std::string html = read_file(folder.report_html());
  expect_contains(html, {"Not drawn yet", "<pre>python3 plot.py</pre>", "</html>"});
  EXPECT_EQ(html.find("<img"), std::string::npos);
}

TEST_F(Report, TellsHowToDrawLaterIfThereIsNoPython) {
  setenv("ELASTIC_PYTHON", "/nowhere/python; touch here", 1);
  expect_contains(written(), {"python3 plot.py"});
  EXPECT_NE(draw_plots(folder)->find("/nowhere/python; touch here"), std::string::npos);
}

}  // namespace
}  // namespace elastic::test
