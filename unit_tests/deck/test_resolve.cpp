// SPDX-License-Identifier: Apache-2.0
// Deck meets schema: values, mistakes with place and suggestion, round trip
// and hash of the resolved deck.
#include "deck/resolve.hpp"

#include <gmock/gmock.h>

#include "base/error.hpp"
#include "unit_tests/deck/example.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Resolved {
  explicit Resolved(const std::string& text, const std::vector<std::string>& overrides = {})
      : deck(text, "toy.in", overrides) {
    config.bind(schema);
    report.emplace(resolve(deck, schema));
  }
  std::string text() const { return report->text(); }
  Deck deck;
  ExampleConfig config;
  Schema schema;
  std::optional<DeckReport> report;
};

/// The report on one line added to a deck that is otherwise right.
std::string one_mistake(const std::string& block, const std::string& line) {
  const Resolved run("<job>\nname = toy\n" + (block == "job" ? "" : "<" + block + ">\n") + line +
                     "\n");
  EXPECT_EQ(run.report->size(), 1u) << run.text();
  return run.text();
}

TEST(Resolve, AssignsEveryType) {
  const Resolved run(example_text, {"router/files = x.h5 , y z.h5"});
  ASSERT_TRUE(run.report->empty()) << run.text();
  EXPECT_NO_THROW(run.report->throw_if_any());
  const ExampleConfig& c = run.config;
  EXPECT_EQ(c.name, "toy");
  EXPECT_EQ(c.folder, "runs");
  EXPECT_EQ(c.seed, 1234);
  EXPECT_TRUE(c.resume);
  EXPECT_EQ(c.pattern, "M-M*M-M");
  EXPECT_EQ(c.activation, Activation::swiglu);
  EXPECT_EQ(c.widths, (std::vector<index_t>{256, 128, 64}));
  EXPECT_EQ(c.weights, (std::vector<double>{0.5, 1e-3}));
  EXPECT_EQ(c.files, (std::vector<std::string>{"x.h5", "y z.h5"}));
  EXPECT_EQ(c.tau_end, 1.0);
  EXPECT_EQ(c.tokens, 110000000000);
}

TEST(Resolve, AllMistakesInOneReport) {
  const Resolved run(
      "<job>\n"
      "sed = 3\n"
      "<modl>\n"
      "num_heads = 4\n"
      "<optimizer>\n"
      "learning_rate = fast\n"
      "learning_rate = 1e-3\n"
      "<model>\n"
      "chunk_size = 63\n",
      {"optimizer/tau_end=1"});
  EXPECT_EQ(
      run.text(),
      "7 mistakes in toy.in:\n"
      "  toy.in:1 <job>/name: required key is missing; expected text: Short name of the run.\n"
      "  toy.in:2 <job>/sed = 3: unknown key; nearest valid name 'seed'\n"
      "  toy.in:3 <modl>: unknown block; nearest valid name 'model'\n"
      "  toy.in:6 <optimizer>/learning_rate = fast: expected a number in (0, 1]\n"
      "  toy.in:7 <optimizer>/learning_rate: duplicate key, first given on line 6\n"
      "  toy.in:9 <model>/chunk_size = 63: expected one of 32, 64, 128; nearest valid value '64'\n"
      "  command line <optimizer>/tau_end = 1: unknown key; did you mean <router>/tau_end?");
  EXPECT_THROW(run.report->throw_if_any(), InputError);
  EXPECT_EQ(run.config.learning_rate, 1e-4);  // a wrong value leaves the default
}

