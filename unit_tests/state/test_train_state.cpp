// SPDX-License-Identifier: Apache-2.0
// The start of a parent, and what the rank phase makes of it: the same function of its tokens with
// units in another order, a frozen teacher, a new router, moments at zero.
#include "state/train_state.hpp"

#include "elastic/cost_model.hpp"
#include "elastic/family.hpp"
#include "model/initialization.hpp"
#include "unit_tests/model/model_problem.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

std::vector<float> values_of(const LanguageModel<float>& model) {
  return to_host(model.parameters().values());
}
std::vector<float> logits(const LanguageModel<float>& model) {
  Arena arena;
  const LayerContext context = {
      .exec = {}, .arena = &arena, .batch = 2, .seq_length = 12, .segment = {}};
  const Arena::Scope scope(arena);
  auto pass = model.make_pass(Keep::nothing);
  model.forward(context, model.full_widths(),
                to_device(random_tokens(24, model.shape().vocab_size, 8)), pass);
  const auto out = arena.matrix<float>(24, model.shape().vocab_size);
  model.all_logits({}, arena, pass.hidden, out);
  return to_host(out);
}
bool all_zero(const View1<float>& view) {
  const auto values = to_host(view);
  return std::all_of(values.begin(), values.end(), [](float x) { return x == 0; });
}

TEST(TrainState, AParentStartsAsTheDeckSays) {
  const ResolvedDeck deck = small_deck({"job/seed=99", "model/init_std=0.3"});
  const TrainState<Real> state = make_parent<Real>(deck.config);
  LanguageModel<float> expected(parent_shape(deck.config));
  initialize(expected, 0.3, 99);
  EXPECT_TRUE(bitwise_equal(values_of(*state.model), values_of(expected)));
  EXPECT_EQ(state.step, 0);
  EXPECT_FALSE(state.elastic.has_value());
  ASSERT_NE(state.optimizer, nullptr);
  EXPECT_TRUE(all_zero(state.optimizer->first_moments()));
  EXPECT_TRUE(all_zero(state.optimizer->second_moments()));
  const ResolvedDeck other = small_deck({"job/seed=98", "model/init_std=0.3"});
  EXPECT_NE(values_of(*make_parent<Real>(other.config).model), values_of(*state.model));
}

TEST(TrainState, MastersStartAtTheInitialValuesBeforeRounding) {
  const ResolvedDeck deck = small_deck();
  const auto state = make_parent<bfloat16>(deck.config);
  const auto fp32 = make_parent<float>(deck.config);
  EXPECT_TRUE(bitwise_equal(state.optimizer->masters(), fp32.model->parameters().values()));
  for (const auto& p : state.model->parameters()) {
    const auto& q = *fp32.model->parameters().find(p.info.name);
    if (p.info.exact)
      EXPECT_TRUE(bitwise_equal(p.exact_vector(), q.value_vector())) << p.info.name;
    else
      EXPECT_TRUE(bitwise_equal(p.value_vector(), stored_as<bfloat16>(q.value_vector())))
          << p.info.name;
  }
}

TEST(TrainState, MastersStartAtThePermutedValuesOfTheTeacher) {
  const ResolvedDeck deck = small_deck();
  auto state = make_parent<bfloat16>(deck.config);
  begin_elastic(deck.config, random_ranking(state.model->shape()), state);
  const auto &model = state.model->parameters(), &teacher = state.elastic->teacher->parameters();
  EXPECT_TRUE(bitwise_equal(teacher.values(), model.values()));
  EXPECT_TRUE(bitwise_equal(teacher.exact_values(), model.exact_values()));
  for (const auto& p : teacher)
    EXPECT_EQ(state.optimizer->gather_masters(Communicator::self(), p.info.name), values_to_host(p))
        << p.info.name;
}

TEST(TrainState, AParentToBeReadIsZero) {
  const TrainState<Real> state = make_parent<Real>(small_deck().config, Weights::zero);
  EXPECT_TRUE(all_zero(state.model->parameters().values()));
}

