// SPDX-License-Identifier: Apache-2.0
// The ranking of a parent's widths against scores in double from their definition, and against
// planted orders.
#include "train/importance_pass.hpp"

#include <gmock/gmock.h>

#include "unit_tests/io/io_support.hpp"
#include "unit_tests/train/importance_reference.hpp"

namespace elastic::test {
namespace {

using testing::ElementsAre;

const std::vector<Overrides> measures = {
    {"rank/aggregation=mean_l2", "rank/activations=outputs"},
    {"rank/aggregation=mean_l2", "rank/activations=projections"},
    {"rank/aggregation=sum", "rank/activations=outputs"},
    {"rank/aggregation=sum", "rank/activations=projections"}};
/// Many heads of several channels, so that norms of another kind give another order.
const Overrides many_heads = {"mamba/num_heads=12",
                              "mamba/head_dim=4",
                              "elastic/mamba_num_heads=12,6",
                              "elastic/mamba_head_dim=4,3",
                              "attention/num_heads=12",
                              "attention/kv_channels=4",
                              "elastic/num_attention_heads=12,6"};

ImportanceScores scores_of(const RunConfig& config, const LanguageModel<float>& parent) {
  const ProcessGrid grid(Communicator::self(), {});
  Arena arena;
  return ImportancePass<Real>(grid, config, arena).width_scores(parent);
}
/// The largest relative difference of two lists.
double difference(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::abs(a[i] - b[i]) / std::max(std::abs(b[i]), 1e-30));
  return largest;
}

void expect_scores_of_plain_loops(const Overrides& data) {
  // A square has twice the error of a sum over tokens of products over hidden channels.
  const double allowed = 2 * tolerance<float>(40 * 24);
  for (const auto& measure : measures)
    for (const Overrides& batches : {Overrides{"parallel/micro_batch_size=2"},
                                     {"parallel/micro_batch_size=4"},
                                     {"job/deterministic=true"}}) {
      const ResolvedDeck deck = ranked_deck(with(with(measure, batches), data));
      const TrainState<Real> state = make_parent<Real>(deck.config);
      const ImportanceScores scores = scores_of(deck.config, *state.model),
                             expected = ImportanceReference(deck.config, *state.model).scores();
      EXPECT_LT(difference(scores.hidden, expected.hidden), allowed);
      ASSERT_EQ(scores.squares.size(), 5u);
      for (std::size_t l = 0; l < 5; ++l)
        EXPECT_LT(difference(scores.squares[l], expected.squares[l]), allowed)
            << "layer " << l << " " << testing::PrintToString(measure);
    }
}

TEST(ImportancePass, ScoresOfEveryAxisAreThoseOfPlainLoops) { expect_scores_of_plain_loops({}); }

class MaskedImportance : public InFolder {};

TEST_F(MaskedImportance, OnlyTokensCountWhoseNextOneIsATarget) {
  const Overrides data = masked_data((folder / "data").string());
  expect_scores_of_plain_loops(data);
  // Others than without the mask.
  const ResolvedDeck deck = ranked_deck(data),
                     all = ranked_deck(with(data, {"data/loss_mask=ignored"}));
  const TrainState<Real> state = make_parent<Real>(deck.config);
  EXPECT_GT(difference(scores_of(deck.config, *state.model).hidden,
                       scores_of(all.config, *state.model).hidden),
            1e-2);
}

TEST_F(MaskedImportance, SequencesWithoutTargetsDoNoHarmUnlessThereAreNoOthers) {
  const std::string prefix = (folder / "data").string();
  std::vector<std::vector<token_t>> documents(400, std::vector<token_t>(10, 7));
  std::vector<std::vector<std::uint8_t>> masks(400, std::vector<std::uint8_t>(10, 0));
  const Overrides data = {"data/source=indexed", "data/vocab_size=64", "data/train=" + prefix,
                          "rank/samples=200", "rank/seq_length=10"};
  const auto scores = [&](index_t samples) {
    const ResolvedDeck deck = ranked_deck(with(data, {fmt::format("rank/samples={}", samples)}));
    const TrainState<Real> state = make_parent<Real>(deck.config);
    return scores_of(deck.config, *state.model);
  };
  for (const std::size_t d : {1, 2, 3, 9}) masks[d][5] = 1;
  write_indexed_dataset(prefix, 64, documents, masks);
  for (const double s : scores(360).hidden) EXPECT_TRUE(std::isfinite(s) && s > 0);
  contains(message_of<InputError>([&] { scores(1); }),
           "rank: no token of the 1 sequences of 10 tokens counts as a target");
}

TEST(ImportancePass, ReadsTheCalibrationSequencesAndNoOthers) {
  const ResolvedDeck deck = ranked_deck(), more = ranked_deck({"rank/samples=6"}),
                     longer = ranked_deck({"rank/seq_length=48"});
  const TrainState<Real> state = make_parent<Real>(deck.config);
  const auto hidden = scores_of(deck.config, *state.model).hidden;
  const double allowed = tolerance<float>(40 * 24);
  EXPECT_LT(difference(hidden, ImportanceReference(deck.config, *state.model).scores().hidden),
            allowed);
  const auto differs = [&](ImportanceReference&& other) {
    return difference(hidden, other.scores().hidden) > 10 * allowed;
  };
  EXPECT_TRUE(differs({deck.config, *state.model, 1000001, Split::validation}));
  EXPECT_TRUE(differs({deck.config, *state.model, 0}));
  EXPECT_TRUE(differs({more.config, *state.model}));
  EXPECT_TRUE(differs({longer.config, *state.model}));
}

/// `order` is a permutation by falling score; neighbours may differ by rounding.
void expect_falling(const Order& order, const std::vector<double>& score) {
  Order sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 0; i < sorted.size(); ++i) ASSERT_EQ(sorted[i], static_cast<index_t>(i));
  for (std::size_t i = 1; i < order.size(); ++i)
    EXPECT_GE(score[order[i - 1]], score[order[i]] * (1 - tolerance<float>(40 * 24)))
        << "place " << i;
}
bool falls(const Order& order, const std::vector<double>& score) {
  for (std::size_t i = 1; i < order.size(); ++i)
    if (score[order[i - 1]] < score[order[i]] * (1 - 1e-3)) return false;
  return true;
}
/// The units of each group u % groups, in the order in which they come.
std::vector<Order> by_group(const Order& order, index_t groups) {
  std::vector<Order> result(static_cast<std::size_t>(groups));
  for (std::size_t i = 0; i < order.size(); ++i) {
    EXPECT_EQ(order[i] % groups, static_cast<index_t>(i) % groups) << "a unit left its group";
    result[static_cast<std::size_t>(order[i] % groups)].push_back(order[i]);
  }
  return result;
}
void expect_falling_in_groups(const Order& order, const std::vector<double>& score,
                              index_t groups) {
  for (const auto& members : by_group(order, groups))
    for (std::size_t i = 1; i < members.size(); ++i)
      EXPECT_GE(score[members[i - 1]], score[members[i]] * (1 - tolerance<float>(40 * 24)));
}
bool falls_in_groups(const Order& order, const std::vector<double>& score, index_t groups) {
  for (const auto& members : by_group(order, groups))
    if (!falls(members, score)) return false;
  return true;
}

