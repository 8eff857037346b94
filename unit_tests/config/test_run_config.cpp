// SPDX-License-Identifier: Apache-2.0
// The deck of a run: all mistakes at once, contradictions between keys, overrides, steps and
// tokens, the hash, and every deck in input/.
#include "config/run_config.hpp"

#include <gmock/gmock.h>

#include <filesystem>

#include "config/run_config_schema.hpp"
#include "deck/parser.hpp"
#include "plan/run_plan.hpp"
#include "unit_tests/support/source_folder.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string stage = "<pretrain>\nsteps = 10\n<stage1>\nsteps = 10\n";

ResolvedDeck read(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return read_run_config(text, "toy.in", overrides);
}
std::string mistakes(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    read(text, overrides);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no mistake";
}
/// The report on a deck that is right but for one line in one block.
std::string one_mistake(const std::string& override_text) {
  const std::string text = mistakes(stage, {override_text});
  EXPECT_THAT(text, HasSubstr("1 mistake in toy.in")) << override_text;
  return text;
}

TEST(RunConfig, SixMistakesInOneMessage) {
  const std::string text = mistakes(
      "<job>\n"
      "sed = 3\n"
      "phases = pretrain, rnk\n"
      "<modl>\n"
      "<model>\n"
      "hidden_size = 0\n"
      "<mamba>\n"
      "num_groups = 3\n"
      "<elastic>\n"
      "budgets = 0.5, 1.0\n"
      "<pretrain>\n"
      "steps = 5\n"
      "<stage1>\n"
      "steps = 5\n");
  EXPECT_THAT(text, HasSubstr("6 mistakes in toy.in:"));
  EXPECT_THAT(text, HasSubstr("toy.in:2 <job>/sed = 3: unknown key; nearest valid name 'seed'"));
  EXPECT_THAT(text, HasSubstr("toy.in:3 <job>/phases = pretrain, rnk: "));
  EXPECT_THAT(
      text,
      HasSubstr(
          "pretrain, rank, measure, teach, elastic, slice, evaluate, report; item 2 is 'rnk'"));
  EXPECT_THAT(text, HasSubstr("toy.in:4 <modl>: unknown block; nearest valid name 'model'"));
  EXPECT_THAT(text, HasSubstr("toy.in:6 <model>/hidden_size = 0: expected an integer in [1, "));
  EXPECT_THAT(text, HasSubstr("toy.in:8 <mamba>/num_groups = 3: must divide num_heads = 8"));
  EXPECT_THAT(text,
              HasSubstr("toy.in:10 <elastic>/budgets = 0.5, 1.0: expected the largest budget"));
}

