// SPDX-License-Identifier: Apache-2.0
// A model out of every kind of checkpoint, and the submodel that a name or a number stands for.
#include "state/stored_model.hpp"

#include "unit_tests/state/stored_run.hpp"

namespace elastic::test {
namespace {

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

using Names = std::vector<std::string>;

class StoredModelTest : public StoredRun {};

TEST_F(StoredModelTest, OutOfEveryKind) {
  const auto& values = state->model->parameters().values();
  struct Case {
    std::filesystem::path path;
    std::string kind;
    bool has_router;
    Names names;
  };
  for (const Case& c : {Case{model, "elastic", true, {"large", "middle", "small"}},
                        {write_training(), "training", true, {}},
                        {write_parent(), "parent", false, {}},
                        {write_submodel("small", 0.5), "submodel", false, {"small"}}}) {
    const CheckpointReader reader(c.path);
    const StoredModel head = read_stored_head(reader), stored = read_stored_model(reader);
    EXPECT_EQ(head.kind, c.kind);
    EXPECT_EQ(head.has_router, c.has_router) << c.kind;
    EXPECT_EQ(head.model, nullptr);
    EXPECT_EQ(first_line(head.deck.text), first_line(deck.text));  // the hash of all values
    EXPECT_EQ(stored.shape, stored.model->shape());
    EXPECT_EQ(stored.model->parameters().gradients().extent(0), 0u) << "not frozen";
    Names names = stored_names(reader);
    std::sort(names.begin(), names.end());
    EXPECT_EQ(names, c.names) << c.kind;
    if (c.kind == "submodel") {
      EXPECT_LT(stored.shape.hidden_size, state->model->shape().hidden_size);
      continue;
    }
    EXPECT_EQ(stored.shape, state->model->shape());
    EXPECT_TRUE(bitwise_equal(stored.model->parameters().values(), values)) << c.kind;
  }
}

TEST_F(StoredModelTest, OverridesChangeTheStoredDeck) {
  const CheckpointReader reader(model);
  EXPECT_EQ(read_stored_head(reader, {"evaluate/samples=9"}).deck.config.evaluate.samples, 9);
  const auto message =
      message_of<InputError>([&] { read_stored_head(reader, {"evaluate/sampels=9"}); });
  contains(message, "model.h5 (stored deck)");
  contains(message, "samples");
}

TEST_F(StoredModelTest, DecksOfEarlierVersionsAreRefusedByFileKeyAndReplacement) {
  std::string old = deck.text;
  old.erase(old.find("kv_cache_bytes"), 3);
  {
    CheckpointWriter writer(folder / "old.h5");
    write_model(writer, *state->model, old, "parent");
    writer.commit();
  }
  const CheckpointReader reader(folder / "old.h5");
  const auto message = message_of<InputError>([&] { read_stored_head(reader); });
  contains(message, "old.h5 (stored deck)");
  contains(message, "<elastic>/cache_bytes = ");
  contains(message,
           "a key of earlier versions, replaced by 'kv_cache_bytes' and 'ssm_cache_bytes'");
}

TEST_F(StoredModelTest, SubmodelsLargestBudgetFirst) {
  const auto specs = stored_submodels(CheckpointReader(model), state->model->shape());
  ASSERT_EQ(specs.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(specs[i].name, deck.config.elastic.budget_name(i));
    EXPECT_EQ(specs[i].budget, deck.config.elastic.budgets[i]);
    EXPECT_TRUE(
        specs[i].same_widths(submodel_for(deck.config, *state, deck.config.elastic.budgets[i])));
  }
  // A submodel's own spec speaks of layers that its file does not have.
  EXPECT_TRUE(
      stored_submodels(CheckpointReader(write_submodel("small", 0.5)), state->model->shape())
          .empty());
}

TEST_F(StoredModelTest, StoredWidthsBeforeTheRouter) {
  // A stored spec wins over the router, by name and by number.
  SubmodelSpec spec = submodel_for(deck.config, *state, 0.7);
  spec.name = "small";
  spec.budget = 0.5;
  {
    CheckpointWriter writer(folder / "odd.h5");
    write_model(writer, *state->model, deck.text, "elastic");
    write_ranking(writer, state->elastic->ranking);
    write_router(writer, *state->elastic->router);
    write_spec(writer, spec);
    writer.commit();
  }
  const CheckpointReader reader(folder / "odd.h5");
  const StoredModel stored = read_stored_model(reader);
  EXPECT_TRUE(find_submodel(reader, stored, "small").same_widths(spec));
  EXPECT_TRUE(find_submodel(reader, stored, "0.50").same_widths(spec));
  EXPECT_TRUE(find_submodel(reader, stored, "large")
                  .same_widths(submodel_for(deck.config, *state, 1.0)));  // by the router
}

TEST_F(StoredModelTest, AnyBudgetByTheRouter) {
  for (const auto& path : {model, write_training()}) {
    const CheckpointReader reader(path);
    const StoredModel stored = read_stored_model(reader);
    const SubmodelSpec spec = find_submodel(reader, stored, "0.6");
    EXPECT_EQ(spec.name, "0.6");
    // The order of the drops is that of the file, not the deck's.
    EXPECT_TRUE(spec.same_widths(submodel_for(deck.config, *state, 0.6)));
    EXPECT_NEAR(parameters(spec) / parameters(full_spec(state->model->shape())), 0.6,
                0.6 * deck.config.elastic.loss.tolerance);
  }
}

TEST_F(StoredModelTest, AnyBudgetByHomogeneousWidthsWhereTheyWereTrained) {
  const auto fixed = small_deck({"router/widths=homogeneous", "elastic/per_layer="});
  const TrainState<Real> trained = small_state(fixed.config);
  for (const std::size_t num_specs : {0, 3}) {
    write_elastic_model(model, fixed, trained, num_specs);
    const CheckpointReader reader(model);
    const StoredModel stored = read_stored_model(reader);
    for (const char* budget : {"0.6", "small"})
      EXPECT_TRUE(find_submodel(reader, stored, budget)
                      .same_widths(homogeneous_submodel(reader, stored, budget)))
          << budget;
  }
}

TEST_F(StoredModelTest, WhatIsNoBudgetIsNamed) {
  const auto error = [](const std::filesystem::path& path, const std::string& budget) {
    const CheckpointReader reader(path);
    const StoredModel stored = read_stored_head(reader);
    return message_of<InputError>([&] { find_submodel(reader, stored, budget); });
  };
  for (const char* bad : {"0", "-0.5", "1.01", "half", "0.5x", ""}) {
    contains(error(model, bad), "model.h5: no budget '" + std::string(bad) + "'");
    contains(error(model, bad), "expected a number in (0, 1] or one of large, middle, small");
  }
  contains(error(model, "smal"), "nearest is 'small'");
  contains(error(write_parent(), "0.6"), "holds no router");
  contains(error(write_submodel("small", 0.5), "0.5"), "is one submodel (small) already");
  contains(error(model, "0.01"), "<elastic>/tolerance of its deck");
}

}  // namespace
}  // namespace elastic::test
