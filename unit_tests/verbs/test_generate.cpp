// SPDX-License-Identifier: Apache-2.0
// The verb generate: ids and texts, budgets, drafts, sampling, and what does not go together.
#include "verbs/generate.hpp"

#include <CLI/CLI.hpp>
#include <cmath>
#include <fstream>
#include <sstream>

#include "model/generation.hpp"
#include "verbs/token_text.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

using Sequences = std::vector<std::vector<token_t>>;
const Sequences example_prompts = {{1, 7, 30}, {5}, {9, 9, 40, 3, 12}};

class VerbGenerate : public InFolder {
 protected:
  void SetUp() override {
    InFolder::SetUp();
    deck = small_deck();
    state.emplace(small_state(deck.config));
    model = folder / "model.h5";
    // Larger weights than at the start of a training: texts that are not one token over and over.
    randomize(state->model->parameters().values(), 66);
    write_elastic_model(model, deck, *state, 3);
    write_bytes(folder / "ids.txt", "1 7 30\n5\n\n9 9 40 3 12\n");
    write_bytes(folder / "one.txt", "1 7 30\n");
  }
  GenerateOptions options(const std::string& file = "ids.txt") const {
    GenerateOptions result;
    result.checkpoint = model;
    result.tokens = folder / file;
    result.max_tokens = 20;
    result.stop = -1;
    result.out = folder / "out.txt";
    result.force = true;
    return result;
  }
  Sequences run(const GenerateOptions& which) const {
    generate_from_checkpoint(which);
    return read_token_lines(which.out, 64);
  }
  ActiveWidths<float> widths(double budget) const {
    return prefix_widths<float>(state->model->shape(), submodel_for(deck.config, *state, budget));
  }
  ActiveWidths<float> full_widths() const {
    return prefix_widths<float>(state->model->shape(), full_spec(state->model->shape()));
  }
  /// What the library itself generates, prompt by prompt.
  Sequences expected(const ActiveWidths<float>& chosen, SamplingConfig sampling = {}) const {
    Arena arena;
    Sequences result;
    for (std::size_t i = 0; i < example_prompts.size(); ++i)
      result.push_back(
          generate<float>({}, arena, *state->model, chosen, {example_prompts[i]},
                          {.max_length = static_cast<index_t>(example_prompts[i].size()) + 20,
                           .sampling = sampling,
                           .first_sequence = static_cast<index_t>(i)})[0]);
    return result;
  }
  std::string error(const GenerateOptions& which) const {
    return message_of<InputError>([&] { generate_from_checkpoint(which); });
  }

  ResolvedDeck deck;
  std::optional<TrainState<Real>> state;
  std::filesystem::path model;
};

TEST_F(VerbGenerate, EveryLineIsAPrompt) {
  const auto full = run(options());
  EXPECT_EQ(full, expected(full_widths()));
  for (const auto& output : full) EXPECT_EQ(output.size(), 20u);
  auto small = options();
  small.budget = "small";
  EXPECT_EQ(run(small), expected(widths(0.5)));
  EXPECT_NE(full, expected(widths(0.5)));
}

TEST_F(VerbGenerate, StopTokenAndLength) {
  const auto full = expected(full_widths());
  auto stopping = options("one.txt");
  stopping.stop = full[0][3];
  const auto text = run(stopping)[0];
  EXPECT_EQ(text, std::vector<token_t>(full[0].begin(),
                                       std::find(full[0].begin(), full[0].end(), full[0][3])));
  auto brief = options();
  brief.max_tokens = 1;
  EXPECT_EQ(run(brief), (Sequences{{full[0][0]}, {full[1][0]}, {full[2][0]}}));
}

TEST_F(VerbGenerate, Sampling) {
  auto sampled = options();
  sampled.sampling = {.temperature = 1.5, .top_p = 0.8, .seed = 3};
  const auto first = run(sampled);
  EXPECT_EQ(first, expected(full_widths(), sampled.sampling));
  EXPECT_EQ(run(sampled), first);
  sampled.sampling.seed = 4;
  EXPECT_NE(run(sampled), first);
}

