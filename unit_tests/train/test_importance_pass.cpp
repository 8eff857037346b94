// SPDX-License-Identifier: Apache-2.0
// The ranking of a parent against scores in double from their definition, against planted orders,
// and against a greedy search for the layers that matter least.
#include "train/importance_pass.hpp"

#include <gmock/gmock.h>

#include <numeric>

#include "elastic/cost_model.hpp"
#include "train/token_sources.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

using Overrides = std::vector<std::string>;
using Order = std::vector<index_t>;

/// No training stage reads this stream.
constexpr std::uint64_t calibration_stream = 1000001;

ResolvedDeck ranked_deck(Overrides overrides = {}) {
  overrides.insert(overrides.end(), {"rank/samples=5", "rank/seq_length=40", "model/init_std=0.3"});
  return small_deck(overrides);
}

Ranking rank(const RunConfig& config, const LanguageModel<float>& parent) {
  const ProcessGrid grid(Communicator::self(), {});
  Arena arena;
  return ImportancePass(grid, config, arena).ranking(parent);
}

/// Scores and logits of the calibration data in double, one sequence after another.
class Reference {
 public:
  Reference(const RunConfig& config, const LanguageModel<float>& parent)
      : m_config(config), m_model(parent.shape(), true) {
    assign(m_model.parameters().values(), to_double(parent.parameters().values()));
  }

  /// sqrt( sum_sequences (mean_t |a|)^2 ): hidden channels by the normed inputs of all layers,
  /// Mamba's channels by x as projected, neurons before their activation, attention by the heads'
  /// outputs.
  ImportanceScores scores() {
    ImportanceScores scores;
    scores.hidden.assign(static_cast<std::size_t>(m_model.shape().hidden_size), 0);
    for (const auto& layer : m_model.shape().layers)
      scores.layers.emplace_back(static_cast<std::size_t>(layer.inner()), 0.0);
    for_each_sequence([&](const LayerContext& context, const View1<token_t>& tokens) {
      auto pass = m_model.make_pass(Keep::nothing);
      m_model.forward(context, m_model.full_widths(), tokens, pass,
                      [&](index_t l, const StackEntry<double>& entry) {
                        const auto normed = to_host(entry.mixed);
                        add(scores.hidden, normed);
                        add(scores.layers[static_cast<std::size_t>(l)],
                            activations(l, entry, normed));
                      });
    });
    for (double& s : scores.hidden) s = std::sqrt(s);
    for (auto& layer : scores.layers)
      for (double& s : layer) s = std::sqrt(s);
    return scores;
  }
  /// sum (logits - logits_of(spec))^2 / sum logits^2
  double logit_error(const SubmodelSpec& spec) {
    double difference = 0, norm = 0;
    for_each_sequence([&](const LayerContext& context, const View1<token_t>& tokens) {
      const auto full = logits(context, tokens, full_spec(m_model.shape())),
                 cut = logits(context, tokens, spec);
      for (std::size_t i = 0; i < full.size(); ++i) {
        difference += std::pow(full[i] - cut[i], 2);
        norm += std::pow(full[i], 2);
      }
    });
    return difference / norm;
  }

 private:
  template <class Body>
  void for_each_sequence(const Body& body) {
    const auto source = make_source(m_config, calibration_stream);
    for (index_t i = 0; i < m_config.rank.samples; ++i) {
      const Arena::Scope scope(m_arena);
      const Batch row = make_batch(*source, Split::train, i, 1, m_config.rank.seq_length);
      body({.exec = {},
            .arena = &m_arena,
            .batch = 1,
            .seq_length = m_config.rank.seq_length,
            .segment = to_device(row.segment)},
           to_device(row.tokens));
    }
  }
  /// [T, inner] of one layer.
  std::vector<double> activations(index_t l, const StackEntry<double>& entry,
                                  const std::vector<double>& normed) const {
    const LayerShape& layer = m_model.shape().layers[static_cast<std::size_t>(l)];
    if (layer.kind == LayerKind::attention)
      return to_host(m_model.stack().layer(l).importance_activations(*entry.saved));
    const std::string part = layer.kind == LayerKind::mamba ? "in_proj.x" : "up_proj";
    const auto weight =
        to_host(m_model.parameters().find(fmt::format("layers.{}.mixer.{}", l, part))->value);
    const index_t D = m_model.shape().hidden_size, T = static_cast<index_t>(normed.size()) / D;
    std::vector<double> result;
    for (index_t t = 0; t < T; ++t)
      for (index_t i = 0; i < layer.inner(); ++i)
        result.push_back(
            std::inner_product(&normed[t * D], &normed[t * D] + D, &weight[i * D], 0.0));
    return result;
  }
  /// Adds (mean_t |a|)^2 of a sequence [T, C].
  static void add(std::vector<double>& squares, const std::vector<double>& a) {
    const std::size_t columns = squares.size(), tokens = a.size() / columns;
    for (std::size_t c = 0; c < columns; ++c) {
      double mean = 0;
      for (std::size_t t = 0; t < tokens; ++t)
        mean += std::abs(a[t * columns + c]) / static_cast<double>(tokens);
      squares[c] += mean * mean;
    }
  }
  std::vector<double> logits(const LayerContext& context, const View1<token_t>& tokens,
                             const SubmodelSpec& spec) {
    const Arena::Scope scope(m_arena);
    auto pass = m_model.make_pass(Keep::nothing);
    m_model.forward(context, m_model.widths(spec), tokens, pass);
    const auto out = m_arena.matrix<double>(context.num_tokens(), m_model.shape().vocab_size);
    m_model.all_logits(context.products(), m_arena, pass.hidden, out);
    return to_host(out);
  }

