// SPDX-License-Identifier: Apache-2.0
// Speculative decoding gives what greedy decoding by the model gives, whatever the draft.
#include "model/speculative.hpp"

#include "unit_tests/model/model_problem.hpp"

namespace elastic::test {
namespace {

template <class T>
void check_speculation(const LanguageModel<T>& model, const SubmodelSpec& spec,
                       const SubmodelSpec& draft_spec, Draw& draw) {
  const auto& shape = model.shape();
  const auto widths = prefix_widths<T>(shape, spec), draft = prefix_widths<T>(shape, draft_spec);
  Arena arena;
  std::vector<token_t> prompt(static_cast<std::size_t>(draw.between(1, 30)));
  for (auto& token : prompt) token = static_cast<token_t>(draw.between(0, shape.vocab_size - 1));
  GenerationConfig config{.max_length = static_cast<index_t>(prompt.size()) + draw.between(1, 40)};
  auto expected = generate<T>({}, arena, model, widths, {prompt}, config)[0];
  if (draw.uniform() < 0.5) {  // end where the text has some token
    config.stop = expected[static_cast<std::size_t>(
        draw.between(0, static_cast<index_t>(expected.size()) - 1))];
    expected.resize(static_cast<std::size_t>(
        std::find(expected.begin(), expected.end(), config.stop) - expected.begin()));
  }
  for (const index_t length : {1, 2, 3, 5, 11}) {
    const auto result = generate_speculative<T>(
        {}, arena, model, widths, draft, prompt,
        {.max_length = config.max_length, .stop = config.stop, .draft_length = length});
    EXPECT_EQ(result.tokens, expected) << "drafts of " << length;
    EXPECT_LE(result.accepted, result.drafted);
    EXPECT_LE(result.drafted, result.rounds * length);
    // Every round adds what it accepted and one token more; the first token comes before.
    const auto made = result.accepted + result.rounds + 1;
    EXPECT_GE(made, static_cast<index_t>(expected.size()));
    EXPECT_LE(made, static_cast<index_t>(expected.size()) + length + 1);
    if (spec.same_widths(draft_spec)) {
      EXPECT_EQ(result.accepted, result.drafted);
      EXPECT_LE(result.drafted, static_cast<index_t>(expected.size())) << "nothing after the end";
    }
  }
}

template <class T>
void check_random_models() {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    Draw draw(300 + seed);
    const auto shape = random_parent(draw);
    LanguageModel<T> model(shape, true);
    randomize(model.parameters(), static_cast<std::uint32_t>(80 + seed), 0.6);
    const auto parent = full_spec(shape), spec = random_spec(draw, shape);
    SCOPED_TRACE(describe(shape, spec));
    check_speculation(model, parent, spec, draw);
    check_speculation(model, parent, parent, draw);
    check_speculation(model, spec, parent, draw);  // not nested: still the same text
  }
}

TEST(Speculative, EqualsGreedyDecoding) {
  check_random_models<float>();
  check_random_models<double>();
}

TEST(Speculative, ADraftThatIsMostlyRightIsMostlyKept) {
  const auto shape = small_parent();
  LanguageModel<float> model(shape, true);
  randomize(model.parameters(), 91, 0.6);
  auto spec = full_spec(shape);
  spec.layers.back().width -= 1;
  Draw draw(400);
  const auto widths = prefix_widths<float>(shape, full_spec(shape)),
             draft = prefix_widths<float>(shape, spec);
  Arena arena;
  index_t accepted = 0, drafted = 0;
  for (token_t first = 0; first < 10; ++first) {
    const auto result =
        generate_speculative<float>({}, arena, model, widths, draft, {first, 3, 5},
                                    {.max_length = 40, .stop = -1, .draft_length = 4});
    EXPECT_EQ(result.tokens,
              generate<float>({}, arena, model, widths, {{first, 3, 5}}, {.max_length = 40})[0]);
    accepted += result.accepted;
    drafted += result.drafted;
  }
  EXPECT_GT(accepted, drafted / 4);
  EXPECT_LT(accepted, drafted);
}

TEST(Speculative, PromptsMustFit) {
  const LanguageModel<float> model(small_parent(), true);
  const auto widths = prefix_widths<float>(small_parent(), full_spec(small_parent()));
  Arena arena;
  const auto run = [&](const std::vector<token_t>& prompt, index_t draft_length) {
    generate_speculative<float>({}, arena, model, widths, widths, prompt,
                                {.max_length = 4, .stop = -1, .draft_length = draft_length});
  };
  EXPECT_THROW(run({}, 2), InputError);
  EXPECT_THROW(run({1, 2, 3, 4}, 2), InputError);
  EXPECT_THROW(run({1, 2}, 0), ContractError);
  EXPECT_NO_THROW(run({1, 2, 3}, 2));
}

}  // namespace
}  // namespace elastic::test