TEST(RunConfig, ContradictionsBetweenKeys) {
  EXPECT_THAT(mistakes("<stage1>\nsteps = 10\n"),
              HasSubstr("<pretrain>/steps = 0 (default): give either steps or tokens"));
  EXPECT_THAT(one_mistake("stage1/tokens=1000"), HasSubstr("give either steps or tokens"));
  EXPECT_THAT(one_mistake("pretrain/global_batch_size=12"),
              HasSubstr("must be a multiple of <parallel>/micro_batch_size = 8"));
  EXPECT_THAT(one_mistake("stage1/budget_probability=1,2"),
              HasSubstr("expected 3 values, one per budget"));
  EXPECT_THAT(one_mistake("stage1/budget_probability=0,0,0"),
              HasSubstr("at least one value greater than 0"));
  EXPECT_THAT(one_mistake("stage1/budgets_per_sample=4"),
              HasSubstr("there are only 3 budgets with a probability"));
  EXPECT_THAT(mistakes(stage, {"stage1/budgets_per_sample=3", "stage1/budget_probability=1,0,2"}),
              HasSubstr("there are only 2 budgets with a probability"));
  EXPECT_EQ(read(stage, {"stage1/global_batch_size=13"}).config.stages[0].global_batch_size, 13);
  EXPECT_THAT(one_mistake("stage1/teacher=trainable"),
              HasSubstr("expected a value greater than 0, since the teacher is trainable"));
  EXPECT_THAT(one_mistake("stage1/teacher_cross_entropy_weight=1"),
              HasSubstr("expected 0, since the teacher is not trainable"));
  EXPECT_THAT(mistakes(stage, {"stage1/teacher=stored", "teach/top_k=65"}),
              HasSubstr("expected at most 64, the vocabulary"));
  EXPECT_THAT(mistakes(stage, {"stage1/teacher=stored", "distill/distillation_weight=0"}),
              HasSubstr("expected frozen, since <distill>/distillation_weight = 0"));
  EXPECT_THAT(one_mistake("job/phases=pretrain,teach,elastic"),
              HasSubstr("the phase teach needs a stage with teacher = stored"));
  EXPECT_THAT(mistakes(stage, {"stage1/teacher=trainable", "stage1/teacher_cross_entropy_weight=1",
                               "distill/distillation_weight=0", "distill/cross_entropy_weight=1"}),
              HasSubstr("a trainable teacher needs a <distill>/distillation_weight"));
  const std::string fixed =
      mistakes(stage, {"router/widths=homogeneous", "elastic/per_layer=ffn_hidden_size"});
  EXPECT_THAT(fixed, HasSubstr("<elastic>/per_layer = ffn_hidden_size: expected no axis, since "
                               "<router>/widths = homogeneous"));
  EXPECT_EQ(read(stage, {"router/widths=homogeneous"}).config.router.widths,
            WidthChoice::homogeneous);
  EXPECT_THAT(one_mistake("router/widths=homogenous"), HasSubstr("'homogeneous'"));
  EXPECT_THAT(one_mistake("elastic/budget_names=a,b"), HasSubstr("expected 3 names"));
  EXPECT_THAT(one_mistake("rank/order=best"),
              HasSubstr("expected one of importance, random, reversed, identity"));
  EXPECT_THAT(one_mistake("rank/depth_measure=logit_nmsq"), HasSubstr("logit_nmse"));
  EXPECT_THAT(one_mistake("rank/aggregation=mean"), HasSubstr("mean_l2, sum"));
  EXPECT_THAT(one_mistake("rank/activations=queries"), HasSubstr("outputs, projections"));
  EXPECT_THAT(one_mistake("rank/depth_candidates=0"), HasSubstr("an integer in [1, "));
  EXPECT_THAT(one_mistake("data/source=text"), HasSubstr("expected at least one file"));
  EXPECT_THAT(one_mistake("data/weights=1,2"), HasSubstr("expected 0 values, one per file"));
  EXPECT_THAT(one_mistake("data/vocab_size=63"), HasSubstr("at least 64, the vocabulary of this"));
  EXPECT_EQ(parent_shape(read(stage, {"data/vocab_size=131072"}).config).vocab_size, 131072);
  EXPECT_THAT(one_mistake("job/phases=rank,pretrain,elastic"), HasSubstr("expected the order"));
  EXPECT_THAT(one_mistake("job/parent=parent.h5"), HasSubstr("not both"));
  EXPECT_THAT(one_mistake("job/phases=rank,elastic"), HasSubstr("expected a checkpoint"));
  EXPECT_THAT(one_mistake("attention/num_query_groups=3"), HasSubstr("must divide num_heads = 4"));
  EXPECT_THAT(mistakes("<pretrain>\nsteps = 10\n"), HasSubstr("needs at least one block <stage1>"));
}

TEST(RunConfig, ElasticWidthsMustFitTheModel) {
  EXPECT_THAT(one_mistake("elastic/hidden_size=96,64"), HasSubstr("expected the full one, 128"));
  EXPECT_THAT(one_mistake("elastic/mamba_num_heads=8,3"),
              HasSubstr("width 3 is not a multiple of the 2 groups"));
  EXPECT_THAT(one_mistake("elastic/drop_layers=0,9"), HasSubstr("cannot drop 9 layers"));
  EXPECT_THAT(one_mistake("elastic/per_layer=ffn"), HasSubstr("ffn_hidden_size"));
  EXPECT_THAT(one_mistake("elastic/budget_kind=flops,flops"), HasSubstr("each at most once"));
  EXPECT_THAT(one_mistake("elastic/budget_kind="), HasSubstr("expected at least one kind"));
  EXPECT_THAT(one_mistake("elastic/budget_kind=flop"), HasSubstr("nearest valid value 'flops'"));
  EXPECT_THAT(one_mistake("elastic/kv_cache_bytes=0"), HasSubstr("expected a number > 0"));
  EXPECT_THAT(one_mistake("elastic/cache_bytes=2"),
              HasSubstr("replaced by 'kv_cache_bytes' and 'ssm_cache_bytes'"));
  EXPECT_THAT(one_mistake("stage1/budgets_per_micro_batch=3"),
              HasSubstr("replaced by 'budgets_per_sample'"));
}

