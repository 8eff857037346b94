// SPDX-License-Identifier: Apache-2.0
// What a run saves is what it reads back, to the bit; files of another shape are refused; one more
// submodel costs a few kilobytes at most.
#include "state/state_checkpoint.hpp"

#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

class StateCheckpoint : public InFolder {
 protected:
  template <class T>
  std::filesystem::path write(const TrainState<T>& state, const std::string& deck) {
    const auto path = folder / "state.h5";
    CheckpointWriter writer(path);
    write_state(writer, state, deck);
    writer.commit();
    return path;
  }
};

template <class T>
void expect_equal(const AdamW<T>& a, const AdamW<T>& b) {
  EXPECT_TRUE(bitwise_equal(a.first_moments(), b.first_moments()));
  EXPECT_TRUE(bitwise_equal(a.second_moments(), b.second_moments()));
}
void expect_equal(const Ranking& a, const Ranking& b) {
  EXPECT_EQ(a.hidden, b.hidden);
  EXPECT_EQ(a.units, b.units);
  EXPECT_EQ(a.channels, b.channels);
  EXPECT_EQ(a.drop_order, b.drop_order);
}

TEST_F(StateCheckpoint, RoundTripOfAnElasticState) {
  const ResolvedDeck deck = small_deck();
  const TrainState<Real> state = small_state(deck.config);
  const CheckpointReader reader(write(state, deck.text));
  EXPECT_EQ(reader.text("deck"), deck.text);
  EXPECT_EQ(reader.attribute_as<std::string>("kind"), "training");
  TrainState<Real> read = make_parent<Real>(deck.config);
  read_state(reader, deck.config, read);
  EXPECT_EQ(read.step, 17);
  EXPECT_TRUE(bitwise_equal(read.model->parameters().values(), state.model->parameters().values()));
  expect_equal(*read.optimizer, *state.optimizer);
  ASSERT_TRUE(read.elastic.has_value());
  expect_equal(read.elastic->ranking, state.elastic->ranking);
  EXPECT_EQ(read.elastic->space.drop_order, (std::vector<index_t>{1, 3, 4, 0, 2}));
  EXPECT_TRUE(bitwise_equal(read.elastic->router->parameters().values(),
                            state.elastic->router->parameters().values()));
  expect_equal(*read.elastic->router_optimizer, *state.elastic->router_optimizer);
  for (const double budget : {1.0, 0.7, 0.6, 0.5})
    EXPECT_TRUE(submodel_for(deck.config, read, budget)
                    .same_widths(submodel_for(deck.config, state, budget)));
}

TEST_F(StateCheckpoint, RoundTripBeforeTheElasticPhase) {
  const ResolvedDeck deck = small_deck();
  const TrainState<Real> state = small_state(deck.config, false);
  const CheckpointReader reader(write(state, deck.text));
  EXPECT_FALSE(reader.contains("ranking/hidden"));
  TrainState<Real> read = make_parent<Real>(deck.config);
  read_state(reader, deck.config, read);
  EXPECT_EQ(read.step, 17);
  EXPECT_FALSE(read.elastic.has_value());
  expect_equal(*read.optimizer, *state.optimizer);
}

/// A state of 16-bit values whose masters have digits that the values lack.
TrainState<bfloat16> small_state_with_masters(const RunConfig& config, bool elastic) {
  auto state = small_state<bfloat16>(config, elastic);
  for (const auto& p : state.model->parameters()) {
    const auto masters = random_values<float>(p.size(), 100 + p.offset);
    state.optimizer->set_masters(p.info.name, masters.data());
  }
  return state;
}
void expect_equal(const ParameterStore<bfloat16>& a, const ParameterStore<bfloat16>& b) {
  EXPECT_TRUE(bitwise_equal(a.values(), b.values()));
  EXPECT_TRUE(bitwise_equal(a.exact_values(), b.exact_values()));
}

TEST_F(StateCheckpoint, HoldsMastersAndRoundsThemIntoValues) {
  const ResolvedDeck deck = small_deck();
  for (const bool elastic : {false, true}) {
    const auto state = small_state_with_masters(deck.config, elastic);
    const CheckpointReader reader(write(state, deck.text));
    for (const char* name : {"model/layers.1.mixer.up_proj", "model/layers.0.mixer.A_log",
                             "optimizer/model/m/layers.1.mixer.up_proj"})
      EXPECT_EQ(reader.info(name).type, StorageType::float32) << name;
    auto read = make_parent<bfloat16>(deck.config, Weights::zero);
    read_state(reader, deck.config, read);
    EXPECT_TRUE(bitwise_equal(read.optimizer->masters(), state.optimizer->masters()));
    expect_equal(*read.optimizer, *state.optimizer);
    expect_equal(read.model->parameters(), state.model->parameters());
    // A verb that opens the file sees the values that training computed with.
    LanguageModel<bfloat16> opened(state.model->shape(), /*frozen=*/true);
    read_model(reader, opened);
    expect_equal(opened.parameters(), state.model->parameters());
  }
}

TEST_F(StateCheckpoint, ModelsHoldValuesAsTheyAreKept) {
  const ResolvedDeck deck = small_deck();
  const auto state = small_state_with_masters(deck.config, false);
  {
    CheckpointWriter writer(folder / "model.h5");
    write_model(writer, *state.model, deck.text, "parent");
    writer.commit();
  }
  const CheckpointReader reader(folder / "model.h5");
  for (const auto& p : state.model->parameters())
    EXPECT_EQ(reader.info("model/" + p.info.name).type,
              p.info.exact ? StorageType::float32 : StorageType::bfloat16)
        << p.info.name;
  auto read = make_parent<bfloat16>(deck.config, Weights::zero);
  read_model(reader, *read.model);
  expect_equal(read.model->parameters(), state.model->parameters());
  // Another precision reads the numbers that are there.
  LanguageModel<float> wide(state.model->shape(), /*frozen=*/true);
  read_model(reader, wide);
  for (const auto& p : state.model->parameters())
    EXPECT_EQ(values_to_host(*wide.parameters().find(p.info.name)), values_to_host(p));
}

