// SPDX-License-Identifier: Apache-2.0
// Losses and answers of the submodels in a checkpoint are those that the run itself measures.
#include "verbs/evaluate.hpp"

#include "unit_tests/state/stored_run.hpp"

namespace elastic::test {
namespace {

class Evaluate : public StoredRun {
 protected:
  std::vector<Evaluated> evaluate(const std::filesystem::path& path,
                                  const std::string& budget = "") const {
    return evaluate_checkpoint(Communicator::self(), path, budget, {});
  }
};

TEST_F(Evaluate, TakesWhatTheFileHolds) {
  const auto all = evaluate(model);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].name, "large");  // largest budget first
  EXPECT_EQ(all[2].name, "small");
  EXPECT_GT(all[0].parameters, all[1].parameters);
  const auto trained = evaluate(write_training());
  ASSERT_EQ(trained.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(trained[i].valid_loss, all[i].valid_loss);
  // Against the class that the run itself uses.
  const Communicator self = Communicator::self();
  Arena arena;
  Validation<Real> validation(self, deck.config, arena);
  const SubmodelSpec spec = submodel_for(deck.config, *state, 0.7);
  EXPECT_EQ(all[1].valid_loss, validation.losses(*state->model, spec, nullptr, 64).cross_entropy);
  ASSERT_TRUE(all[1].accuracy.has_value());
  EXPECT_EQ(*all[1].accuracy, validation.accuracy(*state->model, spec));
  const auto parent = evaluate(write_parent());
  ASSERT_EQ(parent.size(), 1u);
  EXPECT_EQ(parent[0].name, "parent");
  EXPECT_EQ(parent[0].parameters, parameters(full_spec(state->model->shape())));
  contains(describe(all), "accuracy");
}

TEST_F(Evaluate, OnOtherData) {
  const auto bare =
      evaluate_checkpoint(Communicator::self(), model, "small", {"evaluate/problems=0"});
  EXPECT_FALSE(bare.at(0).accuracy.has_value());
  const auto other =
      evaluate_checkpoint(Communicator::self(), model, "small", {"data/max_digits=2"});
  EXPECT_NE(other.at(0).valid_loss, bare.at(0).valid_loss);
  contains(message_of<InputError>([&] {
             evaluate_checkpoint(Communicator::self(), model, "small", {"data/max_digit=3"});
           }),
           "max_digits");
}

}  // namespace
}  // namespace elastic::test