TEST_F(VerbGenerate, BudgetsOnTheWay) {
  auto mixed = options("one.txt");
  mixed.switches = {"small@4", "1@11"};
  Arena arena;
  EXPECT_EQ(run(mixed),
            generate<float>({}, arena, *state->model, full_widths(), {example_prompts[0]},
                            {.max_length = 23}, {{4, widths(0.5)}, {11, widths(1)}}));
  EXPECT_NE(run(mixed), Sequences{expected(full_widths())[0]});
  mixed.budget = "small";
  mixed.switches = {"0.5@3"};  // the same widths: shared caches, the same text
  EXPECT_EQ(run(mixed), Sequences{expected(widths(0.5))[0]});
}

TEST_F(VerbGenerate, AMarkerChangesTheBudget) {
  const auto small = expected(widths(0.5));
  const token_t marker = small[0][5];
  auto mixed = options();
  mixed.budget = "small";
  mixed.switches = {fmt::format("1@token:{}", marker)};
  Arena arena;
  Sequences wanted;
  const std::vector<BudgetSwitch<float>> change = {{std::vector<token_t>{marker}, widths(1)}};
  for (const auto& prompt : example_prompts)  // each prompt by itself
    wanted.push_back(generate<float>({}, arena, *state->model, widths(0.5), {prompt},
                                     {.max_length = static_cast<index_t>(prompt.size()) + 20},
                                     change)[0]);
  EXPECT_EQ(run(mixed), wanted);
  EXPECT_NE(run(mixed), small);
  mixed.tokens = folder / "one.txt";
  const auto place = std::find(small[0].begin(), small[0].end(), marker) - small[0].begin() + 1;
  contains(
      generate_from_checkpoint(mixed),
      fmt::format("small: {} tokens, then 1@token:{}: {} tokens\n", place, marker, 20 - place));
}

TEST_F(VerbGenerate, BudgetsOfTheDeck) {
  deck.text = read_run_config(deck.text, "deck",
                              {"generate/budget=small", "generate/switch=1@4, small@900"})
                  .text;
  write_elastic_model(model, deck, *state, 3);
  Arena arena;
  const Sequences of_deck =
      generate<float>({}, arena, *state->model, widths(0.5), {example_prompts[0]},
                      {.max_length = 23}, {{4, widths(1)}});
  EXPECT_EQ(run(options("one.txt")), of_deck);
  contains(generate_from_checkpoint(options("one.txt")),
           "small: 4 tokens, then 1@4: 16 tokens, then small@900: 0 tokens (budget and switch of "
           "the deck's <generate>)");
  auto other = options("one.txt");  // the command line wins, key by key
  other.budget = "1";
  EXPECT_EQ(run(other), Sequences{expected(full_widths())[0]});
  contains(generate_from_checkpoint(other), "(switch of the deck's <generate>)");
  other.switches = {"none"};
  EXPECT_EQ(generate_from_checkpoint(other).find("deck"), std::string::npos);
  other.budget.clear();
  EXPECT_EQ(run(other), Sequences{expected(widths(0.5))[0]});
  other.switches.clear();
  other.draft_budget = "small";  // no switches: they do not go together
  EXPECT_EQ(run(other), Sequences{expected(widths(0.5))[0]});
}

TEST_F(VerbGenerate, SpeculativeDecodingIsGreedyDecoding) {
  for (const index_t length : {1, 4}) {
    auto speculative = options();
    speculative.draft_budget = "0.5";
    speculative.draft_length = length;
    EXPECT_EQ(run(speculative), expected(full_widths()));
    const auto report = generate_from_checkpoint(speculative);
    contains(report, fmt::format("drafts of {} by budget 0.5", length));
    contains(report, "the same tokens");
    contains(report, "speed-up");
  }
}

