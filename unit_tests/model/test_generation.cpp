// SPDX-License-Identifier: Apache-2.0
// Greedy generation by steps against the most likely token of full forward passes.
#include "model/generation.hpp"

#include <algorithm>

#include "unit_tests/model/model_problem.hpp"

namespace elastic::test {
namespace {

using Prompts = std::vector<std::vector<token_t>>;

const Prompts kPrompts = {{3, 1, 4, 1, 5, 9, 2}, {26}, {5, 35, 8}, {9, 7, 9, 3, 2, 3, 8, 4, 6}};

/// One token at a time, the whole sequence anew for each.
template <class S>
std::vector<token_t> slow_continuation(const LanguageModel<S>& model, const ActiveWidths<S>& widths,
                                       std::vector<token_t> sequence,
                                       const GenerationConfig& config) {
  const std::size_t start = sequence.size();
  while (static_cast<index_t>(sequence.size()) < config.max_length) {
    ModelProblem<S> problem(model.shape(), 1, {static_cast<index_t>(sequence.size())});
    Kokkos::deep_copy(problem.model.parameters().values(), model.parameters().values());
    assign(problem.tokens, sequence);
    const auto logits = problem.logits(widths);
    const auto last = logits.end() - model.shape().vocab_size;
    const auto next = static_cast<token_t>(std::max_element(last, logits.end()) - last);
    if (next == config.stop) break;
    sequence.push_back(next);
  }
  return {sequence.begin() + start, sequence.end()};
}

template <class S>
void check_generation(const SubmodelSpec& spec, token_t stop) {
  const auto shape = small_parent();
  LanguageModel<S> model(shape, true);
  randomize(model.parameters(), 71, 0.6);
  const auto widths = prefix_widths<S>(shape, spec);
  const GenerationConfig config{.max_length = 16, .stop = stop};
  Arena arena;
  const auto outputs = generate_greedy<S>({}, arena, model, widths, kPrompts, config);
  ASSERT_EQ(outputs.size(), kPrompts.size());
  for (std::size_t i = 0; i < outputs.size(); ++i)
    EXPECT_EQ(outputs[i], slow_continuation(model, widths, kPrompts[i], config)) << "prompt " << i;
}

TEST(Generation, StepsGiveTheArgmaxOfTheFullForward) {
  auto uncut = narrow_small_spec();
  uncut.layers[0].head_channels = uncut.layers[3].head_channels = 4;
  for (const auto& spec : {full_spec(small_parent()), uncut, narrow_small_spec()}) {
    check_generation<double>(spec, -1);
    check_generation<float>(spec, -1);
  }
}

TEST(Generation, StopTokenEndsASequence) {
  const auto shape = small_parent();
  LanguageModel<double> model(shape, true);
  randomize(model.parameters(), 71, 0.6);
  const auto widths = prefix_widths<double>(shape, full_spec(shape));
  Arena arena;
  const auto endless =
      generate_greedy<double>({}, arena, model, widths, kPrompts, {.max_length = 16});
  const token_t stop = endless[1][4];
  EXPECT_EQ(endless[1].size(), 15u);
  const auto outputs =
      generate_greedy<double>({}, arena, model, widths, kPrompts, {.max_length = 16, .stop = stop});
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const auto end = std::find(endless[i].begin(), endless[i].end(), stop);
    EXPECT_EQ(outputs[i], std::vector<token_t>(endless[i].begin(), end)) << "prompt " << i;
  }
  EXPECT_LE(outputs[1].size(), 4u);
}

TEST(Generation, PromptsOfABatchDoNotMatterToEachOther) {
  LanguageModel<float> model(small_parent(), true);
  randomize(model.parameters(), 72);
  const auto widths = prefix_widths<float>(small_parent(), narrow_small_spec());
  Arena arena;
  const auto together =
      generate_greedy<float>({}, arena, model, widths, kPrompts, {.max_length = 12});
  for (std::size_t i = 0; i < kPrompts.size(); ++i)
    EXPECT_EQ(
        generate_greedy<float>({}, arena, model, widths, {kPrompts[i]}, {.max_length = 12})[0],
        together[i]);
  EXPECT_TRUE(generate_greedy<float>({}, arena, model, widths, {}, {}).empty());
}

TEST(Generation, PromptsMustFit) {
  const LanguageModel<float> model(small_parent(), true);
  const auto widths = prefix_widths<float>(small_parent(), full_spec(small_parent()));
  Arena arena;
  const auto generate = [&](const Prompts& prompts) {
    generate_greedy<float>({}, arena, model, widths, prompts, {.max_length = 4});
  };
  EXPECT_THROW(generate({{1}, {}}), InputError);
  EXPECT_THROW(generate({{1, 2, 3, 4}}), InputError);
  EXPECT_NO_THROW(generate({{1, 2, 3}}));
}

}  // namespace
}  // namespace elastic::test