TEST_F(StateCheckpoint, WithoutOptimizerHoldsValues) {
  const ResolvedDeck deck = small_deck({"pretrain/learning_rate=0", "stage1/learning_rate=0"});
  const auto state = small_state<bfloat16>(deck.config, false);
  ASSERT_EQ(state.optimizer, nullptr);
  const CheckpointReader reader(write(state, deck.text));
  EXPECT_EQ(reader.info("model/layers.1.mixer.up_proj").type, StorageType::bfloat16);
  auto read = make_parent<bfloat16>(deck.config, Weights::zero);
  read_state(reader, deck.config, read);
  expect_equal(read.model->parameters(), state.model->parameters());
}

TEST_F(StateCheckpoint, TheRankingPermutesTheParentAndIsKept) {
  // The random ranking must not be the identity, or the round trip would show nothing.
  const ResolvedDeck deck = small_deck();
  const TrainState<Real> state = small_state(deck.config);
  const Ranking identity = identity_ranking(state.model->shape());
  EXPECT_NE(state.elastic->ranking.hidden, identity.hidden);
  EXPECT_NE(state.elastic->ranking.channels[0], identity.channels[0]);
}

TEST_F(StateCheckpoint, AnotherShapeIsRefused) {
  const ResolvedDeck deck = small_deck();
  const CheckpointReader reader(write(small_state(deck.config), deck.text));
  const std::vector<std::pair<std::vector<std::string>, const char*>> changes = {
      {{"model/hidden_size=32", "elastic/hidden_size=32"}, "<model>/hidden_size: 32 in the deck, "},
      {{"model/hybrid_layer_pattern=M-*M"}, "<model>/hybrid_layer_pattern: M-*M in the deck, "},
      {{"model/norm_epsilon=1e-4"}, "<model>/norm_epsilon: 0.0001 in the deck, 1e-05 in the file"},
      {{"mlp/ffn_hidden_size=40", "elastic/ffn_hidden_size=40"},
       "<mlp>/ffn_hidden_size: 40 in the deck, "}};
  for (const auto& [change, difference] : changes) {
    const ResolvedDeck other = small_deck(change);
    TrainState<Real> state = make_parent<Real>(other.config);
    const auto message = message_of<InputError>([&] { read_state(reader, other.config, state); });
    contains(message, "state.h5");
    contains(message, "another shape than the deck describes");
    contains(message, difference);
  }
  // Another chunk changes rounding only.
  const ResolvedDeck other = small_deck({"mamba/chunk_size=4"});
  TrainState<Real> state = make_parent<Real>(other.config);
  EXPECT_NO_THROW(read_state(reader, other.config, state));
  EXPECT_EQ(state.model->shape().chunk_size, 4);
}

TEST_F(StateCheckpoint, AnotherRouterIsRefused) {
  const ResolvedDeck deck = small_deck(), other = small_deck({"router/hidden_size=16"});
  const CheckpointReader reader(write(small_state(deck.config), deck.text));
  TrainState<Real> state = make_parent<Real>(other.config);
  const auto message = message_of<InputError>([&] { read_state(reader, other.config, state); });
  contains(message, "router/");
  contains(message, "expected");
}

TEST_F(StateCheckpoint, FilesWithoutTrainingStateAreRefused) {
  const ResolvedDeck deck = small_deck();
  const TrainState<Real> state = small_state(deck.config);
  write_elastic_model(folder / "model.h5", deck, state, 1);
  const CheckpointReader reader(folder / "model.h5");
  TrainState<Real> read = make_parent<Real>(deck.config);
  contains(message_of<InputError>([&] { read_state(reader, deck.config, read); }), "model.h5");
}

TEST_F(StateCheckpoint, ShapesAsText) {
  const ModelShape shape = parent_shape(small_deck().config);
  EXPECT_EQ(shape_from_json(shape_to_json(shape), "f.h5"), shape);
  for (const std::string bad : {"", "{}", R"({"vocab_size": "many"})"}) {
    const auto message = message_of<InputError>([&] { shape_from_json(bad, "f.h5"); });
    contains(message, "f.h5");
  }
  std::string odd = shape_to_json(shape);
  odd.replace(odd.find("\"width\":4"), 9, "\"width\":3");  // not a multiple of the groups
  EXPECT_THROW(shape_from_json(odd, "f.h5"), InputError);
}

TEST_F(StateCheckpoint, OneMoreSubmodelCostsAFewKilobytes) {
  const ResolvedDeck deck = small_deck();
  const TrainState<Real> state = small_state(deck.config);
  std::vector<std::uintmax_t> bytes;
  for (std::size_t count = 0; count <= 3; ++count) {
    write_elastic_model(folder / "model.h5", deck, state, count);
    bytes.push_back(std::filesystem::file_size(folder / "model.h5"));
    EXPECT_EQ(CheckpointReader(folder / "model.h5").texts().size(), 2 + count);
  }
  for (std::size_t i = 1; i < bytes.size(); ++i) {
    EXPECT_GT(bytes[i], bytes[i - 1]);
    EXPECT_LT(bytes[i] - bytes[i - 1], 4096u);
    RecordProperty("extra_bytes_" + std::to_string(i), static_cast<int>(bytes[i] - bytes[i - 1]));
  }
}

}  // namespace
}  // namespace elastic::test
