// SPDX-License-Identifier: Apache-2.0
// slice, inspect and evaluate on files as a run leaves them.
#include "verbs/verbs.hpp"

#include <CLI/CLI.hpp>

#include "elastic/cost_model.hpp"
#include "state/stored_model.hpp"
#include "verbs/evaluate.hpp"
#include "verbs/inspect.hpp"
#include "verbs/slice.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

class Verbs : public InFolder {
 protected:
  void SetUp() override {
    InFolder::SetUp();
    deck = small_deck();
    state.emplace(small_state(deck.config));
    model = folder / "model.h5";
    write_elastic_model(model, deck, *state, 3);
  }
  std::filesystem::path write_training() {
    const auto path = folder / "training.h5";
    CheckpointWriter writer(path);
    write_state(writer, *state, deck.text);
    writer.commit();
    return path;
  }
  std::filesystem::path write_parent() {
    const auto path = folder / "parent.h5";
    CheckpointWriter writer(path);
    write_model(writer, *state->elastic->teacher, deck.text, "parent");
    write_ranking(writer, state->elastic->ranking);
    writer.commit();
    return path;
  }
  std::string slice_error(const std::filesystem::path& from, const std::string& budget,
                          const std::filesystem::path& out, bool force = false) {
    return message_of<InputError>([&] { slice_checkpoint(from, budget, out, force); });
  }
  double parameters(const SubmodelSpec& spec) const {
    return parameter_count(state->model->shape(), expected_widths(spec));
  }
  std::vector<Evaluated> evaluate(const std::filesystem::path& path,
                                  const std::string& budget = "") const {
    return evaluate_checkpoint(Communicator::self(), path, budget, {});
  }

  ResolvedDeck deck;
  std::optional<TrainState> state;
  std::filesystem::path model;
};

TEST_F(Verbs, ASliceIsTheSubmodel) {
  const auto out = folder / "small.h5";
  contains(slice_checkpoint(model, "small", out, false), "submodel small of");
  const CheckpointReader reader(out);
  EXPECT_NO_THROW(reader.verify());
  EXPECT_EQ(reader.attribute_as<std::string>("kind"), "submodel");
  EXPECT_EQ(reader.text("deck"), deck.text);
  const SubmodelSpec spec = submodel_for(deck.config, *state, 0.5);
  EXPECT_EQ(read_shape(reader), sliced_shape(state->model->shape(), spec));
  const StoredModel stored = read_stored_model(reader);
  EXPECT_EQ(static_cast<double>(stored.model->parameters().num_elements()), parameters(spec));
  // Held-out numbers are equal, computed as a prefix of the parent and as a model of its own.
  const auto prefix = evaluate(model, "small"), sliced = evaluate(out);
  ASSERT_EQ(sliced.size(), 1u);
  EXPECT_EQ(sliced[0].name, "small");
  EXPECT_EQ(sliced[0].parameters, prefix.at(0).parameters);
  EXPECT_NEAR(sliced[0].valid_loss, prefix.at(0).valid_loss, 1e-5);
  EXPECT_EQ(sliced[0].accuracy, prefix.at(0).accuracy);
}