/// Sums over heads per channel, or over the given channels per head, of squares to a power.
std::vector<double> channel_norms(const std::vector<double>& squares, index_t channels,
                                  double power) {
  std::vector<double> norms(static_cast<std::size_t>(channels), 0.0);
  for (std::size_t i = 0; i < squares.size(); ++i)
    norms[i % norms.size()] += std::pow(squares[i], power);
  return norms;
}
std::vector<double> head_norms(const std::vector<double>& squares, index_t channels,
                               const Order& kept, double power) {
  std::vector<double> norms(squares.size() / static_cast<std::size_t>(channels), 0.0);
  for (std::size_t h = 0; h < norms.size(); ++h)
    for (const index_t c : kept)
      norms[h] += std::pow(
          squares[h * static_cast<std::size_t>(channels) + static_cast<std::size_t>(c)], power);
  return norms;
}

TEST(ImportancePass, EveryAxisFollowsItsScores) {
  int other_heads = 0, other_attention = 0;  // orders by L1 instead of L2
  for (const auto& measure : measures) {
    const ResolvedDeck deck = ranked_deck(with(many_heads, measure));
    const TrainState<Real> state = make_parent<Real>(deck.config);
    const Ranking ranking = rank(deck.config, *state.model);
    const ImportanceScores scores = ImportanceReference(deck.config, *state.model).scores();
    expect_falling(ranking.hidden, scores.hidden);
    for (const index_t l : {1, 4}) expect_falling(ranking.units[l], scores.squares[l]);
    for (const index_t l : {0, 3}) {
      const auto& squares = scores.squares[l];
      const Order& channels = ranking.channels[l];
      const Order kept(channels.begin(), channels.begin() + 3);  // in the narrowest submodel
      expect_falling(channels, channel_norms(squares, 4, 1));
      expect_falling_in_groups(ranking.units[l], head_norms(squares, 4, kept, 1), 2);
      other_heads += !falls_in_groups(ranking.units[l], head_norms(squares, 4, kept, 0.5), 2);
    }
    const Order all = {0, 1, 2, 3};
    expect_falling_in_groups(ranking.units[2], head_norms(scores.squares[2], 4, all, 1), 2);
    other_attention +=
        !falls_in_groups(ranking.units[2], head_norms(scores.squares[2], 4, all, 0.5), 2);
  }
  EXPECT_GT(other_heads, 0);
  EXPECT_GT(other_attention, 0);
}

