// SPDX-License-Identifier: Apache-2.0
// What must not change the result of a pass: packing, chunk size, recomputation;
// and short or empty sequences.
#include "model/language_model.hpp"

#include "unit_tests/model/model_problem.hpp"

namespace elastic::test {
namespace {

/// Rows [begin, end) of [T, V].
template <class T>
std::vector<T> logit_rows(const std::vector<T>& logits, index_t vocab, index_t begin, index_t end) {
  return {logits.begin() + begin * vocab, logits.begin() + end * vocab};
}

template <class T>
void check_packing() {
  const std::vector<index_t> documents = {4, 1, 8};
  ModelProblem<T> packed(small_parent(), 2, documents);
  const auto widths = packed.full_widths();
  const auto logits = packed.logits(widths);
  const auto tokens = to_host(packed.tokens);
  index_t begin = 0;
  for (index_t b = 0; b < 2; ++b)
    for (const index_t length : documents) {
      ModelProblem<T> alone(small_parent(), 1, {length});
      assign(alone.tokens, {tokens.begin() + begin, tokens.begin() + begin + length});
      EXPECT_TRUE(near(alone.logits(widths), logit_rows(logits, 50, begin, begin + length),
                       tolerance<T>(300)))
          << "document of " << length << " in row " << b;
      begin += length;
    }
}

TEST(LanguageModel, PackedRowsAreSeparateDocuments) {
  check_packing<float>();
  check_packing<double>();
}

template <class T>
void check_isolation() {
  ModelProblem<T> problem(small_parent(), 2, {5, 8});
  const auto widths = problem.full_widths();
  const auto before = problem.logits(widths);
  auto tokens = to_host(problem.tokens);
  tokens[4] = (tokens[4] + 1) % 50;  // the last of the first document
  assign(problem.tokens, tokens);
  const auto after = problem.logits(widths);
  EXPECT_TRUE(bitwise_equal(logit_rows(before, 50, 0, 4), logit_rows(after, 50, 0, 4)));
  EXPECT_FALSE(bitwise_equal(logit_rows(before, 50, 4, 5), logit_rows(after, 50, 4, 5)));
  EXPECT_TRUE(bitwise_equal(logit_rows(before, 50, 5, 26), logit_rows(after, 50, 5, 26)));
}

TEST(LanguageModel, ATokenChangesOnlyWhatFollowsInItsDocument) {
  check_isolation<float>();
  check_isolation<double>();
}

TEST(LanguageModel, ChunkSizeChangesRoundingOnly) {
  ModelProblem<double> reference;
  const auto widths = reference.full_widths();
  reference.differentiate(widths);
  for (const index_t chunk : {1, 4, 5, 13}) {
    auto shape = small_parent();
    shape.chunk_size = chunk;
    ModelProblem<double> problem(shape);
    EXPECT_TRUE(near(problem.logits(widths), reference.logits(widths), tolerance<double>(500)));
    problem.differentiate(widths);
    EXPECT_TRUE(near(problem.model.parameters().gradients(),
                     reference.model.parameters().gradients(), tolerance<double>(2000)));
  }
}

template <class T>
void check_recomputation(const ActiveWidths<T>& widths) {
  ModelProblem<T> problem;
  problem.differentiate(widths, Keep::everything);
  const auto kept = to_host(problem.model.parameters().gradients());
  problem.differentiate(widths, Keep::inputs);
  EXPECT_TRUE(bitwise_equal(to_host(problem.model.parameters().gradients()), kept));
}

TEST(LanguageModel, RecomputationGivesTheSameBits) {
  const auto shape = small_parent();
  check_recomputation(prefix_widths<float>(shape, full_spec(shape)));
  check_recomputation(prefix_widths<float>(shape, narrow_small_spec()));
  check_recomputation(masked_widths<float>(shape, narrow_small_spec(), true));
  check_recomputation(prefix_widths<double>(shape, full_spec(shape)));
  check_recomputation(prefix_widths<bfloat16>(shape, narrow_small_spec()));
  check_recomputation(masked_widths<bfloat16>(shape, narrow_small_spec(), true));
}

TEST(LanguageModel, TwoRunsGiveTheSameBits) {
  ModelProblem<float> first, second;
  first.differentiate(first.full_widths());
  second.differentiate(second.full_widths());
  EXPECT_TRUE(
      bitwise_equal(first.model.parameters().gradients(), second.model.parameters().gradients()));
}

TEST(LanguageModel, BackwardNeedsActivations) {
  ModelProblem<float> problem;
  EXPECT_THROW(problem.differentiate(problem.full_widths(), Keep::nothing), ContractError);
}

/// The first positions of a longer sequence, for lengths below the convolution width.
TEST(LanguageModel, ShortSequences) {
  ModelProblem<double> whole(small_parent(), 1, {9});
  const auto widths = whole.full_widths();
  const auto expected = whole.logits(widths);
  const auto tokens = to_host(whole.tokens);
  for (const index_t length : {1, 2, 3, 5}) {
    ModelProblem<double> problem(small_parent(), 1, {length});
    assign(problem.tokens, {tokens.begin(), tokens.begin() + length});
    EXPECT_TRUE(
        near(problem.logits(widths), logit_rows(expected, 50, 0, length), tolerance<double>(300)));
    problem.differentiate(widths);
    const auto loss = [&] { return problem.loss(widths); };
    const auto& store = problem.model.parameters();
    EXPECT_LT(gradient_error(loss, store.values(), store.gradients()), 1e-6) << length;
  }
}

TEST(LanguageModel, NoTokensAreRefused) {
  ModelProblem<float> problem(small_parent(), 2, {0});
  EXPECT_THROW(problem.logits(problem.full_widths()), ContractError);
}

TEST(LanguageModel, ObserverSeesEveryActiveLayer) {
  ModelProblem<float> problem;
  const Arena::Scope scope(problem.arena);
  auto pass = problem.model.make_pass(Keep::everything);
  std::string seen;
  problem.model.forward(
      problem.context, prefix_widths<float>(small_parent(), narrow_small_spec()), problem.tokens,
      pass, [&](index_t l, const StackEntry<float>& entry) {
        const auto& layer = problem.model.stack().layer(l);
        const auto width = [&](UnitActivations which) {
          return layer.importance_activations(*entry.saved, which).extent(1);
        };
        seen +=
            fmt::format("{}:{}x{} ", l, entry.normed.extent(1), width(UnitActivations::outputs));
        EXPECT_EQ(width(UnitActivations::projections), width(UnitActivations::outputs));
      });
  EXPECT_EQ(seen, "0:9x12 2:9x6 3:9x4 4:9x6 ");
}

}  // namespace
}  // namespace elastic::test
