// SPDX-License-Identifier: Apache-2.0
// The plan's formulas against what is counted: parameters and tensors of real models, operations of
// real passes and steps, bytes of the arena and of files.
#include "state/state_checkpoint.hpp"
#include "plan/run_plan.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/region.hpp"
#include "elastic/cost_model.hpp"
#include "deck/parser.hpp"
#include "plan/budgets.hpp"
#include "plan/comparison.hpp"
#include "plan/memory.hpp"
#include "plan/units.hpp"
#include "plan/work.hpp"
#include "train/train_step.hpp"
#include "train/validation.hpp"
#include "unit_tests/model/model_problem.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

TEST(RunPlan, ParametersAndTensorsAreThoseOfTheSlicedModel) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    Draw draw(seed);
    const auto shape = random_shape(draw);
    const auto spec = random_spec(draw, shape);
    const LanguageModel<float> sliced(sliced_shape(shape, spec), true);
    EXPECT_EQ(static_cast<double>(sliced.parameters().num_elements()),
              parameter_count(shape, expected_widths(spec)));
    EXPECT_EQ(sliced.parameters().size(), num_tensors(sliced.shape()));
  }
}

TEST(RunPlan, ForwardOperationsAreThoseCounted) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    Draw draw(seed);
    const auto shape = random_shape(draw);
    const auto spec = random_spec(draw, shape);
    const index_t length = draw.between(1, 70);
    ModelProblem<float> problem(shape, 2, {length});
    const auto widths = prefix_widths<float>(shape, spec);
    const double before = counted_flops();
    problem.logits(widths);
    const double counted = (counted_flops() - before) / static_cast<double>(2 * length);
    const double formula = forward_flops_per_token(shape, spec, length);
    EXPECT_NEAR(counted / formula, 1, 1e-12) << seed << " " << shape.pattern() << " L " << length;
  }
}

/// A deck of random shape, batch, chunks and recomputation; with `elastic`, also random lists on
/// every axis, and a teacher. Overrides of the small deck.
std::vector<std::string> random_deck(Draw& draw, bool elastic) {
  std::string pattern;
  for (index_t l = draw.between(1, 7); l > 0; --l) pattern += "M*-"[draw.between(0, 2)];
  const index_t hidden = 4 * draw.between(4, 12), groups = draw.between(1, 3),
                heads = groups * draw.between(2, 4), channels = 2 * draw.between(3, 6),
                queries = draw.between(1, 2), query_heads = queries * draw.between(2, 3),
                ffn = draw.between(20, 90);
  const auto widths = [&](index_t full, index_t narrow, char kind) {
    const bool listed = elastic && pattern.find(kind) != std::string::npos && draw.uniform() < 0.6;
    return listed ? fmt::format("{},{}", full, narrow) : std::string();
  };
  std::vector<std::string> deck = {
      "model/hybrid_layer_pattern=" + pattern,
      fmt::format("model/hidden_size={}", hidden),
      fmt::format("mamba/num_heads={}", heads),
      fmt::format("mamba/head_dim={}", channels),
      fmt::format("mamba/num_groups={}", groups),
      fmt::format("mamba/state_dim={}", draw.between(4, 16)),
      fmt::format("mamba/chunk_size={}", draw.between(8, 40)),
      fmt::format("attention/num_heads={}", query_heads),
      fmt::format("attention/num_query_groups={}", queries),
      fmt::format("mlp/ffn_hidden_size={}", ffn),
      fmt::format("data/vocab_size={}", draw.between(64, 300)),
      "elastic/hidden_size=" + widths(hidden, hidden / 2, pattern[0]),
      "elastic/mamba_num_heads=" + widths(heads, groups, 'M'),
      "elastic/mamba_head_dim=" + widths(channels, channels / 2, 'M'),
      "elastic/num_attention_heads=" + widths(query_heads, queries, '*'),
      "elastic/ffn_hidden_size=" + widths(ffn, ffn / 2, '-'),
      "elastic/drop_layers=" + std::string(elastic && pattern.size() > 1 ? "0,1" : "0"),
      "elastic/per_layer=",
      "elastic/choice_epsilon=0",
      fmt::format("parallel/recompute={}", draw.uniform() < 0.5),
      fmt::format("parallel/logit_chunk_tokens={}", draw.between(20, 300))};
  const index_t batch = draw.between(1, 4), length = draw.between(150, 200);
  deck.push_back(fmt::format("parallel/micro_batch_size={}", batch));
  for (const char* stage : {"pretrain", "stage1"}) {
    deck.push_back(fmt::format("{}/seq_length={}", stage, length));
    deck.push_back(fmt::format("{}/global_batch_size={}", stage, 2 * batch));
  }
  deck.push_back(elastic ? "job/phases=rank,elastic" : "job/phases=pretrain");
  if (elastic) deck.push_back("job/parent=p.h5");
  return deck;
}

