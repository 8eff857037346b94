// SPDX-License-Identifier: Apache-2.0
// The deck that an import prints or writes: it describes the model, --check accepts it, and its
// widths are those that the model allows.
#include "verbs/import.hpp"

#include <gmock/gmock.h>

#include "deck/parser.hpp"
#include "interop/strict_json.hpp"
#include "plan/run_plan.hpp"
#include "state/stored_model.hpp"
#include "verbs/import_deck.hpp"
#include "unit_tests/interop/interop_support.hpp"

namespace elastic::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class VerbImport : public InFolder {
 protected:
  std::string error_of(const ImportOptions& options) {
    return message_of<InputError>([&] { import_checkpoint(options); });
  }
};

TEST_F(VerbImport, TheDeckFitsTheModel) {
  for (const auto& name : hf_models) {
    const auto parent = folder / (name + ".h5"), file = folder / (name + ".in");
    const std::string said =
        import_checkpoint({.folder = hf_fixture(name), .checkpoint = parent, .deck = file});
    contains(said, file.string() + ": a deck that makes it elastic");
    const auto deck = read_run_config(read_deck_file(file.string()), file.string(), {});
    EXPECT_EQ(parent_shape(deck.config), shape_of(hf_fixture(name)));
    EXPECT_EQ(deck.config.job.parent, parent.string());
    EXPECT_GE(deck.config.elastic.budgets.size(), 2u) << name;
    EXPECT_NO_THROW(run_plan(deck, 1)) << name;  // which compares the parent that is there
    // Without a file it is what is printed.
    contains(import_checkpoint({hf_fixture(name), parent, true}), bytes_of(file));
  }
}

/// The published 12B: widths as in the paper's deck, in multiples of 64 channels and 8 groups.
TEST_F(VerbImport, WidthsThatTheModelAllows) {
  ModelShape shape{.vocab_size = 131072,
                   .hidden_size = 5120,
                   .mamba_state_dim = 128,
                   .chunk_size = 128,
                   .layers = {}};
  for (int i = 0; i < 28; ++i) {
    shape.layers.push_back({LayerKind::mamba, 128, 80, 8});
    shape.layers.push_back({LayerKind::mlp, 20480});
    if (i % 5 == 4) shape.layers.push_back({LayerKind::attention, 40, 128, 8});
  }
  const auto text = elastic_deck(shape, "nano", "nano.h5");
  const auto elastic = read_run_config(text, "", {}).config.elastic;
  EXPECT_THAT(elastic.budgets, ElementsAre(1, 0.75, 0.5));
  EXPECT_THAT(elastic.hidden_size, ElementsAre(5120, 4352, 3840, 3072, 2560));
  EXPECT_THAT(elastic.mamba_num_heads, ElementsAre(128, 112, 96, 80, 64));
  EXPECT_THAT(elastic.ffn_hidden_size, ElementsAre(20480, 17920, 15360, 12800, 10240));
  EXPECT_THAT(elastic.num_attention_heads, IsEmpty());
  EXPECT_THAT(elastic.per_layer, IsEmpty());
  contains(text, "# num_attention_heads = 40, 32, 24, 16");
  contains(text, "# Choose: prefixes of .bin/.idx pairs");
}

TEST_F(VerbImport, HeadsThatCannotBeFewerBecomeNarrower) {
  const ModelShape shape{.vocab_size = 64,
                         .hidden_size = 32,
                         .layers = {{LayerKind::mamba, 8, 16, 8}, {LayerKind::mlp, 24}}};
  const auto deck = read_run_config(elastic_deck(shape, "narrow", "narrow.h5"), "", {});
  EXPECT_THAT(deck.config.elastic.mamba_num_heads, IsEmpty());
  EXPECT_THAT(deck.config.elastic.mamba_head_dim, ElementsAre(16, 14, 12, 10, 8));
  EXPECT_NO_THROW(run_plan(deck, 1));
}

/// One head per group, one channel, one neuron: nothing can shrink, and the deck says no more.
TEST_F(VerbImport, AModelThatCannotShrink) {
  const ModelShape shape{.vocab_size = 8,
                         .hidden_size = 1,
                         .layers = {{LayerKind::mamba, 2, 1, 2}, {LayerKind::mlp, 1}}};
  const auto deck = read_run_config(elastic_deck(shape, "small", "small.h5"), "", {});
  EXPECT_THAT(deck.config.elastic.budgets, ElementsAre(1));
  EXPECT_THAT(deck.config.elastic.hidden_size, IsEmpty());
  EXPECT_NO_THROW(run_plan(deck, 1));
}

TEST_F(VerbImport, LayersThatDifferHaveNoDeck) {
  const auto copy = folder / "copy";
  fs::copy(hf_fixture("groups"), copy, fs::copy_options::recursive);
  const SafetensorsReader old(hf_fixture("groups") / "model.safetensors");
  std::vector<SafetensorsTensor> plan;
  const auto is_cut = [](const std::string& name) {
    return name.find("layers.4.mixer") != name.npos;
  };
  for (const auto& entry : old.entries()) {
    plan.push_back({entry.name, entry.type, entry.shape});
    if (is_cut(entry.name))
      for (auto& extent : plan.back().shape) extent = extent == 24 ? 8 : extent;
  }
  SafetensorsWriter writer(copy / "model.safetensors", plan);
  for (const auto& tensor : plan) {
    const auto& entry = old.at(tensor.name);
    std::vector<char> data(entry.bytes());
    old.read(entry, 0, data.size(), data.data());
    writer.write(tensor.name, data.data());
  }
  writer.commit();
  auto config = parse_json(bytes_of(copy / "config.json"), "");
  config["intermediate_size"] = {24, 8};
  write_bytes(copy / "config.json", dump_json(config));

  const auto parent = folder / "parent.h5";
  contains(error_of({.folder = copy, .checkpoint = parent, .deck = folder / "a.in"}),
           "layers 1 and 4 (mlp) differ: 24 x 1 and 8 x 1; a deck describes all layers of a kind");
  EXPECT_FALSE(fs::exists(parent));
  contains(import_checkpoint({.folder = copy, .checkpoint = parent}), "# " + parent.string());
  const StoredModel stored = read_stored_model(CheckpointReader(parent));
  EXPECT_EQ(stored.shape.layers.at(1).width, 24);
  EXPECT_EQ(stored.shape.layers.at(4).width, 8);
}

TEST_F(VerbImport, ADeckReplacesNothingThatIsNeeded) {
  const auto source = folder / "source";
  fs::copy(hf_fixture("groups"), source, fs::copy_options::recursive);
  ImportOptions options{.folder = source, .checkpoint = folder / "a.h5", .deck = folder / "a.h5"};
  contains(error_of(options), "is the checkpoint itself");
  options.deck = folder / "a.in";
  write_bytes(options.deck, "mine");
  contains(error_of(options), "a.in");
  EXPECT_EQ(bytes_of(options.deck), "mine");
  EXPECT_FALSE(fs::exists(options.checkpoint));
  options.force = true;
  EXPECT_NO_THROW(import_checkpoint(options));
  contains(bytes_of(options.deck), "phases = rank, elastic, slice, evaluate, report");
  options.deck = source / "config.json";
  contains(error_of(options), "is a file of the imported folder itself");
}

}  // namespace
}  // namespace elastic::test
