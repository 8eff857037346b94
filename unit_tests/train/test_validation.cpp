// SPDX-License-Identifier: Apache-2.0
// Held-out losses against sums in double over the rows of the validation split, answers against
// generation problem by problem, and distances of logits against those computed here.
#include "train/validation.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>

#include "data/character_vocabulary.hpp"
#include "model/generation.hpp"
#include "model/slicing.hpp"
#include "train/token_sources.hpp"
#include "base/stop_request.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

constexpr std::uint64_t validation_stream = 1000002;  // no training stage reads it
constexpr index_t whole_length = 40;

class ValidationTest : public testing::Test {
 protected:
  void SetUp() override { prepare({}); }
  void prepare(std::vector<std::string> overrides) {
    overrides.insert(overrides.begin(), {"evaluate/samples=5", "distill/temperature=2",
                                         "model/init_std=0.2", "evaluate/problems=12"});
    deck = small_deck(overrides);
    state.emplace(small_state(deck.config));
    // A student that differs from its teacher.
    const auto values = state->model->parameters().values();
    auto moved = to_host(values);
    const auto noise = random_values<float>(static_cast<index_t>(moved.size()), 3, -0.1, 0.1);
    for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += noise[i];
    assign(values, moved);
    spec = submodel_for(deck.config, *state, 0.5);
  }
  ValidationResult losses(const LanguageModel<float>* teacher) {
    Validation<Real> validation(self, deck.config, arena);
    return validation.losses(*state->model, spec, teacher, whole_length);
  }
  /// [T, V] of one held-out row, in double.
  std::vector<double> logits(const LanguageModel<float>& model, const SubmodelSpec& of,
                             const Batch& row) {
    LanguageModel<double> exact(model.shape(), true);
    assign(exact.parameters().values(), to_double(model.parameters().values()));
    const Arena::Scope scope(arena);
    const LayerContext context = {.exec = {},
                                  .arena = &arena,
                                  .batch = 1,
                                  .seq_length = row.seq_length,
                                  .segment = to_device(row.segment)};
    auto pass = exact.make_pass(Keep::nothing);
    exact.forward(context, exact.widths(of), to_device(row.tokens), pass);
    const auto out = arena.matrix<double>(row.seq_length, model.shape().vocab_size);
    exact.all_logits(context.products(), arena, pass.hidden, out);
    return to_host(out);
  }

  const Communicator self = Communicator::self();
  Arena arena;
  ResolvedDeck deck;
  std::optional<TrainState<Real>> state;
  SubmodelSpec spec;
};

/// log softmax(z / temperature) of one row of logits.
std::vector<double> log_softmax(const double* z, std::size_t count, double temperature) {
  double sum = 0;
  for (std::size_t v = 0; v < count; ++v) sum += std::exp(z[v] / temperature);
  std::vector<double> result;
  for (std::size_t v = 0; v < count; ++v) result.push_back(z[v] / temperature - std::log(sum));
  return result;
}

TEST_F(ValidationTest, MeansOverTheHeldOutRows) {
  const auto source = make_source(deck.config, validation_stream);
  const LanguageModel<float>& teacher = *state->elastic->teacher;
  double weight = 0, cross_entropy = 0, kl = 0;
  for (index_t i = 0; i < 5; ++i) {
    const Batch row = make_batch(*source, Split::validation, i, 1, whole_length);
    const auto student = logits(*state->model, spec, row),
               wanted = logits(teacher, full_spec(teacher.shape()), row);
    const std::size_t V = student.size() / whole_length;
    for (std::size_t t = 0; t < whole_length; ++t) {
      const auto plain = log_softmax(&student[t * V], V, 1), q = log_softmax(&student[t * V], V, 2),
                 p = log_softmax(&wanted[t * V], V, 2);
      weight += row.weight[t];
      cross_entropy -= row.weight[t] * plain[row.targets[t]];
      for (std::size_t v = 0; v < V; ++v) kl += row.weight[t] * std::exp(p[v]) * (p[v] - q[v]);
    }
  }
  const auto result = losses(&teacher);
  EXPECT_NEAR(result.cross_entropy, cross_entropy / weight, 1e-5);
  EXPECT_GT(result.kl, 1e-3);
  EXPECT_NEAR(result.kl, kl / weight, 1e-5);
  EXPECT_TRUE(std::isnan(losses(nullptr).kl));
  EXPECT_EQ(losses(nullptr).cross_entropy, result.cross_entropy);
}