  const RunConfig& m_config;
  LanguageModel<double> m_model;
  Arena m_arena;
};

/// `order` is a permutation by falling score; neighbours may differ by rounding.
void expect_falling(const Order& order, const std::vector<double>& score) {
  ASSERT_TRUE(std::is_permutation(
      order.begin(), order.end(),
      identity_ranking({.hidden_size = static_cast<index_t>(score.size()), .layers = {}})
          .hidden.begin()));
  for (std::size_t i = 1; i < order.size(); ++i)
    EXPECT_GE(score[order[i - 1]], score[order[i]] * (1 - 1e-5)) << "place " << i;
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
      EXPECT_GE(score[members[i - 1]], score[members[i]] * (1 - 1e-5));
}

TEST(ImportancePass, HiddenChannelsNeuronsAndHeadsFollowTheirScores) {
  // With one channel per head, every norm over channels gives the same order of heads.
  for (const Overrides& batches : {Overrides{"parallel/micro_batch_size=2"},
                                   {"parallel/micro_batch_size=4"},
                                   {"job/deterministic=true"}}) {
    Overrides overrides = {"mamba/num_heads=8",
                           "mamba/head_dim=1",
                           "elastic/mamba_num_heads=8,4",
                           "elastic/mamba_head_dim=",
                           "attention/num_heads=8",
                           "attention/kv_channels=1",
                           "elastic/num_attention_heads=8,4"};
    overrides.insert(overrides.end(), batches.begin(), batches.end());
    const ResolvedDeck deck = ranked_deck(overrides);
    const TrainState state = make_parent(deck.config);
    const Ranking ranking = rank(deck.config, *state.model);
    const ImportanceScores scores = Reference(deck.config, *state.model).scores();
    expect_falling(ranking.hidden, scores.hidden);
    for (const index_t l : {0, 2, 3})
      expect_falling_in_groups(ranking.units[l], scores.layers[l], 2);
    for (const index_t l : {1, 4}) expect_falling(ranking.units[l], scores.layers[l]);
  }
}

TEST(ImportancePass, ChannelsOfASingleHeadFollowTheirScores) {
  const ResolvedDeck deck =
      ranked_deck({"mamba/num_heads=1", "mamba/num_groups=1", "mamba/head_dim=12",
                   "elastic/mamba_num_heads=", "elastic/mamba_head_dim=12,5"});
  const TrainState state = make_parent(deck.config);
  const Ranking ranking = rank(deck.config, *state.model);
  const ImportanceScores scores = Reference(deck.config, *state.model).scores();
  for (const index_t l : {0, 3}) expect_falling(ranking.channels[l], scores.layers[l]);
}

/// Rows of a projection that are multiples of one vector: activations are in the ratio of `scale`.
void plant(const LanguageModel<float>& model, const std::string& name,
           const std::vector<double>& scale) {
  const View2<float> value = model.parameters().find(name)->value;
  const auto direction = random_values<float>(static_cast<index_t>(value.extent(1)), 5);
  std::vector<float> rows;
  for (const double s : scale)
    for (const float x : direction) rows.push_back(static_cast<float>(s) * x);
  assign(value, rows);
}

