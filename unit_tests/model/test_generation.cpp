// SPDX-License-Identifier: Apache-2.0
// Generation with caches against full forward passes; sampling; change of the budget on the way.
#include "model/generation.hpp"

#include <algorithm>

#include "unit_tests/model/model_problem.hpp"

namespace elastic::test {
namespace {

using Prompts = std::vector<std::vector<token_t>>;

const Prompts example_prompts = {
    {3, 1, 4, 1, 5, 9, 2}, {26}, {5, 35, 8}, {9, 7, 9, 3, 2, 3, 8, 4, 6}};

/// One token at a time, the whole sequence anew for each.
template <class T>
std::vector<token_t> slow_continuation(const LanguageModel<T>& model, const ActiveWidths<T>& widths,
                                       std::vector<token_t> sequence,
                                       const GenerationConfig& config) {
  const std::size_t start = sequence.size();
  while (static_cast<index_t>(sequence.size()) < config.max_length) {
    ModelProblem<T> problem(model.shape(), 1, {static_cast<index_t>(sequence.size())});
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

template <class T>
void check_generation(const SubmodelSpec& spec, token_t stop) {
  const auto shape = small_parent();
  LanguageModel<T> model(shape, true);
  randomize(model.parameters(), 71, 0.6);
  const auto widths = prefix_widths<T>(shape, spec);
  const GenerationConfig config{.max_length = 16, .stop = stop};
  Arena arena;
  const auto outputs = generate_greedy<T>({}, arena, model, widths, example_prompts, config);
  ASSERT_EQ(outputs.size(), example_prompts.size());
  for (std::size_t i = 0; i < outputs.size(); ++i)
    EXPECT_EQ(outputs[i], slow_continuation(model, widths, example_prompts[i], config))
        << "prompt " << i;
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
      generate_greedy<double>({}, arena, model, widths, example_prompts, {.max_length = 16});
  const token_t stop = endless[1][4];
  EXPECT_EQ(endless[1].size(), 15u);
  const auto outputs = generate_greedy<double>({}, arena, model, widths, example_prompts,
                                               {.max_length = 16, .stop = stop});
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
      generate_greedy<float>({}, arena, model, widths, example_prompts, {.max_length = 12});
  for (std::size_t i = 0; i < example_prompts.size(); ++i)
    EXPECT_EQ(generate_greedy<float>({}, arena, model, widths, {example_prompts[i]},
                                     {.max_length = 12})[0],
              together[i]);
  EXPECT_TRUE(generate_greedy<float>({}, arena, model, widths, {}, {}).empty());
}

TEST(Generation, SampledTextsDoNotDependOnTheBatch) {
  LanguageModel<double> model(small_parent(), true);
  randomize(model.parameters(), 73, 0.6);
  const auto widths = prefix_widths<double>(small_parent(), narrow_small_spec());
  Arena arena;
  GenerationConfig config{.max_length = 20,
                          .sampling = {.temperature = 1.3, .top_p = 0.9, .seed = 5}};
  const auto together = generate<double>({}, arena, model, widths, example_prompts, config);
  EXPECT_EQ(generate<double>({}, arena, model, widths, example_prompts, config), together);
  for (std::size_t i = 0; i < example_prompts.size(); ++i) {
    config.first_sequence = static_cast<index_t>(i);
    EXPECT_EQ(generate<double>({}, arena, model, widths, {example_prompts[i]}, config)[0],
              together[i]);
  }
  config.first_sequence = 0;
  // One prompt given twice continues in two ways; another seed gives another one.
  const auto twice =
      generate<double>({}, arena, model, widths, {example_prompts[0], example_prompts[0]}, config);
  EXPECT_EQ(twice[0], together[0]);
  EXPECT_NE(twice[0], twice[1]);
  config.sampling.seed = 6;
  EXPECT_NE(generate<double>({}, arena, model, widths, {example_prompts[0]}, config)[0],
            together[0]);
  EXPECT_EQ(generate_greedy<double>({}, arena, model, widths, example_prompts, config),
            generate<double>({}, arena, model, widths, example_prompts, {.max_length = 20}));
  config.sampling.top_p = 0;
  EXPECT_THROW(generate<double>({}, arena, model, widths, example_prompts, config), InputError);
}

/// A submodel of `outer` whose layers read what they read in `outer` up to the last one: from
/// caches of `outer` it goes on as if it had read the text itself.
SubmodelSpec cut_at_the_end(SubmodelSpec outer) {
  outer.layers.back().width = 3;
  return outer;
}

TEST(Generation, ANarrowerSubmodelSharesTheCaches) {
  const auto shape = small_parent();
  LanguageModel<double> model(shape, true);
  randomize(model.parameters(), 74, 0.6);
  const auto full = full_spec(shape), less = cut_at_the_end(full);
  const auto wide = prefix_widths<double>(shape, full), narrow = prefix_widths<double>(shape, less);
  const GenerationConfig config{.max_length = 20};
  Arena arena;
  for (const index_t after : {1, 4, 9}) {
    const auto mixed = generate<double>({}, arena, model, wide, {example_prompts[0]}, config,
                                        {{after, narrow}})[0];
    auto text = generate<double>({}, arena, model, wide, {example_prompts[0]}, config)[0];
    text.resize(static_cast<std::size_t>(after));
    text.insert(text.begin(), example_prompts[0].begin(), example_prompts[0].end());
    const auto rest = slow_continuation(model, narrow, text, config);
    text.insert(text.end(), rest.begin(), rest.end());
    EXPECT_EQ(mixed, std::vector<token_t>(text.begin() + 7, text.end())) << after;
  }
  // Any narrower one goes on from what the wider one remembers, and differs from itself alone.
  const auto narrowest = prefix_widths<double>(shape, narrow_small_spec());
  ASSERT_TRUE(fits_into(narrowest, wide) && !fits_into(wide, narrowest));
  Decoder<double> reader({}, arena, model, wide, 1, 20), alone({}, arena, model, narrowest, 1, 20);
  reader.read(example_prompts[0]);
  alone.read(example_prompts[0]);
  Decoder<double> cut(std::move(reader), narrowest);
  EXPECT_EQ(cut.position(), 7);
  const auto from_wide = to_host(cut.read({3})), own = to_host(alone.read({3}));
  EXPECT_FALSE(near(from_wide, own, 1e-9));
  for (const double logit : from_wide) EXPECT_TRUE(std::isfinite(logit));
}

TEST(Generation, AWiderSubmodelReadsTheTextAgain) {
  const auto shape = small_parent();
  LanguageModel<double> model(shape, true);
  randomize(model.parameters(), 75, 0.6);
  const auto wide = prefix_widths<double>(shape, full_spec(shape)),
             narrow = prefix_widths<double>(shape, narrow_small_spec());
  const GenerationConfig config{.max_length = 24};
  Arena arena;
  const auto mixed = generate<double>({}, arena, model, narrow, {example_prompts[2]}, config,
                                      {{3, wide}, {6, narrow}, {8, wide}})[0];
  auto text = example_prompts[2];
  const auto small = slow_continuation(model, narrow, text, config);
  text.insert(text.end(), small.begin(), small.begin() + 3);
  const auto large = slow_continuation(model, wide, text, config);
  text.insert(text.end(), large.begin(), large.begin() + 3);
  EXPECT_EQ(std::vector<token_t>(mixed.begin(), mixed.begin() + 6),
            std::vector<token_t>(text.begin() + 3, text.end()));
  // After the way back up nothing is left of the detour but its tokens.
  text = example_prompts[2];
  text.insert(text.end(), mixed.begin(), mixed.begin() + 8);
  const auto rest = slow_continuation(model, wide, text, config);
  EXPECT_EQ(std::vector<token_t>(mixed.begin() + 8, mixed.end()), rest);
}

TEST(Generation, AMarkerChangesTheBudget) {
  const auto shape = small_parent();
  LanguageModel<double> model(shape, true);
  randomize(model.parameters(), 75, 0.6);
  const auto wide = prefix_widths<double>(shape, full_spec(shape)),
             narrow = prefix_widths<double>(shape, narrow_small_spec());
  const GenerationConfig config{.max_length = 24};
  Arena arena;
  const auto& prompt = example_prompts[2];
  const auto small = slow_continuation(model, narrow, prompt, config);
  const std::vector<token_t> marker(small.begin() + 2, small.begin() + 4);
  const auto place =
      std::search(small.begin(), small.end(), marker.begin(), marker.end()) - small.begin() + 2;
  const std::vector<BudgetSwitch<double>> switches = {{marker, wide}};
  const auto mixed = generate<double>({}, arena, model, narrow, {prompt}, config, switches)[0];
  auto text = prompt;
  text.insert(text.end(), small.begin(), small.begin() + place);
  const auto large = slow_continuation(model, wide, text, config);
  EXPECT_EQ(std::vector<token_t>(mixed.begin(), mixed.begin() + place),
            std::vector<token_t>(small.begin(), small.begin() + place));
  EXPECT_EQ(std::vector<token_t>(mixed.begin() + place, mixed.end()), large);
  EXPECT_EQ(switch_places(mixed, switches), std::vector<index_t>{place});
  // A marker that never comes changes nothing.
  const auto plain = generate<double>({}, arena, model, narrow, {prompt}, config,
                                      {{std::vector<token_t>{marker[0], 99, marker[1]}, wide}})[0];
  EXPECT_EQ(plain, small);
}

TEST(Generation, WhereSwitchesCome) {
  const ActiveWidths<float> some;
  const auto places = [&](const std::vector<BudgetSwitch<float>>& switches) {
    return switch_places<float>({7, 8, 7, 8, 7, 8, 9}, switches);
  };
  const BudgetSwitch<float> pair(std::vector<token_t>{7, 8}, some),
      nine(std::vector<token_t>{9}, some);
  EXPECT_EQ(places({pair, pair, pair, pair}), (std::vector<index_t>{2, 4, 6}));
  EXPECT_EQ(places({{3, some}, pair, nine}), (std::vector<index_t>{3, 6, 7}));  // 7 of 3: before it
  EXPECT_EQ(places({nine, {3, some}}), (std::vector<index_t>{7, 7}));           // both are due
  EXPECT_EQ(places({{8, some}, pair}), std::vector<index_t>{});
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