/// Operations of the first steps of a run, counted, and in the plan.
struct StepFlops {
  double counted, planned_full, planned_narrow;
};
StepFlops step_flops(const std::vector<std::string>& overrides) {
  const ResolvedDeck deck = small_deck(overrides);
  const RunConfig& config = deck.config;
  const Curriculum curriculum = make_curriculum(config);
  TrainState state = small_state(config, curriculum.elastic_begin == 0);
  state.step = 0;
  const ProcessGrid grid(Communicator::self(), {});
  Arena arena;
  TrainStep step(grid, config, curriculum, arena);
  const double before = counted_flops();
  step.run(state);
  const double counted = counted_flops() - before;
  const ModelShape shape = parent_shape(config);
  std::vector<SubmodelSpec> full(3, full_spec(shape)), narrow = full;
  narrow[2].hidden_size = 12;
  return {counted, stage_work(config, shape, curriculum.stages[0], full).flops_per_step,
          stage_work(config, shape, curriculum.stages[0], narrow).flops_per_step};
}

TEST(RunPlan, OperationsOfATrainingStep) {
  const std::vector<std::string> elastic = {"job/phases=rank,elastic", "job/parent=p.h5",
                                            "stage1/budgets_per_micro_batch=3",
                                            "elastic/choice_epsilon=0"};
  const auto with = [](std::vector<std::string> a, const std::vector<std::string>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  for (const auto& overrides :
       {std::vector<std::string>{},
        {"parallel/recompute=true"},
        elastic,
        with(elastic, {"parallel/recompute=true"}),
        with(elastic, {"distill/cross_entropy_weight=0.5"}),
        with(elastic, {"distill/cross_entropy_weight=1", "distill/distillation_weight=0"})}) {
    const StepFlops flops = step_flops(overrides);
    // Counted is 2% to 3% more: attention's and the convolution's backward passes.
    EXPECT_NEAR(flops.counted / flops.planned_full, 1, 0.05) << testing::PrintToString(overrides);
    if (overrides.size() >= elastic.size()) {
      EXPECT_LT(flops.planned_narrow, flops.planned_full);
    }
  }
}

TEST(RunPlan, OperationsOfStepsOfRandomModels) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    Draw draw(100 + seed);
    const bool elastic = seed % 2 == 1;
    auto overrides = random_deck(draw, elastic);
    if (elastic) overrides.emplace_back("stage1/budgets_per_micro_batch=3");
    const StepFlops flops = step_flops(overrides);
    // Backward passes are planned as twice the forward pass; attention, scan and convolution take
    // somewhat more, which small models on long sequences show.
    EXPECT_NEAR(flops.counted / flops.planned_full, 1, 0.1) << testing::PrintToString(overrides);
  }
}

/// Bytes of the arena in the first step of a run, counted and in the plan.
void check_step_memory(const std::vector<std::string>& overrides, bool elastic, double tolerance) {
  const ResolvedDeck deck = small_deck(overrides);
  const RunConfig& config = deck.config;
  const Curriculum curriculum = make_curriculum(config);
  TrainState state = small_state(config, elastic);
  state.step = 0;
  const ProcessGrid grid(Communicator::self(), {});
  Arena arena;
  TrainStep step(grid, config, curriculum, arena);
  const auto used = static_cast<double>(high_water(arena, [&] { step.run(state); }));
  const PlanMemory plan = plan_memory(config, state.model->shape(), 1);
  const StageConfig& stage = curriculum.stages[0].config;
  const double batch =  // not in the arena
      16.0 * static_cast<double>(config.parallel.micro_batch_size * stage.seq_length);
  EXPECT_NEAR(used / (plan.step() - batch), 1, tolerance) << testing::PrintToString(overrides);
}

