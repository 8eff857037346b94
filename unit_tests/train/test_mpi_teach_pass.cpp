// SPDX-License-Identifier: Apache-2.0
// What the phase teach writes, against the parent's logits in double, on any layout of ranks; steps
// that read it against steps with the teacher itself.
#include "train/teach_pass.hpp"

#include <algorithm>
#include <cmath>

#include "comm/collectives.hpp"
#include "train/token_sources.hpp"
#include "train/train_step.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

ResolvedDeck stored_deck(const std::string& folder, std::vector<std::string> overrides = {}) {
  overrides.insert(
      overrides.begin(),
      {"job/phases=teach,elastic", "job/parent=p.h5", "teach/folder=" + folder,
       "model/init_std=0.2", "model/hybrid_layer_pattern=M-*", "elastic/drop_layers=0,1",
       "stage1/seq_length=40", "stage1/steps=2", "stage1/global_batch_size=5",
       "stage1/teacher=stored", "distill/temperature=1.5"});
  return small_deck(overrides);
}

/// A folder that all ranks share.
class TeachOnRanks : public testing::Test {
 protected:
  void SetUp() override {
    int process = ::getpid();
    broadcast(world, &process, sizeof process);
    folder = std::filesystem::temp_directory_path() / fmt::format("elastic_teach_{}", process);
    if (world.is_root()) std::filesystem::remove_all(folder);
    barrier(world);
  }
  void TearDown() override {
    barrier(world);
    if (world.is_root()) std::filesystem::remove_all(folder);
  }
  StoredTeacher teach(const ResolvedDeck& deck) {
    const ProcessGrid grid(world, parallel_sizes(deck.config));
    Arena arena;
    const auto state = make_parent<Real>(deck.config, grid, Weights::initial);
    const StoredTeacher wanted = stored_teachers(deck.config).at(0);
    TeachPass<Real>(grid, deck.config, arena).run(*state.model, wanted, "0", [] {});
    return wanted;
  }

  Communicator world = Communicator::world();
  std::filesystem::path folder;
};

TEST_F(TeachOnRanks, BlocksSayWhatTheParentSays) {
  for (const bool shares_model : {false, true}) {
    const auto deck = stored_deck(
        (folder / std::to_string(shares_model)).string(),
        {"teach/top_k=7", "parallel/logit_chunk_tokens=33",
         fmt::format("parallel/tensor_parallel_size={}", shares_model ? world.size() : 1)});
    const StoredTeacher wanted = teach(deck);
    const TeacherFile file = open_stored_teacher(wanted, "0");
    ASSERT_EQ(file.samples(), 10);

    const ProcessGrid self(Communicator::self(), {});
    Arena arena;
    const auto state = make_parent<Real>(deck.config);
    const auto& model = *state.model;
    const index_t V = model.shape().vocab_size, L = 40, k = 7;
    const auto source = make_source(deck.config, wanted.stream);
    MicroBatches batches(self.data, deck.config, arena);
    for (index_t sample = 0; sample < 10; ++sample) {
      const Batch whole = make_batch(*source, Split::train, sample, 1, L);
      const MicroBatch batch = batches.load(whole);
      auto pass = model.make_pass(Keep::nothing);
      model.forward(batch.context, model.full_widths(), batch.tokens, pass);
      const View2<Real> logits("logits", L, V);
      model.logits(batch.context.products(), pass.hidden, logits);
      const auto z = to_double(logits);
      const TeacherBlock block = file.read(sample);
      EXPECT_EQ(block.identity, sequence_identity(whole, 0));
      for (index_t t = 0; t < L; ++t) {
        double sum = 0, rest = 0;
        for (index_t v = 0; v < V; ++v) sum += std::exp(z[t * V + v] / 1.5);
        const auto first = block.ids.begin() + t * k;
        double least = 0;
        for (index_t i = 0; i < k; ++i) {
          const double log_p = z[t * V + first[i]] / 1.5 - std::log(sum);
          EXPECT_NEAR(static_cast<double>(block.log_p[t * k + i]), log_p, 1e-4 - log_p / 256);
          least = std::min(least, log_p);
        }
        for (index_t v = 0; v < V; ++v) {
          if (std::binary_search(first, first + k, static_cast<token_t>(v))) continue;
          rest += std::exp(z[t * V + v] / 1.5) / sum;
          EXPECT_LE(z[t * V + v] / 1.5 - std::log(sum), least + 1e-4);
        }
        EXPECT_NEAR(static_cast<double>(block.log_rest[t]), std::log(rest),
                    1e-4 - std::log(rest) / 256);
      }
    }
    barrier(world);
  }
}

