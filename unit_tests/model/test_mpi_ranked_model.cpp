// SPDX-License-Identifier: Apache-2.0
// The order of importance applied to a model that ranks share: the parts of what one rank gets
// alone; and a ranked model computes what it computed before.
#include "model/ranked_model.hpp"

#include "comm/collectives.hpp"
#include "unit_tests/model/wide_model.hpp"

namespace elastic::test {
namespace {

/// Scores that put every unit somewhere else.
Ranking some_ranking(const ModelShape& shape) {
  ImportanceScores scores;
  scores.hidden = random_values<double>(shape.hidden_size, 11, 0, 1);
  std::uint32_t seed = 12;
  for (const auto& layer : shape.layers)
    scores.squares.push_back(random_values<double>(layer.inner(), seed++, 0, 1));
  return rank_parent(shape, scores, 1);
}

TEST(RankedModel, RanksGetThePartsOfTheRankedWhole) {
  const auto world = Communicator::world();
  const auto shape = wide_parent();
  const Ranking ranking = some_ranking(shape);
  LanguageModel<float> together(shape, true, TensorParallel(world, false)), alone(shape, true);
  randomize(together.parameters(), 51);
  randomize(alone.parameters(), 51);
  const auto before = to_host(alone.parameters().values());
  apply_ranking_to_model(ranking, together);
  apply_ranking_to_model(ranking, alone);
  EXPECT_FALSE(bitwise_equal(alone.parameters().values(), before)) << "the order changes something";
  for (const auto& p : together.parameters()) {
    const auto whole = to_host(alone.parameters().find(p.info.name)->value);
    EXPECT_TRUE(bitwise_equal(p.value, part_of_whole(together.parameters(), p, whole)))
        << p.info.name;
  }
}

TEST(RankedModel, LogitsChangeByRoundingOnly) {
  const auto world = Communicator::world();
  ModelProblem<double> problem(wide_parent(), 1, {6, 11}, TensorParallel(world, false));
  const auto widths = problem.full_widths();
  const auto before = problem.logits(widths);
  apply_ranking_to_model(some_ranking(wide_parent()), problem.model);
  EXPECT_TRUE(near(problem.logits(widths), before, 20 * tolerance<double>(500)));
}

template <class T>
void check_inverse() {
  const auto world = Communicator::world();
  LanguageModel<T> model(wide_parent(), true, TensorParallel(world, false));
  randomize(model.parameters(), 51);
  const auto before = to_host(model.parameters().values());
  const auto exact = to_host(model.parameters().exact_values());
  const Ranking ranking = some_ranking(wide_parent());
  apply_ranking_to_model(ranking, model);
  // A rank with few heads may keep all of its own in place.
  const auto moved = [&](const auto& values, const auto& as_before) {
    return all_reduce_sum(world, bitwise_equal(values, as_before) ? index_t{0} : index_t{1}) > 0;
  };
  EXPECT_TRUE(moved(model.parameters().values(), before));
  if (has_exact_values<T>) {
    EXPECT_TRUE(moved(model.parameters().exact_values(), exact));
  }
  apply_ranking_to_model(inverse(ranking), model);
  EXPECT_TRUE(bitwise_equal(model.parameters().values(), before));
  EXPECT_TRUE(bitwise_equal(model.parameters().exact_values(), exact));
}
TEST(RankedModel, TheInverseRestoresEveryBit) {
  check_inverse<float>();
  check_inverse<bfloat16>();
}

}  // namespace
}  // namespace elastic::test