TEST(RunPlan, WorkingMemoryOfAStep) {
  for (const bool recompute : {false, true})
    for (const bool elastic : {false, true}) {
      std::vector<std::string> overrides = {
          "pretrain/seq_length=64", "stage1/seq_length=64", "parallel/micro_batch_size=4",
          fmt::format("parallel/recompute={}", recompute), "elastic/choice_epsilon=0"};
      if (elastic)
        overrides.insert(overrides.end(), {"job/phases=rank,elastic", "job/parent=p.h5"});
      else
        overrides.push_back("job/phases=pretrain");
      check_step_memory(overrides, elastic, 0.01);
    }
}

TEST(RunPlan, WorkingMemoryOfRandomModels) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    Draw draw(seed);
    const bool elastic = seed % 2 == 1;
    check_step_memory(random_deck(draw, elastic), elastic, 0.02);
  }
}

TEST(RunPlan, WorkingMemoryOfTheEvaluation) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    Draw draw(seed);
    auto overrides = random_deck(draw, true);
    overrides.push_back("job/phases=rank,elastic,slice,evaluate");
    const ResolvedDeck deck = small_deck(overrides);
    const TrainState state = small_state(deck.config, false);
    const ModelShape& shape = state.model->shape();
    const index_t length = deck.config.stages[0].seq_length;
    const Communicator self = Communicator::self();
    Arena arena;
    Validation validation(self, deck.config, arena);
    const auto widths = prefix_widths<float>(shape, full_spec(shape));
    const auto used = static_cast<double>(high_water(arena, [&] {
      validation.max_logit_difference(*state.model, widths, *state.model, widths, length);
    }));
    const PlanMemory plan = plan_memory(deck.config, shape, 1);
    const double arena_part =
        plan.evaluation - 16.0 * static_cast<double>(length);  // without the batch
    EXPECT_NEAR(used / arena_part, 1, 0.02) << testing::PrintToString(overrides);
  }
}

TEST(RunPlan, StateMemory) {
  const ResolvedDeck deck = small_deck();
  const TrainState state = small_state(deck.config);
  const auto& router = state.elastic->router->parameters();
  const PlanMemory plan = plan_memory(deck.config, state.model->shape(), router.num_elements());
  const double values =
      sizeof(float) * static_cast<double>(state.model->parameters().num_elements());
  EXPECT_EQ(plan.weights, values);
  EXPECT_EQ(plan.gradients, values);
  EXPECT_EQ(plan.moments, 2 * values);
  EXPECT_EQ(plan.teacher, values);
  EXPECT_EQ(plan.router, 16.0 * static_cast<double>(router.num_elements()));
  EXPECT_EQ(plan.stage, "stage1");
}

TEST(RunPlan, NoMomentsIfNoStageChangesTheModel) {
  const ResolvedDeck deck = small_deck({"pretrain/learning_rate=0", "stage1/learning_rate=0"});
  const TrainState state = small_state(deck.config);
  EXPECT_EQ(state.optimizer, nullptr);
  EXPECT_EQ(plan_memory(deck.config, state.model->shape(), 5).moments, 0);
  const ResolvedDeck one = small_deck({"stage1/learning_rate=0"});
  EXPECT_GT(plan_memory(one.config, state.model->shape(), 5).moments, 0);
}

class PlannedFiles : public InFolder {};

TEST_F(PlannedFiles, SizesWithinFivePercent) {
  for (const index_t width : {24, 96}) {
    const ResolvedDeck deck = small_deck({fmt::format("model/hidden_size={}", width),
                                          fmt::format("elastic/hidden_size={},12", width)});
    const TrainState state = small_state(deck.config);
    const ModelShape& shape = state.model->shape();
    const auto& router = state.elastic->router->parameters();
    const auto check = [&](const char* name, double planned) {
      const auto bytes = static_cast<double>(std::filesystem::file_size(folder / name));
      EXPECT_NEAR(planned / bytes, 1, 0.05) << name << " " << width << ": " << bytes;
    };
    {
      CheckpointWriter writer(folder / "state.h5");
      write_state(writer, state, deck.text);
      writer.commit();
    }
    check("state.h5",
          training_file_bytes(shape, deck.text.size(), router.num_elements(), router.size()));
    SubmodelSpec spec = full_spec(shape);
    write_sliced(folder / "full.h5", *state.model, spec, deck.text);
    check("full.h5", model_file_bytes(shape, deck.text.size()));
    spec.hidden_size = 12;
    spec.layers[3].keep = false;
    write_sliced(folder / "small.h5", *state.model, spec, deck.text);
    check("small.h5", model_file_bytes(sliced_shape(shape, spec), deck.text.size()));
  }
}

