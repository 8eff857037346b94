// SPDX-License-Identifier: Apache-2.0
// evaluate --harness: what the script is given, our numbers beside its own, what goes wrong. A
// shell script stands in for python; the real one runs in project/run_tiny.py if its packages are
// there.
#include "verbs/harness.hpp"

#include <CLI/CLI.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "data/character_vocabulary.hpp"
#include "io/durable_file.hpp"
#include "train/token_sources.hpp"
#include "verbs/harness_script.hpp"
#include "verbs/verbs.hpp"
#include "unit_tests/state/stored_run.hpp"
#include "unit_tests/support/source_folder.hpp"

namespace elastic::test {
namespace {
namespace fs = std::filesystem;
using Json = nlohmann::json;

class Harness : public StoredRun {
 protected:
  void SetUp() override {
    StoredRun::SetUp();
    options.folder = folder / "harness";
    options.python = (folder / "python").string();
    use_python(
        "test \"$1\" = -c && exit 0\n"
        "shift; model=$1; shift\n"
        "echo \"$model $*\" >> " +
        (folder / "calls").string() +
        "\n"
        "test -s $model/config.json || exit 9\n"
        "echo '{\"held_out_text\": {\"bits_per_byte\": 1.5}, \"held_out_problems\": "
        "{\"exact_match\": 0.25}}' > $2\n");
  }
  void use_python(const std::string& script) {
    write_bytes(options.python, "#!/bin/sh\n" + script);
    fs::permissions(options.python, fs::perms::owner_all);
  }
  std::vector<Evaluated> evaluated(const std::vector<std::string>& overrides = {}) const {
    return evaluate_checkpoint(Communicator::self(), model, "large", overrides);
  }
  std::vector<Json> lines(const char* name) const {
    std::istringstream text(bytes_of(options.folder / name));
    std::vector<Json> result;
    for (std::string line; std::getline(text, line);) result.push_back(Json::parse(line));
    return result;
  }
  HarnessOptions options;
};

TEST_F(Harness, GivesTheScriptTheHeldOutDataAndTheModels) {
  check_harness(options);
  const auto results = evaluated();
  const std::string table = run_harness(options, model, {}, results);
  EXPECT_EQ(read_file(options.folder / "lm_eval.py"), harness_script_text);
  EXPECT_EQ(read_file(source_folder() / "scripts" / "lm_eval.py"), harness_script_text);
  const ReasoningProblems problems(reasoning_config(deck.config),
                                   static_cast<std::uint32_t>(deck.config.job.seed),
                                   held_out_stream);
  const auto texts = lines("text.jsonl"), asked = lines("problems.jsonl");
  ASSERT_EQ(texts.size(), 4u);
  ASSERT_EQ(asked.size(), 8u);
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const Problem problem = problems.problem(Split::validation, static_cast<index_t>(i));
    EXPECT_EQ(asked[i]["prompt"], problem.prompt);
    EXPECT_EQ(asked[i]["answer"], problem.answer);
    if (i < texts.size()) {
      EXPECT_EQ(texts[i]["text"], problem.prompt + problem.completion);
    }
  }
  const std::string root = options.folder.string();
  contains(bytes_of(folder / "calls"),
           fmt::format("{0}/large --out {0}/large.json --text {0}/text.jsonl --problems "
                       "{0}/problems.jsonl --max-tokens {1}",
                       root, problems.longest_document()));
  // Ours: every token of every text, by the whole forward pass.
  double bits = 0, bytes = 0;
  Arena arena;
  for (const auto& line : texts) {
    const std::string text = line["text"];
    auto tokens = CharacterVocabulary::encode(text);
    tokens.insert(tokens.begin(), CharacterVocabulary::begin);
    const auto length = static_cast<index_t>(tokens.size());
    const LayerContext context{
        .exec = {}, .arena = &arena, .batch = 1, .seq_length = length, .segment = {}};
    auto pass = state->model->make_pass(Keep::nothing);
    state->model->forward(context, state->model->full_widths(), to_device(tokens), pass);
    const auto out = arena.matrix<float>(length, 64);
    state->model->logits({}, pass.hidden, out);
    const auto logits = to_host(out);
    for (std::size_t t = 0; t + 1 < tokens.size(); ++t) {
      double sum = 0;
      for (std::size_t v = 0; v < 64; ++v) sum += std::exp(logits[t * 64 + v]);
      bits -= std::log2(std::exp(logits[t * 64 + tokens[t + 1]]) / sum);
    }
    bytes += static_cast<double>(text.size());
  }
  contains(table,
           fmt::format("large      held_out_text            bits_per_byte            1.500000 "
                       "{:>12.6f}",
                       bits / bytes));
  contains(table,
           fmt::format("large      held_out_problems        exact_match              0.250000 "
                       "{:>12.6f}",
                       results[0].accuracy.value()));
}

TEST_F(Harness, TasksOfTheUser) {
  write_bytes(folder / "mine.yaml", "task: mine\n");
  options.tasks = {folder / "mine.yaml"};
  check_harness(options);
  const std::vector<std::string> none = {"evaluate/problems=0"};
  run_harness(options, model, none, evaluated(none));
  const std::string calls = bytes_of(folder / "calls");
  contains(calls, fmt::format("--task {}", options.tasks[0].string()));
  EXPECT_EQ(calls.find("--problems"), std::string::npos);
}

TEST_F(Harness, WhatGoesWrongBeforeAnythingIsComputed) {
  const auto error = [&] { return message_of<InputError>([&] { check_harness(options); }); };
  use_python("echo 'lm_eval, torch'; exit 1\n");
  contains(error(),
           "has not the packages lm_eval, torch; name a python that has them with --python");
  options.python = "/nowhere/python";
  contains(error(), "/nowhere/python cannot be started");
  options.tasks = {folder / "absent.yaml"};
  contains(error(), "absent.yaml: a task of the harness is not there");
  options.folder = folder;
  contains(error(), "exists; choose another --out");
}

TEST_F(Harness, AScriptThatFailsSaysItsLastWord) {
  use_python("echo first; echo 'no memory' >&2; exit 1\n");
  contains(message_of<RunError>([&] { run_harness(options, model, {}, evaluated()); }),
           "the evaluation harness failed: no memory\n  the command: ");
  EXPECT_TRUE(fs::exists(options.folder / "large" / "config.json")) << "stays";
}

TEST(HarnessOptions, CommandLine) {
  CLI::App app("", "elastic.x");
  VerbOptions options;
  add_verbs(app, options);
  app.parse(
      "evaluate m.h5 --harness out --task a.yaml --task b.yaml --python py evaluate/samples=2");
  EXPECT_EQ(options.harness.folder, "out");
  EXPECT_EQ(options.harness.tasks, (std::vector<fs::path>{"a.yaml", "b.yaml"}));
  EXPECT_EQ(options.harness.python, "py");
  EXPECT_EQ(options.overrides, std::vector<std::string>{"evaluate/samples=2"});
  for (const char* line :
       {"evaluate m.h5 --task a.yaml", "evaluate m.h5 --python py", "evaluate m.h5 --harness"}) {
    CLI::App other("", "elastic.x");
    add_verbs(other, options);
    EXPECT_THROW(other.parse(line), CLI::ParseError) << line;
  }
}

}  // namespace
}  // namespace elastic::test
