// SPDX-License-Identifier: Apache-2.0
// Budgets in seconds: their times come from one place, fit the deck, and reach every cost.
#include "config/seconds_budget.hpp"

#include <gmock/gmock.h>

#include "config/extraction.hpp"
#include "config/times_text.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {
using testing::HasSubstr;

const std::string measures = "job/phases=pretrain,rank,measure,elastic,slice,evaluate,report";

/// Times of every layer of a deck's parent, made up.
MeasuredTimes made_up_times(const RunConfig& config) {
  const ModelShape shape = parent_shape(config);
  MeasuredTimes times;
  times.pass = "prefill";
  times.seq_length = 1024;
  times.model = shape;
  times.model.layers.clear();
  times.ends.factors = {1e-8, 1e-9};
  for (const auto& layer : shape.layers) times.layers.push_back({layer, {{1e-7, 1e-9, 1e-8}}});
  return times;
}
std::string error_of(const std::vector<std::string>& overrides) {
  return message_of<InputError>([&] { small_deck(overrides); });
}

TEST(SecondsBudget, TimesComeFromOnePlace) {
  contains(error_of({"elastic/budget_kind=seconds"}),
           "counts seconds, which are measured: expected the phase measure");
  contains(error_of({"elastic/budget_kind=seconds", measures, "elastic/seconds_from=times.json"}),
           "<elastic>/seconds_from");
  contains(error_of({"elastic/seconds_from=times.json"}), "does not count seconds");
  contains(error_of({"elastic/seconds_batch=1048576", "elastic/seconds_seq_length=16777216"}),
           "tokens in all sequences");
  EXPECT_NO_THROW(small_deck({"elastic/budget_kind=seconds", measures}));
  EXPECT_NO_THROW(small_deck({"elastic/budget_kind=seconds", "elastic/seconds_from=a.json"}));
}

TEST(SecondsBudget, NothingIsChosenBeforeItIsMeasured) {
  RunConfig config = small_deck({"elastic/budget_kind=parameters,seconds", measures}).config;
  EXPECT_TRUE(counts_seconds(config) && lacks_times(config));
  contains(message_of<InputError>([&] { choice_rules(config); }), "the phase measure does that");
  const RunConfig known = with_known_costs(config);
  ASSERT_EQ(known.elastic.loss.costs.size(), 2u);
  EXPECT_EQ(known.elastic.loss.costs[1].kind, BudgetKind::flops);
  EXPECT_EQ(known.elastic.loss.costs[1].seq_length, 1024);
  give_times(config, to_json(made_up_times(config)), "times.json");
  EXPECT_FALSE(lacks_times(config));
  const ModelShape shape = parent_shape(config);
  EXPECT_GT(cost(shape, full_spec(shape), choice_rules(config).costs[1]), 0);
  const auto flops = small_deck({"elastic/budget_kind=flops,seconds", measures}).config;
  EXPECT_EQ(with_known_costs(flops).elastic.loss.costs.size(), 1u);
  EXPECT_FALSE(counts_seconds(small_deck().config));
}

TEST(SecondsBudget, TimesOfAnotherInferenceOrModelAreRefused) {
  const RunConfig config = small_deck({"elastic/budget_kind=seconds", measures}).config;
  const auto error = [&](const auto& change) {
    MeasuredTimes times = made_up_times(config);
    change(times);
    return message_of<InputError>([&] { check_times(config, times, "times.json"); });
  };
  EXPECT_NO_THROW(check_times(config, made_up_times(config), "times.json"));
  const std::string all = error([](auto& t) {
    t.pass = "decode";
    t.batch = 2;
    t.model.hidden_size = 48;
    t.least_hidden = 16;
    t.layers[0].least_width = 4;
  });
  for (const char* part :
       {"times.json: times of another inference or model: pass is decode, the deck has prefill",
        "batch is 2, the deck has 1", "hidden_size is 48, the deck has 24",
        "hidden_size was measured from 16 on, the deck allows 12",
        "the width of M was measured from 4 on, the deck allows 2"})
    contains(all, part);
  contains(error([](auto& t) { t.layers.clear(); }), "no layer M of width 4");
}

TEST(SecondsBudget, InferenceInWords) {
  EXPECT_EQ(inference_text({}), "prefill of 1 sequence of 1024 tokens");
  EXPECT_THAT(inference_text({.pass = InferencePass::decode, .batch = 8, .from = {}}),
              HasSubstr("8 sequences with 1024 tokens in the caches"));
}

}  // namespace
}  // namespace elastic::test