TEST(RunPlan, HomogeneousWidthsNearABudget) {
  const ResolvedDeck deck = small_deck();
  const RunConfig& config = deck.config;
  const ModelShape shape = parent_shape(config);
  const ElasticSpace space = elastic_space(config, shape);
  const PlanBudgets plan = plan_budgets(config, shape, space);
  EXPECT_EQ(plan.decisions, 7u);  // hidden, heads, channels, query heads, depth, two MLPs
  EXPECT_EQ(plan.homogeneous_combinations, 4 * 2 * 2 * 2 * 4 * 3);
  EXPECT_EQ(plan.combinations, 4 * plan.homogeneous_combinations);
  EXPECT_EQ(plan.full_cost, parameter_count(shape, expected_widths(full_spec(shape))));
  ASSERT_EQ(plan.budgets.size(), 3u);
  EXPECT_TRUE(plan.budgets[0].homogeneous.at(0).same_widths(full_spec(shape)));
  for (const auto& budget : plan.budgets) {
    EXPECT_LE(budget.homogeneous.size(), 4u);
    double last = 0;
    for (const auto& spec : budget.homogeneous) {
      EXPECT_EQ(spec.layers[1].width, spec.layers[4].width);
      const double relative =
          parameter_count(shape, expected_widths(spec)) / plan.full_cost / budget.budget;
      EXPECT_LE(std::abs(relative - 1), 0.01);
      EXPECT_GE(std::abs(relative - 1), last);
      last = std::abs(relative - 1);
    }
    const double met = parameter_count(shape, expected_widths(budget.spec)) / plan.full_cost;
    EXPECT_NEAR(met, budget.budget, config.elastic.loss.tolerance * budget.budget);
  }
  // The extremes, against all homogeneous and thus all choices.
  auto least = full_spec(shape);
  least.hidden_size = 12;
  least.layers = {{2, 6, true}, {12, 1, true}, {2, 8, true}, {2, 6, false}, {12, 1, false}};
  EXPECT_EQ(plan.least_cost, parameter_count(shape, expected_widths(least)));
}

TEST(RunPlan, PerLayerWidthsReachWhatHomogeneousCannot) {
  // Two MLPs of 48 or 12: budgets between both wide and both narrow need one of each.
  const std::vector<std::string> overrides = {
      "elastic/hidden_size=24",   "elastic/mamba_num_heads=4",
      "elastic/mamba_head_dim=8", "elastic/num_attention_heads=4",
      "elastic/drop_layers=0",    "elastic/ffn_hidden_size=48,12",
      "elastic/tolerance=0.005",  "elastic/budget_names=one,two"};
  const auto shape = parent_shape(small_deck().config);
  auto mixed = full_spec(shape);
  mixed.layers[1].width = 12;
  const double part = parameter_count(shape, expected_widths(mixed)) /
                      parameter_count(shape, expected_widths(full_spec(shape)));
  auto reach = overrides;
  reach.push_back(fmt::format("elastic/budgets=1,{}", part));
  const ResolvedDeck deck = small_deck(reach);
  const PlanBudgets plan = plan_budgets(deck.config, shape, elastic_space(deck.config, shape));
  EXPECT_TRUE(plan.budgets[1].homogeneous.empty());
  EXPECT_NE(plan.budgets[1].spec.layers[1].width, plan.budgets[1].spec.layers[4].width);
  EXPECT_THAT(run_plan(deck, 1), HasSubstr("no homogeneous widths within 1%"));

  auto rigid = reach;
  rigid.push_back("elastic/per_layer=");
  const ResolvedDeck without = small_deck(rigid);
  const auto message = message_of<InputError>([&] { run_plan(without, 1); });
  contains(message, "budget two cannot be met");
  contains(message, "nearest reachable budgets are");
}

