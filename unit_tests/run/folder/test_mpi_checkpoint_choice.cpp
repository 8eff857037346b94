// SPDX-License-Identifier: Apache-2.0
// Which checkpoint a run goes on from, chosen by all ranks together.
#include "run/folder/checkpoint_choice.hpp"

#include <cmath>
#include <limits>

#include "comm/collectives.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {
namespace fs = std::filesystem;

const std::string id(32, 'a'), other_id(32, 'b');

class CheckpointChoiceTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string root = (fs::temp_directory_path() / fmt::format("choice_{}", ::getpid())).string();
    broadcast(world, root);
    run.root = root;
    on_root([&] {
      fs::remove_all(run.root);
      fs::create_directories(run.checkpoints());
      write_run_identity(run.id(), {.id = id});
      for (const index_t step : {2, 4, 6}) save(step);
    });
  }
  void TearDown() override {
    on_root([&] { fs::remove_all(run.root); });
  }
  template <class Work>
  void on_root(const Work& work) const {
    if (world.is_root()) work();
    barrier(world);
  }
  /// A checkpoint as far as the choice looks at it.
  void save(index_t step, float value = 1, const std::string& of_run = id) const {
    CheckpointWriter file(folder().path_of(step));
    std::vector<float> values(5000, value);
    values.front() = 0;
    file.vector("model/a", values.data(), 5000);
    file.tensor("model/b", values.data(), 50, 100);
    file.attribute("step", step);
    file.attribute("elastic", index_t(0));
    file.text("deck", deck.text);
    write_file_identity(file, {of_run, ""});
    file.commit();
  }
  void flip(index_t step) const {
    on_root([&] {
      const auto path = folder().path_of(step);
      std::string bytes = bytes_of(path);
      bytes[bytes.size() / 2] ^= 1;
      write_bytes(path, bytes);
    });
  }
  CheckpointFolder folder() const { return {run.checkpoints(), 0}; }
  CheckpointChoice choose(const ResumeOptions& options = {},
                          const std::vector<std::string>& overrides = {}) const {
    return choose_checkpoint(world, run, folder(), small_deck(overrides).text, options);
  }
  template <class E>
  std::string refused(const ResumeOptions& options = {},
                      const std::vector<std::string>& overrides = {}) const {
    return message_of<E>([&] { choose(options, overrides); });
  }

  const Communicator world = Communicator::world();
  const ResolvedDeck deck = small_deck();
  RunFolder run;
};

TEST_F(CheckpointChoiceTest, TheNewest) {
  const auto choice = choose();
  EXPECT_EQ(choice.path, folder().path_of(6));
  EXPECT_EQ(choice.head.step, 6);
  EXPECT_EQ(choice.run.id, id);
  EXPECT_TRUE(choice.later.empty());
}

TEST_F(CheckpointChoiceTest, OneByItsStep) {
  const auto choice = choose({.from = 2});
  EXPECT_EQ(choice.head.step, 2);
  EXPECT_EQ(choice.later, (std::vector<fs::path>{folder().path_of(4), folder().path_of(6)}));
  contains(refused<InputError>({.from = 3}), "there are those of 2, 4, 6");
}

TEST_F(CheckpointChoiceTest, ADamagedOneEndsTheResumeUnlessOlderOnesAreAllowed) {
  flip(6);
  const auto message = refused<Error>();
  for (const char* part : {"checkpoint_000006.h5", "--allow-fallback", "2, 4, 6", "--from"})
    contains(message, part);
  EXPECT_EQ(choose({.allow_fallback = true}).head.step, 4);
  EXPECT_EQ(choose({.from = 2}).head.step, 2);
  contains(refused<Error>({.allow_fallback = true, .from = 6}), "checkpoint_000006.h5");
  flip(4);
  flip(2);
  contains(refused<InputError>({.allow_fallback = true}), "none of the 3 checkpoints can be read");
}

TEST_F(CheckpointChoiceTest, ANumberThatIsNotFiniteIsNamed) {
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    on_root([&] { save(6, poison); });
    Error error(ExitCode::success, "");
    try {
      choose();
    } catch (const Error& thrown) {
      error = thrown;
    }
    EXPECT_EQ(error.code(), ExitCode::numerics);
    contains(error.what(), "checkpoint_000006.h5: model/a holds ");
    EXPECT_EQ(choose({.allow_fallback = true}).head.step, 4);
  }
}

TEST_F(CheckpointChoiceTest, AnotherRunIsRefused) {
  on_root([&] { save(6, 1, other_id); });
  const auto message = refused<Error>();
  for (const auto& part : {id, other_id, std::string("checkpoint_000006.h5")})
    contains(message, part);
  EXPECT_EQ(choose({.allow_fallback = true}).head.step, 4);
}

TEST_F(CheckpointChoiceTest, AChangedPastIsRefusedAlsoWithFallback) {
  const std::vector<std::string> other = {"job/seed=9"};
  for (const bool fallback : {false, true})
    contains(refused<InputError>({.allow_fallback = fallback}, other), "<job>/seed: 1234 before");
  EXPECT_EQ(choose({.accept_changes = true}, other).head.step, 6);
}

TEST_F(CheckpointChoiceTest, TheDeckOfWhatIsPassedOverDoesNotCount) {
  on_root([&] { save(6, std::numeric_limits<float>::quiet_NaN()); });
  // Step 6 is of stage1, whose checkpoint is poisoned; at step 4 the stage lies ahead.
  EXPECT_EQ(choose({.allow_fallback = true}, {"stage1/seq_length=48"}).head.step, 4);
  contains(refused<InputError>({}, {"stage1/seq_length=48"}), "<stage1>/seq_length: 64 before");
}

TEST_F(CheckpointChoiceTest, ARunWithoutIdIsGivenOneForAllItsSteps) {
  on_root([&] {
    fs::remove(run.id());
    for (const index_t step : {2, 4, 6}) save(step, 1, "");
  });
  const auto choice = choose({.from = 4});
  EXPECT_EQ(choice.run.id.size(), 32u);
  EXPECT_EQ(choice.run.steps_without_id, 6);
  on_root([&] { save(6, 1, other_id); });
  EXPECT_EQ(choose().run.id, other_id) << "which a checkpoint still knows";
}

TEST_F(CheckpointChoiceTest, ANameThatIsNotItsStepIsRefused) {
  on_root([&] { fs::rename(folder().path_of(6), folder().path_of(8)); });
  contains(refused<Error>(), "holds step 6; expected 8 by its name");
}

TEST_F(CheckpointChoiceTest, NothingToResume) {
  on_root([&] { fs::remove_all(run.checkpoints()); });
  contains(refused<InputError>(), "no checkpoint to resume from");
}

}  // namespace
}  // namespace elastic::test