/// With all words known, a step differs by the rounding of what is stored.
TEST_F(TeachOnRanks, StepsThatReadAreThoseWithTheTeacher) {
  for (const bool deterministic : {false, true}) {
    const std::vector<std::string> mode = {fmt::format("job/deterministic={}", deterministic)};
    const std::string place = (folder / std::to_string(deterministic)).string();
    const auto deck = stored_deck(place, mode);
    teach(deck);
    auto overrides = mode;
    overrides.insert(overrides.end(), {"job/phases=elastic", "stage1/teacher=frozen"});
    const auto frozen = stored_deck(place, overrides);
    std::vector<StepMetrics> steps;
    for (const ResolvedDeck* run : {&deck, &frozen}) {
      const RunConfig& config = run->config;
      const ProcessGrid grid(world, parallel_sizes(config));
      TrainState<Real> state = make_parent<Real>(config, grid, Weights::initial);
      begin_elastic(config, identity_ranking(state.model->shape()), state);
      EXPECT_EQ(state.elastic->teacher == nullptr, run == &deck);
      Arena arena;
      const Curriculum curriculum = make_curriculum(config);
      TrainStep<Real> step(grid, config, curriculum, arena);
      for (int s = 0; s < 2; ++s) steps.push_back(step.run(state));
    }
    for (int s = 0; s < 2; ++s) {
      EXPECT_NEAR(steps[s].loss, steps[s + 2].loss, 1e-3 * steps[s].loss);
      EXPECT_NEAR(steps[s].gradient_norm, steps[s + 2].gradient_norm,
                  0.01 * steps[s].gradient_norm);
      for (std::size_t b = 0; b < 3; ++b) {
        if (steps[s].budgets[b].share == 0) continue;
        EXPECT_NEAR(steps[s].budgets[b].kl, steps[s + 2].budgets[b].kl,
                    2e-3 + 0.01 * steps[s].budgets[b].kl);
      }
    }
  }
}

TEST_F(TeachOnRanks, ANumberThatIsNotFiniteNamesTheSequence) {
  const auto deck = stored_deck(folder.string());
  const ProcessGrid grid(world, {});
  Arena arena;
  const auto state = make_parent<Real>(deck.config, grid, Weights::initial);
  Kokkos::deep_copy(state.model->parameters().values(), NAN);
  const StoredTeacher wanted = stored_teachers(deck.config).at(0);
  const auto message = message_of<NumericsError>(
      [&] { TeachPass<Real>(grid, deck.config, arena).run(*state.model, wanted, "0", [] {}); });
  EXPECT_TRUE(contains(message, "teach (stage1): what the parent says of token 0 of sequence 0"));
  EXPECT_FALSE(is_stored(wanted, "0"));
}

TEST_F(TeachOnRanks, OtherTokensAreRefused) {
  const auto deck = stored_deck(folder.string());
  const StoredTeacher wanted = teach(deck);
  const Stage stage = make_curriculum(deck.config).stages.at(0);
  StoredRows rows(deck.config);
  Batch batch = make_batch(*make_source(deck.config, wanted.stream), Split::train, 3, 2, 40);
  EXPECT_NO_THROW(rows.read(stage, {3, 4}, batch));
  batch.tokens[50] ^= 1;
  EXPECT_TRUE(contains(message_of<InputError>([&] {
                         rows.read(stage, {3, 4}, batch);
                       }),
                       "its sequence 4 has other tokens"));
}

/// Ranks, rankings and precisions.
TEST_F(TeachOnRanks, TheParentIsTheSameInAnyOrderOfUnits) {
  const auto deck = small_deck();
  if (world.is_root()) std::filesystem::create_directories(folder);
  auto state = make_parent<Real>(deck.config);
  const auto identity = [&](const char* name, Precision precision = Precision::float32) {
    const auto path = folder / name;
    if (world.is_root()) {
      CheckpointWriter writer(path);
      write_model(writer, *state.model, deck.text, "parent");
      writer.commit();
    }
    barrier(world);
    const std::string found = parent_identity(world, path, precision);
    EXPECT_EQ(found, parent_identity(path, precision));
    EXPECT_EQ(found.size(), 16u);
    return found;
  };
  const auto before = identity("a");
  const auto rounded = identity("b", Precision::bfloat16);
  EXPECT_NE(rounded, before);
  begin_elastic(deck.config, random_ranking(state.model->shape()), state);
  EXPECT_EQ(identity("c"), before);
  const auto values = state.model->parameters().values();
  const auto first = Kokkos::subview(values, 0);
  Kokkos::deep_copy(first, 0.125f);
  EXPECT_NE(identity("d"), before);
}

}  // namespace
}  // namespace elastic::test