TEST(RunPlan, UnreachableBudgetsAreRefused) {
  const auto message =
      message_of<InputError>([] { run_plan(small_deck({"elastic/budgets=1,0.5,0.01"}), 1); });
  contains(message, "budget small cannot be met");
  EXPECT_THROW(run_plan(small_deck({"evaluate/extra_budgets=0.01"}), 1), InputError);
  // Without an elastic phase no budget has to be met.
  EXPECT_NO_THROW(run_plan(small_deck({"elastic/budgets=1,0.5,0.01", "job/phases=pretrain"}), 1));
}

TEST(RunPlan, ExpectedDraws) {
  const auto near_list = [](const std::vector<double>& a, const std::vector<double>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-12);
  };
  near_list(expected_draws({1, 1, 1}, 1), {1.0 / 3, 1.0 / 3, 1.0 / 3});
  near_list(expected_draws({5, 3, 2}, 1), {0.5, 0.3, 0.2});
  // without replacement: first or second draw
  near_list(expected_draws({5, 3, 2}, 2),
            {0.5 + 0.3 * 5 / 7 + 0.2 * 5 / 8, 0.3 + 0.5 * 3 / 5 + 0.2 * 3 / 8,
             0.2 + 0.5 * 2 / 5 + 0.3 * 2 / 7});
  near_list(expected_draws({5, 0, 2}, 3), {1, 1, 1});  // all of them, as the training step does
  near_list(expected_draws({1, 0, 0}, 2), {1, 0, 0});
}

TEST(RunPlan, Communication) {
  EXPECT_EQ(all_reduce_bytes(1000, 1), 0);
  EXPECT_EQ(all_reduce_bytes(1000, 4), 6000);
}

TEST(RunPlan, Units) {
  EXPECT_EQ(with_prefix(0, "B"), "0 B");
  EXPECT_EQ(with_prefix(999, "B"), "999 B");
  EXPECT_EQ(with_prefix(1000, "B"), "1.00 kB");
  EXPECT_EQ(with_prefix(12345678, "B"), "12.35 MB");
  EXPECT_EQ(with_prefix(4.5e12, "FLOP"), "4.50 TFLOP");
  EXPECT_EQ(with_prefix(1.2e22, "FLOP"), "12.00 ZFLOP");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(12310001152), "12,310,001,152");
}

TEST(RunPlan, SaysItAll) {
  const ResolvedDeck deck = small_deck();
  const std::string text = run_plan(deck, 4);
  for (const char* part : {"plan of small.in on 4 ranks", "M-*M-: 5 layers", "Mamba", "attention",
                           "MLP", "budget large", "budget middle", "budget small", "stage1",
                           "weights", "gradients", "moments", "teacher", "router", "logits",
                           "FLOP per step", "ring over 4 ranks", "a checkpoint", "tokens"})
    EXPECT_THAT(text, HasSubstr(part));
  EXPECT_THAT(run_plan(deck, 1), HasSubstr("none: one rank"));
}

TEST(RunPlan, MakingModelsOneByOne) {
  const ResolvedDeck deck =
      small_deck({"comparison/pretrain_tokens=1e6", "comparison/exploratory_tokens=3e4",
                  "comparison/distillation_tokens=2e4", "comparison/separate_parameters=1000,500"});
  const PlanComparison c = plan_comparison(deck.config, 1200);
  EXPECT_EQ(c.models, 2u);  // below budget 1
  EXPECT_EQ(c.elastic_tokens, 4 * 4 * 64);
  EXPECT_EQ(c.pretrain_tokens, 2e6);
  EXPECT_EQ(c.compress_tokens, 1e5);
  EXPECT_EQ(c.nested_bytes, 2400);
  EXPECT_EQ(c.separate_bytes, 3000);
  const std::string text = run_plan(deck, 1);
  for (const char* part : {"2 smaller models made one by one", "1953.1 x this run",
                           "97.7 x this run", "for separate models of 1,000 + 500 parameters"})
    EXPECT_THAT(text, HasSubstr(part));
  EXPECT_THAT(run_plan(small_deck(), 1), testing::Not(HasSubstr("one by one")));
}

