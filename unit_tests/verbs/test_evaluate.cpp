// SPDX-License-Identifier: Apache-2.0
// Losses and answers of the submodels in a checkpoint are those that the run itself measures.
#include "verbs/evaluate.hpp"

#include "data/indexed_dataset.hpp"
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

TEST_F(Evaluate, ChangesThatChangeNothingAreRefused) {
  const auto error = [&](const std::string& change) {
    return message_of<InputError>(
        [&] { evaluate_checkpoint(Communicator::self(), model, "", {change}); });
  };
  for (const char* change :
       {"job/name=other", "optimizer/beta1=0.5", "pretrain/steps=9", "pretrain/seq_length=96",
        "evaluate/every_steps=3", "guard/limit=1", "stage1/learning_rate=1"}) {
    const auto message = error(change);
    contains(message, fmt::format("{}: evaluate does not use <", change));
    contains(message, "evaluate/samples");
    contains(message, "stage1/seq_length");
  }
  for (const char* change : {"stage1/seq_length=96", "evaluate/samples=2", "job/seed=5",
                             "parallel/logit_chunk_tokens=16"})
    EXPECT_NO_THROW(
        evaluate_checkpoint(Communicator::self(), model, "small", {change, "evaluate/problems=0"}));
}

TEST_F(Evaluate, DataOfOtherWords) {
  write_indexed_dataset((folder / "wide").string(), 100000,
                        std::vector(20, std::vector<token_t>{1, 99999}));
  write_bytes(folder / "text.txt", std::string(5000, 'a'));
  const auto error = [&](const std::string& source, const std::string& file,
                         const std::string& words) {
    return message_of<InputError>([&] {
      evaluate_checkpoint(Communicator::self(), model, "",
                          {"data/source=" + source, "data/train=" + (folder / file).string(),
                           "data/vocab_size=" + words});
    });
  };
  contains(error("indexed", "wide", "100000"),
           "model.h5: the model has a vocabulary of 64 tokens, the data that <data> describes one "
           "of 100000");
  contains(error("text", "text.txt", "0"), "one of 256");
}

TEST_F(Evaluate, LossesThatAreNotFinite) {
  Kokkos::deep_copy(state->model->parameters().values(), 3e38f);
  write_elastic_model(model, deck, *state, 1);
  contains(message_of<NumericsError>([&] { evaluate(model); }), "held-out cross-entropy");
}

}  // namespace
}  // namespace elastic::test