TEST_F(VerbGenerate, TextInTextOut) {
  auto asked = options();
  asked.tokens.clear();
  asked.text = "1+2=";
  asked.stop.reset();
  asked.out.clear();
  const auto report = generate_from_checkpoint(asked);
  Arena arena;
  const auto tokens = generate<float>(
      {}, arena, *state->model, full_widths(), {encode_prompt(SourceKind::reasoning, "1+2=")},
      {.max_length = 25, .stop = end_token(SourceKind::reasoning)})[0];
  EXPECT_EQ(report.substr(0, report.find('\n')), decode_text(SourceKind::reasoning, tokens));
  contains(report, "tokens/s");
}

TEST_F(VerbGenerate, WhatDoesNotGoTogether) {
  auto both = options();
  both.text = "1+2=";
  contains(error(both), "either --tokens or --text");
  auto none = options();
  none.tokens.clear();
  contains(error(none), "either --tokens or --text");
  auto warm = options();
  warm.draft_budget = "small";
  warm.sampling.temperature = 1;
  contains(error(warm), "speculative decoding is greedy");
  warm.sampling.temperature = 0;
  warm.switches = {"small@3"};
  contains(error(warm), "do not go together");
  warm.switches.clear();
  warm.draft_length = 0;
  contains(error(warm), "--draft-length 0");
  warm.draft_length = 1000000000;
  contains(error(warm), "--draft-length 1000000000: expected 1 to 1024");
}

TEST_F(VerbGenerate, ValuesThatAreWrong) {
  const auto with = [&](const auto& change) {
    auto changed = options("one.txt");
    change(changed);
    return error(changed);
  };
  for (const std::string text : {"small", "small@", "small@0", "small@-1", "small@3x"})
    contains(with([&](auto& o) { o.switches = {text}; }), "expected BUDGET@N with N = 1 or more");
  contains(with([](auto& o) { o.switches = {"small@X"}; }), "--switch small@X: character 0x58");
  contains(with([](auto& o) { o.switches = {"small@token:64"}; }), "an id in [0, 64)");
  contains(with([](auto& o) { o.switches = {"small@5", "1@5"}; }), "N = 6 or more");
  contains(with([](auto& o) { o.switches = {"smal@5"}; }), "nearest is 'small'");
  contains(with([](auto& o) { o.budget = "2"; }), "expected a number in (0, 1]");
  contains(with([](auto& o) { o.draft_budget = "smal"; }), "nearest is 'small'");
  contains(with([](auto& o) { o.max_tokens = 0; }), "--max-tokens 0: expected 1 to 1048576");
  contains(with([](auto& o) { o.max_tokens = 9000000000000000000; }), "--max-tokens 9000000000");
  contains(with([](auto& o) { o.switches = {"small@20"}; }), "less than --max-tokens 20");
  contains(with([](auto& o) { o.switches = {"small@99999999999999999999"}; }), "N = 1 or more");
  contains(with([](auto& o) { o.sampling.temperature = std::nan(""); }), "temperature nan");
  contains(with([](auto& o) { o.sampling.top_p = std::nan(""); }), "top-p nan");
  contains(with([](auto& o) { o.sampling.top_p = 0; }), "top-p 0");
  contains(with([](auto& o) { o.sampling.temperature = -1; }), "temperature -1");
  contains(with([](auto& o) { o.stop = 64; }), "--stop 64: expected a token in [0, 64)");
  contains(with([](auto& o) { o.tokens.replace_filename("absent.txt"); }), "absent.txt");
  contains(with([](auto& o) {
             o.tokens.clear();
             o.text = "\x7f";
           }),
           "has no token");
}

