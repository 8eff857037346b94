// SPDX-License-Identifier: Apache-2.0
// The command line of the verbs, and what each of them does in the end.
#include "verbs/verbs.hpp"

#include <CLI/CLI.hpp>

#include "unit_tests/state/stored_run.hpp"

namespace elastic::test {
namespace {

class Verbs : public StoredRun {};

TEST_F(Verbs, CommandLine) {
  const auto parse = [](const std::string& line) {
    CLI::App app("", "elastic.x");
    VerbOptions options;
    add_verbs(app, options);
    app.parse(line);
    return options;
  };
  const auto slice = parse("slice a.h5 --budget 0.6 --out b.h5 --force");
  EXPECT_EQ(slice.verb, Verb::slice);
  EXPECT_EQ(slice.checkpoint, "a.h5");
  EXPECT_EQ(slice.budget, "0.6");
  EXPECT_EQ(slice.out, "b.h5");
  EXPECT_TRUE(slice.force);
  const auto inspect = parse("inspect a.h5 --tensors --verify");
  EXPECT_EQ(inspect.verb, Verb::inspect);
  EXPECT_TRUE(inspect.tensors && inspect.verify);
  const auto evaluate = parse("evaluate a.h5 data/max_digits=2 evaluate/samples=8");
  EXPECT_EQ(evaluate.verb, Verb::evaluate);
  EXPECT_EQ(evaluate.overrides.size(), 2u);
  const auto front = parse("front a.h5 --grid --samples 9 --seed 3 --problems 5 --out f data/x=1");
  EXPECT_EQ(front.verb, Verb::front);
  EXPECT_TRUE(front.front.grid && !front.front.random);
  EXPECT_EQ(front.front.samples + front.front.seed + front.front.problems, 17);
  EXPECT_EQ(front.front.overrides.size(), 1u);
  EXPECT_THROW(parse("front a.h5 --samples 0"), CLI::ParseError);
  EXPECT_EQ(parse("").verb, Verb::none);
  EXPECT_THROW(parse("slice a.h5 --out b.h5"), CLI::ParseError);  // no budget
  EXPECT_THROW(parse("inspect"), CLI::ParseError);
}

TEST_F(Verbs, RunVerb) {
  VerbOptions options;
  options.verb = Verb::slice;
  options.checkpoint = model.string();
  options.budget = "0.6";
  options.out = (folder / "out.h5").string();
  EXPECT_EQ(run_verb(Communicator::self(), options), ExitCode::success);
  EXPECT_TRUE(std::filesystem::exists(options.out));
  EXPECT_THROW(run_verb(Communicator::self(), options), InputError);  // exists now
  options.verb = Verb::inspect;
  EXPECT_EQ(run_verb(Communicator::self(), options), ExitCode::success);
  options.verb = Verb::evaluate;
  EXPECT_EQ(run_verb(Communicator::self(), options), ExitCode::success);
  setenv("ELASTIC_PYTHON", "/bin/false", 1);
  options.verb = Verb::front;
  options.front = {.samples = 2, .overrides = {"elastic/seconds_seq_length=4"}};
  EXPECT_EQ(run_verb(Communicator::self(), options), ExitCode::success);
  unsetenv("ELASTIC_PYTHON");
  EXPECT_TRUE(std::filesystem::exists(folder / "model_front" / "front.md"));
  EXPECT_THROW(run_verb(Communicator::self(), options), InputError);  // exists now
}

}  // namespace
}  // namespace elastic::test
