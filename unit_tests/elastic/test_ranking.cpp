// SPDX-License-Identifier: Apache-2.0
// Orders stay in their groups, permutations invert and compose, and slices of ranked
// tensors hold the best units.
#include "elastic/ranking.hpp"

#include <gmock/gmock.h>

#include "unit_tests/elastic/shapes_for_tests.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

using testing::ElementsAre;

ImportanceScores random_scores(const ModelShape& shape, std::uint32_t seed) {
  ImportanceScores scores;
  scores.hidden = random_values<double>(shape.hidden_size, seed, 0, 1);
  for (const auto& layer : shape.layers)
    scores.squares.push_back(random_values<double>(layer.inner(), ++seed, 0, 1));
  return scores;
}

bool equal(const Ranking& a, const Ranking& b) {
  return a.hidden == b.hidden && a.units == b.units && a.channels == b.channels &&
         a.drop_order == b.drop_order;
}

/// Tensors over every kind of dimension.
ParameterStore<double> make_store(const ModelShape& shape) {
  ParameterStore<double> store;
  store.add(
      {.name = "embedding", .rows = 3, .columns = shape.hidden_size, .column_dim = Dim::hidden});
  for (index_t l = 0; l < shape.num_layers(); ++l) {
    const auto& layer = shape.layers[l];
    const Dim inner = layer.kind == LayerKind::mamba       ? Dim::mamba_inner
                      : layer.kind == LayerKind::attention ? Dim::attention_inner
                                                           : Dim::ffn;
    store.add({.name = fmt::format("{}.in", l),
               .rows = layer.inner(),
               .columns = shape.hidden_size,
               .row_dim = inner,
               .column_dim = Dim::hidden,
               .layer = l});
    store.add({.name = fmt::format("{}.out", l),
               .rows = shape.hidden_size,
               .columns = layer.inner(),
               .row_dim = Dim::hidden,
               .column_dim = inner,
               .layer = l});
    if (layer.kind == LayerKind::mamba)
      store.add({.name = fmt::format("{}.A_log", l),
                 .columns = layer.width,
                 .column_dim = Dim::mamba_heads,
                 .layer = l,
                 .vector = true});
  }
  store.allocate(false);
  assign(store.values(), random_values<double>(store.num_elements(), 5));
  return store;
}

TEST(Ranking, SortsFallingWithTiesByIndex) {
  const auto shape = make_shape("-", 4, {}, {}, {LayerKind::mlp, 5});
  const auto ranking = rank_parent(shape, {{1, 3, 3, 2}, {{0, 5, 1, 5, 9}}}, 1);
  EXPECT_THAT(ranking.hidden, ElementsAre(1, 2, 3, 0));
  EXPECT_THAT(ranking.units[0], ElementsAre(4, 1, 3, 2, 0));
  EXPECT_TRUE(ranking.channels[0].empty());
}

TEST(Ranking, MambaHeadsAreScoredOnTheirKeptChannelsInsideGroups) {
  // 4 heads in 2 groups (heads 0, 2 and 1, 3), 2 channels; channel 1 is best over all heads
  const auto shape = make_shape("M", 1, {LayerKind::mamba, 4, 2, 2}, {}, {});
  const ImportanceScores scores{{1}, {{50, 1, 0, 2, 0, 40, 0, 30}}};
  const auto on_best = rank_parent(shape, scores, 1);
  EXPECT_THAT(on_best.channels[0], ElementsAre(1, 0));
  EXPECT_THAT(on_best.units[0], ElementsAre(2, 3, 0, 1)) << "head 0 counts with its channel 1 only";
  const auto on_all = rank_parent(shape, scores, 2);
  EXPECT_THAT(on_all.units[0], ElementsAre(0, 3, 2, 1));
}

TEST(Ranking, HeadsAreComparedBySumsOfSquares) {
  // one strong channel against three middling ones: 5^2 > 3 * 2^2, but 5 < 3 * 2
  const auto shape = make_shape("*", 1, {}, {LayerKind::attention, 2, 3, 1}, {});
  EXPECT_THAT(rank_parent(shape, {{1}, {{4, 4, 4, 25, 0, 0}}}, 1).units[0], ElementsAre(1, 0));
}

TEST(Ranking, WrongNumberOfScoresIsAContractError) {
  const auto shape = small_shape();
  auto scores = random_scores(shape, 1);
  scores.squares[2].pop_back();
  EXPECT_THROW(rank_parent(shape, scores, 4), ContractError);
}