TEST_F(Verbs, StoredWidthsBeforeTheRouter) {
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

TEST_F(Verbs, AnyBudgetByTheRouter) {
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
  contains(slice_checkpoint(write_training(), "0.6", folder / "out.h5", false), "submodel 0.6");
}

TEST_F(Verbs, NothingIsOverwrittenUnasked) {
  const auto out = folder / "out.h5";
  write_bytes(out, "precious");
  contains(slice_error(model, "small", out), "exists; choose another --out");
  EXPECT_EQ(bytes_of(out), "precious");
  EXPECT_NO_THROW(slice_checkpoint(model, "small", out, true));
  EXPECT_NO_THROW(CheckpointReader{out});
  const std::string before = bytes_of(model);
  contains(slice_error(model, "small", model, true), "is the checkpoint itself");
  EXPECT_EQ(bytes_of(model), before);
  contains(slice_error(model, "small", folder / "nowhere" / "out.h5"), "does not exist");
  contains(slice_error(model, "small", folder, true), "a folder");
}

TEST_F(Verbs, BudgetsThatAreNot) {
  const auto out = folder / "out.h5";
  const auto unknown = slice_error(model, "smal", out);
  contains(unknown, "model.h5: no budget 'smal'");
  contains(unknown, "large, middle, small");
  contains(unknown, "nearest is 'small'");
  contains(slice_error(model, "1.5", out), "expected a number in (0, 1]");
  contains(slice_error(model, "0", out), "expected a number in (0, 1]");
  const auto unreachable = slice_error(model, "0.01", out);
  contains(unreachable, "the nearest reachable budgets are");
  contains(unreachable, "model.h5");
  contains(slice_error(write_parent(), "0.6", out), "holds no router");
  slice_checkpoint(model, "small", folder / "small.h5", false);
  contains(slice_error(folder / "small.h5", "0.3", out), "is one submodel (small) already");
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(Verbs, EvaluateTakesWhatTheFileHolds) {
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
  Validation validation(self, deck.config, arena);
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

TEST_F(Verbs, EvaluateOnOtherData) {
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

TEST_F(Verbs, InspectShowsEveryKind) {
  const auto elastic = inspect_checkpoint(model, {.verify = true});
  contains(elastic, "elastic");
  contains(elastic, "M-*M-: 5 layers, hidden 24, vocabulary 64");
  contains(elastic, fmt::format("{:.0f}", parameters(full_spec(state->model->shape()))));
  contains(elastic, "middle");
  contains(elastic, "least important first: 1, 3; no others are\n");  // two may be dropped
  contains(elastic, "checksums of all");
  EXPECT_EQ(elastic.find("xxh"), std::string::npos);
  EXPECT_EQ(elastic.find("model/word_embeddings"), std::string::npos);
  const auto training = inspect_checkpoint(write_training(), {.tensors = true});
  contains(training, "17 (ranked, with router)");
  contains(training, "optimizer/model/m/word_embeddings");
  contains(inspect_checkpoint(write_parent(), {}), "no stored widths");
  slice_checkpoint(model, "small", folder / "small.h5", false);
  contains(inspect_checkpoint(folder / "small.h5", {}), "small: budget 0.5");
}

TEST_F(Verbs, InspectFindsDamage) {
  std::string bytes = bytes_of(model);
  // A bit of one stored weight: invisible to the manifest, found by the checksum.
  const auto values = to_host(state->model->output_layer().value);
  const std::string pattern(reinterpret_cast<const char*>(values.data()), 64);
  const auto place = bytes.find(pattern);
  ASSERT_NE(place, std::string::npos);
  bytes[place] = static_cast<char>(bytes[place] ^ 1);
  write_bytes(folder / "damaged.h5", bytes);
  EXPECT_NO_THROW(inspect_checkpoint(folder / "damaged.h5", {}));
  contains(
      message_of<InputError>([&] { inspect_checkpoint(folder / "damaged.h5", {.verify = true}); }),
      "model/output_layer is damaged");
  write_bytes(folder / "text.h5", "not HDF5");
  EXPECT_THROW(inspect_checkpoint(folder / "text.h5", {}), InputError);
  EXPECT_THROW(inspect_checkpoint(folder / "absent.h5", {}), InputError);
}

TEST_F(Verbs, CommandLine) {
  const auto parse = [](const std::string& line) {
    CLI::App app("", "elastic.x");
    VerbOptions options;
    add_verbs(app, options);
    app.parse(line);
    return options;
  };
  const auto slice = parse("slice a.h5 --budget 0.6 --out b.h5 --force");
  EXPECT_EQ(slice.verb, Verb::slice);
  EXPECT_EQ(slice.checkpoint, "a.h5");
  EXPECT_EQ(slice.budget, "0.6");
  EXPECT_EQ(slice.out, "b.h5");
  EXPECT_TRUE(slice.force);
  const auto inspect = parse("inspect a.h5 --tensors --verify");
  EXPECT_EQ(inspect.verb, Verb::inspect);
  EXPECT_TRUE(inspect.tensors && inspect.verify);
  const auto evaluate = parse("evaluate a.h5 data/max_digits=2 evaluate/samples=8");
  EXPECT_EQ(evaluate.verb, Verb::evaluate);
  EXPECT_EQ(evaluate.overrides.size(), 2u);
  EXPECT_EQ(parse("").verb, Verb::none);
  EXPECT_THROW(parse("slice a.h5 --out b.h5"), CLI::ParseError);  // no budget
  EXPECT_THROW(parse("inspect"), CLI::ParseError);
}

TEST_F(Verbs, RunVerb) {
  VerbOptions options;
  options.verb = Verb::slice;
  options.checkpoint = model.string();
  options.budget = "0.6";
  options.out = (folder / "out.h5").string();
  EXPECT_EQ(run_verb(Communicator::self(), options), ExitCode::success);
  EXPECT_TRUE(std::filesystem::exists(options.out));
  EXPECT_THROW(run_verb(Communicator::self(), options), InputError);  // exists now
  options.verb = Verb::inspect;
  EXPECT_EQ(run_verb(Communicator::self(), options), ExitCode::success);
  options.verb = Verb::evaluate;
  EXPECT_EQ(run_verb(Communicator::self(), options), ExitCode::success);
}

}  // namespace
}  // namespace elastic::test
