// SPDX-License-Identifier: Apache-2.0
// Which keys a resumed run may change, and from which step on the others counted. The small deck:
// 4 steps of pretraining, the ranking, 4 steps of stage1.
#include "run/folder/deck_changes.hpp"

#include <map>

#include "config/run_config_schema.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

using Since = std::map<std::string, index_t>;

PastRun past(index_t step, const std::vector<std::string>& overrides = {}) {
  return {small_deck(overrides).text, "checkpoint.h5", step, step > 4};
}
/// Keys that differ, with the first step done that each decided (0: none).
Since changes(index_t step, const std::vector<std::string>& overrides) {
  Since since;
  for (const auto& change : deck_changes(past(step), small_deck(overrides).text))
    since[change.key] = change.since;
  return since;
}

TEST(DeckChanges, EveryKeyOfTheSchemaIsClassified) {
  RunConfig config;
  config.stages.resize(1);
  Schema schema;
  bind_run_config(schema, config, {"stage1"});
  std::size_t keys = 0;
  for (const auto& block : schema.blocks())
    for (const auto& key : block.keys()) {
      EXPECT_TRUE(key_decides(block.name(), key.name)) << block.name() << "/" << key.name;
      ++keys;
    }
  EXPECT_GT(keys, 100u);
  EXPECT_FALSE(key_decides("model", "no_such_key"));
  EXPECT_FALSE(key_decides("no_such_block", "seed"));
  EXPECT_EQ(key_decides("stage7", "steps"), KeyDecides::length);
  EXPECT_EQ(key_decides("pretrain", "seq_length"), KeyDecides::stage);
}

TEST(DeckChanges, TheSameDeckHasNone) {
  EXPECT_EQ(changes(6, {}), Since());
  EXPECT_NO_THROW(check_changes(past(6), small_deck().text, false));
}

TEST(DeckChanges, ModelDataSeedAndOptimizerCountFromTheFirstStep) {
  EXPECT_EQ(changes(2, {"job/seed=5", "data/max_digits=2", "model/norm_epsilon=1e-6",
                        "mamba/chunk_size=4", "optimizer/weight_decay=0.3",
                        "precision/compute=bfloat16", "job/deterministic=true"}),
            (Since{{"<job>/seed", 1},
                   {"<data>/max_digits", 1},
                   {"<model>/norm_epsilon", 1},
                   {"<mamba>/chunk_size", 1},
                   {"<optimizer>/weight_decay", 1},
                   {"<precision>/compute", 1},
                   {"<job>/deterministic", 1}}));
}

TEST(DeckChanges, DecksFromBeforeThePrecisionWereAllInFloat32) {
  PastRun past{small_deck({"precision/compute=float32"}).text, "checkpoint.h5", 2, false};
  const auto block = past.deck.find("<precision>");
  ASSERT_NE(block, std::string::npos);
  past.deck.erase(block, past.deck.find('<', block + 1) - block);
  const auto changed = [&](const char* now) {
    return !deck_changes(past, small_deck({now}).text).empty();
  };
  EXPECT_FALSE(changed("precision/compute=float32"));
  EXPECT_TRUE(changed("precision/compute=bfloat16"));
}

TEST(DeckChanges, RanksOutputValidationAndGuardAreFree) {
  EXPECT_EQ(
      changes(7, {"parallel/micro_batch_size=1", "parallel/recompute=true", "evaluate/samples=2",
                  "output/every_steps=1", "checkpoint/keep=9", "guard/policy=skip", "job/name=new",
                  "job/walltime=10", "job/stop_after_step=8", "comparison/pretrain_tokens=1"}),
      Since());
}

TEST(DeckChanges, WhatIsElasticCountsFromTheRankingOn) {
  const std::vector<std::string> other = {"elastic/budgets=1.0,0.6,0.5", "router/tau_start=2",
                                          "distill/temperature=2", "rank/samples=3"};
  EXPECT_EQ(changes(4, other), (Since{{"<elastic>/budgets", 0},
                                      {"<router>/tau_start", 0},
                                      {"<distill>/temperature", 0},
                                      {"<rank>/samples", 0}}));
  EXPECT_EQ(changes(5, other), (Since{{"<elastic>/budgets", 5},
                                      {"<router>/tau_start", 5},
                                      {"<distill>/temperature", 5},
                                      {"<rank>/samples", 5}}));
}