TEST(Ranking, RandomRankingsPermuteInsideGroupsInFallingOrder) {
  for (std::uint32_t seed = 0; seed < 100; ++seed) {
    Draw draw(seed);
    const auto shape = random_shape(draw);
    const auto scores = random_scores(shape, seed);
    const auto ranking = rank_parent(shape, scores, 1000);
    for (index_t l = 0; l < shape.num_layers(); ++l) {
      const auto& layer = shape.layers[l];
      const auto& units = ranking.units[l];
      EXPECT_TRUE(std::is_permutation(units.begin(), units.end(),
                                      identity_ranking(shape).units[l].begin()));
      std::vector<double> norm(layer.width, 0.0);
      for (index_t i = 0; i < layer.inner(); ++i)
        norm[i / layer.head_channels] += scores.squares[l][i];
      for (index_t u = 0; u < layer.width; ++u) {
        EXPECT_EQ(units[u] % layer.num_groups, u % layer.num_groups) << "a unit left its group";
        const index_t better = std::max<index_t>(u - layer.num_groups, u % layer.num_groups);
        EXPECT_LE(norm[units[u]], norm[units[better]] * (1 + 1e-12));
      }
    }
  }
}

TEST(Ranking, PermutationOfInnerChannels) {
  const auto shape = make_shape("M", 1, {LayerKind::mamba, 2, 3, 1}, {}, {});
  Ranking ranking = identity_ranking(shape);
  ranking.units[0] = {1, 0};
  ranking.channels[0] = {2, 0, 1};
  EXPECT_THAT(permutation(shape, ranking, Dim::mamba_inner, 0, 0), ElementsAre(5, 3, 4, 2, 0, 1));
  EXPECT_THAT(permutation(shape, ranking, Dim::mamba_heads, 0, 0), ElementsAre(1, 0));
  EXPECT_THAT(permutation(shape, ranking, Dim::fixed, 0, 2), ElementsAre(0, 1));
}

TEST(Ranking, InverseAndComposition) {
  const auto shape = small_shape();
  auto first = rank_parent(shape, random_scores(shape, 1), 2);
  auto second = rank_parent(shape, random_scores(shape, 77), 4);
  first.drop_order = {1};
  second.drop_order = {2, 0};
  auto neutral = identity_ranking(shape);
  neutral.drop_order = first.drop_order;
  EXPECT_TRUE(equal(compose(first, inverse(first)), neutral));
  EXPECT_TRUE(equal(compose(inverse(first), first), neutral));
  EXPECT_TRUE(equal(compose(first, identity_ranking(shape)), first));

  const auto step_by_step = make_store(shape), at_once = make_store(shape);
  apply_ranking(shape, first, step_by_step);
  apply_ranking(shape, second, step_by_step);
  apply_ranking(shape, compose(first, second), at_once);
  EXPECT_TRUE(bitwise_equal(step_by_step.values(), at_once.values()));
  EXPECT_FALSE(bitwise_equal(at_once.values(), make_store(shape).values()));
  apply_ranking(shape, inverse(compose(first, second)), at_once);
  EXPECT_TRUE(bitwise_equal(at_once.values(), make_store(shape).values()));
}

TEST(Ranking, EveryElementMovesToItsPlace) {
  const auto shape = small_shape();
  const auto ranking = rank_parent(shape, random_scores(shape, 3), 2);
  const auto ranked = make_store(shape), original = make_store(shape);
  apply_ranking(shape, ranking, ranked);
  for (index_t k = 0; k < ranked.size(); ++k) {
    const auto& info = ranked[k].info;
    const auto rows = permutation(shape, ranking, info.row_dim, info.layer, info.rows);
    const auto columns = permutation(shape, ranking, info.column_dim, info.layer, info.columns);
    const auto now = to_host(ranked[k].value), before = to_host(original[k].value);
    for (index_t i = 0; i < info.rows; ++i)
      for (index_t j = 0; j < info.columns; ++j)
        ASSERT_EQ(now[i * info.columns + j], before[rows[i] * info.columns + columns[j]])
            << info.name;
  }
}

TEST(Ranking, PrefixOfARankedTensorHoldsTheBestUnits) {
  const auto shape = make_shape("-", 6, {}, {}, {LayerKind::mlp, 8});
  const auto scores = random_scores(shape, 9);
  auto ranking = rank_parent(shape, scores, 1);
  const auto store = make_store(shape);
  const auto& up = *store.find("0.in");
  std::vector<double> marked;  // each row of the up projection carries the score of its neuron
  for (const double s : scores.squares[0]) marked.insert(marked.end(), 6, s);
  assign(up.value, marked);
  apply_ranking(shape, ranking, store);
  const auto kept = to_host(prefix(up.value, 3, 6)), whole = to_host(up.value);
  for (std::size_t i = kept.size(); i < whole.size(); ++i)
    EXPECT_LE(whole[i], *std::min_element(kept.begin(), kept.end()));
}