TEST(Resolve, WrongTypesAndRanges) {
  EXPECT_THAT(one_mistake("job", "seed = 1.5"),
              HasSubstr("toy.in:3 <job>/seed = 1.5: expected an integer >= 0"));
  EXPECT_THAT(one_mistake("job", "seed = -1"), HasSubstr("expected an integer >= 0"));
  EXPECT_THAT(one_mistake("job", "seed ="), HasSubstr("expected an integer >= 0"));
  EXPECT_THAT(one_mistake("job", "resume = yes"), HasSubstr("expected true or false"));
  EXPECT_THAT(one_mistake("optimizer", "learning_rate = 0"),
              HasSubstr("expected a number in (0, 1]"));
  EXPECT_THAT(one_mistake("optimizer", "learning_rate = nan"),
              HasSubstr("expected a number in (0, 1]"));
  EXPECT_THAT(one_mistake("model", "activation = swglu"),
              HasSubstr("one of squared_relu, swiglu; nearest valid value 'swiglu'"));
  EXPECT_THAT(one_mistake("model", "pattern = M - X"),
              HasSubstr("a pattern of the characters M * -; character 3 is another"));
  EXPECT_THAT(one_mistake("model", "widths = 4, 0"),
              HasSubstr("a list of integers, each >= 1; item 2 is '0'"));
  EXPECT_THAT(one_mistake("model", "widths = 4,, 5"), HasSubstr("item 2 is empty"));
  EXPECT_THAT(one_mistake("router", "weights = 1, x"),
              HasSubstr("a list of numbers; item 2 is 'x'"));
}

TEST(Resolve, UnknownNames) {
  EXPECT_THAT(one_mistake("optimizer", "zzz = 1"),
              HasSubstr("unknown key; the keys of <optimizer> are learning_rate"));
  EXPECT_THAT(one_mistake("model", "num_head = 4"),
              HasSubstr("<model>/num_head = 4: a key of earlier versions, replaced by 'num_heads' "
                        "and 'num_groups'"));
  EXPECT_THAT(one_mistake("zzzzzz", "x = 1"),
              HasSubstr("unknown block; the blocks are job, model, optimizer"));
  EXPECT_THAT(one_mistake("model", "tau_ende = 1"), HasSubstr("did you mean <router>/tau_end?"));
  const std::string text = Resolved("<job>\nname = toy\n", {"optimiser/learning_rate=1"}).text();
  EXPECT_THAT(text, HasSubstr("1 mistake in toy.in:\n  command line <optimiser>/learning_rate = 1: "
                              "unknown block; nearest valid name 'optimizer'"));
}

TEST(Resolve, RequiredKeys) {
  EXPECT_THAT(Resolved("").text(),
              HasSubstr("1 mistake in toy.in:\n  toy.in <job>/name: required key is missing"));
  EXPECT_THAT(Resolved("<job>\nname =\n").text(),
              HasSubstr("toy.in:2 <job>/name = : expected text"));
  EXPECT_TRUE(Resolved("", {"job/name=x"}).report->empty());
  // required keys of an optional block only count if the block is there
  EXPECT_THAT(one_mistake("distill", ""),
              HasSubstr("toy.in:3 <distill>/teacher: required key is missing"));
}

TEST(Resolve, AnOverrideHealsAWrongValue) {
  const Resolved run("<job>\nname = toy\nseed = x\n", {"job/seed=5"});
  EXPECT_TRUE(run.report->empty()) << run.text();
  EXPECT_EQ(run.config.seed, 5);
}

TEST(Resolve, CallersAddContradictions) {
  Resolved run("<job>\nname = toy\n<model>\nnum_groups = 3\nchunk_size = 5\n",
               {"optimizer/learning_rate=0.5"});
  run.report->add("optimizer", "learning_rate", "too fast");
  run.report->add("model", "num_groups", "must divide num_heads = 8");
  run.report->add("model", "num_heads", "must be a multiple of num_groups");
  run.report->add("router", "", "needs a teacher");
  run.report->add("model", "chunk_size", "noise about a value that does not count");
  EXPECT_TRUE(run.report->is_wrong("model", "chunk_size"));
  EXPECT_FALSE(run.report->is_wrong("model", "num_groups"));
  EXPECT_EQ(run.text(),
            "5 mistakes in toy.in:\n"
            "  toy.in:3 <model>/num_heads = 8 (default): must be a multiple of num_groups\n"
            "  toy.in:4 <model>/num_groups = 3: must divide num_heads = 8\n"
            "  toy.in:5 <model>/chunk_size = 5: expected one of 32, 64, 128\n"
            "  toy.in <router>: needs a teacher\n"
            "  command line <optimizer>/learning_rate = 0.5: too fast");
  EXPECT_THROW(run.report->add("model", "num_hedas", "misspelt in the program"), ContractError);
}

TEST(Resolve, LongReportsAreCut) {
  std::string text = "<job>\nname = toy\n";
  for (int i = 0; i < 70; ++i) text += "key" + std::to_string(i) + " = 1\n";
  EXPECT_THAT(Resolved(text).text(), testing::EndsWith("... and 20 more"));
}