TEST_F(ValidationTest, BatchesChangeRoundingOnly) {
  const auto& teacher = *state->elastic->teacher;
  const auto expected = losses(&teacher);
  for (const char* batches : {"parallel/micro_batch_size=1", "parallel/micro_batch_size=4",
                              "parallel/logit_chunk_tokens=7", "job/deterministic=true"}) {
    prepare({batches});
    const auto result = losses(&*state->elastic->teacher);
    EXPECT_NEAR(result.cross_entropy, expected.cross_entropy, 1e-5) << batches;
    EXPECT_NEAR(result.kl, expected.kl, 1e-5) << batches;
  }
}

TEST_F(ValidationTest, NarrowAndFullModelsDiffer) {
  const double narrow = losses(nullptr).cross_entropy;
  spec = full_spec(state->model->shape());
  EXPECT_NE(losses(nullptr).cross_entropy, narrow);
}

/// Makes `model` continue the character `from` with `to` for each pair, whatever came before.
void make_bigrams(LanguageModel<float>& model,
                  const std::vector<std::pair<token_t, token_t>>& pairs) {
  Kokkos::deep_copy(model.parameters().values(), 0.0f);
  const auto words = random_values<float>(model.word_embeddings().size(), 17);
  assign(model.word_embeddings().value, words);
  Kokkos::deep_copy(model.final_norm().value, 1.0f);
  std::vector<float> output(words.size());
  const auto D = static_cast<std::size_t>(model.shape().hidden_size);
  for (const auto& [from, to] : pairs)
    std::copy_n(words.begin() + from * D, D, output.begin() + to * D);
  assign(model.output_layer().value, output);
}

TEST_F(ValidationTest, CountsTheAnswersThatAreRight) {
  // "8-6=" is continued by "#2" and the end, or whatever answer is right most often.
  prepare({"data/families=subtraction", "evaluate/problems=150"});
  const ReasoningProblems problems(reasoning_config(deck.config),
                                   static_cast<std::uint32_t>(deck.config.job.seed),
                                   validation_stream);
  std::map<std::string, int> answers;
  for (index_t i = 0; i < 150; ++i) ++answers[problems.problem(Split::validation, i).answer];
  const auto usual = std::max_element(answers.begin(), answers.end(),
                                      [](auto& a, auto& b) { return a.second < b.second; });
  ASSERT_EQ(usual->first.size(), 1u);
  EXPECT_GT(usual->second, 5);
  EXPECT_LT(usual->second, 150);

  const auto token = [](const std::string& c) { return CharacterVocabulary::encode(c).at(0); };
  make_bigrams(*state->model, {{token("="), token("#")},
                               {token("#"), token(usual->first)},
                               {token(usual->first), CharacterVocabulary::end}});
  Validation<Real> validation(self, deck.config, arena);
  ASSERT_TRUE(validation.has_problems());
  EXPECT_DOUBLE_EQ(validation.accuracy(*state->model, full_spec(state->model->shape())),
                   usual->second / 150.0);
}

TEST_F(ValidationTest, OneThinksAnotherAnswers) {
  // Problem by problem, with each text anew.
  prepare({"evaluate/problems=9"});
  const auto& model = *state->model;
  randomize(model.parameters().values(), 66);
  const std::vector<SubmodelSpec> specs = {full_spec(model.shape()), spec};
  const ReasoningProblems problems(reasoning_config(deck.config),
                                   static_cast<std::uint32_t>(deck.config.job.seed),
                                   validation_stream);
  const index_t longest = problems.longest_document() + 1;
  const auto go_on = [&](const SubmodelSpec& by, const std::vector<token_t>& prompt) {
    return generate_greedy<Real>({}, arena, model, model.widths(by), {prompt},
                                 {.max_length = longest, .stop = CharacterVocabulary::end})[0];
  };
  const auto with_end = [&](std::size_t prompt, std::size_t text) {
    return static_cast<double>(text + (static_cast<index_t>(prompt + text) < longest));
  };
  Validation<Real> validation(self, deck.config, arena);
  int switched = 0;
  for (token_t marker = 3; marker < 64 && switched == 0; ++marker) {
    const auto pairs = validation.pair_answers(model, specs, {marker});
    for (std::size_t a = 0; a < 2; ++a)
      for (std::size_t b = 0; b < 2; ++b) {
        double thought = 0, answer = 0;
        for (index_t i = 0; i < 9; ++i) {
          auto prompt = prompt_tokens(problems.problem(Split::validation, i));
          const auto text = go_on(specs[a], prompt);
          const auto found = std::find(text.begin(), text.end(), marker);
          const auto thoughts = static_cast<std::size_t>(found - text.begin()) + 1;
          if (found == text.end() || static_cast<index_t>(prompt.size() + thoughts) >= longest) {
            thought += with_end(prompt.size(), text.size());
            continue;
          }
          prompt.insert(prompt.end(), text.begin(), found + 1);
          thought += static_cast<double>(thoughts);
          answer += with_end(prompt.size(), go_on(specs[b], prompt).size());
          switched += a != b;
        }
        EXPECT_DOUBLE_EQ(pairs[a][b].thought_tokens, thought / 9) << marker << a << b;
        EXPECT_DOUBLE_EQ(pairs[a][b].answer_tokens, answer / 9) << marker << a << b;
      }
  }
  EXPECT_GT(switched, 0);
}