TEST(RunPlan, FilesThatTheRunWillNeed) {
  const ResolvedDeck deck =
      small_deck({"data/source=indexed", "data/train=a,b", "data/vocab_size=100",
                  "job/phases=rank,elastic", "job/parent=missing/parent.h5"});
  EXPECT_THAT(needed_files(deck.config),
              testing::ElementsAre("missing/parent.h5", "a.bin", "a.idx", "b.bin", "b.idx"));
  EXPECT_THAT(run_plan(deck, 1), HasSubstr("missing/parent.h5: not there yet"));
  EXPECT_THAT(needed_files(small_deck().config), testing::IsEmpty());
}

/// The deck input/NAME.
ResolvedDeck input_deck(const std::string& name) {
  const std::string path = ELASTIC_SOURCE "/input/" + name;
  return read_run_config(read_deck_file(path), path, {});
}

TEST(RunPlan, TheTwelveBillionModel) {
  const ResolvedDeck deck = input_deck("nano12b.in");
  const RunConfig& config = deck.config;
  const ModelShape shape = parent_shape(config);
  const PlanBudgets plan = plan_budgets(config, shape, elastic_space(config, shape));
  EXPECT_EQ(plan.full_cost, 12310001152.0);
  EXPECT_EQ(shape.num_layers(), 62);
  const std::vector<double> budgets = {1, 0.75, 0.5};
  ASSERT_EQ(plan.budgets.size(), budgets.size());
  for (std::size_t b = 0; b < budgets.size(); ++b) {
    EXPECT_FALSE(plan.budgets[b].homogeneous.empty()) << b;
    for (const auto& spec : plan.budgets[b].homogeneous)
      EXPECT_NEAR(parameter_count(shape, expected_widths(spec)) / (budgets[b] * 12310001152.0), 1,
                  0.01);
  }
  const PlanComparison c = plan_comparison(config, plan.full_cost);
  EXPECT_NEAR(c.elastic_tokens, 110e9, 0.1e9);
  EXPECT_EQ(c.pretrain_tokens, 40e12);
  EXPECT_EQ(c.compress_tokens, 750e9);
  EXPECT_NEAR(c.compress_tokens / c.elastic_tokens, 7, 0.5);  // as the paper rounds it
  EXPECT_NEAR(c.pretrain_tokens / c.elastic_tokens, 360, 5);
  EXPECT_NEAR(c.nested_bytes, 24.6e9, 0.05e9);
  EXPECT_NEAR(c.separate_bytes, 42.4e9, 0.05e9);
  const std::string text = run_plan(deck, 2);  // moments are shared among the ranks
  for (const char* part :
       {"62 layers", "12,310,001,152 parameters", "budget 9B       0.7500",
        "budget 6B       0.5014", "49.24 GB weights + 49.24 GB gradients + 49.24 GB moments",
        "49.24 GB teacher", "GB activations", "backward of a layer", "EFLOP) per step",
        "ZFLOP in all", "a ring over 2 ranks sends 49.24 GB from each", "in all 6955 steps",
        "a checkpoint 147.73 GB", "this run: 110.02 Gtokens", "363.6 x this run", "6.8 x this run",
        "24.62 GB for all 3 models in one, 42.40 GB for separate models"})
    EXPECT_THAT(text, HasSubstr(part));
}

TEST(RunPlan, TheNineBillionModelAndItsFourBillionSubmodel) {
  const RunConfig config = input_deck("nano9b_to_4b.in").config;
  const ModelShape shape = parent_shape(config);
  const PlanBudgets plan = plan_budgets(config, shape, elastic_space(config, shape));
  EXPECT_EQ(plan.full_cost, 8888227328.0);
  const auto& small = plan.budgets.at(1).homogeneous.at(0);
  EXPECT_EQ(small.hidden_size, 3136);
  EXPECT_EQ(sliced_shape(shape, small).num_layers(), 42);
  EXPECT_NEAR(parameter_count(shape, expected_widths(small)), 3973556832.0, 0.001 * 3973556832.0);
}

}  // namespace
}  // namespace elastic::test