TEST(TrainState, MomentsAreHeldIfAStageLearns) {
  const std::vector<std::string> nothing = {"pretrain/learning_rate=0", "stage1/learning_rate=0"};
  EXPECT_EQ(make_parent<Real>(small_deck(nothing).config).optimizer, nullptr);
  EXPECT_NE(make_parent<Real>(small_deck({nothing[0]}).config).optimizer, nullptr);
  EXPECT_NE(make_parent<Real>(small_deck({nothing[1]}).config).optimizer, nullptr);
}

TEST(TrainState, RankingReordersAndTeaches) {
  const ResolvedDeck deck = small_deck({"model/init_std=0.3"});
  TrainState<Real> state = make_parent<Real>(deck.config);
  randomize(state.optimizer->first_moments(), 1);
  randomize(state.optimizer->second_moments(), 2);
  const auto before = values_of(*state.model), outputs = logits(*state.model);
  begin_elastic(deck.config, random_ranking(state.model->shape()), state);
  const ElasticState<Real>& elastic = *state.elastic;
  EXPECT_NE(values_of(*state.model), before);
  EXPECT_TRUE(near(logits(*state.model), outputs, tolerance<float>(1000)));
  EXPECT_TRUE(bitwise_equal(values_of(*elastic.teacher), values_of(*state.model)));
  EXPECT_NE(elastic.teacher->parameters().values().data(),
            state.model->parameters().values().data());
  EXPECT_EQ(elastic.teacher->parameters().gradients().extent(0), 0u) << "not frozen";
  EXPECT_TRUE(all_zero(state.optimizer->first_moments()));
  EXPECT_TRUE(all_zero(state.optimizer->second_moments()));
  EXPECT_TRUE(all_zero(elastic.router_optimizer->first_moments()));
  EXPECT_EQ(elastic.router_optimizer->first_moments().extent(0),
            static_cast<std::size_t>(elastic.router->parameters().num_elements()));
  EXPECT_EQ(elastic.space.drop_order, (std::vector<index_t>{1, 3, 4, 0, 2}));
  EXPECT_EQ(elastic.decisions.size(), 7u);
}

TEST(TrainState, ThePhysicalOrderIsThatOfTheRanking) {
  const ResolvedDeck deck = small_deck();
  TrainState<Real> state = make_parent<Real>(deck.config);
  const auto before = to_host(state.model->output_layer().value);
  const Ranking ranking = random_ranking(state.model->shape());
  begin_elastic(deck.config, ranking, state);
  const auto after = to_host(state.model->output_layer().value);
  for (std::size_t word = 0; word < 64; ++word)
    for (std::size_t j = 0; j < 24; ++j)
      ASSERT_EQ(after[word * 24 + j],
                before[word * 24 + static_cast<std::size_t>(ranking.hidden[j])]);
}

TEST(TrainState, AResumedParentIsRankedAlready) {
  const ResolvedDeck deck = small_deck();
  TrainState<Real> state = make_parent<Real>(deck.config);
  const auto before = values_of(*state.model);
  Ranking ranking = random_ranking(state.model->shape());
  ranking.drop_order.clear();
  make_elastic(deck.config, ranking, state);
  EXPECT_TRUE(bitwise_equal(values_of(*state.model), before));
  EXPECT_TRUE(all_zero(state.elastic->teacher->parameters().values()));
  EXPECT_EQ(state.elastic->space.drop_order,
            elastic_space(deck.config, state.model->shape()).drop_order);
}

TEST(TrainState, RoutersOfOtherSeedsDiffer) {
  const auto router = [](const std::string& seed) {
    const ResolvedDeck deck = small_deck({"job/seed=" + seed});
    TrainState<Real> state = make_parent<Real>(deck.config);
    make_elastic(deck.config, identity_ranking(state.model->shape()), state);
    return to_host(state.elastic->router->parameters().values());
  };
  EXPECT_EQ(router("1"), router("1"));
  EXPECT_NE(router("1"), router("2"));
}

