// SPDX-License-Identifier: Apache-2.0
// Data that one rank alone cannot read ends training, ranking and validation on all ranks with its
// message, wherever their passes would wait for each other in a layer.
#include "comm/collectives.hpp"
#include "train/importance_pass.hpp"
#include "train/train_step.hpp"
#include "train/validation.hpp"
#include "unit_tests/data/data_support.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

template <class T>
std::string bytes(const std::vector<T>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(T)};
}

/// Writes a data set of 40 documents of 30 tokens, all of them `token`. Returns its prefix.
std::string write_tokens(const TemporaryFolder& folder, std::int32_t token) {
  constexpr std::int64_t documents = 40, length = 30;
  std::vector<std::int64_t> pointers, order;
  for (std::int64_t d = 0; d < documents; ++d) pointers.push_back(d * length * 4);
  for (std::int64_t d = 0; d <= documents; ++d) order.push_back(d);
  const std::string head("MMIDIDX\0\0", 9);
  folder.write("set.idx", head + bytes<std::int64_t>({1}) + '\4' +
                              bytes<std::int64_t>({documents, documents + 1}) +
                              bytes(std::vector<std::int32_t>(documents, length)) +
                              bytes(pointers) + bytes(order));
  folder.write("set.bin", bytes(std::vector<std::int32_t>(documents * length, token)));
  return folder.path("set");
}

/// All ranks share one model; the data of the last one holds ids beyond the vocabulary.
class BadData : public testing::Test {
 protected:
  const Communicator world = Communicator::world();
  const TemporaryFolder folder;
  const std::string prefix = write_tokens(folder, world.rank() + 1 == world.size() ? 5000 : 5);
  ResolvedDeck deck = small_deck(
      {"data/source=indexed", "data/vocab_size=80", "data/train=" + prefix, "evaluate/problems=0",
       "rank/samples=4", "rank/seq_length=48", "mamba/num_groups=2",
       fmt::format("parallel/tensor_parallel_size={}", world.size() % 2 == 0 ? 2 : 1)});
  const ProcessGrid grid{world, parallel_sizes(deck.config)};
  Arena arena;
  TrainState<Real> state = make_parent<Real>(deck.config, grid, Weights::initial);

  template <class Work>
  void expect_error_everywhere(const Work& work) {
    const std::string message = input_error(work);
    EXPECT_THAT(message, testing::HasSubstr("5000"));
    std::string first = message;
    broadcast(world, first);
    EXPECT_EQ(message, first);
  }
};

TEST_F(BadData, EndsAStep) {
  const Curriculum curriculum = make_curriculum(deck.config);
  TrainStep<Real> step(grid, deck.config, curriculum, arena);
  expect_error_everywhere([&] { step.run(state); });
}

TEST_F(BadData, EndsTheRanking) {
  ImportancePass<Real> pass(grid, deck.config, arena);
  expect_error_everywhere([&] { pass.ranking(*state.model); });
}

TEST_F(BadData, EndsTheValidation) {
  Validation<Real> validation(grid, deck.config, arena);
  const auto& model = *state.model;
  const auto full = model.full_widths();
  expect_error_everywhere([&] { validation.losses(model, full_spec(model.shape()), nullptr, 48); });
  expect_error_everywhere([&] { validation.max_logit_difference(model, full, model, full, 48); });
}

}  // namespace
}  // namespace elastic::test