TEST(Ranking, EqualScoresLeaveEverythingWhereItIs) {
  const auto shape = small_shape();
  ImportanceScores scores;
  scores.hidden.assign(12, 0.5);
  for (const auto& layer : shape.layers) scores.squares.emplace_back(layer.inner(), 2.0);
  EXPECT_TRUE(equal(rank_parent(shape, scores, 4), identity_ranking(shape)));
}

TEST(Ranking, TiesKeepTheirOrderBetweenBetterAndWorse) {
  auto shape = small_shape("-");
  auto scores = random_scores(shape, 3);
  scores.squares[0] = {1, 5, 1, 5, 0, 5, 1, 0, 9, 1};
  EXPECT_THAT(rank_parent(shape, scores, 1).units[0], ElementsAre(8, 1, 3, 5, 0, 2, 6, 9, 4, 7));
}

TEST(Ranking, OneGroupSortsAllUnitsAndGroupsOfOneMoveNothing) {
  auto shape = small_shape("*");  // 4 heads of 3 channels
  auto scores = random_scores(shape, 3);
  scores.squares[0] = {1, 0, 0, 2, 0, 0, 3, 0, 0, 4, 0, 0};
  shape.layers[0].num_groups = 1;
  EXPECT_THAT(rank_parent(shape, scores, 3).units[0], ElementsAre(3, 2, 1, 0));
  shape.layers[0].num_groups = 2;
  EXPECT_THAT(rank_parent(shape, scores, 3).units[0], ElementsAre(2, 3, 0, 1));
  shape.layers[0].num_groups = 4;
  EXPECT_THAT(rank_parent(shape, scores, 3).units[0], ElementsAre(0, 1, 2, 3));
}

TEST(Ranking, HeadsAreJudgedByTheChannelsThatAreKept) {
  auto shape = small_shape("M");  // 6 heads of 4 channels in 2 groups
  shape.layers[0].num_groups = 1;
  auto scores = random_scores(shape, 3);
  scores.squares[0].assign(24, 0.0);
  // Channel 2 is the best of all. Head 1 is strong there; head 4 is strong in channel 0.
  for (index_t h = 0; h < 6; ++h) scores.squares[0][h * 4 + 2] = 10;
  scores.squares[0][1 * 4 + 2] = 11;
  scores.squares[0][4 * 4 + 0] = 5;
  const auto first = [&](index_t kept) { return rank_parent(shape, scores, kept).units[0][0]; };
  EXPECT_EQ(first(1), 1);
  EXPECT_EQ(first(4), 4);
  EXPECT_EQ(first(400), 4) << "no more channels than there are";
}

TEST(Ranking, SizeOfTheScoresDoesNotMatter) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Draw draw(seed);
    const auto shape = random_shape(draw);
    auto scores = random_scores(shape, static_cast<std::uint32_t>(seed));
    const auto ranking = rank_parent(shape, scores, 2);
    for (double& s : scores.hidden) s *= 4;
    for (auto& layer : scores.squares)
      for (double& s : layer) s *= 1024;
    EXPECT_TRUE(equal(rank_parent(shape, scores, 2), ranking));
  }
}

TEST(Ranking, InverseBringsEveryTensorBack) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Draw draw(40 + seed);
    const auto shape = random_shape(draw);
    const auto store = make_store(shape);
    const auto before = to_host(store.values());
    const auto ranking = rank_parent(shape, random_scores(shape, 9), 2);
    apply_ranking(shape, ranking, store);
    apply_ranking(shape, inverse(ranking), store);
    EXPECT_EQ(to_host(store.values()), before);
    apply_ranking(shape, identity_ranking(shape), store);
    EXPECT_EQ(to_host(store.values()), before);
  }
}

TEST(Ranking, OnlyKindsWithElasticChannelsOrderThem) {
  const auto shape = small_shape("M*-");
  EXPECT_TRUE(ranks_channels(shape.layers[0]));
  EXPECT_FALSE(ranks_channels(shape.layers[1]));
  EXPECT_FALSE(ranks_channels(shape.layers[2]));
  const auto ranking = rank_parent(shape, random_scores(shape, 2), 4);
  EXPECT_EQ(ranking.channels[0].size(), 4u);
  EXPECT_TRUE(ranking.channels[1].empty());
  EXPECT_TRUE(ranking.channels[2].empty());
}

TEST(Ranking, RankingsOfOtherModelsDoNotCompose) {
  const auto a = identity_ranking(small_shape()), b = identity_ranking(small_shape("M-"));
  EXPECT_THROW(compose(a, b), ContractError);
  auto wide = small_shape();
  wide.hidden_size = 13;
  EXPECT_THROW(compose(a, identity_ranking(wide)), ContractError);
}

}  // namespace
}  // namespace elastic::test