TEST(RunConfig, NumbersBeyondAnyUseAreRefused) {
  RunConfig config;
  config.stages.resize(1);
  Schema schema;
  bind_run_config(schema, config, {"stage1"});
  int integers = 0, numbers = 0;
  for (const auto& block : schema.blocks())
    for (const auto& key : block.keys()) {
      const bool whole = key.expected.find("integer") != std::string::npos,
                 real = key.expected.find("number") != std::string::npos;
      integers += whole;
      numbers += real;
      std::vector<const char*> refused;
      if (whole || real)
        refused = {"9000000000000000000",
                   "-9000000000000000000",
                   "9223372036854775808",
                   "1e400",
                   "nan",
                   "-inf",
                   "0x10",
                   "1 2",
                   "--1"};
      if (real) refused.insert(refused.end(), {"1e31", "1e-31", "-1e-310"});
      for (const char* value : refused) {
        if (real && value[0] == '9') continue;
        const std::string place = fmt::format("<{}>/{} = ", block.name(), key.name);
        EXPECT_THAT(mistakes(stage, {fmt::format("{}/{}={}", block.name(), key.name, value)}),
                    HasSubstr(place + value))
            << place;
      }
    }
  EXPECT_GT(integers, 50);
  EXPECT_GT(numbers, 40);
}

TEST(RunConfig, PlansThatCannotBeCounted) {
  EXPECT_THAT(mistakes("<pretrain>\ntokens = 1e30\n<stage1>\nsteps = 10\n"),
              HasSubstr("<pretrain>/tokens = 1e30: more than 1000000000 steps of 16 * 256 tokens; "
                        "expected at most 4096000000000 tokens"));
  EXPECT_EQ(
      read("<pretrain>\ntokens = 4.096e12\n<stage1>\nsteps = 1\n").config.pretrain.num_steps(),
      1000000000);
  EXPECT_THAT(mistakes(stage, {"stage1/steps=1e9", "stage1/seq_length=16777216",
                               "stage1/global_batch_size=1048576"}),
              HasSubstr("<stage1>/steps = 1e9: the plan has 1.759"));
  EXPECT_THAT(mistakes(stage, {"model/hidden_size=200000000", "mlp/ffn_hidden_size=200000000"}),
              HasSubstr("parameters; expected at most 1000000000000000"));
  EXPECT_THAT(one_mistake("model/hybrid_layer_pattern=" + std::string(2001, '-')),
              HasSubstr("number of layers is 2001, expected 1 to 2000"));
  EXPECT_THAT(one_mistake("job/walltime=0"), HasSubstr("expected a time greater than 0"));
}

TEST(RunConfig, ListsNameEachThingOnce) {
  EXPECT_THAT(one_mistake("data/families=addition,addition"), HasSubstr("'addition' stands twice"));
  EXPECT_THAT(one_mistake("data/families="), HasSubstr("at least one family"));
  EXPECT_THAT(mistakes(stage, {"data/source=text", "data/train=a.txt,b.txt,a.txt"}),
              HasSubstr("'a.txt' stands twice"));
  EXPECT_THAT(one_mistake("elastic/per_layer=ffn_hidden_size,ffn_hidden_size"),
              HasSubstr("stands twice"));
  EXPECT_THAT(one_mistake("evaluate/extra_budgets=0.6,0.6"), HasSubstr("0.6 is a budget already"));
  EXPECT_THAT(one_mistake("evaluate/extra_budgets=0.75"), HasSubstr("0.75 is a budget already"));
  for (const char* name : {"job/name=", "job/name=../up", "job/name=a/b", "job/name=.hidden"})
    EXPECT_THAT(one_mistake(name), HasSubstr("names the folder of the run"));
  EXPECT_EQ(read(stage, {"job/name=a/b", "job/folder=here"}).config.job.run_folder(), "here");
}