TEST(ImportancePass, PlantedHeadsAndChannelsOfMamba) {
  const ResolvedDeck deck = ranked_deck();
  const TrainState state = make_parent(deck.config);
  // Four heads in two groups, eight channels each: the order is the same in every norm.
  const std::vector<double> head = {1, 4, 16, 64}, channel = {3, 1, 27, 9, 81, 729, 2187, 243};
  std::vector<double> scale;
  for (const double h : head)
    for (const double c : channel) scale.push_back(1e-3 * h * c);
  plant(*state.model, "layers.0.mixer.in_proj.x", scale);
  const Ranking ranking = rank(deck.config, *state.model);
  EXPECT_THAT(ranking.units[0], testing::ElementsAre(2, 3, 0, 1));  // 2 before 0, 3 before 1
  EXPECT_THAT(ranking.channels[0], testing::ElementsAre(6, 5, 7, 4, 2, 3, 0, 1));
}

TEST(ImportancePass, HeadsAreComparedByTheChannelsThatStay) {
  // The narrowest submodel keeps 6 of 8 channels. Head 1 is ahead only with its two worst channels.
  const std::vector<double> first = {1.05, 1.04, 1.03, 1.02, 1.01, 1.00, 0.01, 0.02},
                            second = {0.85, 0.84, 0.83, 0.82, 0.81, 0.80, 1.21, 1.2};
  std::vector<double> scale = first;
  scale.insert(scale.end(), second.begin(), second.end());
  const Overrides heads = {"mamba/num_heads=2", "mamba/num_groups=1",
                           "elastic/mamba_num_heads=2,1"};
  for (const bool elastic : {true, false}) {
    Overrides overrides = heads;
    if (!elastic) overrides.emplace_back("elastic/mamba_head_dim=");
    const ResolvedDeck deck = ranked_deck(overrides);
    const TrainState state = make_parent(deck.config);
    plant(*state.model, "layers.3.mixer.in_proj.x", scale);
    const Ranking ranking = rank(deck.config, *state.model);
    EXPECT_EQ(ranking.units[3][0], elastic ? 0 : 1);
    EXPECT_THAT(Order(ranking.channels[3].begin(), ranking.channels[3].begin() + 6),
                testing::ElementsAre(0, 1, 2, 3, 4, 5));
  }
}

TEST(ImportancePass, LayersAreDroppedGreedilyTheLeastFirst) {
  const ResolvedDeck deck = ranked_deck({"parallel/logit_chunk_tokens=7"});
  const TrainState state = make_parent(deck.config);
  Reference reference(deck.config, *state.model);
  const Order order = rank(deck.config, *state.model).drop_order;
  ASSERT_EQ(order.size(), 5u);
  SubmodelSpec spec = full_spec(state.model->shape());
  for (int dropped = 0; dropped < 2; ++dropped) {  // as many as the deck may drop
    const auto error_without = [&](index_t l) {
      SubmodelSpec cut = spec;
      cut.layers[static_cast<std::size_t>(l)].keep = false;
      return reference.logit_error(cut);
    };
    const double error = error_without(order[dropped]);
    for (index_t l = 0; l < 5; ++l)
      if (spec.layers[static_cast<std::size_t>(l)].keep && l != order[dropped]) {
        EXPECT_LT(error, error_without(l)) << "layer " << l << " instead of " << order[dropped];
      }
    spec.layers[static_cast<std::size_t>(order[dropped])].keep = false;
  }
  EXPECT_TRUE(std::is_sorted(order.begin() + 2, order.end()));  // the others follow as they stand
}

TEST(ImportancePass, LayersThatDoNothingGoFirst) {
  const ResolvedDeck deck = ranked_deck();
  for (const index_t useless : {1, 3}) {
    const TrainState state = make_parent(deck.config);
    const std::string part = useless == 1 ? "down_proj" : "out_proj";
    Kokkos::deep_copy(
        state.model->parameters().find(fmt::format("layers.{}.mixer.{}", useless, part))->value,
        0.0f);
    EXPECT_EQ(rank(deck.config, *state.model).drop_order[0], useless);
  }
}

TEST(ImportancePass, LooksAtTheSamplesOfTheDeck) {
  // More calibration data, or other data, moves the scores: the order of 48 neurons does not
  // survive.
  const auto units = [](const Overrides& overrides) {
    const ResolvedDeck deck = ranked_deck(overrides), same = ranked_deck();
    return rank(deck.config, *make_parent(same.config).model).units[1];
  };
  const Order order = units({});
  EXPECT_EQ(units({}), order);
  EXPECT_NE(units({"job/seed=4321"}), order);
}

}  // namespace
}  // namespace elastic::test
