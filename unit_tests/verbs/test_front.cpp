// SPDX-License-Identifier: Apache-2.0
// A front holds the router's submodels and others, with the losses and costs that the other verbs
// say, and its files say what it found.
#include "verbs/front.hpp"

#include <cstdlib>
#include <set>

#include "base/stop_request.hpp"
#include "config/extraction.hpp"
#include "io/durable_file.hpp"
#include "unit_tests/state/stored_run.hpp"
#include "verbs/evaluate.hpp"

namespace elastic::test {
namespace {

class FrontOfRun : public StoredRun {
 protected:
  void SetUp() override {
    StoredRun::SetUp();
    options.checkpoint = model;
    options.samples = 6;
    options.overrides = {"elastic/seconds_seq_length=8"};
    setenv("ELASTIC_PYTHON", "/bin/false", 1);  // pictures: project/run_tiny.py
  }
  void TearDown() override {
    unsetenv("ELASTIC_PYTHON");
    StoredRun::TearDown();
  }
  Front find() const { return evaluate_front(Communicator::self(), options); }
  std::string error() const {
    return message_of<InputError>([&] { find(); });
  }
  FrontOptions options;
};

TEST_F(FrontOfRun, HoldsTheRoutersSubmodelsWithTheirLosses) {
  options.problems = 8;
  const Front front = find();
  const auto evaluated = evaluate_checkpoint(Communicator::self(), model, "", {});
  for (std::size_t i = 0; i < evaluated.size(); ++i) {
    const auto& point = front.points.at(i);
    EXPECT_EQ(point.origin, "router");
    EXPECT_EQ(point.spec.name, evaluated[i].name);
    EXPECT_EQ(point.loss, evaluated[i].valid_loss);
    EXPECT_EQ(point.accuracy, evaluated[i].accuracy);
    EXPECT_EQ(point.parameters, evaluated[i].parameters);
  }
  std::set<std::string> origins, widths;
  for (const auto& point : front.points) {
    origins.insert(point.origin);
    EXPECT_TRUE(widths.insert(point.widths).second) << "twice: " << point.widths;
    EXPECT_GT(point.seconds, 0);
    EXPECT_GT(point.memory, 2 * point.parameters) << "caches besides the weights";
  }
  EXPECT_TRUE(origins.count("random"));
  ASSERT_EQ(front.targets.size(), 3u);
  EXPECT_EQ(front.targets[1].router, 1u);
}

TEST_F(FrontOfRun, RecommendsTheLeastLossWithinEachBudget) {
  options.samples = 12;
  const Front front = find();
  const ChoiceRules rules = choice_rules(deck.config);
  for (const auto& target : front.targets) {
    ASSERT_TRUE(target.best) << target.budget.name;
    const auto& best = front.points[*target.best];
    for (const auto& point : front.points)
      if (meets_budget(state->model->shape(), point.spec, target.budget.fraction, rules)) {
        EXPECT_LE(best.loss, point.loss);
      }
    EXPECT_TRUE(meets_budget(state->model->shape(), best.spec, target.budget.fraction, rules));
  }
}

TEST_F(FrontOfRun, GridAndOtherFiles) {
  options.grid = true;
  options.samples = 9;
  const auto count = [](const Front& front, const std::string& origin) {
    return std::count_if(front.points.begin(), front.points.end(),
                         [&](const auto& point) { return point.origin == origin; });
  };
  EXPECT_GE(count(find(), "grid"), 6);
  options.checkpoint = write_parent();
  const Front parent = find();
  EXPECT_EQ(count(parent, "router"), 0);
  EXPECT_FALSE(parent.targets.at(0).router);
  EXPECT_TRUE(parent.targets.at(0).best);
  options.checkpoint = write_training();
  EXPECT_EQ(count(find(), "router"), 3);
}

TEST_F(FrontOfRun, MarksFrontsByEachCost) {
  std::vector<FrontPoint> points(3);
  const auto set = [&](std::size_t i, double loss, double parameters, double memory,
                       double seconds) {
    points[i].loss = loss;
    points[i].parameters = parameters;
    points[i].memory = memory;
    points[i].seconds = seconds;
  };
  set(0, 1, 10, 10, 30);
  set(1, 2, 5, 12, 30);
  set(2, 3, 6, 13, 20);
  mark_fronts(points);
  const auto marks = [&](std::size_t i) {
    const auto& p = points[i];
    return std::vector<bool>{p.by_parameters, p.by_memory, p.by_seconds, p.on_front};
  };
  EXPECT_EQ(marks(0), (std::vector<bool>{true, true, true, true}));
  EXPECT_EQ(marks(1), (std::vector<bool>{true, false, false, true}));
  EXPECT_EQ(marks(2), (std::vector<bool>{false, false, true, true}));
}

TEST_F(FrontOfRun, FilesAreWrittenOnceUnlessForced) {
  options.out = folder / "front";
  const Front front = find();
  require_front_folder(options);
  contains(write_front(options, front), "no picture: /bin/false failed");
  const std::string table = read_file(options.out / "front.csv");
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'),
            static_cast<std::ptrdiff_t>(front.points.size() + 1));
  contains(table, "router,middle,0.7,");
  contains(read_file(options.out / "front.md"), "| middle | ");
  contains(describe(front), "budget small: best ");
  contains(message_of<InputError>([&] { require_front_folder(options); }), "--force");
  options.force = true;
  EXPECT_NO_THROW(require_front_folder(options));
  options.out = folder / "nowhere" / "front";
  contains(message_of<InputError>([&] { require_front_folder(options); }), "does not exist");
}

TEST_F(FrontOfRun, Mistakes) {
  options.overrides = {"job/name=x"};
  contains(error(), "job/name=x: front does not use <job>/name; it uses the keys of <data>");
  options.overrides = {"evaluate/problems=3"};
  contains(error(), "--problems");
  options.overrides = {};
  options.grid = options.random = true;
  contains(error(), "expected one of them");
  options.grid = false;
  options.checkpoint = write_submodel("small", 0.5);
  contains(error(), "is one submodel; expected the checkpoint that holds its parent");
  options.checkpoint = model;
  stop_request::ask_to_stop();
  EXPECT_THROW(find(), Stopped);
  stop_request::forget();
}

}  // namespace
}  // namespace elastic::test
