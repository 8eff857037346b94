// SPDX-License-Identifier: Apache-2.0
// Bytes by formula against those allocated and written: tensors of real models, the arena of real
// steps, files.
#include "plan/memory.hpp"

#include "elastic/cost_model.hpp"
#include "train/teach_pass.hpp"
#include "train/train_step.hpp"
#include "train/validation.hpp"
#include "unit_tests/plan/random_deck.hpp"

namespace elastic::test {
namespace {

TEST(Memory, ParametersAndTensorsAreThoseOfTheSlicedModel) {
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

/// Bytes of the arena in the first step of a run, counted and in the plan.
void check_step_memory(const std::vector<std::string>& overrides, bool elastic, double tolerance) {
  const ResolvedDeck deck = small_deck(overrides);
  const RunConfig& config = deck.config;
  const Curriculum curriculum = make_curriculum(config);
  TrainState<Real> state = small_state(config, elastic);
  state.step = 0;
  const ProcessGrid grid(Communicator::self(), {});
  Arena arena;
  TrainStep<Real> step(grid, config, curriculum, arena);
  const auto used = static_cast<double>(high_water(arena, [&] { step.run(state); }));
  const PlanMemory plan = plan_memory(config, state.model->shape(), 1);
  const Stage& stage = curriculum.stages[0];
  const double batch =  // not in the arena
      16.0 * static_cast<double>(largest_micro_batch(config, stage) * stage.config.seq_length);
  EXPECT_NEAR(used / (plan.step() - batch), 1, tolerance) << testing::PrintToString(overrides);
}

TEST(Memory, WorkingMemoryOfAStep) {
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

TEST(Memory, WorkingMemoryOfRandomModels) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    Draw draw(seed);
    const bool elastic = seed % 2 == 1;
    check_step_memory(random_deck(draw, elastic), elastic, 0.02);
  }
}

TEST(Memory, WorkingMemoryOfTheEvaluation) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    Draw draw(seed);
    auto overrides = random_deck(draw, true);
    overrides.push_back("job/phases=rank,elastic,slice,evaluate");
    const ResolvedDeck deck = small_deck(overrides);
    const TrainState<Real> state = small_state(deck.config, false);
    const ModelShape& shape = state.model->shape();
    const index_t length = deck.config.stages[0].seq_length;
    const Communicator self = Communicator::self();
    Arena arena;
    Validation<Real> validation(self, deck.config, arena);
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

TEST(Memory, StateMemory) {
  const ResolvedDeck deck = small_deck();
  const TrainState<Real> state = small_state(deck.config);
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

TEST(Memory, ATrainableTeacherNeedsNoCopyOfTheParent) {
  const std::vector<std::string> trainable = {"stage1/teacher=trainable",
                                              "stage1/teacher_cross_entropy_weight=1"};
  const ResolvedDeck deck = small_deck(trainable);
  const TrainState<Real> state = small_state(deck.config);
  EXPECT_EQ(state.elastic->teacher, nullptr);
  const ModelShape& shape = state.model->shape();
  const PlanMemory frozen = plan_memory(small_deck().config, shape, 5),
                   plan = plan_memory(deck.config, shape, 5);
  EXPECT_EQ(plan.teacher, 0);
  EXPECT_EQ(plan.copy, frozen.copy + frozen.weights);  // read again to compare with
  for (const bool recompute : {false, true})
    check_step_memory({"job/phases=rank,elastic", "job/parent=p.h5", "elastic/choice_epsilon=0",
                       fmt::format("parallel/recompute={}", recompute), trainable[0], trainable[1]},
                      true, 0.02);
}

TEST(Memory, NoMomentsIfNoStageChangesTheModel) {
  const ResolvedDeck deck = small_deck({"pretrain/learning_rate=0", "stage1/learning_rate=0"});
  const TrainState<Real> state = small_state(deck.config);
  EXPECT_EQ(state.optimizer, nullptr);
  EXPECT_EQ(plan_memory(deck.config, state.model->shape(), 5).moments, 0);
  const ResolvedDeck one = small_deck({"stage1/learning_rate=0"});
  EXPECT_GT(plan_memory(one.config, state.model->shape(), 5).moments, 0);
}

class PlannedFiles : public InFolder {};

TEST_F(PlannedFiles, AStoredTeacherNeedsNeitherACopyNorLogitsOfTheParent) {
  for (const index_t words : {1, 20, 64}) {
    const ResolvedDeck deck =
        small_deck({"job/phases=teach,elastic", "job/parent=p.h5", "elastic/choice_epsilon=0",
                    "stage1/teacher=stored", fmt::format("teach/top_k={}", words),
                    fmt::format("teach/folder={}", (folder / std::to_string(words)).string())});
    const RunConfig& config = deck.config;
    TrainState<Real> state = small_state(config);
    state.step = 0;
    EXPECT_EQ(state.elastic->teacher, nullptr);
    const ModelShape& shape = state.model->shape();
    const PlanMemory plan = plan_memory(config, shape, 1);
    EXPECT_EQ(plan.teacher, 0);
    const StoredTeacher file = stored_teachers(config).at(0);
    const ProcessGrid grid(Communicator::self(), {});
    const double said = 6.0 * static_cast<double>(words) + 2,
                 tokens = 2.0 * static_cast<double>(file.layout.seq_length);  // two samples
    EXPECT_EQ(plan.stored, 2 * tokens * said);                                // of four

    Arena arena;
    const auto taught = static_cast<double>(high_water(
        arena, [&] { TeachPass<Real>(grid, config, arena).run(*state.model, file, "0", [] {}); }));
    EXPECT_NEAR(taught / (plan.teaching - tokens * (16 + said)), 1, 0.02) << words;
    EXPECT_EQ(static_cast<double>(std::filesystem::file_size(file.path)), file.bytes());

    Arena of_steps;
    const Curriculum curriculum = make_curriculum(config);
    TrainStep<Real> step(grid, config, curriculum, of_steps);
    const auto used = static_cast<double>(high_water(of_steps, [&] { step.run(state); }));
    EXPECT_NEAR(used / (plan.step() - tokens * (16 + said)), 1, 0.02) << words;
  }
}

TEST_F(PlannedFiles, SizesWithinFivePercent) {
  for (const index_t width : {24, 96}) {
    const ResolvedDeck deck = small_deck({fmt::format("model/hidden_size={}", width),
                                          fmt::format("elastic/hidden_size={},12", width)});
    const TrainState<Real> state = small_state(deck.config);
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
    check("full.h5", model_file_bytes(shape, deck.text.size(), sizeof(Real)));
    spec.hidden_size = 12;
    spec.layers[3].keep = false;
    write_sliced(folder / "small.h5", *state.model, spec, deck.text);
    check("small.h5", model_file_bytes(sliced_shape(shape, spec), deck.text.size(), sizeof(Real)));
  }
}

}  // namespace
}  // namespace elastic::test