TEST(DeckChanges, AStageThatHasEndedStaysAsItWas) {
  EXPECT_EQ(changes(6, {"pretrain/steps=12"}), (Since{{"<pretrain>/steps", 1}}));
  EXPECT_EQ(changes(6, {"pretrain/learning_rate=1e-4"}), (Since{{"<pretrain>/learning_rate", 1}}));
  // 4 steps of 4 sequences of 48 tokens: given in another way, of the same meaning.
  EXPECT_EQ(changes(6, {"pretrain/steps=0", "pretrain/tokens=768"}), Since());
  EXPECT_EQ(changes(6, {"pretrain/steps=0", "pretrain/tokens=769"}),
            (Since{{"<pretrain>/steps", 1}}));
}

TEST(DeckChanges, AStageUnderWayMayChangeItsRatesAndItsEnd) {
  EXPECT_EQ(changes(6, {"stage1/learning_rate=1e-4", "stage1/steps=9", "stage1/decay=linear"}),
            (Since{{"<stage1>/learning_rate", 0}, {"<stage1>/steps", 0}, {"<stage1>/decay", 0}}));
  EXPECT_EQ(changes(6, {"stage1/steps=2"}), (Since{{"<stage1>/steps", 0}}));
  EXPECT_EQ(changes(6, {"stage1/steps=1"}), (Since{{"<stage1>/steps", 5}}));
  EXPECT_EQ(changes(6, {"stage1/seq_length=48", "stage1/global_batch_size=2",
                        "stage1/budget_probability=3,2,1"}),
            (Since{{"<stage1>/seq_length", 5},
                   {"<stage1>/global_batch_size", 5},
                   {"<stage1>/budget_probability", 5}}));
}

TEST(DeckChanges, AStageAheadIsFree) {
  EXPECT_EQ(changes(4, {"stage1/steps=9", "stage1/seq_length=48"}), Since());
  EXPECT_EQ(changes(6, {"stage2/steps=3"}), Since());
}

TEST(DeckChanges, StagesKeepTheirOrder) {
  const PastRun two_stages = past(6, {"stage2/steps=3"});
  EXPECT_TRUE(deck_changes(two_stages, small_deck().text).empty());
  // A stage before the one under way would move it.
  std::string later = small_deck_text;
  later.replace(later.find("<stage1>"), 8, "<stage2>");
  const PastRun of_stage2{read_run_config(later, "later.in", {}).text, "checkpoint.h5", 6, true};
  const auto changed = deck_changes(of_stage2, small_deck().text);
  ASSERT_EQ(changed.size(), 1u);
  EXPECT_EQ(changed[0].key, "stage 2 of the plan");
  EXPECT_EQ(changed[0].before, "<stage2>");
  EXPECT_EQ(changed[0].now, "<stage1>");
  EXPECT_EQ(changed[0].since, 5);
}

TEST(DeckChanges, PhasesAheadMayBeAdded) {
  const auto phases = [](index_t step, const std::string& before, const std::string& now) {
    PastRun run = past(step, {"job/phases=" + before});
    run.ranked = step > 4;
    const auto found = deck_changes(run, small_deck({"job/phases=" + now}).text);
    return found.empty() ? -1 : found[0].since;
  };
  EXPECT_EQ(phases(6, "pretrain,rank,elastic", "pretrain,rank,elastic,slice,evaluate"), -1);
  EXPECT_EQ(phases(4, "pretrain", "pretrain,rank,elastic"), 0);
  EXPECT_EQ(phases(6, "pretrain,rank,elastic", "pretrain,elastic"), 5);
}

TEST(DeckChanges, TheMessageNamesEveryKeyBothValuesAndTheWayOut) {
  const auto now = small_deck({"job/seed=5", "stage1/seq_length=48"}).text;
  const auto message = message_of<InputError>([&] { check_changes(past(6), now, false); });
  for (const char* part :
       {"checkpoint.h5", "6 steps done", "2 keys",
        "<job>/seed: 1234 before, 5 now; decided what was done from step 1 on",
        "<stage1>/seq_length: 64 before, 48 now; decided what was done from step 5 on",
        "another job/folder", "--accept-changes"})
    contains(message, part);
  EXPECT_NO_THROW(check_changes(past(6), now, true));
}

TEST(DeckChanges, AKeyThatTheEarlierDeckLacksHadItsDefault) {
  PastRun earlier = past(6);
  const auto line = earlier.deck.find("\nweight_decay");
  ASSERT_NE(line, std::string::npos);
  earlier.deck.erase(line, earlier.deck.find('\n', line + 1) - line);
  EXPECT_TRUE(deck_changes(earlier, small_deck().text).empty());
  EXPECT_EQ(deck_changes(earlier, small_deck({"optimizer/weight_decay=0.3"}).text).size(), 1u);
}

}  // namespace
}  // namespace elastic::test