TEST_F(ValidationTest, PairsCountTheAnswersThatAreRight) {
  prepare({"data/families=subtraction", "evaluate/problems=30"});
  const auto token = [](const std::string& c) { return CharacterVocabulary::encode(c).at(0); };
  make_bigrams(
      *state->model,
      {{token("="), token("#")}, {token("#"), token("1")}, {token("1"), CharacterVocabulary::end}});
  const auto full = full_spec(state->model->shape());
  Validation<Real> validation(self, deck.config, arena);
  const double alone = validation.accuracy(*state->model, full);
  EXPECT_GT(alone, 0);
  const auto pairs = validation.pair_answers(*state->model, {full, full}, {token("#")});
  for (const auto& row : pairs)
    for (const auto& pair : row) {
      EXPECT_DOUBLE_EQ(pair.accuracy, alone);
      EXPECT_DOUBLE_EQ(pair.thought_tokens, 1);  // "#"
      EXPECT_DOUBLE_EQ(pair.answer_tokens, 2);   // "1" and the end
    }
}

TEST_F(ValidationTest, OnlyReasoningDataHasProblems) {
  prepare({"evaluate/problems=0"});
  EXPECT_FALSE(Validation<Real>(self, deck.config, arena).has_problems());
}

TEST_F(ValidationTest, TheLargestDifferenceOfLogits) {
  Validation<Real> validation(self, deck.config, arena);
  const auto& model = *state->model;
  const auto widths = model.widths(spec), full = model.full_widths();
  EXPECT_EQ(validation.max_logit_difference(model, widths, model, widths, whole_length), 0);
  const auto sliced = slice_model(model, spec);
  EXPECT_LT(
      validation.max_logit_difference(model, widths, *sliced, sliced->full_widths(), whole_length),
      1e-4);
  const auto source = make_source(deck.config, validation_stream);
  const Batch row = make_batch(*source, Split::validation, 0, 1, whole_length);
  const auto a = logits(model, spec, row), b = logits(model, full_spec(model.shape()), row);
  double expected = 0;
  for (std::size_t i = 0; i < a.size(); ++i) expected = std::max(expected, std::abs(a[i] - b[i]));
  EXPECT_GT(expected, 1e-2);
  EXPECT_NEAR(validation.max_logit_difference(model, widths, model, full, whole_length), expected,
              1e-5 * expected + 1e-6);
  auto broken = to_host(model.parameters().values());
  broken.back() = std::numeric_limits<float>::quiet_NaN();
  assign(model.parameters().values(), broken);
  EXPECT_THROW(validation.max_logit_difference(model, widths, model, full, whole_length),
               NumericsError);
}

TEST_F(ValidationTest, ALossThatIsNotFiniteNamesTheBudget) {
  Validation<Real> validation(self, deck.config, arena);
  Kokkos::deep_copy(state->model->parameters().values(), std::numeric_limits<float>::quiet_NaN());
  spec.name = "middle";
  try {
    validation.losses(*state->model, spec, nullptr, whole_length);
    FAIL() << "no error";
  } catch (const NumericsError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("cross-entropy of budget middle: "));
  }
}

TEST_F(ValidationTest, EverythingStopsWhenAsked) {
  prepare({"evaluate/problems=8"});
  Validation<Real> validation(self, deck.config, arena);
  const auto& model = *state->model;
  const auto full = model.full_widths();
  stop_request::ask_to_stop();
  EXPECT_THROW(validation.losses(model, spec, nullptr, whole_length), Stopped);
  EXPECT_THROW(validation.accuracy(model, spec), Stopped);
  EXPECT_THROW(validation.max_logit_difference(model, full, model, full, whole_length), Stopped);
  stop_request::forget();
  EXPECT_NO_THROW(validation.accuracy(model, spec));
}

}  // namespace
}  // namespace elastic::test