TEST_F(VerbGenerate, FilesThatAreReadOrInTheWay) {
  const auto with = [&](const auto& change) {
    auto changed = options("one.txt");
    changed.force = true;
    change(changed);
    return error(changed);
  };
  const std::string before = bytes_of(model);
  contains(with([&](auto& o) { o.out = model; }), "is the checkpoint itself; choose another --out");
  std::filesystem::create_hard_link(model, folder / "link.h5");
  contains(with([&](auto& o) { o.out = folder / "link.h5"; }), "is the checkpoint itself");
  contains(with([&](auto& o) { o.out = o.tokens; }), "is the file of token ids itself");
  contains(with([&](auto& o) {
             o.tokens = folder / "out.txt.tmp";
             std::filesystem::copy(folder / "one.txt", o.tokens);
           }),
           "is written as");
  contains(with([](auto& o) { o.tokens = "/dev/zero"; }), "a device, pipe or socket");
  contains(with([](auto& o) { o.out = "/dev/null"; }), "a device, pipe or socket");
  contains(with([&](auto& o) { o.tokens = folder; }), "is a folder, expected a regular file");
  contains(with([](auto& o) { o.checkpoint = "/dev/zero"; }), "the checkpoint is a device");
  EXPECT_EQ(bytes_of(model), before);
  EXPECT_EQ(bytes_of(folder / "one.txt"), "1 7 30\n");
  auto twice = options("one.txt");
  generate_from_checkpoint(twice);
  twice.force = false;
  contains(error(twice), "out.txt: exists; choose another --out, or replace it with --force");
  std::ofstream many(folder / "many.txt");
  for (int i = 0; i < 65537; ++i) many << "1\n";
  many.close();
  contains(error(options("many.txt")), "65537 prompts, expected at most 65536");
}

TEST_F(VerbGenerate, NumbersThatAreNotFinite) {
  // Finite weights whose logits are not.
  const auto parameters = state->model->parameters().values();
  Kokkos::deep_copy(parameters, 3e38f);
  const auto path = folder / "overflows.h5";
  write_elastic_model(path, deck, *state, 0);
  auto asked = options("one.txt");
  asked.checkpoint = path;
  contains(message_of<NumericsError>([&] { generate_from_checkpoint(asked); }), "not finite");
  asked.sampling.temperature = 1;
  EXPECT_THROW(generate_from_checkpoint(asked), NumericsError);
}

TEST(VerbGenerateOptions, CommandLine) {
  CLI::App app("", "generate");
  GenerateOptions options;
  add_generate_options(app, options);
  app.parse(
      "--budget 0.6 --text 1+2= --max-tokens 9 --temperature 0.7 --top-p 0.9 --seed 5 --stop 2 "
      "--switch 0.5@3 --switch 1@6 --draft-budget 0.5 --draft-length 3 --out a.txt");
  EXPECT_EQ(options.budget, "0.6");
  EXPECT_EQ(options.text, "1+2=");
  EXPECT_EQ(options.max_tokens, 9);
  EXPECT_EQ(options.sampling.temperature, 0.7);
  EXPECT_EQ(options.sampling.top_p, 0.9);
  EXPECT_EQ(options.sampling.seed, 5u);
  EXPECT_EQ(options.stop, 2);
  EXPECT_EQ(options.switches, (std::vector<std::string>{"0.5@3", "1@6"}));
  EXPECT_EQ(options.draft_budget, "0.5");
  EXPECT_EQ(options.draft_length, 3);
  EXPECT_EQ(options.out, "a.txt");
}

TEST(VerbGenerateOptions, CommandLinesThatAreRefused) {
  for (const char* line :
       {"--max-tokens 9e18", "--max-tokens 1.5", "--max-tokens", "--max-tokens 1 --max-tokens 2",
        "--seed -1 --temperature 1", "--seed 4294967296 --temperature 1", "--temperature warm",
        "--top-p 0.5", "--seed 1", "--draft-length 3", "--force", "--budget 1 --budget 0.5",
        "--stop 1e30", "--draft-length 1e9 --draft-budget 0.5"}) {
    CLI::App app("", "generate");
    GenerateOptions options;
    add_generate_options(app, options);
    EXPECT_THROW(app.parse(line), CLI::ParseError) << line;
  }
}

}  // namespace
}  // namespace elastic::test