TEST(Resolve, ResolvedTextRoundTrips) {
  const Resolved first(example_text,
                       {"optimizer/learning_rate=0.1", "job/folder=/scratch/\xc3\xa4 b"});
  const std::string text = resolved_text(first.schema);
  EXPECT_THAT(text, HasSubstr("# command line\n"));
  EXPECT_THAT(text, HasSubstr("# tokens; deck\n"));
  EXPECT_THAT(text, HasSubstr("# default\n"));
  EXPECT_THAT(text, Not(HasSubstr("<distill>")));
  const Resolved second(text);
  ASSERT_TRUE(second.report->empty()) << second.text();
  EXPECT_EQ(resolved_hash(second.schema), resolved_hash(first.schema));
  const ExampleConfig &a = first.config, &b = second.config;
  EXPECT_EQ(std::tie(a.name, a.folder, a.seed, a.heads, a.groups, a.chunk, a.resume,
                     a.learning_rate, a.tau_end),
            std::tie(b.name, b.folder, b.seed, b.heads, b.groups, b.chunk, b.resume,
                     b.learning_rate, b.tau_end));
  EXPECT_EQ(std::tie(a.pattern, a.activation, a.widths, a.weights, a.files, a.teacher, a.tokens),
            std::tie(b.pattern, b.activation, b.widths, b.weights, b.files, b.teacher, b.tokens));
  EXPECT_NE(second.deck.find("job", "seed"), nullptr);  // defaults are written out
}

TEST(Resolve, QuotedTextsRoundTrip) {
  const Resolved first(
      "<job>\nname = \"#\"\n<router>\nfiles = \"a, b.txt\", c.txt, \" \\\"d\\\" & \"\n",
      {"job/folder=up # and &"});
  ASSERT_TRUE(first.report->empty()) << first.text();
  EXPECT_EQ(first.config.name, "#");
  EXPECT_EQ(first.config.folder, "up # and &");
  EXPECT_EQ(first.config.files, (std::vector<std::string>{"a, b.txt", "c.txt", " \"d\" & "}));
  const std::string text = resolved_text(first.schema);
  EXPECT_THAT(text, HasSubstr("\"up # and &\""));
  const Resolved second(text);
  ASSERT_TRUE(second.report->empty()) << second.text();
  EXPECT_EQ(second.config.name, first.config.name);
  EXPECT_EQ(second.config.folder, first.config.folder);
  EXPECT_EQ(second.config.files, first.config.files);
  EXPECT_EQ(resolved_hash(second.schema), resolved_hash(first.schema));
}

TEST(Resolve, QuotesThatAreWrong) {
  const auto refused = [](const std::string& line, const std::string& reason) {
    EXPECT_THAT(Resolved("<job>\nname = toy\n" + line + "\n").text(), HasSubstr(reason)) << line;
  };
  refused("folder = \"a\" b", "after the closing quote stands 'b'");
  refused("folder = \"a\\x\"", "expected text; in quotes");
  refused("seed = \"3\"", "expected an integer");
  refused("resume = \"true\"", "expected true or false");
  refused("<router>\nfiles = a, \"\"", "item 2 is empty");
  EXPECT_THAT(Resolved("<job>\nname = \"\"\n").text(), HasSubstr("expected text"));
}

TEST(Resolve, HashSeesValuesOnly) {
  const std::uint64_t hash =
      resolved_hash(Resolved("<job>\nname = toy\n<router>\ntau_end = 0.5\n").schema);
  EXPECT_EQ(hash, 7111592544116038867ULL);  // changes only if keys, defaults or the format of the
                                            // example change
  EXPECT_EQ(resolved_hash(
                Resolved("# c\n<router>\ntau_end = 5e-1 # d\n<job>\nseed=1234\nname=toy").schema),
            hash);
  EXPECT_EQ(resolved_hash(Resolved("<job>\nname = toy\n", {"router/tau_end=.5"}).schema), hash);
  EXPECT_NE(resolved_hash(Resolved("<job>\nname = toy\n<router>\ntau_end = 0.25\n").schema), hash);
}

}  // namespace
}  // namespace elastic::test