TEST(ImportancePass, MeasuresDiffer) {
  std::vector<Ranking> rankings;
  const TrainState<Real> state = make_parent<Real>(ranked_deck().config);
  for (const auto& measure : measures)
    rankings.push_back(rank(ranked_deck(measure).config, *state.model));
  EXPECT_NE(rankings[0].hidden, rankings[2].hidden) << "aggregation";
  EXPECT_NE(rankings[0].units[1], rankings[1].units[1]) << "neurons";
  EXPECT_EQ(rankings[0].units[0], rankings[1].units[0]) << "Mamba is measured on x in any case";
}

TEST(ImportancePass, PlantedHeadsAndChannelsOfMamba) {
  for (const auto& measure : measures) {
    const ResolvedDeck deck = ranked_deck(measure);
    const TrainState<Real> state = make_parent<Real>(deck.config);
    // Four heads in two groups, eight channels each: the order is the same in every norm.
    const std::vector<double> head = {1, 4, 16, 64}, channel = {3, 1, 27, 9, 81, 729, 2187, 243};
    std::vector<double> scales;
    for (const double h : head)
      for (const double c : channel) scales.push_back(1e-3 * h * c);
    plant(*state.model, "layers.0.mixer.in_proj.x", scales);
    const Ranking ranking = rank(deck.config, *state.model);
    EXPECT_THAT(ranking.units[0], ElementsAre(2, 3, 0, 1));  // 2 before 0, 3 before 1
    EXPECT_THAT(ranking.channels[0], ElementsAre(6, 5, 7, 4, 2, 3, 0, 1));
  }
}

TEST(ImportancePass, NormsOverChannelsAreThoseOfSquares) {
  // One strong channel beside a weak one outweighs two of middling strength in the L2 norm (channel
  // 0 before 1, head 0 before 2), not in a sum of absolute values.
  for (const auto& measure : measures) {
    const ResolvedDeck deck = ranked_deck(
        with(measure, {"mamba/num_groups=1", "mamba/head_dim=2", "elastic/mamba_head_dim="}));
    const TrainState<Real> state = make_parent<Real>(deck.config);
    plant(*state.model, "layers.0.mixer.in_proj.x", {5, 0.1, 0.1, 3, 3, 3, 0.1, 2.5});
    const Ranking ranking = rank(deck.config, *state.model);
    EXPECT_THAT(ranking.units[0], ElementsAre(0, 2, 1, 3));
    EXPECT_THAT(ranking.channels[0], ElementsAre(0, 1));
  }
}