TEST(RunConfig, ASingleWidthIsTheFullOne) {
  EXPECT_THAT(
      one_mistake("elastic/mamba_num_heads=4"),
      HasSubstr("elastic axis mamba_num_heads: the only width is 4, expected the full one"));
  EXPECT_THAT(one_mistake("elastic/ffn_hidden_size=256"), HasSubstr("expected the full one, 512"));
  EXPECT_THAT(one_mistake("elastic/mamba_head_dim=16"), HasSubstr("expected the full one, 32"));
  EXPECT_THAT(one_mistake("elastic/num_attention_heads=2"), HasSubstr("expected the full one, 4"));
  EXPECT_THAT(one_mistake("elastic/hidden_size=64"), HasSubstr("expected the full one, 128"));
  EXPECT_THAT(one_mistake("elastic/drop_layers=1"), HasSubstr("expected the full one, 0"));
  EXPECT_THAT(mistakes(stage, {"model/hybrid_layer_pattern=--", "elastic/mamba_num_heads=8"}),
              HasSubstr("expected none: no layer is of this kind"));
  EXPECT_NO_THROW(read(stage, {"elastic/ffn_hidden_size=512", "elastic/drop_layers=0"}));
}

TEST(RunConfig, OverridesWinAndAreNamed) {
  const ResolvedDeck deck = read(stage, {"stage1/steps=7", "model/hidden_size=64"});
  EXPECT_EQ(deck.config.stages.at(0).steps, 7);
  EXPECT_EQ(deck.config.model.hidden_size, 64);
  EXPECT_THAT(mistakes(stage, {"model/hiden_size=64"}),
              HasSubstr("command line <model>/hiden_size = 64: unknown key; nearest valid name "
                        "'hidden_size'"));
}

TEST(RunConfig, TokensBecomeSteps) {
  const ResolvedDeck deck = read(
      "<pretrain>\ntokens = 1e6\nseq_length = 128\nglobal_batch_size = 16\n"
      "<stage1>\ntokens = 4096\nseq_length = 128\nglobal_batch_size = 32\n");
  EXPECT_EQ(deck.config.pretrain.num_steps(), 489);  // 488.3 rounded up
  EXPECT_EQ(deck.config.stages.at(0).num_steps(), 1);
}

TEST(RunConfig, TheHashIsThatOfTheValues) {
  const ResolvedDeck deck = read(stage);
  EXPECT_EQ(read("# a comment\n<stage1>\nsteps = 10\n<pretrain>\nsteps = 10\n").hash, deck.hash);
  EXPECT_EQ(read("<pretrain>\nsteps = 1\n<stage1>\nsteps = 10\n", {"pretrain/steps=10"}).hash,
            deck.hash);
  EXPECT_NE(read(stage, {"job/seed=5"}).hash, deck.hash);
  // The resolved deck is a deck of the same values.
  const ResolvedDeck again = read(deck.text);
  EXPECT_EQ(again.hash, deck.hash);
  EXPECT_EQ(again.config.stages.size(), 1u);
  EXPECT_EQ(again.config.router.net.hidden_size, deck.config.router.net.hidden_size);
}

TEST(RunConfig, StagesAreOrderedByNumber) {
  const ResolvedDeck deck = read(
      "<pretrain>\nsteps = 1\n<stage10>\nsteps = 30\n<stage2>\nsteps = 20\n<stage1>\nsteps = 10\n");
  ASSERT_EQ(deck.config.stages.size(), 3u);
  EXPECT_EQ(deck.config.stages[0].name, "stage1");
  EXPECT_EQ(deck.config.stages[2].name, "stage10");
  EXPECT_EQ(deck.config.stages[2].steps, 30);
}

TEST(RunConfig, TheReferenceNamesEveryBlock) {
  const std::string text = run_config_reference(false);
  for (const char* block :
       {"<job>", "<model>", "<mamba>", "<attention>", "<mlp>", "<data>", "<pretrain>", "<rank>",
        "<elastic>", "<router>", "<distill>", "<stage1>", "<optimizer>", "<parallel>", "<evaluate>",
        "<checkpoint>", "<output>"})
    EXPECT_THAT(text, HasSubstr(block));
  EXPECT_THAT(run_config_reference(false, "rank"), Not(HasSubstr("<job>")));
}

TEST(RunConfig, EveryDeckInInputIsValidAndCanBePlanned) {
  int decks = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_folder() / "input")) {
    if (entry.path().extension() != ".in") continue;
    ++decks;
    const std::string file = entry.path().string();
    const ResolvedDeck deck = read_run_config(read_deck_file(file), file, {});
    EXPECT_THAT(run_plan(deck, 2), HasSubstr(make_shape(deck.config.model).pattern())) << file;
  }
  EXPECT_GE(decks, 3);
}

}  // namespace
}  // namespace elastic::test
