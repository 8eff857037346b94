// SPDX-License-Identifier: Apache-2.0
// What the ranking is for: a prefix of the ranked parent is nearer to the parent on held-out data
// than the same widths of the parent as it stands, and these are nearer than the widths of the
// parent ranked the wrong way round. On parents whose units are known to differ.
#include "train/importance_pass.hpp"
#include "train/validation.hpp"
#include "unit_tests/train/importance_reference.hpp"

namespace elastic::test {
namespace {

/// Makes the rows or columns of a tensor, in blocks of `block`, a tenth as large where they are not
/// strong.
struct Planted {
  std::string tensor;
  bool columns;
  index_t block;
};
void weaken(const LanguageModel<float>& model, const Planted& planted,
            const std::vector<bool>& strong) {
  const View2<float> value = model.parameters().find(planted.tensor)->value;
  auto values = to_host(value);
  const auto columns = static_cast<std::size_t>(value.extent(1));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t unit =
        (planted.columns ? i % columns : i / columns) / static_cast<std::size_t>(planted.block);
    if (!strong[unit]) values[i] *= 0.1f;
  }
  assign(value, values);
}
/// x of Mamba, with the bias that its convolution adds.
void weaken_x(const LanguageModel<float>& model, index_t block, const std::vector<bool>& strong) {
  for (const int l : {0, 3}) {
    weaken(model, {fmt::format("layers.{}.mixer.in_proj.x", l), false, block}, strong);
    weaken(model, {fmt::format("layers.{}.mixer.conv1d.x.bias", l), true, block}, strong);
  }
}
std::vector<bool> every_second(std::size_t count) {
  std::vector<bool> strong(count);
  for (std::size_t i = 1; i < count; i += 2) strong[i] = true;
  return strong;
}

/// KL of a cut from the parent, in nats per held-out token, for each order.
struct CutErrors {
  double ranked, identity, reversed;
};
template <class Plant>
CutErrors cut_errors(const SubmodelSpec& widths, index_t dropped, const Plant& plant_units) {
  const auto kl = [&](const char* order) {
    const ResolvedDeck deck = ranked_deck({fmt::format("rank/order={}", order)});
    TrainState<Real> state = make_parent<Real>(deck.config);
    plant_units(*state.model);
    begin_elastic(deck.config, rank(deck.config, *state.model), state);
    SubmodelSpec spec = widths;
    for (index_t i = 0; i < dropped; ++i)
      spec.layers[static_cast<std::size_t>(state.elastic->ranking.drop_order[i])].keep = false;
    const Communicator self = Communicator::self();
    Arena arena;
    return Validation<Real>(self, deck.config, arena)
        .losses(*state.model, spec, state.elastic->teacher.get(), 48)
        .kl;
  };
  return {kl("importance"), kl("identity"), kl("reversed")};
}
void expect_order(const CutErrors& errors, const char* what) {
  EXPECT_GT(errors.ranked, 0) << what << " cuts something";
  EXPECT_LT(errors.ranked, 0.7 * errors.identity) << what;
  EXPECT_LT(errors.identity, 0.9 * errors.reversed) << what;
}
SubmodelSpec full() { return full_spec(parent_shape(ranked_deck().config)); }

TEST(RankedCut, HalfOfTheNeurons) {
  SubmodelSpec spec = full();
  for (const std::size_t l : {1, 4}) spec.layers[l].width = 24;
  expect_order(cut_errors(spec, 0,
                          [](const auto& model) {
                            for (const int l : {1, 4})
                              weaken(model, {fmt::format("layers.{}.mixer.up_proj", l), false, 1},
                                     every_second(48));
                          }),
               "neurons");
}

TEST(RankedCut, OneMambaHeadOfEachGroup) {
  SubmodelSpec spec = full();
  for (const std::size_t l : {0, 3}) spec.layers[l].width = 2;
  // Heads 0 and 2 form one group, 1 and 3 the other: identity is right in one of them.
  const auto plant_heads = [](const auto& model) {
    weaken_x(model, 8, {false, true, true, false});
  };
  expect_order(cut_errors(spec, 0, plant_heads), "Mamba heads");
}

TEST(RankedCut, MambaChannels) {
  SubmodelSpec spec = full();
  for (const std::size_t l : {0, 3}) spec.layers[l].head_channels = 6;
  const auto plant_channels = [](const auto& model) {
    std::vector<bool> strong(32, true);
    for (const std::size_t h : {0, 1, 2, 3}) strong[h * 8 + 2] = strong[h * 8 + 6] = false;
    weaken_x(model, 1, strong);
  };
  expect_order(cut_errors(spec, 0, plant_channels), "Mamba channels");
}

TEST(RankedCut, HiddenChannels) {
  SubmodelSpec spec = full();
  spec.hidden_size = 20;
  expect_order(cut_errors(spec, 0,
                          [](const auto& model) {
                            const auto strong = every_second(24);
                            weaken(model, {"word_embeddings", true, 1}, strong);
                            for (const char* part :
                                 {"0.mixer.out_proj", "1.mixer.down_proj", "2.mixer.o_proj",
                                  "3.mixer.out_proj", "4.mixer.down_proj"})
                              weaken(model, {fmt::format("layers.{}", part), false, 1}, strong);
                          }),
               "hidden channels");
}

TEST(RankedCut, Layers) {
  // Layer 1 hardly does anything, layer 4 less than the others.
  expect_order(cut_errors(full(), 1,
                          [](const auto& model) {
                            scale(model, "layers.1.mixer.down_proj", 0.01f);
                            scale(model, "layers.4.mixer.down_proj", 0.3f);
                          }),
               "layers");
}

}  // namespace
}  // namespace elastic::test