TEST(TrainState, SubmodelsOfARunAreNamedAndNested) {
  const ResolvedDeck deck = small_deck({"evaluate/extra_budgets=0.6"});
  const TrainState<Real> state = small_state(deck.config);
  const auto family = submodels_for(deck.config, state, true);
  ASSERT_EQ(family.size(), 4u);
  EXPECT_EQ(family[1].name, "middle");
  EXPECT_EQ(family[3].name, "0.6");
  EXPECT_TRUE(family[0].same_widths(full_spec(state.model->shape())));
  for (const std::size_t outer : {1, 3}) EXPECT_TRUE(is_nested(family[2], family[outer])) << outer;
  EXPECT_TRUE(is_nested(family[3], family[1]));
  EXPECT_EQ(submodels_for(deck.config, state, false).size(), 3u);
  EXPECT_TRUE(submodel_for(deck.config, state, 0.5).same_widths(family[2]));
}

TEST(TrainState, FixedWidthsAreTheHomogeneousSubmodels) {
  const ResolvedDeck deck =
      small_deck({"evaluate/extra_budgets=0.6", "router/widths=homogeneous", "elastic/per_layer="});
  const TrainState<Real> state = small_state(deck.config);  // opinions of its router do not matter
  const ElasticState<Real>& elastic = *state.elastic;
  EXPECT_FALSE(elastic.learns_widths());
  ASSERT_EQ(elastic.fixed.size(), 3u);
  const auto family = submodels_for(deck.config, state, true);
  ASSERT_EQ(family.size(), 4u);
  EXPECT_EQ(family[3].name, "0.6");
  const auto exec = ExecutionSpace();
  for (std::size_t b = 0; b < 4; ++b) {
    const double budget = b < 3 ? deck.config.elastic.budgets[b] : 0.6;
    const SubmodelSpec spec = homogeneous_submodel(state.model->shape(), elastic.space, budget, {});
    EXPECT_TRUE(family[b].same_widths(spec)) << budget;
    EXPECT_TRUE(submodel_for(deck.config, state, budget).same_widths(spec)) << budget;
    if (b == 3) break;
    const auto& widths = elastic.soft_widths->set(exec, elastic.draw({}, b, {}, 5));
    const auto expected = state.model->widths(spec);
    EXPECT_EQ(widths.hidden, expected.hidden);
    EXPECT_EQ(widths.hidden_mask.value.size(), 0u);
    for (std::size_t l = 0; l < spec.layers.size(); ++l) {
      EXPECT_EQ(widths.layers[l].active, spec.layers[l].keep) << l;
      EXPECT_EQ(widths.layers[l].width, spec.layers[l].width) << l;
      EXPECT_EQ(widths.layers[l].head_channels, spec.layers[l].head_channels) << l;
      EXPECT_EQ(widths.layers[l].inner.value.size(), 0u) << l;
      EXPECT_EQ(widths.layers[l].dgamma.size(), 0u) << l;
    }
  }
  EXPECT_TRUE(small_state(small_deck().config).elastic->learns_widths());
}

TEST(TrainState, TheRoutersChoiceMeetsTheBudget) {
  const ResolvedDeck deck = small_deck();
  const TrainState<Real> state = small_state(deck.config);
  const ModelShape& shape = state.model->shape();
  const double whole = parameter_count(shape, expected_widths(full_spec(shape)));
  for (const double budget : {1.0, 0.85, 0.7, 0.6, 0.5}) {
    const SubmodelSpec spec = submodel_for(deck.config, state, budget);
    EXPECT_NO_THROW(check_spec(shape, spec));
    EXPECT_EQ(spec.budget, budget);
    EXPECT_NEAR(parameter_count(shape, expected_widths(spec)) / whole, budget,
                budget * deck.config.elastic.loss.tolerance);
  }
  EXPECT_THROW(submodel_for(deck.config, state, 0.01), InputError);
}

}  // namespace
}  // namespace elastic::test