TEST(ImportancePass, HeadsAreComparedByTheChannelsThatStay) {
  // The narrowest submodel keeps 6 of 8 channels. Head 1 is ahead only with its two worst channels.
  const std::vector<double> first = {1.05, 1.04, 1.03, 1.02, 1.01, 1.00, 0.01, 0.02},
                            second = {0.85, 0.84, 0.83, 0.82, 0.81, 0.80, 1.21, 1.2};
  std::vector<double> scales = first;
  scales.insert(scales.end(), second.begin(), second.end());
  const Overrides heads = {"mamba/num_heads=2", "mamba/num_groups=1",
                           "elastic/mamba_num_heads=2,1"};
  for (const bool elastic : {true, false}) {
    Overrides overrides = heads;
    if (!elastic) overrides.emplace_back("elastic/mamba_head_dim=");
    const ResolvedDeck deck = ranked_deck(overrides);
    const TrainState<Real> state = make_parent<Real>(deck.config);
    plant(*state.model, "layers.3.mixer.in_proj.x", scales);
    const Ranking ranking = rank(deck.config, *state.model);
    EXPECT_EQ(ranking.units[3][0], elastic ? 0 : 1);
    EXPECT_THAT(Order(ranking.channels[3].begin(), ranking.channels[3].begin() + 6),
                ElementsAre(0, 1, 2, 3, 4, 5));
  }
}

TEST(ImportancePass, OrdersForComparisons) {
  const TrainState<Real> state = make_parent<Real>(ranked_deck().config);
  const auto ranked = [&](const char* order, int seed = 5) {
    return rank(ranked_deck({fmt::format("rank/order={}", order), fmt::format("job/seed={}", seed),
                             "elastic/mamba_head_dim="})
                    .config,
                *state.model);
  };
  const Ranking best = ranked("importance"), worst = ranked("reversed"), random = ranked("random"),
                none = ranked("identity");
  const auto backwards = [](Order order) { return Order(order.rbegin(), order.rend()); };
  EXPECT_EQ(worst.hidden, backwards(best.hidden));
  EXPECT_EQ(worst.units[1], backwards(best.units[1]));
  EXPECT_EQ(worst.channels[0], backwards(best.channels[0]));
  EXPECT_THAT(worst.units[0],
              ElementsAre(best.units[0][2], best.units[0][3], best.units[0][0], best.units[0][1]))
      << "two groups of two heads";
  EXPECT_EQ(none.hidden, identity_ranking(state.model->shape()).hidden);
  EXPECT_EQ(none.units, identity_ranking(state.model->shape()).units);
  EXPECT_THAT(none.drop_order, ElementsAre(4, 3, 0, 1, 2));
  EXPECT_EQ(random.hidden, ranked("random").hidden);
  EXPECT_NE(random.hidden, ranked("random", 6).hidden);
  EXPECT_NE(random.hidden, best.hidden);
  EXPECT_NE(random.units[1], best.units[1]);
  EXPECT_NE(worst.drop_order[0], best.drop_order[0]);
}

TEST(ImportancePass, ActivationsThatAreNotFiniteAreAnError) {
  const ResolvedDeck deck = ranked_deck();
  const TrainState<Real> state = make_parent<Real>(deck.config);
  scale(*state.model, "layers.3.mixer.in_proj.x", std::numeric_limits<float>::infinity());
  try {
    rank(deck.config, *state.model);
    ADD_FAILURE() << "ranked";
  } catch (const NumericsError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("layer 3"));
  }
}

}  // namespace
}  // namespace elastic::test
